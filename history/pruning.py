"""Retention: what is older than history is kept goes, routes with their attempts and measurements.

Whole days in UTC. PostgreSQL drops the partitions of those days; rows in a partition that holds younger ones too (what
there was before partitions, the default one) and all rows of SQLite are deleted in short stretches, so that no writer
waits long. The hours of what goes are summed up first (``history.rollups``): if that fails, nothing goes. Where nothing
is old enough it costs some small queries.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from django.apps import apps
from django.db import connections
from django.utils import timezone

from history import partitions
from history.errors import BadQuery
from history.ids import first_id, time_of
from history.partitions import TABLES, Partition, alone, midnight, patiently, reading
from history.rollups import seal
from routing_project.env import get_env
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

#: Routes that one transaction deletes with their children: a few milliseconds, in which SQLite lets nobody else write.
CHUNK: Final = {"sqlite": 100, "postgresql": 2000}
#: A pause is as long as the work before it, and at least so long.
PAUSE_SECONDS: Final = 0.005
#: Of a copy of a prompt: beside the others, because it may go earlier.
PAYLOADS: Final = "route_payloads"
#: Pages that one step of SQLite's incremental vacuum gives back.
VACUUM_PAGES: Final = 200
#: Rows that tell how long a row of SQLite is.
SAMPLE: Final = 1000
_EPOCH: Final = UUID(int=0)

log = get_logger(__name__)


class Removal(NamedTuple):
    """What goes of one table: whole partitions, or rows out of what stays."""

    table: str
    partitions: tuple[str, ...]
    rows: int
    oldest: datetime | None
    newest: datetime | None
    bytes: int  # on disk with its indexes; of rows about, and on SQLite without indexes


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """What was before goes. Copies of prompts never outlive their route."""

    history: datetime
    payloads: datetime

    @classmethod
    def of(cls, days: float, payload_days: float, now: datetime) -> Cutoffs:
        history = cutoff(days, now)
        return cls(history, max(history, cutoff(payload_days, now)))

    def of_table(self, table: str) -> datetime:
        return self.payloads if table == PAYLOADS else self.history


@dataclass(slots=True)
class Pruned:
    """What a run removed."""

    cutoffs: Cutoffs
    removals: list[Removal] = field(default_factory=list)
    finished: bool = True  # False: the time was up; the next run goes on

    @property
    def rows(self) -> int:
        return sum(each.rows for each in self.removals)

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.removals)

    @property
    def partitions(self) -> int:
        return sum(len(each.partitions) for each in self.removals)


def cutoff(days: float, now: datetime) -> datetime:
    """The beginning of the first day that is kept, so that at least ``days`` are. Raises BadQuery."""
    if not math.isfinite(days) or days <= 0:
        raise BadQuery("days", "must be a number above 0, such as 30")
    try:
        return midnight(now - timedelta(days=days))
    except OverflowError:
        raise BadQuery("days", "reaches back further than there are dates") from None


def cutoffs(days: float | None = None, now: datetime | None = None, alias: str = "default") -> Cutoffs:
    """``days`` instead of what the environment says of routes. Raises BadQuery."""
    env = get_env()
    return Cutoffs.of(env.history_days if days is None else days, env.payload_days, now or agreed_now(alias))


def agreed_now(alias: str) -> datetime:
    """The time, or what PostgreSQL takes for it if that is earlier: a clock that runs ahead must not empty the
    history."""
    now = timezone.now()
    if connections[alias].vendor != "postgresql":
        return now
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        theirs: datetime = cursor.fetchone()[0]
    if abs(now - theirs) > timedelta(hours=1):
        log.warning("the clocks of this host and of the database differ", host=str(now), database=str(theirs))
    return min(now, theirs)


# -- what would go -------------------------------------------------------------------------------------
def preview(wanted: Cutoffs, alias: str = "default") -> list[Removal]:
    """What pruning would remove, by table; nothing is changed. Counts the rows."""
    return [found for table in _tables() if (found := _removal(table, wanted, alias)).rows or found.partitions]


def _removal(table: str, wanted: Cutoffs, alias: str) -> Removal:
    before = first_id(wanted.of_table(table))
    rows = size = 0
    oldest = newest = None
    whole = []
    for relation, goes in _relations(table, before, alias):
        with reading(alias) as cursor:
            count, low, high = _extent(cursor, relation, before)
            size += _bytes(cursor, table, relation, count, before, goes, alias)
        rows += count
        oldest = min(filter(None, (oldest, low)), default=None)
        newest = max(filter(None, (newest, high)), default=None)
        if goes:
            whole.append(relation)
    return Removal(table, tuple(whole), rows, oldest, newest, size)


def _relations(table: str, before: UUID, alias: str) -> list[tuple[str, bool]]:
    """The tables on disk that hold something of before, and whether they go as a whole."""
    if table not in partitions.tables(alias):
        return [(table, False)]
    return [
        (each.name, each.ends_by(before))
        for each in partitions.partitions(table, alias)
        if each.low is None or each.low < before
    ]


def _extent(cursor: Any, relation: str, before: UUID) -> tuple[int, datetime | None, datetime | None]:
    key = _key(cursor, before)
    cursor.execute(f"SELECT count(*) FROM {relation} WHERE id < %s", [key])  # noqa: S608 own names
    (count,) = cursor.fetchone()
    ends = []
    for order in ("ASC", "DESC"):
        cursor.execute(f"SELECT id FROM {relation} WHERE id < %s ORDER BY id {order} LIMIT 1", [key])  # noqa: S608
        row = cursor.fetchone()
        ends.append(None if row is None else time_of(UUID(str(row[0]))))
    return count, ends[0], ends[1]


def _bytes(cursor: Any, table: str, relation: str, count: int, before: UUID, whole: bool, alias: str) -> int:
    if not count and not whole:
        return 0
    if connections[alias].vendor == "postgresql":
        cursor.execute("SELECT pg_total_relation_size(to_regclass(%s))", [relation])
        (size,) = cursor.fetchone()
        if whole:
            return int(size)
        cursor.execute(f"SELECT count(*) FROM {relation}")  # noqa: S608 own names
        return int(size) * count // int(cursor.fetchone()[0])
    columns = [each.column for each in _model(table)._meta.local_concrete_fields]
    length = " + ".join(f"coalesce(length(CAST({column} AS BLOB)), 0)" for column in columns)
    cursor.execute(
        f"SELECT avg({length}) FROM (SELECT * FROM {relation} WHERE id < %s ORDER BY id LIMIT {SAMPLE})",  # noqa: S608
        [_key(cursor, before)],
    )
    return int((cursor.fetchone()[0] or 0) * count)


# -- removing it ---------------------------------------------------------------------------------------
def prune(
    wanted: Cutoffs,
    alias: str = "default",
    *,
    until: float = float("inf"),
    pause: Callable[[float], None] = time.sleep,
    begins: Callable[[list[Removal]], None] | None = None,
) -> Pruned:
    """Remove what is older. Begins nothing new after ``until`` (monotonic clock). Each step is a transaction in which
    routes go with their children, so that it may end anywhere. ``begins`` is told what will go before the first row
    goes, unless there is nothing; what it raises keeps everything.

    Raises Busy when others hold what it needs, and whatever summing up raises.
    """
    pruned = Pruned(wanted)
    with alone(alias):
        pruned.removals = preview(wanted, alias)
        if not pruned.removals:
            return pruned
        present = _tables()
        if any(each.table != PAYLOADS for each in pruned.removals):
            seal(wanted.history, alias)
        if begins is not None:
            begins(pruned.removals)
        if PAYLOADS in present and wanted.payloads > wanted.history:
            _remove([PAYLOADS], wanted.payloads, alias, until, pause)
        _remove(present, wanted.history, alias, until, pause)
        pruned.finished = time.monotonic() < until or not preview(wanted, alias)
        if connections[alias].vendor == "sqlite":
            _give_back(alias, until, pause)
    return pruned


def _remove(tables: Sequence[str], moment: datetime, alias: str, until: float, pause: Callable[[float], None]) -> None:
    """Everything of ``tables``, parents first, from before ``moment``."""
    before = first_id(moment)
    for together in _ended(tables, before, alias):
        if time.monotonic() >= until:
            return
        partitions.drop(together, alias)
    low: UUID | None = _EPOCH
    while low is not None and time.monotonic() < until:
        begun = time.monotonic()
        low = patiently(alias, _delete, tables, low, before, CHUNK[connections[alias].vendor])
        if low is not None:
            pause(max(PAUSE_SECONDS, time.monotonic() - begun))


def _ended(tables: Sequence[str], before: UUID, alias: str) -> list[list[Partition]]:
    """Partitions that hold nothing but what goes, oldest first: each of the first table with its children's."""
    there = partitions.tables(alias)
    ended = [
        [each for each in partitions.partitions(table, alias) if each.ends_by(before)]
        for table in tables
        if table in there
    ]
    groups = []
    for parent in ended[0] if ended else []:
        group = [parent]
        for children in ended[1:]:
            while children and parent.high is not None and children[0].ends_by(parent.high):
                group.append(children.pop(0))
        groups.append(group)
    return [*groups, *([each] for children in ended[1:] for each in children)]


