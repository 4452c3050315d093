"""How long pages take: p95 of every kind of page, and what they were promised."""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from bench.history import database
from bench.history.database import query
from bench.report import table

if TYPE_CHECKING:
    import argparse

    from bench.history.cases import Case


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=40, help="pages of each kind (default 40); scans a tenth of it")
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds whose name contains this")


def run(options: argparse.Namespace) -> int:
    from django.db import connection

    from bench.history.cases import LIMITS, Data, every

    limit = LIMITS[connection.vendor]
    lines, kept = [], True
    for case in every(Data.read()):
        if options.only not in case.name:
            continue
        times, cpu, slowest, told = measure(case, options.runs if case.limited else max(3, options.runs // 10))
        p95 = percentile(times, 0.95)
        held = p95 <= limit if case.limited else p95 <= 2600
        kept &= held
        promised = f"≤ {limit}" if case.limited else "≤ 2,600"
        figures = [f"{each:.1f}" for each in (statistics.median(times), p95, max(times), cpu)]
        lines.append([case.name, str(len(times)), *figures, promised])
        mark = "" if held else f"  <-- call {slowest}"
        sys.stderr.write(f"{case.name:<44}{''.join(f'{each:>10}' for each in figures)} ms  {told}{mark}\n")
    (rows,) = query("SELECT count(*) FROM route_history")[0]
    print(f"{connection.vendor}, {rows:,} routes, milliseconds\n")
    print("\n".join(table(["", "pages", "p50", "p95", "longest", "CPU", "promised"], lines)))
    return 0 if kept else 1


def measure(case: Case, runs: int) -> tuple[list[float], float, int, str]:
    """Milliseconds of ``runs`` calls in turn after one round unmeasured, CPU of the mean one, which call took longest,
    what came of the last."""
    times: list[tuple[float, int]] = []
    result: Any = None
    for call in case.calls[: runs if case.limited else 0]:
        call()
    before = database.cpu_ms()
    while len(times) < max(runs, len(case.calls)):
        for number, call in enumerate(case.calls):
            begun = time.perf_counter()
            result = call()
            times.append(((time.perf_counter() - begun) * 1000, number))
    scanned = getattr(result, "scanned_to", None)
    told = f"scanned to {scanned:%d %b %H:%M}" if scanned else ""
    return [each for each, _ in times], (database.cpu_ms() - before) / len(times), max(times)[1], told


def percentile(values: list[float], share: float) -> float:
    """By nearest rank."""
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
