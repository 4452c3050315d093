"""Summing up, every minute: the periods that are over and dirty, the oldest first, for a limited time.

Several workers may do this at once, on any number of hosts. On PostgreSQL each period is summed up by one of them
while the others go on to the next; on SQLite two may read the same rows, and one of them finds that it came too late.
Anything here may be killed at any moment: a period's sums and the version they stand for are one transaction.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from django.db import connections, transaction
from django.utils import timezone

from history.models import Rollup, RollupPeriod
from history.postgresql import MANY_ROWS, settings
from history.rollups import periods, sums
from history.rollups.periods import DAY, HOUR, SLICE, State, floor, state_of
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from datetime import datetime

    from history.timerange import TimeRange

#: Rows from which on a slice of five minutes is worth sums of its own: reading fewer is as quick.
WORTHWHILE: Final = 5000
#: How long sums of slices are kept, and how far back they may be read: the difference is for clocks that disagree.
KEEP_SLICES: Final = 26 * HOUR
READ_SLICES: Final = 24 * HOUR
#: What one run may take: another one is due in a minute.
BUDGET_SECONDS: Final = 20.0
#: First half of the keys of PostgreSQL's advisory locks; the second is the period's number.
_LOCKS: Final = {SLICE: 0x5B0A, HOUR: 0x5B0B, DAY: 0x5B0C}

log = get_logger(__name__)


class _Overtaken(Exception):
    """Somebody else changed what is known of a period while it was summed up."""


def run(alias: str = "default", now: datetime | None = None, seconds: float = BUDGET_SECONDS) -> int:
    """Sum up what is due; how many periods that were. Begins nothing new after ``seconds``."""
    moment = int((now or timezone.now()).timestamp())
    deadline = time.monotonic() + seconds
    found = periods.find(alias)
    if found:
        log.info("hours found that were never summed up", hours=found)
    done = 0
    # Slices first: there are few, and they are what questions about now wait for.
    for grain, starts in ((SLICE, _slices(moment, alias)), (HOUR, periods.dirty(HOUR, moment, alias))):
        for start in starts:
            if time.monotonic() > deadline:
                return done
            done += roll(grain, start, alias)
    for start in _days(moment, alias):
        if time.monotonic() > deadline:
            return done
        done += roll(DAY, start, alias)
    _forget_slices(moment, alias)
    return done


def roll(grain: int, start: int, alias: str) -> bool:
    """Sum up one period. False if it is not dirty, sealed, or somebody else is at it."""
    try:
        if connections[alias].vendor == "postgresql":
            return _roll_inside(grain, start, alias)
        return _roll_outside(grain, start, alias)
    except _Overtaken:
        return False


def _roll_inside(grain: int, start: int, alias: str) -> bool:
    """In the database and in one transaction, which holds nothing that the shipper waits for but at its very end."""
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", lock_key(grain, start))
        if not cursor.fetchone()[0]:
            return False
        state = _due(grain, start, alias)
        if state is None:
            return False
        sums.clear(cursor, grain, start)
        with settings(alias, MANY_ROWS):
            sums.fill(cursor, grain, start, sums.of_period(grain, start, "postgresql"))
        _note(cursor, grain, start, state)
    return True


def _roll_outside(grain: int, start: int, alias: str) -> bool:
    """Reading first: SQLite's transactions keep writers out, and reading an hour takes long."""
    state = _due(grain, start, alias)
    if state is None:
        return False
    select = sums.of_period(grain, start, "sqlite")
    with connections[alias].cursor() as cursor:
        found = cursor.execute(select.sql, select.parameters).fetchall()
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        _note(cursor, grain, start, state)
        sums.clear(cursor, grain, start)
        sums.fill(cursor, grain, start, found)
    return True


def _due(grain: int, start: int, alias: str) -> State | None:
    """The period's state if it can be summed up. The order matters: its version, then its hours' state or its rows."""
    state = state_of(grain, start, alias)
    if state is None or state.clean or state.sealed:
        return None
    if grain == DAY and periods.dirty(HOUR, start + DAY, alias, since=start):
        return None  # what its version counts is not in its hours' sums yet
    return state


def _note(cursor: Any, grain: int, start: int, state: State) -> None:
    """The version that was read before the rows is what the sums are of. Raises _Overtaken."""
    unchanged = "rolled IS NULL" if state.rolled is None else f"rolled = {state.rolled}"
    cursor.execute(
        f"UPDATE history_periods SET rolled = %s WHERE grain = %s AND start = %s AND {unchanged} AND NOT sealed",  # noqa: S608
        [state.version, grain, start],
    )
    if not cursor.rowcount:
        raise _Overtaken


def lock_key(grain: int, start: int) -> list[int]:
    return [_LOCKS[grain], start // grain]


def _slices(now: int, alias: str) -> list[int]:
    rows = RollupPeriod.objects.using(alias).filter(periods.DIRTY, grain=SLICE, version__gte=WORTHWHILE)
    rows = rows.filter(start__lte=now - SLICE, start__gt=now - READ_SLICES)
    return list(rows.order_by("start").values_list("start", flat=True))


def _days(now: int, alias: str) -> list[int]:
    """Those of which every hour is summed up."""
    unfinished = {floor(start, DAY) for start in periods.dirty(HOUR, now, alias)}
    return [start for start in periods.dirty(DAY, now, alias) if start not in unfinished]


def _forget_slices(now: int, alias: str) -> None:
    old = {"grain": SLICE, "start__lt": now - KEEP_SLICES}
    Rollup.objects.using(alias).filter(**old).delete()
    RollupPeriod.objects.using(alias).filter(**old).delete()


def forget(span: TimeRange, alias: str = "default") -> int:
    """Have the days of a range summed up again, also what nobody said was changed; how many hours that are. Sealed
    hours stay: their rows may be gone."""
    periods.find(alias)
    rows = RollupPeriod.objects.using(alias).filter(sealed=False)
    if span.start is not None:
        rows = rows.filter(start__gte=floor(int(span.start.timestamp()), DAY))
    if span.end is not None:
        rows = rows.filter(start__lt=span.end.timestamp())
    rows.update(rolled=None)
    return rows.filter(grain=HOUR).count()
