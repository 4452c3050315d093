"""Which periods have rows, and what of them is summed up. Owns the table ``history_periods``.

A period is five minutes, an hour or a day in UTC. Whoever changes rows raises the ``version`` of every period they are
in, in the transaction that changes them. Summing up reads the version first and the rows after it, and notes that
version as ``rolled``: a batch that commits in between leaves the period dirty, and nobody waits for anybody. An hour
that is not here has no rows, as long as it is younger than the oldest one that is here.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import connections, transaction
from django.db.models import F, Max, Min, Q

from history.ids import first_id_of, milliseconds
from history.models import RollupPeriod, RouteHistory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from uuid import UUID

SLICE: Final = 300
HOUR: Final = 3600
DAY: Final = 86400
GRAINS: Final = (DAY, HOUR, SLICE)
#: Ids of the last hour that an id can tell: nobody can be behind them.
_LAST_MS: Final = (2**48 - 1) // (HOUR * 1000) * (HOUR * 1000)
#: Periods in one statement.
_TOGETHER: Final = 300

#: ``raise_versions``, but for its values (grain, start, how many) and for whether an hour may be sealed at once.
_RAISE: Final = f"""
    INSERT INTO history_periods AS p (grain, start, version, sealed, rolled)
    SELECT grain, start, number, late, CASE WHEN late THEN number END
    FROM (
        SELECT column1 AS grain, column2 AS start, column3 AS number,
            {{summed}} AND column1 = {HOUR} AND column2 < coalesce(
                (SELECT max(start) FROM history_periods WHERE grain = {HOUR} AND sealed), 0
            ) AS late
        FROM (VALUES {{values}}) AS given
    ) AS news
    WHERE TRUE
    ON CONFLICT (grain, start) DO UPDATE SET
        version = p.version + excluded.version,
        rolled = CASE WHEN p.sealed THEN p.rolled + excluded.version ELSE p.rolled END
"""  # noqa: S608 own text
#: Dirty: what was summed up is not the latest.
DIRTY: Final = Q(rolled=None) | ~Q(rolled=F("version"))


class State(NamedTuple):
    version: int
    rolled: int | None
    sealed: bool

    @property
    def clean(self) -> bool:
        return self.version == self.rolled


def floor(seconds: int, grain: int) -> int:
    return seconds - seconds % grain


def slices_of(routes: Iterable[bytes]) -> Counter[int]:
    """How many of these ids are in each slice."""
    return Counter(floor(milliseconds(route) // 1000, SLICE) for route in routes)


def raise_versions(cursor: Any, slices: Mapping[int, int], *, summed: bool = True) -> None:
    """Say that rows of these slices were changed, and how many. One statement. ``summed``: whoever calls keeps the sums
    of sealed hours right.

    It locks the periods until the transaction ends, the earlier ones first and days before their hours, so that no
    two shippers wait for each other. A sealed hour stays clean: whoever changes its rows changes its sums too. An hour
    nobody knew that is older than a sealed one is sealed at once: its rows may be removed at any moment.
    """
    numbers: Counter[tuple[int, int]] = Counter()
    for start, count in slices.items():
        for grain in GRAINS:
            numbers[floor(start, grain), -grain] += count
    ordered = [(-grain, start, count) for (start, grain), count in sorted(numbers.items())]
    for first in range(0, len(ordered), _TOGETHER):
        some = ordered[first : first + _TOGETHER]
        cursor.execute(
            _RAISE.format(values=", ".join(["(%s, %s, %s)"] * len(some)), summed=str(summed).upper()),
            [value for period in some for value in period],
        )


def sealed_among(hours: Iterable[int], alias: str) -> set[int]:
    wanted = set(hours)
    if not wanted:
        return set()
    rows = RollupPeriod.objects.using(alias).filter(grain=HOUR, sealed=True)
    rows = rows.filter(start__gte=min(wanted), start__lte=max(wanted))
    return wanted & set(rows.values_list("start", flat=True))


def state_of(grain: int, start: int, alias: str, *, lock: bool = False) -> State | None:
    """With ``lock``, who raises its version waits until this transaction ends (SQLite's transactions keep everybody
    out anyway)."""
    rows = RollupPeriod.objects.using(alias).filter(grain=grain, start=start)
    if lock and connections[alias].vendor == "postgresql":
        rows = rows.select_for_update()
    found = rows.values_list(*State._fields).first()
    return State(*found) if found else None


def dirty(grain: int, before: int, alias: str, since: int = 0) -> list[int]:
    """Starts of the periods that ended by then and are to be summed up, oldest first."""
    rows = RollupPeriod.objects.using(alias).filter(DIRTY, grain=grain, sealed=False)
    rows = rows.filter(start__gte=since, start__lte=before - grain)
    return list(rows.order_by("start").values_list("start", flat=True))


def known(alias: str) -> tuple[int, int] | None:
    """Starts of the first and the last hour that has or had rows."""
    found = RollupPeriod.objects.using(alias).filter(grain=HOUR).aggregate(first=Min("start"), last=Max("start"))
    return None if found["first"] is None else (found["first"], found["last"])


def find(alias: str) -> int:
    """Note the hours that have rows and are not known: what there was before rollups, and what others inserted without
    raising versions. Returns how many. Costs one probe of the primary key per gap between known hours."""
    hours = set(RollupPeriod.objects.using(alias).filter(grain=HOUR).values_list("start", flat=True))
    found = list(_unknown(hours, alias))
    if found:
        # All or none: an hour between known ones counts as empty.
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            raise_versions(cursor, dict.fromkeys(found, 1), summed=False)
    return len(found)


def _unknown(hours: set[int], alias: str) -> Iterator[int]:
    rows = RouteHistory.objects.using(alias).order_by("id").values_list("id", flat=True)
    following: UUID | None = rows.first()
    while following is not None and milliseconds(following) < _LAST_MS:
        hour = floor(milliseconds(following) // 1000, HOUR)
        if hour not in hours:
            yield hour
        hour += HOUR
        while hour in hours:
            hour += HOUR
        following = rows.filter(id__gte=first_id_of(hour * 1000)).first()
