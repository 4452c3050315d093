"""Statistics of a time range: counts per status, failure rate, latencies, tokens, cost and shares, by group.

Plain functions without permissions: callers check those.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Count, F, FloatField, Sum

from history.filters import NOTHING, Filters
from history.models import RouteStatus
from history.queries import DEFAULT_ALIAS, FAILURES, SWITCHING_PROTOCOLS, Distribution, bucket, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from history.timerange import TimeRange


GROUPINGS: Final = ("profile", "provider", "model", "strategy", "status", "rule", "error_code", "hour", "day")
_BUCKETS: Final = {"hour": 3600, "day": 86400}
_COUNTED: Final = ("count", *RouteStatus.values, "recovered")


def statistics(
    span: TimeRange, group_by: str | None = None, filters: Filters = NOTHING, alias: str = DEFAULT_ALIAS
) -> dict[str, Any]:
    """Totals and groups of a range: counts per status, failure rate, latencies, tokens, cost, share. Two queries."""
    if group_by is not None and group_by not in GROUPINGS:
        raise ValueError(f"group_by must be one of {', '.join(GROUPINGS)}")
    rows = rows_of(span, alias).filter(filters.condition)
    if group_by in _BUCKETS:
        rows = rows.annotate(key=bucket(_BUCKETS[group_by]))
    elif group_by is not None:
        rows = rows.annotate(key=F(group_by))
    keys = ("key",) if group_by else ()
    groups: dict[Any, _Group] = defaultdict(_Group)
    totals = _Group()
    sums = rows.values(*keys, "status", "recovered").annotate(
        n=Count("id"),
        input_sum=Sum("input_tokens"),
        output_sum=Sum("output_tokens"),
        cost_sum=Sum("cost_micro_usd", output_field=FloatField()),
    )
    for entry in sums:
        for group in (totals, groups[entry.get("key")]):
            group.add(entry)
    for column in ("latency_ms", "ttfb_ms"):
        timed = rows.exclude(status=RouteStatus.DECIDED).filter(**{f"{column}__isnull": False})
        if column == "latency_ms":
            timed = timed.exclude(http_status=SWITCHING_PROTOCOLS)
        for entry in timed.values(*keys, column).annotate(n=Count("id")):
            for group in (totals, groups[entry.get("key")]):
                group.times[column].add(entry[column], entry["n"])
    count = totals.counts["count"]
    return {
        "from": span.start,
        "to": span.end,
        "group_by": group_by,
        "totals": totals.render(count),
        "groups": [{"key": key, **groups[key].render(count)} for key in _ordered(groups)] if group_by else [],
    }


class _Group:
    def __init__(self) -> None:
        self.counts = dict.fromkeys(_COUNTED, 0)
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_micro_usd = 0.0
        self.times = {"latency_ms": Distribution(), "ttfb_ms": Distribution()}

    def add(self, entry: Mapping[str, Any]) -> None:
        number = entry["n"]
        self.counts["count"] += number
        self.counts[entry["status"]] += number
        if entry["recovered"]:
            self.counts["recovered"] += number
        self.input_tokens += entry["input_sum"] or 0
        self.output_tokens += entry["output_sum"] or 0
        self.cost_micro_usd += entry["cost_sum"] or 0.0

    def render(self, everything: int) -> dict[str, Any]:
        count = self.counts["count"]
        failures = sum(self.counts[status] for status in FAILURES)
        rendered: dict[str, Any] = {**self.counts, "failure_rate": failures / count if count else 0.0}
        for name, distribution in self.times.items():
            p50, p95, p99 = distribution.percentiles(0.5, 0.95, 0.99)
            rendered[name] = {"avg": distribution.mean, "p50": p50, "p95": p95, "p99": p99}
        return {
            **rendered,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_micro_usd / 1e6,
            "share": count / everything if everything else 0.0,
        }


def _ordered(keys: Iterable[Any]) -> list[Any]:
    return sorted(keys, key=lambda key: (key is None, key if key is not None else 0))
