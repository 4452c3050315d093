"""Micro-benchmark of the engine: what a decision costs, by strategy and number of targets.

    .venv/bin/python -m bench.engine_micro [--quick]

Prints Markdown tables of microseconds: p50 and p99 over batches of decisions on warm state (every target has
samples), the same with one circuit open (the slow path through health), and the costs around an attempt.
Figures move with the machine; compare only what one run printed.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from routes.engine import strategies
from routes.engine.explain import pack_decision
from routes.engine.local_live import LocalLiveState
from routes.engine.pipeline import decide
from routes.engine.snapshot import Snapshot
from routes.engine.types import Outcome, RouteRequest
from tests.documents import document, provider

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (2, 10, 100, 1000)
BATCH = 20


def measure(call: Callable[[], object], batches: int) -> tuple[float, float]:
    """(p50, p99) microseconds per call over batches."""
    for _ in range(200):
        call()
    times = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(batches):
            began = time.perf_counter_ns()
            for _ in range(BATCH):
                call()
            times.append((time.perf_counter_ns() - began) / BATCH / 1000)
    finally:
        gc.enable()
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


def compiled(size: int, strategy: str) -> Snapshot:
    prices = {"gpt-4o": {"input": 2.5, "output": 10.0, "cached": 1.25}}
    entries = [provider(f"p{index}", weight=[50, 30, 20][index % 3], prices=prices) for index in range(size)]
    return Snapshot.from_document(document(entries, strategy=strategy))


def warmed(snapshot: Snapshot) -> LocalLiveState:
    """A live state in which every target has 20 samples of both kinds."""
    live, rng = LocalLiveState(Random(1)), Random(2)
    for target in snapshot.profiles["default"].targets:
        for stream in (False, True):
            for step in range(20):
                claim = live.claim(target, step)
                assert claim is not None
                latency = rng.uniform(0.2, 2.0)
                live.settle(claim, target, Outcome("success", None, latency, latency / 3, 200, stream), step)
                live.release(claim, step, 200)
    return live


def decisions(batches: int) -> None:
    print("| decide(), µs p50 / p99 | " + " | ".join(f"{size} targets" for size in SIZES) + " |")
    print("|---" * (len(SIZES) + 1) + "|")
    request = RouteRequest("01890a5d-ac96-774b-bcce-b302099a8057", "chat", "gpt-4o", estimate_tokens=lambda: 800)
    for label, trouble in (("", False), (", one circuit open", True)):
        for name in strategies.NAMES:
            row = []
            for size in SIZES:
                snapshot = compiled(size, name)
                live, profile, rng = warmed(snapshot), snapshot.profiles["default"], Random(3)
                if trouble:
                    target = profile.targets[-1]
                    for _ in range(5):
                        claim = live.claim(target, 30.0)
                        assert claim is not None
                        live.settle(claim, target, Outcome("failure", "connect_refused"), 30.0)
                        live.release(claim, 30.0)
                p50, p99 = measure(partial(decide, snapshot, profile, request, live, 31.0, rng), batches)
                row.append(f"{p50:.1f} / {p99:.1f}")
            print(f"| {name}{label} | {' | '.join(row)} |")


def around(batches: int) -> None:
    snapshot = compiled(10, "weighted")
    live, profile, rng = warmed(snapshot), snapshot.profiles["default"], Random(3)
    target = profile.targets[0]
    request = RouteRequest("01890a5d-ac96-774b-bcce-b302099a8057", "chat", "gpt-4o")
    success = Outcome("success", None, 0.5, None, 200)

    def attempt() -> None:
        claim = live.claim(target, 31.0)
        assert claim is not None
        live.settle(claim, target, success, 31.0)
        live.release(claim, 31.0, 200)

    def unknown_model() -> None:
        profile.candidates_for("chat", f"model-{rng.random()}")

    decision = decide(snapshot, profile, request, live, 31.0, rng)
    heavy = compiled(10, "least_latency")
    slow = decide(heavy, heavy.profiles["default"], request, warmed(heavy), 31.0, rng)
    big = document([provider(f"p{index}") for index in range(1000)])
    rows: list[tuple[str, Callable[[], object], int]] = [
        ("claim + settle + release", attempt, batches),
        ("pack_decision, weighted, 10 targets", lambda: pack_decision(decision), batches),
        ("pack_decision, least_latency, 10 targets", lambda: pack_decision(slow), batches),
        ("candidates of a model never seen, 10 targets", unknown_model, batches),
    ]
    print("\n| µs p50 / p99 | |\n|---|---|")
    for label, call, rounds in rows:
        p50, p99 = measure(call, rounds)
        print(f"| {label} | {p50:.1f} / {p99:.1f} |")
    began = time.perf_counter()
    Snapshot.from_document(big)
    print(f"| compile a snapshot of 1,000 providers and targets | {(time.perf_counter() - began) * 1e6:,.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Micro-benchmark of the engine.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    rounds = 50 if parser.parse_args().quick else 500
    decisions(rounds)
    around(rounds)
