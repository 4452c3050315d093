"""The failures report: what went wrong in a time range, grouped by cause and provider. At most eight
queries in the usual case, beside settings.

Whole hours and days are counted by their sums, the rest by rows (``history.rollups``); the page of routes is of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.db.models import Count, F, IntegerField, Max, Min, Q, Sum, Value, Window
from django.db.models.functions import RowNumber

from history.filters import NOTHING, Filters
from history.ids import milliseconds
from history.models import RouteHistory
from history.postgresql import MANY_ROWS
from history.queries import failure_condition
from history.rollups import reading
from history.rollups.fields import SAMPLES, Joined
from history.rollups.plan import TRIES, Plan, from_rows, make
from history.rollups.sums import FAILURES, FULL
from history.search import DEFAULT_LIMIT, Page, search, time_limit
from history.timerange import TimeRange

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Group:
    """Failures of one cause at one provider. ``count`` includes ``recovered`` when those were asked for."""

    error_code: str | None
    provider: str
    count: int
    recovered: int
    first_seen: datetime
    last_seen: datetime
    sample_ids: list[UUID]


class Report(NamedTuple):
    span: TimeRange
    total: int  # failed, timed out, rejected, interrupted
    recovered: int  # answered after at least one attempt failed
    groups: list[Group]
    page: Page


def report(
    span: TimeRange = TimeRange(),  # noqa: B008 - immutable
    filters: Filters = NOTHING,
    *,
    include_recovered: bool = False,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    alias: str = "default",
) -> Report:
    """The report of ``span`` (the last 24 hours unless it says otherwise).

    A recovered request counts under what its first attempt failed with, and at which provider.
    """
    wanted = failure_condition()
    if include_recovered:
        wanted |= Q(recovered=True)
    listed = Filters(wanted & filters.condition, True, False)
    page = search(listed, span, limit=limit, cursor=cursor, alias=alias, recent=True)
    span = page.span
    for _ in range(TRIES):
        plan = _plan(span, filters.condition, alias)
        with time_limit(alias, settings=MANY_ROWS):
            failed, saved = _read(plan, filters.condition, alias)
        if plan.holds(alias):
            break
    groups = []
    for key in failed.keys() | (saved.keys() if include_recovered else set()):
        there = saved.get(key)
        both = _Part.together(failed.get(key), there if include_recovered else None)
        if both.number:
            recovered = there.number if there else 0
            samples = [UUID(each) for each in both.samples]
            groups.append(Group(*key, both.number, recovered, both.first, both.last, samples))
    groups.sort(key=lambda group: (-group.count, group.error_code or "", group.provider))
    gone = _gone({sample for group in groups for sample in group.sample_ids}, plan.sealed_to, alias)
    groups = [replace(group, sample_ids=[each for each in group.sample_ids if each not in gone]) for group in groups]
    total, recovered = (sum(part.number for part in parts.values()) for parts in (failed, saved))
    return Report(plan.span, total, recovered, groups, page)


class _Part(NamedTuple):
    number: int
    first: datetime
    last: datetime
    samples: list[str]

    @classmethod
    def together(cls, *parts: _Part | None) -> _Part:
        """At least one is there."""
        found = [part for part in parts if part is not None]
        return cls(
            sum(part.number for part in found),
            min(part.first for part in found),
            max(part.last for part in found),
            sorted({sample for part in found for sample in part.samples}, reverse=True)[:SAMPLES],
        )


_Parts = dict[tuple["str | None", str], _Part]
#: Which of the two a line of an answer belongs to.
_FAILED, _SAVED = 0, 1


def _plan(span: TimeRange, condition: Q, alias: str) -> Plan:
    return from_rows(span) if reading.dimensions_of(condition) is None else make(span, alias)


def _read(plan: Plan, condition: Q, alias: str) -> tuple[_Parts, _Parts]:
    """(failed, recovered) by cause and provider. Two queries."""
    found: tuple[_Parts, _Parts] = ({}, {})
    needed = reading.dimensions_of(condition) or frozenset()
    questions = []
    for grain, stretches in plan.sums.items():
        if stretches:
            short = grain in FAILURES.grains and needed <= frozenset(FAILURES.dimensions)
            sums = reading.sums_of_view(plan, FAILURES if short else FULL, grain, condition, alias)
            questions.append(_of_sums(sums.filter(failure_condition()), _FAILED, "error_code", "provider"))
            first = sums.filter(recovered=True, first_provider__isnull=False)
            questions.append(_of_sums(first, _SAVED, "first_error", "first_provider"))
    for kind, *key, number, first_at, last_at, ids in reading.together(questions):
        # As text while there are many of them; without hyphens on both databases, so that the newest is the greatest.
        samples = ids.replace("-", "").split(",") if ids else []
        _add(found[kind], key, _Part(number, first_at, last_at, samples))
    rows = reading.rows(plan, condition, alias)
    attempts = rows.filter(plan.rows_condition("attempts__id"), recovered=True, attempts__ordinal=1)
    questions = [
        _of_rows(rows.filter(failure_condition()), _FAILED, "error_code", "provider"),
        _of_rows(attempts, _SAVED, "attempts__error_class", "attempts__provider"),
    ]
    for kind, *key, sample, place, number, first_at, last_at in reading.together(questions):
        # One line for each sample: the figures are its group's.
        part = _Part(0 if place > 1 else number, first_at, last_at, [sample.hex])
        _add(found[kind], key, part)
    return found


def _add(parts: _Parts, key: list[Any], part: _Part) -> None:
    cause, provider = key
    parts[cause, provider] = _Part.together(parts.get((cause, provider)), part)


def _of_sums(sums: Any, kind: int, code: str, provider: str) -> Any:
    return sums.values_list(_kind(kind), F(code), F(provider)).annotate(
        n=Sum("requests"), first=Min("first_at"), last=Max("last_at"), ids=Joined("samples")
    )


def _of_rows(rows: Any, kind: int, code: str, provider: str) -> Any:
    """The newest rows of each group, with its figures."""

    def over(expression: Any, **window: Any) -> Window:
        return Window(expression, partition_by=[F(code), F(provider)], **window)

    return (
        rows.annotate(place=over(RowNumber(), order_by=F("id").desc()))
        .filter(place__lte=SAMPLES)
        .values_list(
            *(_kind(kind), F(code), F(provider), "id", "place"),
            *(over(Count("id")), over(Min("created_at")), over(Max("created_at"))),
        )
    )


def _kind(kind: int) -> Value:
    return Value(kind, IntegerField())


def _gone(samples: set[UUID], sealed_to: int, alias: str) -> set[UUID]:
    """Those whose rows had been removed when the plan was made: sums outlive them. One query where any may be."""
    old = {sample for sample in samples if milliseconds(sample) < sealed_to}
    if not old:
        return old
    found = RouteHistory.objects.using(alias).filter(id__in=old)
    return old.difference(found.values_list("id", flat=True))
