"""The daily partitions of the history's tables on PostgreSQL: which there are, making and dropping them, strays.

What a partition holds is read from the database's catalog; names are for people. A row that has no partition goes into
the table's default partition, so that the shipper never fails for want of one; but a row there keeps the partition it
belongs to from being made, so ``move_strays`` makes both one step. Every change waits at most ``LOCK_MS`` for a lock
and raises ``Busy`` then: who waits for one on these tables makes the shipper wait behind it. SQLite has none of this.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from uuid import UUID

from django.db import DatabaseError, IntegrityError, connections, transaction

from history.errors import Busy
from history.ids import first_id, milliseconds, time_of
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Every table whose key begins with the time of its route, children behind their parents. One that is not there, or is
#: not partitioned, is left out.
TABLES: Final = ("route_history", "route_attempts", "route_history_metrics", "route_payloads")
#: Days behind today that have their partitions in advance: more than anybody needs to notice that the beat is away.
AHEAD_DAYS: Final = 7
#: Less than PostgreSQL waits before it looks for deadlocks, so that in one with the shipper it is we who give up.
LOCK_MS: Final = 200
TRIES: Final = 5
#: Of one statement; takes the place of a shorter limit that pages may have.
STATEMENT_SECONDS: Final = 60
#: Strays that one transaction moves; the shipper waits for the last part of it (some tenths of a second).
MOVE_ROWS: Final = 20_000
#: Days in the far future that get a partition each; what clocks that are further off wrote stays in the default one.
FUTURE_DAYS: Final = 100

Result = TypeVar("Result")

_DAY: Final = timedelta(days=1)
#: Of the lock that one upkeep holds on a database; any number that nobody else uses there.
_LOCK_KEY: Final = 0x5167_6E61_6C00_0001
_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)
#: What Python has no time for.
_BEYOND: Final = first_id(datetime(9999, 12, 31, tzinfo=UTC))
_BOUNDS: Final = re.compile(r"FOR VALUES FROM \((MINVALUE|'[0-9a-f-]{36}')\) TO \((MAXVALUE|'[0-9a-f-]{36}')\)")
#: lock_not_available, query_canceled (a statement timeout), deadlock_detected
_GAVE_WAY: Final = frozenset({"55P03", "57014", "40P01"})

log = get_logger(__name__)


class Partition(NamedTuple):
    """``low`` ≤ id < ``high``; the default partition has neither."""

    table: str
    name: str
    low: UUID | None
    high: UUID | None

    @property
    def is_default(self) -> bool:
        return self.high is None

    def ends_by(self, key: UUID) -> bool:
        """Whether every id in it is below ``key``."""
        return self.high is not None and self.high <= key


class Size(NamedTuple):
    """What the partitions of a table take on disk, indexes included."""

    table: str
    partitions: int
    bytes: int
    in_default: int  # bytes of the default partition


def midnight(moment: datetime) -> datetime:
    """The beginning of its day in UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


# -- one at a time -------------------------------------------------------------------------------------
@contextmanager
def alone(alias: str) -> Iterator[None]:
    """Hold the database's upkeep lock; raises Busy when somebody else does. May be taken again by its holder.

    The lock is the connection's: it is free when the process that holds it is gone.
    """
    if connections[alias].vendor != "postgresql":
        yield
        return
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK_KEY])
        if not cursor.fetchone()[0]:
            raise Busy("another upkeep of the history is at work on this database")
    try:
        yield
    finally:
        connection = connections[alias]
        # With the connection the lock is gone as well.
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK_KEY])


@contextmanager
def briefly(alias: str) -> Iterator[Any]:
    """A cursor in a transaction that gives way to whoever has a lock it needs: raises Busy, and nothing is changed."""
    try:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            if connections[alias].vendor == "postgresql":  # the settings end with the transaction
                cursor.execute(
                    "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)",
                    [f"{LOCK_MS}ms", f"{STATEMENT_SECONDS}s"],
                )
            yield cursor
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", None) in _GAVE_WAY:
            raise Busy(str(error).strip().partition("\n")[0]) from error
        raise


@contextmanager
def reading(alias: str) -> Iterator[Any]:
    """A cursor that only reads: as ``briefly``, but for SQLite, where every transaction keeps writers out."""
    if connections[alias].vendor == "postgresql":
        with briefly(alias) as cursor:
            yield cursor
    else:
        with connections[alias].cursor() as cursor:
            yield cursor


