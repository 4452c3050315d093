"""Statistics and failures from rollups: how long they take, and whether they say what the rows say.

First everything that is not summed up yet is. Counts, tokens and costs must be those of a recount of all rows, and
percentiles must lie in the bucket of the exact ones.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from bench.history.database import cpu_ms
from bench.history.search import percentile
from bench.report import table

if TYPE_CHECKING:
    import argparse

    from history.timerange import TimeRange

LIMIT_MS: Final = 300
#: Neighbouring buckets of a histogram are this far apart.
BUCKET: Final = 1.05
SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_NUMBERS: Final = ("input_tokens", "output_tokens")
_COUNTED: Final = (
    *("count", "recovered", "routed", "failed", "timeout", "rejected", "cancelled", "interrupted", "decided"),
    *_NUMBERS,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=10, help="of each question (default 10)")
    parser.add_argument("--no-recount", action="store_true", help="times alone")


def run(options: argparse.Namespace) -> int:
    from bench.history.cases import Data
    from history import failures
    from history.statistics import GROUPINGS, statistics

    begun = time.perf_counter()
    roll_up()
    sys.stderr.write(f"summed up in {time.perf_counter() - begun:.0f} s\n")
    data = Data.read()
    questions: dict[str, Any] = {
        f"statistics by {group or 'nothing'}, 30 days": lambda group=group: statistics(data.month, group)
        for group in (None, *GROUPINGS)
    }
    questions["statistics by provider, 24 h"] = lambda: statistics(data.day, "provider")
    questions["failures, 30 days"] = lambda: failures.report(data.month)
    questions["failures, 30 days, with recovered ones"] = lambda: failures.report(data.month, include_recovered=True)
    lines, kept = [], True
    for name, ask in questions.items():
        times = []
        ask()
        before = cpu_ms()
        for _ in range(options.runs):
            begun = time.perf_counter()
            ask()
            times.append((time.perf_counter() - begun) * 1000)
        p95 = percentile(times, 0.95)
        kept &= p95 <= LIMIT_MS
        figures = [f"{each:.1f}" for each in (percentile(times, 0.5), p95, (cpu_ms() - before) / options.runs)]
        lines.append([name, *figures, f"≤ {LIMIT_MS}"])
        sys.stderr.write(f"{name:<44}{''.join(f'{each:>10}' for each in figures)} ms\n")
    print("\n".join(table(["", "p50", "p95", "CPU", "promised"], lines)))
    if not options.no_recount:
        for group in (None, *GROUPINGS):
            wrong = differences(statistics(data.month, group), recount(data.month, group), group)
            kept &= not wrong
            print(f"by {group or 'nothing'}: {'as a recount of all rows' if not wrong else wrong[:3]}", flush=True)
    return 0 if kept else 1


def roll_up() -> None:
    """Everything that the task ``history.rollups`` comes to by itself, some at a time."""
    from history.rollups import work

    while work.run(seconds=float("inf")):
        pass


def recount(span: TimeRange, group_by: str | None) -> dict[Any, dict[str, Any]]:
    """The same figures from every row of the range, as the database counts them; ``_TOTAL`` is the key of all."""
    from django.db.models import Count, F, FloatField, Sum

    from history.models import SWITCHING_PROTOCOLS, RouteHistory
    from history.queries import bucket

    found: dict[Any, dict[str, Any]] = defaultdict(_nothing)
    rows = RouteHistory.objects.filter(span.q()).order_by()
    seconds = {"hour": 3600, "day": 86400}.get(group_by or "")
    rows = rows.annotate(key=bucket(seconds) if seconds else F(group_by or "profile"))
    sums = {name: Sum(name) for name in _NUMBERS} | {"cost": Sum("cost_micro_usd", output_field=FloatField())}
    sums = {f"sum_{name}": expression for name, expression in sums.items()}
    for entry in rows.values("key", "status", "recovered").annotate(n=Count("id"), **sums):
        for group in (found[_TOTAL], found[entry["key"]]):
            group["count"] += entry["n"]
            group[entry["status"]] += entry["n"]
            group["recovered"] += entry["n"] * entry["recovered"]
            for name in _NUMBERS:
                group[name] += entry[f"sum_{name}"] or 0
            group["cost_micro_usd"] += entry["sum_cost"] or 0
    for name in ("latency_ms", "ttfb_ms"):
        timed = rows.exclude(status="decided").filter(**{f"{name}__isnull": False})
        if name == "latency_ms":
            timed = timed.exclude(http_status=SWITCHING_PROTOCOLS)
        for key, value, number in timed.values_list("key", name).annotate(n=Count("id")).iterator(5000):
            for group in (found[_TOTAL], found[key]):
                group[name][value] += number
    return found


_TOTAL: Final = object()


def _nothing() -> dict[str, Any]:
    return defaultdict(int) | {"latency_ms": defaultdict(int), "ttfb_ms": defaultdict(int)}


def differences(told: dict[str, Any], counted: dict[Any, dict[str, Any]], group_by: str | None) -> list[str]:
    """Where the statistics say something else than the recount."""
    pairs = [("totals", told["totals"], counted[_TOTAL])]
    keys = set(counted) - {_TOTAL}
    if group_by is not None and (missing := keys.symmetric_difference(group["key"] for group in told["groups"])):
        return [f"groups differ: {sorted(map(str, missing))}"]
    pairs += [(group["key"], group, counted[group["key"]]) for group in told["groups"]]
    wrong = []
    for key, mine, theirs in pairs:
        wrong += [
            f"{key}: {name} is {mine[name]}, counted {theirs.get(name, 0)}"
            for name in _COUNTED
            if mine[name] != theirs.get(name, 0)
        ]
        if abs(mine["cost_usd"] * 1e6 - theirs["cost_micro_usd"]) > 1:
            wrong.append(f"{key}: cost is {mine['cost_usd']}")
        for name in ("latency_ms", "ttfb_ms"):
            for label, share in SHARES.items():
                exact, value = _percentile(theirs[name], share), mine[name][label]
                if not _alike(value, exact):
                    wrong.append(f"{key}: {label} of {name} is {value}, exactly {exact}")
    return wrong


def _percentile(counts: dict[int, int], share: float) -> int | None:
    rank, seen = max(1, -int(-share * sum(counts.values()) // 1)), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= rank:
            return value
    return None


def _alike(value: float | None, exact: float | None) -> bool:
    if value is None or exact is None:
        return value is exact
    return exact / BUCKET - 1 <= value <= exact * BUCKET + 1