def _delete(cursor: Any, tables: Sequence[str], low: UUID, before: UUID, chunk: int) -> UUID | None:
    """One stretch of ids; where the next one begins, None after the last."""
    since, end = _key(cursor, low), _key(cursor, before)
    cursor.execute(
        f"SELECT id FROM {tables[0]} WHERE id >= %s AND id < %s ORDER BY id LIMIT 1 OFFSET {chunk}",  # noqa: S608
        [since, end],
    )
    row = cursor.fetchone()
    for table in tables:
        cursor.execute(
            f"DELETE FROM {table} WHERE id >= %s AND id < %s",  # noqa: S608 own names
            [since, row[0] if row else end],
        )
    return UUID(str(row[0])) if row else None


def _give_back(alias: str, until: float, pause: Callable[[float], None]) -> None:
    """Make SQLite's file smaller, where it was set up for that; else freed pages are used for what comes."""
    with connections[alias].cursor() as cursor:
        cursor.execute("PRAGMA auto_vacuum")
        if cursor.fetchone()[0] != 2:
            return
        while time.monotonic() < until:
            cursor.execute("PRAGMA freelist_count")
            if not cursor.fetchone()[0]:
                return
            begun = time.monotonic()
            cursor.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
            pause(max(PAUSE_SECONDS, time.monotonic() - begun))


def _tables() -> list[str]:
    """Those of ``TABLES`` that this version has, parents first."""
    known = {model._meta.db_table for model in apps.get_app_config("history").get_models()}
    return [table for table in TABLES if table in known]


def _model(table: str) -> Any:
    return next(each for each in apps.get_app_config("history").get_models() if each._meta.db_table == table)


def _key(cursor: Any, identifier: UUID) -> Any:
    """An id as the database has it."""
    return identifier if cursor.db.vendor == "postgresql" else identifier.hex
