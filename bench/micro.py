"""Timing of single calls, for the micro-benchmarks beside this module."""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 200


def measure(call: Callable[[], object], batches: int, batch: int = 20) -> tuple[float, float]:
    """(p50, p99) microseconds per call over batches."""
    for _ in range(max(batch, min(WARM_UP, 10 * batch))):
        call()
    times = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(batches):
            began = time.perf_counter_ns()
            for _ in range(batch):
                call()
            times.append((time.perf_counter_ns() - began) / batch / 1000)
    finally:
        gc.enable()
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


def best(call: Callable[[], object], rounds: int, calls: int) -> float:
    """Microseconds of a call in the quickest of short rounds: what it costs when nothing else runs."""
    times = []
    call()
    for _ in range(rounds):
        began = time.perf_counter_ns()
        for _ in range(calls):
            call()
        times.append((time.perf_counter_ns() - began) / calls / 1000)
    return min(times)
