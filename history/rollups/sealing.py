"""Hours whose rows may be gone: how an hour is sealed, and how what comes later still counts, exactly once.

A sealed hour is never summed up from rows again. What the shipper inserts into it later (a host was away for a month),
or updates in it, is added to its sums in the shipper's own transaction. That works because sealing an hour and changing
its rows lock the same row of ``history_periods``: either the change was committed before, and sealing sums it up, or it
sees the seal. The contract with whoever removes rows is in ``history.rollups.seal``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db import connections, transaction
from django.utils import timezone

from history.ids import milliseconds
from history.models import RollupPeriod, RouteHistory
from history.postgresql import MANY_ROWS, settings
from history.rollups import periods, sums
from history.rollups.periods import DAY, HOUR, floor, state_of
from history.rollups.work import lock_key, roll

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

#: Only hours that ended longer ago than this are ever sealed: nobody keeps history for so short a time.
RECENT_SECONDS: Final = 600
#: How far back hours without rows are sealed too, so that a late row finds a sealed hour in any case.
COVERED_SECONDS: Final = 90 * DAY
#: Rows that one statement sums up.
_TOGETHER: Final = 500


def seal_hours(before: datetime, alias: str) -> None:
    """See ``history.rollups.seal``. One transaction for each hour."""
    end = floor(int(before.timestamp()), HOUR)
    periods.find(alias)
    _cover(end, alias)
    rows = RollupPeriod.objects.using(alias).filter(grain=HOUR, sealed=False, start__lte=end - HOUR)
    for start in rows.order_by("start").values_list("start", flat=True):
        roll(HOUR, start, alias)  # before the lock: what is left to do under it is almost always nothing
        _seal(start, alias)


def _cover(end: int, alias: str) -> None:
    """Make the hours that have no rows known: sealing them is what a late row is told by."""
    span = periods.known(alias)
    if span is None:
        return
    sealed = RollupPeriod.objects.using(alias).filter(grain=HOUR, sealed=True).order_by("start")
    first = max(span[0], sealed.values_list("start", flat=True).last() or 0, end - COVERED_SECONDS)
    missing = [
        RollupPeriod(grain=HOUR, start=start, version=0, rolled=0) for start in range(floor(first, HOUR), end, HOUR)
    ]
    RollupPeriod.objects.using(alias).bulk_create(missing, ignore_conflicts=True)


def _seal(start: int, alias: str) -> None:
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        vendor = connections[alias].vendor
        if vendor == "postgresql":
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", lock_key(HOUR, start))
        state = state_of(HOUR, start, alias, lock=True)
        if state is None or state.sealed:
            return
        if not state.clean:
            sums.clear(cursor, HOUR, start)
            with settings(alias, MANY_ROWS):
                sums.fill(cursor, HOUR, start, sums.of_period(HOUR, start, vendor))
        hour = RollupPeriod.objects.using(alias).filter(grain=HOUR, start=start)
        hour.update(sealed=True, rolled=state.version)


class LateRows:
    """What a batch changes in sealed hours, for the shipper. Used in the batch's transaction."""

    def __init__(self, cursor: Any, slices: Iterable[int], alias: str) -> None:
        """The versions of ``slices`` were raised by this transaction: none of their hours is sealed meanwhile."""
        self._cursor = cursor
        self._alias = alias
        self._hours = _sealed_hours(slices, alias)
        self._changed: set[UUID] = set()

    def will_insert(self, routes: Iterable[bytes]) -> None:
        """Before rows are inserted: those that are there already change nothing."""
        wanted = {UUID(bytes=route) for route in routes if _hour(route) in self._hours}
        self._changed |= wanted - self._present(wanted)

    def will_update(self, routes: Iterable[bytes]) -> None:
        """Before rows are updated that are decisions without an outcome: takes them out of the sums."""
        # Those that this batch inserted are not in the sums yet.
        wanted = {UUID(bytes=route) for route in routes if _hour(route) in self._hours} - self._changed
        # Locked, because pruning may be at them: taken out here and gone before ``done``, they would count no longer.
        wanted = self._present(wanted, lock=True)
        for hour, some in self._by_hour(wanted):
            sums.add(self._cursor, HOUR, hour, sums.without(self._select(some)))
        self._changed |= wanted

    def done(self) -> None:
        """After everything: adds what was changed as it is now."""
        for hour, some in self._by_hour(self._changed):
            sums.add(self._cursor, HOUR, hour, self._select(some))

    def _present(self, wanted: Collection[UUID], *, lock: bool = False) -> set[UUID]:
        listed = sorted(wanted)  # locked in this order, as pruning removes them
        found: set[UUID] = set()
        for start in range(0, len(listed), _TOGETHER):
            rows = RouteHistory.objects.using(self._alias).filter(id__in=listed[start : start + _TOGETHER])
            if lock and connections[self._alias].vendor == "postgresql":
                rows = rows.order_by("id").select_for_update()
            found.update(rows.values_list("id", flat=True))
        return found

    def _by_hour(self, routes: Iterable[UUID]) -> Iterable[tuple[int, list[UUID]]]:
        grouped: dict[int, list[UUID]] = {}
        for route in sorted(routes):
            grouped.setdefault(_hour(route.bytes), []).append(route)
        for hour, listed in grouped.items():
            for start in range(0, len(listed), _TOGETHER):
                yield hour, listed[start : start + _TOGETHER]

    def _select(self, routes: list[UUID]) -> sums.Select:
        return sums.of_routes(routes, self._cursor.db.vendor)


def may_be_sealed(slices: Iterable[int]) -> bool:
    """Whether any of these slices is in an hour that can be sealed, as far as our clock is right."""
    recent = timezone.now().timestamp() - HOUR - RECENT_SECONDS
    return any(floor(start, HOUR) <= recent for start in slices)


def is_sealed(slices: Iterable[int], alias: str) -> bool:
    """Whether any of these slices is in a sealed hour. For who has raised their versions, it stays so."""
    return bool(_sealed_hours(slices, alias))


def _sealed_hours(slices: Iterable[int], alias: str) -> set[int]:
    return periods.sealed_among({floor(start, HOUR) for start in slices}, alias)


def _hour(route: bytes) -> int:
    return floor(milliseconds(route) // 1000, HOUR)
