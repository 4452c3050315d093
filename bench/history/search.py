"""How long pages take: p95 of every kind of page, and what they were promised."""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

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
        times, slowest, told = measure(case, options.runs if case.limited else max(3, options.runs // 10))
        p95 = percentile(times, 0.95)
        held = p95 <= limit if case.limited else p95 <= 2600
        kept &= held
        promised = f"≤ {limit}" if case.limited else "≤ 2,600"
        lines.append(
            [case.name, str(len(times)), f"{statistics.median(times):.1f}", f"{p95:.1f}", f"{max(times):.1f}", promised]
        )
        mark = "" if held else f"  <-- call {slowest}"
        sys.stderr.write(
            f"{case.name:<44}{statistics.median(times):>10.1f}{p95:>10.1f}{max(times):>10.1f} ms  {told}{mark}\n"
        )
    (rows,) = query("SELECT count(*) FROM route_history")[0]
    print(f"{connection.vendor}, {rows:,} routes, milliseconds\n")
    print("\n".join(table(["", "pages", "p50", "p95", "longest", "promised"], lines)))
    return 0 if kept else 1


def measure(case: Case, runs: int) -> tuple[list[float], int, str]:
    """Milliseconds of ``runs`` calls in turn after one round unmeasured, which took longest, what came of the last."""
    times: list[tuple[float, int]] = []
    result: Any = None
    for call in case.calls[: runs if case.limited else 0]:
        call()
    while len(times) < max(runs, len(case.calls)):
        for number, call in enumerate(case.calls):
            begun = time.perf_counter()
            result = call()
            times.append(((time.perf_counter() - begun) * 1000, number))
    scanned = getattr(result, "scanned_to", None)
    return [each for each, _ in times], max(times)[1], f"scanned to {scanned:%d %b %H:%M}" if scanned else ""


def percentile(values: list[float], share: float) -> float:
    """By nearest rank."""
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
