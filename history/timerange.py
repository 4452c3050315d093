"""Time ranges, as id ranges too: ids begin with their time, so a range reads one stretch of the primary key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from history.errors import BadQuery
from history.ids import first_id

if TYPE_CHECKING:
    from uuid import UUID

DEFAULT_HOURS = 24
#: No id holds a time before the first, and one can still reckon with the last.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 1, tzinfo=UTC)


class TimeRange(NamedTuple):
    """``start`` ≤ t < ``end``; None is open. Aware datetimes."""

    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def last(cls, *, hours: float = DEFAULT_HOURS, now: datetime | None = None) -> TimeRange:
        """The range up to now, and a little beyond: clocks of several hosts differ."""
        now = now or timezone.now()
        return cls(now - timedelta(hours=hours), now + timedelta(minutes=1))

    @classmethod
    def parse(cls, start: str | None, end: str | None) -> TimeRange:
        """From the parameters ``from`` and ``to`` (ISO 8601; without zone = UTC; a date alone is its midnight)."""
        found = cls(_parse("from", start), _parse("to", end))
        if found.start and found.end and found.start > found.end:
            raise BadQuery("from", "is after 'to'")
        return found

    @property
    def recent(self) -> TimeRange:
        """The range; without a start, its last 24 hours."""
        return self if self.start is not None else self._replace(start=TimeRange.last(now=self.end).start)

    @property
    def id_bounds(self) -> tuple[UUID | None, UUID | None]:
        return (first_id(self.start) if self.start else None, first_id(self.end) if self.end else None)

    def q(self, field: str = "id") -> Q:
        """The range as a condition on the primary key."""
        low, high = self.id_bounds
        condition = Q()
        if low is not None:
            condition &= Q(**{f"{field}__gte": low})
        if high is not None:
            condition &= Q(**{f"{field}__lt": high})
        return condition


def _parse(name: str, text: str | None) -> datetime | None:
    if not text:
        return None
    text = text.strip().replace(" ", "+") if "T" in text else text.strip()  # a "+" in a URL arrives as a space
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)) is not None:
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
        moment = moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else moment
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise BadQuery(name, "must be an ISO 8601 time such as 2026-11-20T08:00:00Z")
    return min(max(moment if moment.tzinfo else moment.replace(tzinfo=UTC), EARLIEST), LATEST)
