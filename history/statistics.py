"""Statistics of a time range: counts per status, failure rate, latencies, tokens, cost and shares, by group.

Sums answer for whole hours and days, rows for the rest (``history.rollups``), so that a month costs little more than a
day. Filters on what sums do not know read rows alone, for a limited time. Counts are those of the rows in either case;
percentiles are exact where only rows were read, else of the same bucket (``history.rollups.buckets``). Plain functions
without permissions: callers check those.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Aggregate, Count, F, FloatField, Q, Sum, Value

from history.expected import SHARED, Route, expected_shares
from history.filters import NOTHING, Filters
from history.models import SWITCHING_PROTOCOLS, RouteStatus
from history.queries import DEFAULT_ALIAS, FAILURES, Distribution, EpochSeconds
from history.rollups import plan as planning
from history.rollups import reading
from history.rollups.buckets import MIDDLES, nearest_rank
from history.rollups.fields import HistogramSum
from history.rollups.periods import DAY, GRAINS, HOUR, SLICE
from history.search import time_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from history.timerange import TimeRange


GROUPINGS: Final = ("profile", "provider", "model", "strategy", "status", "rule", "error_code", "hour", "day")
_BUCKETS: Final = {"hour": HOUR, "day": DAY}
#: name in the answer -> column of sums
_COUNTS: Final = {"count": "requests", **{name: name for name in RouteStatus.values}, "recovered": "recoveries"}
_NUMBERS: Final = (*_COUNTS.values(), "reached", "input_tokens", "output_tokens", "cost_micro_usd")
_TIMES: Final = ("latency", "ttfb")
#: Whose times are taken: see ``history.rollups.sums``.
_TIMED: Final = {
    "latency": ~Q(status=RouteStatus.DECIDED) & ~Q(http_status=SWITCHING_PROTOCOLS) & Q(latency_ms__isnull=False),
    "ttfb": ~Q(status=RouteStatus.DECIDED) & Q(ttfb_ms__isnull=False),
}
#: The same numbers, of rows and of sums.
_OF_ROWS: Final = {
    "sum_requests": Count("id"),
    **{f"sum_{name}": Count("id", filter=Q(status=name)) for name in RouteStatus.values},
    "sum_recoveries": Count("id", filter=Q(recovered=True)),
    "sum_reached": Count("id", filter=~Q(provider="")),
    "sum_input_tokens": Sum("input_tokens"),
    "sum_output_tokens": Sum("output_tokens"),
    "sum_cost_micro_usd": Sum("cost_micro_usd", output_field=FloatField()),
}
_OF_SUMS: Final = {
    **{f"sum_{name}": Sum(name) for name in _NUMBERS},
    **{f"sum_{name}_sum": Sum(f"{name}_sum") for name in _TIMES},
    **{f"sum_{name}_histogram": HistogramSum(f"{name}_histogram") for name in _TIMES},
}


def statistics(
    span: TimeRange, group_by: str | None = None, filters: Filters = NOTHING, alias: str = DEFAULT_ALIAS
) -> dict[str, Any]:
    """Totals and groups of a range.

    ``from`` and ``to`` are those of the range, but include the whole of an hour whose rows are gone where that is only
    partly in it. Raises RangeTooLarge when reading takes too long. At most seven queries.
    """
    if group_by is not None and group_by not in GROUPINGS:
        raise ValueError(f"group_by must be one of {', '.join(GROUPINGS)}")
    for _ in range(planning.TRIES):
        answer = _Answer(span, group_by, filters.condition, alias)
        with time_limit(alias):
            answer.read()
        if answer.plan.holds(alias):
            break
    return answer.render()


class _Answer:
    """What is asked, and what was read of it."""

    def __init__(self, span: TimeRange, group_by: str | None, condition: Q, alias: str) -> None:
        self.group_by = group_by
        self.totals = _Group()
        self.groups: dict[Any, _Group] = defaultdict(_Group)
        self.expected: Mapping[Any, float] = {}
        self._condition = condition
        self._alias = alias
        asked = reading.dimensions_of(condition)
        #: dimensions that sums must have
        self._asked = asked or frozenset()
        grains = (HOUR, SLICE) if group_by == "hour" else GRAINS
        self.plan = planning.from_rows(span) if asked is None else planning.make(span, alias, grains)

    def read(self) -> None:
        sums = self._sums(name for name in reading.COMMON if name == self.group_by)
        for entry in reading.together(self._grouped(each, _OF_SUMS, F("start")) for each in sums):
            for group in self._groups(entry["key"]):
                group.add(entry)
                for name in _TIMES:
                    group.times[name].add_histogram(entry[f"sum_{name}_histogram"], entry[f"sum_{name}_sum"])
        rows = reading.rows(self.plan, self._condition, self._alias)
        at = EpochSeconds("created_at")
        for entry in self._grouped(rows, _OF_ROWS, at):
            for group in self._groups(entry["key"]):
                group.add(entry)
        timed = [rows.filter(_TIMED[name]).annotate(which=Value(name), value=F(f"{name}_ms")) for name in _TIMES]
        for key, name, value, number in reading.together(
            self._grouped(each, {"n": Count("id")}, at, "which", "value").values_list("key", "which", "value", "n")
            for each in timed
        ):
            for group in self._groups(key):
                group.times[name].add(value, number)
        if self.group_by in SHARED:
            self.expected = expected_shares(self.group_by, self._reached())

    def _sums(self, more: Iterable[str]) -> list[Any]:
        return reading.sums(self.plan, self._asked.union(more), self._condition, self._alias)

    def _grouped(self, rows: Any, numbers: Mapping[str, Any], at: Any, *also: str) -> Any:
        """Without ``group_by`` everything has one key."""
        period = _BUCKETS.get(self.group_by or "")
        key = at - at % period if period else F(self.group_by) if self.group_by else Value(0)
        return rows.annotate(key=key).values("key", *also).annotate(**numbers)

    def _groups(self, key: Any) -> tuple[_Group, ...]:
        return (self.totals,) if self.group_by is None else (self.totals, self.groups[key])

    def _reached(self) -> Iterator[tuple[Route, int]]:
        """The requests that reached a provider, by what weights divide alike."""
        parts: list[tuple[Any, Aggregate]] = [(sums, Sum("reached")) for sums in self._sums(Route._fields)]
        parts.append((reading.rows(self.plan, self._condition, self._alias), Count("id")))
        for *route, reached in reading.together(
            rows.exclude(provider="").values_list(*Route._fields).annotate(n=number) for rows, number in parts
        ):
            yield Route(*route), reached

    def render(self) -> dict[str, Any]:
        """A group that has no requests (any longer) is left out, unless weights speak of it."""
        for key in self.expected:
            self.groups[key]  # made if it is not there
        keys = [key for key, group in self.groups.items() if group.numbers["requests"] or key in self.expected]
        whole = "reached" if self.group_by in SHARED else "requests"
        return {
            "from": self.plan.span.start,
            "to": self.plan.span.end,
            "group_by": self.group_by,
            "totals": self._render(self.totals, whole, None),
            "groups": [
                {"key": key, **self._render(self.groups[key], whole, self.expected.get(key))} for key in _ordered(keys)
            ],
        }

    def _render(self, group: _Group, whole: str, expected: float | None) -> dict[str, Any]:
        everything = self.totals.numbers[whole]
        share = group.numbers[whole] / everything if everything else 0.0
        return {**group.render(), "share": share, "expected_share": expected}


class _Times:
    """Durations in milliseconds, by value or by bucket."""

    def __init__(self) -> None:
        self._values = Distribution()
        self._histograms: list[list[int]] = []
        self._sum = 0

    def add(self, value: int, count: int) -> None:
        self._values.add(value, count)
        self._sum += value * count

    def add_histogram(self, counts: list[int] | None, total: int | None) -> None:
        if counts:
            self._histograms.append(counts)
        self._sum += total or 0

    def render(self) -> dict[str, float | None]:
        """Once. Quick where it must be: a month by hours has thousands of histograms, most of them alone in a group."""
        counts = self._histograms[0] if len(self._histograms) == 1 else [*map(sum, zip(*self._histograms, strict=True))]
        size = sum(counts) + self._values.size
        if self._values.size:
            for value, count in zip(MIDDLES, counts, strict=False):
                if count:
                    self._values.add(value, count)
            p50, p95, p99 = self._values.percentiles(0.5, 0.95, 0.99)
        else:
            p50, p95, p99 = nearest_rank(MIDDLES, counts, 0.5, 0.95, 0.99)
        return {"avg": self._sum / size if size else None, "p50": p50, "p95": p95, "p99": p99}


class _Group:
    def __init__(self) -> None:
        self.numbers: dict[str, Any] = dict.fromkeys(_NUMBERS, 0)
        self.times = {name: _Times() for name in _TIMES}

    def add(self, entry: Mapping[str, Any]) -> None:
        for name in _NUMBERS:
            self.numbers[name] += entry[f"sum_{name}"] or 0

    def render(self) -> dict[str, Any]:
        numbers = self.numbers
        count = numbers["requests"]
        failures = sum(numbers[status] for status in FAILURES)
        return {
            **{name: numbers[column] for name, column in _COUNTS.items()},
            "failure_rate": failures / count if count else 0.0,
            **{f"{name}_ms": times.render() for name, times in self.times.items()},
            "input_tokens": numbers["input_tokens"],
            "output_tokens": numbers["output_tokens"],
            "cost_usd": numbers["cost_micro_usd"] / 1e6,
        }


def _ordered(keys: Iterable[Any]) -> list[Any]:
    return sorted(keys, key=lambda key: (key is None, key if key is not None else 0))
