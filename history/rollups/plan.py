"""What answers a question about a range of time: which days, hours and slices by their sums, what from rows.

Whole periods that are clean are read by their sums, the largest that fit; rows answer for the edges of the range, for
hours that are dirty, and for what is newer or older than anything known. An hour that is sealed has its sums alone: a
range that takes a part of it is widened to the whole, so that what it says is true of the range it names.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db.models import Q
from django.utils import timezone

from history.ids import first_id, first_id_of, milliseconds
from history.models import RollupPeriod
from history.rollups.periods import DAY, GRAINS, HOUR, SLICE, State, floor, sealed_among
from history.rollups.work import READ_SLICES
from history.timerange import TimeRange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Times that a question is asked while rows are removed under it.
TRIES: Final = 3
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Stretch(NamedTuple):
    """``low`` ≤ t < ``high``; None is open. The unit is its owner's."""

    low: int | None
    high: int | None


class Plan(NamedTuple):
    """``sums``: by grain, stretches of starts in Unix seconds. ``rows``: stretches in Unix milliseconds."""

    span: TimeRange
    sums: dict[int, list[Stretch]]
    rows: list[Stretch]
    open: frozenset[int]  # hours that rows answer for
    sealed_to: int = 0  # milliseconds; what is older may have no rows any longer

    def rows_condition(self, field: str = "id") -> Q:
        """The stretches of rows, as conditions on their ids or those of their children; what none has matches none."""
        condition = Q(**{f"{field}__in": ()})
        for low, high in self.rows:
            part = Q() if low is None else Q(**{f"{field}__gte": first_id_of(low)})
            if high is not None:
                part &= Q(**{f"{field}__lt": first_id_of(high)})
            if not part:
                return part
            condition |= part
        return condition

    def holds(self, alias: str) -> bool:
        """Whether the rows that were read were all there. Asked after reading: sealing comes before removing."""
        return not sealed_among(self.open, alias)


def from_rows(span: TimeRange) -> Plan:
    """What no sums can answer."""
    return Plan(span, {}, [_stretch(span)], frozenset())


def make(span: TimeRange, alias: str, grains: Sequence[int] = GRAINS, now: datetime | None = None) -> Plan:
    """One query. ``grains``: periods whose sums may be used; hours always are."""
    low, high = _stretch(span)
    states = _states(low, high, grains, alias, now)
    hours = [start for grain, start in states if grain == HOUR]
    if not hours:
        return from_rows(span)
    rows: list[Stretch] = []
    first, last = min(hours) * 1000, (max(hours) + HOUR) * 1000
    if low is None or low < first:
        rows.append(Stretch(low, first if high is None else min(first, high)))
    planner = _Planner(low, high, grains)
    planner.add(states)
    rows += planner.rows
    if high is None or high > last:
        rows.append(Stretch(last if low is None else max(low, last), high))
    wide = TimeRange(
        span.start if planner.low == low else _moment(planner.low),
        span.end if planner.high == high else _moment(planner.high),
    )
    sealed = (start for (grain, start), state in states.items() if grain == HOUR and state.sealed)
    sealed_to = max((start + HOUR for start in sealed), default=0) * 1000
    return Plan(wide, planner.sums, _joined(rows), frozenset(planner.open), sealed_to)


class _Planner:
    """Goes through the hours of a range, oldest first."""

    def __init__(self, low: int | None, high: int | None, grains: Sequence[int]) -> None:
        self.low, self.high = low, high  # milliseconds
        self.sums: dict[int, list[Stretch]] = {grain: [] for grain in GRAINS}
        self.rows: list[Stretch] = []
        self.open: set[int] = set()
        self._grains = grains
        self._before = 0  # grain of the sums that answered for the hour before; 0 = rows

    def add(self, states: Mapping[tuple[int, int], State]) -> None:
        hours = sorted(start for grain, start in states if grain == HOUR)
        for day, members in groupby(hours, lambda start: floor(start, DAY)):
            state = states.get((DAY, day))
            if DAY in self._grains and state is not None and state.clean and self._covers(day, DAY):
                self._by_sums(DAY, day)
                continue
            for hour in members:
                self._hour(hour, states)

    def _hour(self, hour: int, states: Mapping[tuple[int, int], State]) -> None:
        begin, end = hour * 1000, (hour + HOUR) * 1000
        if (self.low is not None and end <= self.low) or (self.high is not None and begin >= self.high):
            return
        state = states[HOUR, hour]
        if state.sealed or (state.clean and self._covers(hour, HOUR)):
            self.low = self.low if self.low is None else min(self.low, begin)
            self.high = self.high if self.high is None else max(self.high, end)
            self._by_sums(HOUR, hour)
            return
        self.open.add(hour)
        at = begin if self.low is None else max(begin, self.low)
        end = end if self.high is None else min(end, self.high)
        for start in range(hour, hour + HOUR, SLICE):
            slice_state = states.get((SLICE, start))
            if slice_state is not None and slice_state.clean and self._covers(start, SLICE):
                self._by_rows(at, start * 1000)
                self._by_sums(SLICE, start)
                at = (start + SLICE) * 1000
        self._by_rows(at, end)

    def _covers(self, start: int, grain: int) -> bool:
        low, high = self.low, self.high
        return (low is None or low <= start * 1000) and (high is None or (start + grain) * 1000 <= high)

    def _by_sums(self, grain: int, start: int) -> None:
        stretches = self.sums[grain]
        # Between two periods that follow each other in what is known there is nothing.
        if self._before == grain:
            stretches[-1] = Stretch(stretches[-1].low, start + grain)
        else:
            stretches.append(Stretch(start, start + grain))
        self._before = grain

    def _by_rows(self, begin: int, end: int) -> None:
        if begin < end:
            self.rows.append(Stretch(begin, end))
            self._before = 0


def _states(
    low: int | None, high: int | None, grains: Sequence[int], alias: str, now: datetime | None
) -> dict[tuple[int, int], State]:
    """Of the periods of that time (milliseconds), of slices those that may be read; and of the first and the last hour
    that is known, wherever they are."""
    wanted = Q(grain=HOUR) | Q(grain=DAY) if DAY in grains else Q(grain=HOUR)
    if SLICE in grains:
        recent = int((now or timezone.now()).timestamp()) - READ_SLICES
        wanted |= Q(grain=SLICE, rolled__isnull=False, start__gte=recent)
    if low is not None:
        wanted &= Q(start__gte=floor(low // 1000, DAY))
    if high is not None:
        wanted &= Q(start__lt=-(-high // 1000))
    hours = RollupPeriod.objects.filter(grain=HOUR).order_by("start").values("start")
    wanted |= Q(grain=HOUR, start__in=hours[:1]) | Q(grain=HOUR, start__in=hours.reverse()[:1])
    rows = RollupPeriod.objects.using(alias).filter(wanted)
    return {
        (grain, start): State(*state) for grain, start, *state in rows.values_list("grain", "start", *State._fields)
    }


def _stretch(span: TimeRange) -> Stretch:
    """In the milliseconds that ids have."""
    return Stretch(
        None if span.start is None else milliseconds(first_id(span.start)),
        None if span.end is None else milliseconds(first_id(span.end)),
    )


def _moment(unix_ms: int | None) -> datetime | None:
    return None if unix_ms is None else _EPOCH + timedelta(milliseconds=unix_ms)


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Those that touch as one; they come in order."""
    found: list[Stretch] = []
    for stretch in stretches:
        if found and found[-1].high == stretch.low:
            found[-1] = Stretch(found[-1].low, stretch.high)
        else:
            found.append(stretch)
    return found