# -- which there are -----------------------------------------------------------------------------------
def tables(alias: str = "default") -> list[str]:
    """Those of ``TABLES`` that are partitioned in this database."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'p' AND relname = ANY(%s) AND pg_table_is_visible(oid)",
            [list(TABLES)],
        )
        found = {name for (name,) in cursor.fetchall()}
    return [name for name in TABLES if name in found]


def partitions(table: str, alias: str = "default") -> list[Partition]:
    """Of one table, oldest first, the default one last. One query of the catalog."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT child.relname, pg_get_expr(child.relpartbound, child.oid) FROM pg_inherits "
            "JOIN pg_class child ON child.oid = inhrelid WHERE inhparent = to_regclass(%s)",
            [table],
        )
        found = [Partition(table, name, *_bounds(bounds)) for name, bounds in cursor.fetchall()]
    return sorted(found, key=lambda each: (each.is_default, each.low or _FIRST))


def _bounds(text: str) -> tuple[UUID | None, UUID | None]:
    matched = _BOUNDS.fullmatch(text)
    if matched is None:
        return None, None
    low, high = (part.strip("'") for part in matched.groups())
    return (_FIRST if low == "MINVALUE" else UUID(low), _LAST if high == "MAXVALUE" else UUID(high))


def sizes(alias: str = "default") -> list[Size]:
    """Of each partitioned table. Looks at every file."""
    found = []
    for table in tables(alias):
        names = [(each.name, each.is_default) for each in partitions(table, alias)]
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "SELECT relname, pg_total_relation_size(oid) FROM pg_class "
                "WHERE relname = ANY(%s) AND pg_table_is_visible(oid)",
                [[name for name, _ in names]],
            )
            taken: dict[str, int] = dict(cursor.fetchall())
        default = sum(taken.get(name, 0) for name, is_default in names if is_default)
        found.append(Size(table, len(names), sum(taken.values()), default))
    return found


# -- making them ---------------------------------------------------------------------------------------
def ensure(start: datetime, end: datetime, alias: str = "default") -> list[str]:
    """Make the partitions that are missing for the days from ``start`` to before ``end``; the names of what was made.

    Leaves out a day that has rows in the default partition: ``move_strays`` makes that one. Raises Busy.
    """
    made = []
    with alone(alias):
        for table in tables(alias):
            existing = partitions(table, alias)
            day = midnight(start)
            while day < end:
                for low, high in _gaps(existing, first_id(day), first_id(day + _DAY)):
                    try:
                        made.append(patiently(alias, _make, table, low, high))
                    except IntegrityError:
                        log.warning("rows in the default partition keep a partition from being made", table=table)
                day += _DAY
    return made


def ensure_ahead(now: datetime, since: datetime, alias: str = "default") -> list[str]:
    """Make what is missing from yesterday (a host's clock may be slow) to ``AHEAD_DAYS`` behind today; and, no further
    back than ``since``, the days that have none because nobody was there to make them. Raises Busy."""
    start, end = midnight(now) - _DAY, midnight(now) + (AHEAD_DAYS + 1) * _DAY
    for table in tables(alias):
        before = [each.high for each in partitions(table, alias) if each.high and each.ends_by(first_id(start))]
        if before:
            start = min(start, max(since, time_of(max(before))))
    return ensure(start, end, alias)


def _gaps(existing: Sequence[Partition], low: UUID, high: UUID) -> Iterator[tuple[UUID, UUID]]:
    """The stretches between ``low`` and ``high`` that no partition covers."""
    for each in existing:
        if each.low is None or each.high is None or each.high <= low:
            continue
        if each.low >= high:
            break
        if each.low > low:
            yield low, each.low
        low = each.high
    if low < high:
        yield low, high


def _make(cursor: Any, table: str, low: UUID, high: UUID) -> str:
    name = _free_name(cursor, table, low)
    # Not CREATE TABLE … PARTITION OF: that would lock the whole table against everybody.
    cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
    _attach(cursor, table, name, low, high)
    return name


def _attach(cursor: Any, table: str, name: str, low: UUID, high: UUID) -> None:
    cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')")


def _free_name(cursor: Any, table: str, low: UUID) -> str:
    """``route_history_p20261130``; with the time of day where it does not begin at midnight."""
    moment = time_of(low)
    usual = f"{table}_p{moment:%Y%m%d}"
    if moment != midnight(moment):
        usual += f"_{moment:%H%M%S}{milliseconds(low) % 1000:03d}"
    for number in range(1, 100):
        name = usual if number == 1 else f"{usual}_{number}"  # somebody keeps a table of that name aside
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0] is None:
            return name
    raise Busy(f"there are a hundred tables called {usual}")


def patiently(alias: str, step: Callable[..., Result], *arguments: Any) -> Result:
    """``step(cursor, …)`` in a transaction of its own, tried some times over a few seconds."""
    for remaining in reversed(range(TRIES)):
        try:
            with briefly(alias) as cursor:
                return step(cursor, *arguments)
        except Busy:
            if not remaining:
                raise
            time.sleep(LOCK_MS / 1000)  # whoever waited behind us goes first
    raise AssertionError


