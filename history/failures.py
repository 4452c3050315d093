"""The failures report: what went wrong in a time range, grouped by cause and provider. Read only, five queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.models import Count, F, Max, Min, Q, Window
from django.db.models.functions import RowNumber

from history.filters import NOTHING, Filters
from history.models import RouteAttempt, RouteHistory
from history.queries import failure_condition
from history.search import DEFAULT_LIMIT, Page, search, time_limit
from history.timerange import TimeRange

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

SAMPLES: Final = 5


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
    if span.start is None:
        span = span._replace(start=TimeRange.last(now=span.end).start)
    wanted = failure_condition()
    if include_recovered:
        wanted |= Q(recovered=True)
    page = search(Filters(wanted & filters.condition, True, False), span, limit=limit, cursor=cursor, alias=alias)
    rows = RouteHistory.objects.using(alias).filter(span.q(), filters.condition).order_by()
    with time_limit(alias):
        failed = _groups(rows.filter(failure_condition()), "error_code", "provider", "id")
        saved = _groups(_first_failures(rows.filter(recovered=True), span, alias), "error_class", "provider", "history")
    groups = []
    for key in failed.keys() | (saved.keys() if include_recovered else set()):
        here, there = failed.get(key), saved.get(key)
        parts = [part for part in (here, there if include_recovered else None) if part is not None]
        samples = sorted({sample for part in parts for sample in part.samples}, reverse=True)[:SAMPLES]
        groups.append(
            Group(
                error_code=key[0],
                provider=key[1],
                count=sum(part.number for part in parts),
                recovered=there.number if there else 0,
                first_seen=min(part.first for part in parts),
                last_seen=max(part.last for part in parts),
                sample_ids=samples,
            )
        )
    groups.sort(key=lambda group: (-group.count, group.error_code or "", group.provider))
    total = sum(part.number for part in failed.values())
    return Report(span, total, sum(part.number for part in saved.values()), groups, page)


class _Part(NamedTuple):
    number: int
    first: datetime
    last: datetime
    samples: list[UUID]


def _first_failures(recovered: Any, span: TimeRange, alias: str) -> Any:
    attempts = RouteAttempt.objects.using(alias).filter(span.q(), ordinal=1, history__in=recovered.values("id"))
    return attempts.order_by()


def _groups(rows: Any, code: str, provider: str, identifier: str) -> dict[tuple[str | None, str], _Part]:
    at = "started_at" if code == "error_class" else "created_at"
    counted = rows.values_list(code, provider).annotate(n=Count("id"), first=Min(at), last=Max(at))
    found = {(row[0], row[1]): _Part(row[2], row[3], row[4], []) for row in counted}
    if found:
        place = Window(RowNumber(), partition_by=[F(code), F(provider)], order_by=F(identifier).desc())
        newest = rows.annotate(place=place).filter(place__lte=SAMPLES)
        for cause, slug, sample in newest.values_list(code, provider, identifier):
            found[cause, slug].samples.append(sample)
    return found