# -- dropping them -------------------------------------------------------------------------------------
def drop(together: Sequence[Partition], alias: str = "default") -> None:
    """Remove partitions and their rows, all or none. Their tables are locked, in the shipper's order, for the moment
    that takes; files are deleted after that. Raises Busy."""
    patiently(alias, _drop, [each.name for each in together])


def _drop(cursor: Any, names: Sequence[str]) -> None:
    # Not DETACH … CONCURRENTLY first: a table with a default partition does not allow it.
    cursor.execute(f"DROP TABLE IF EXISTS {', '.join(names)}")


# -- strays --------------------------------------------------------------------------------------------
def strays(alias: str = "default") -> dict[str, int]:
    """Rows in the default partitions, by table; tables without any are left out."""
    found = {}
    for table in tables(alias):
        for each in partitions(table, alias):
            if each.is_default:
                with reading(alias) as cursor:
                    cursor.execute(f"SELECT count(*) FROM {each.name}")  # noqa: S608 own names
                    found[table] = int(cursor.fetchone()[0])
    return {table: number for table, number in found.items() if number}


def move_strays(since: UUID, now: datetime, alias: str = "default", until: float = float("inf")) -> dict[str, int]:
    """Move rows from ``since`` on out of the default partitions, each day's into a partition of its own; how many, by
    table. Older ones are for pruning. Begins nothing new after ``until`` (monotonic clock).

    A day's rows, or ``MOVE_ROWS`` of them, go in one transaction: whoever looks finds each row, once.
    """
    moved: dict[str, int] = {}
    with alone(alias):
        for table in tables(alias):
            while time.monotonic() < until and (stretch := _next_strays(table, since, now, alias)):
                number = patiently(alias, _move, table, *stretch)
                log.info("rows moved out of the default partition", table=table, rows=number)
                moved[table] = moved.get(table, 0) + number
    return moved


def _next_strays(table: str, since: UUID, now: datetime, alias: str) -> tuple[str, UUID, UUID] | None:
    """The default partition, and the first stretch of ids that has rows in it and no partition."""
    existing = partitions(table, alias)
    default = next((each.name for each in existing if each.is_default), None)
    if default is None:
        return None
    with reading(alias) as cursor:
        first = _nth(cursor, default, since, _BEYOND, 0)
        if first is None:
            return None
        day = midnight(time_of(first))
        far = first_id(now + (AHEAD_DAYS + 1) * _DAY)
        if first >= far and sum(each.low is not None and each.low >= far for each in existing) >= FUTURE_DAYS:
            return None
        for low, high in _gaps(existing, max(first_id(day), since), first_id(day + _DAY)):
            if low <= first < high:
                beyond = _nth(cursor, default, first, high, MOVE_ROWS)
                if beyond is not None:
                    # The end of a millisecond, so that bounds stay times.
                    high = min(high, UUID(int=(milliseconds(beyond) + 1) << 80))
                return default, low, high
    return None


def _nth(cursor: Any, relation: str, low: UUID, high: UUID, number: int) -> UUID | None:
    cursor.execute(
        f"SELECT id FROM {relation} WHERE id >= %s AND id < %s ORDER BY id OFFSET %s LIMIT 1",  # noqa: S608 own names
        [low, high, number],
    )
    row = cursor.fetchone()
    return row[0] if row else None


def _move(cursor: Any, table: str, default: str, low: UUID, high: UUID) -> int:
    name = _free_name(cursor, table, low)
    cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
    # By name: a partition's columns may come in another order than the table's.
    cursor.execute(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
        [table],
    )
    columns = cursor.fetchone()[0]
    # Copied while others go on, then locked for the rest: what came or changed meanwhile. The whole table, because a
    # query that has begun would look for moved rows where they were.
    cursor.execute(
        f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {default} WHERE id >= %s AND id < %s",  # noqa: S608
        [low, high],
    )
    cursor.execute(f"LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE")
    cursor.execute(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
    kept, new = (", ".join(f"{prefix}.{column}" for column in columns.split(", ")) for prefix in (name, "excluded"))
    cursor.execute(
        f"WITH moved AS (DELETE FROM {default} WHERE id >= %s AND id < %s RETURNING {columns}), "  # noqa: S608 own names
        f"brought AS (INSERT INTO {name} ({columns}) SELECT {columns} FROM moved ON CONFLICT (id) "
        f"DO UPDATE SET ({columns}) = ROW({new}) WHERE ROW({kept})::text <> ROW({new})::text) "
        "SELECT count(*) FROM moved",
        [low, high],
    )
    moved = int(cursor.fetchone()[0])
    cursor.execute(f"SELECT EXISTS (SELECT FROM {default})")  # noqa: S608 own names
    if not cursor.fetchone()[0]:
        cursor.execute(f"TRUNCATE {default}")  # gives its space back at once
    _attach(cursor, table, name, low, high)
    return moved
