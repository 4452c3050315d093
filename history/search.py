"""Pages of the history: keyset cursors that stay put while rows arrive, and searches that end in bounded time.

A cursor names the row next to the page, never an offset, so new rows move nothing: who follows ``next`` from the first
page gets every row that was there then, once. Rows that come meanwhile he gets once or, where he has been already, not
at all: ids are minted where requests are accepted, and a host whose journal waited ships old ones.

A search that no index narrows walks the time range in stretches of the primary key and stops after ``SCAN_SECONDS``;
the page then says how far it got (``scanned_to``) and the next one goes on there. Read only; one query per page in the
usual case.
"""

from __future__ import annotations

import base64
import json
import time
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from django.db import OperationalError, connections
from django.db.models import Q

from history import postgresql
from history.errors import BadQuery, RangeTooLarge
from history.filters import NOTHING, Filters
from history.ids import milliseconds, time_of
from history.models import RouteHistory
from history.rows import ROW_FIELDS
from history.timerange import TimeRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from django.db.models import QuerySet

SCAN_SECONDS: Final = 2.0
#: What a search by index may take of it, before it goes on without.
INDEX_SECONDS: Final = 1.0
#: Days that a search by index looks at in one query, one after another, behind the first rows; None = all that is left.
STRETCH_DAYS: Final = (1, 2, 4, 8, 16, 32, 64, None)
DAY_MS: Final = 86_400_000
SCAN_ROWS: Final = 20_000  # of the primary key in one stretch: some ten milliseconds
DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 1000
ORDERS: Final = ("-created_at", "created_at", "-latency_ms", "latency_ms")


class Page(NamedTuple):
    """``next`` and ``previous`` are cursors."""

    rows: list[RouteHistory]
    next: str | None
    previous: str | None
    scanned_to: datetime | None = None
    span: TimeRange = TimeRange()


class Cursor(NamedTuple):
    """Where a page begins: behind (``forward``) or before the row with this key, in the given order.

    ``since_ms`` is where the range of the walk begins that named no time itself: 24 hours before its first page, not
    before each, or the oldest rows would run away from who is on the way to them.
    """

    order: str
    forward: bool
    identifier: UUID
    latency_ms: int | None = None
    since_ms: int | None = None

    def encode(self) -> str:
        text = json.dumps([self.order, int(self.forward), self.identifier.hex, self.latency_ms, self.since_ms])
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        try:
            parts = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            order, forward, identifier, latency, since = parts
            cursor = cls(order, bool(forward), UUID(identifier), _number(latency, 31), _number(since, 47))
            if order not in ORDERS or ("latency" in order) != (latency is not None):
                raise ValueError
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise BadQuery("cursor", "is damaged; start again without it") from None
        return cursor

    @property
    def turned(self) -> Cursor:
        """The other way from the same place, its row included."""
        step = 1 if self.order.startswith("-") != self.forward else -1
        beside = min(max(self.identifier.int + step, 0), 2**128 - 1)
        return self._replace(forward=not self.forward, identifier=UUID(int=beside))


def _number(value: Any, bits: int) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < 2**bits):
        raise ValueError
    return value


def search(
    filters: Filters = NOTHING,
    span: TimeRange = TimeRange(),  # noqa: B008 - immutable
    *,
    order: str = "-created_at",
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    alias: str = "default",
    recent: bool = False,
) -> Page:
    """One page. Without an index to narrow it, or if ``recent``, it covers 24 hours, unless ``span`` says otherwise.

    Raises BadQuery for an unknown order or cursor, RangeTooLarge when sorting by latency takes too long.
    """
    if order not in ORDERS:
        raise BadQuery("order", f"must be one of {', '.join(ORDERS)}")
    at = Cursor.decode(cursor) if cursor else None
    if at is not None and at.order != order:
        raise BadQuery("cursor", "belongs to another order")
    named = span.start is not None
    if at is not None and at.since_ms is not None and not named:
        span = span._replace(start=time_of(UUID(int=at.since_ms << 80)))
    span = effective(filters, span, order, recent=recent)
    low, _ = span.id_bounds
    since_ms = None if named or low is None else milliseconds(low)
    forward = at is None or at.forward
    rows = RouteHistory.objects.using(alias).filter(span.q()).only(*ROW_FIELDS)
    found, scanned_to = _fetch(rows, filters, span, order, at, forward, limit + 1, alias)

    def beside(row: RouteHistory, *, forward: bool) -> Cursor:
        return Cursor(order, forward, row.id, row.latency_ms if "latency" in order else None, since_ms)

    ahead = behind = None  # on in the direction this page went, and back to where it came from
    if len(found) > limit:
        found = found[:limit]
        ahead = beside(found[-1], forward=forward)
    elif scanned_to is not None:
        ahead = Cursor(order, forward, scanned_to, None, since_ms)
    if at is not None:
        behind = beside(found[0], forward=not forward) if found else at.turned
    if not forward:
        found.reverse()
        ahead, behind = behind, ahead
    following, previous = (None if cursor is None else cursor.encode() for cursor in (ahead, behind))
    return Page(found, following, previous, time_of(scanned_to) if scanned_to else None, span)


def limit_of(text: str, most: int = MAX_LIMIT) -> int:
    """The rows of a page, as somebody typed them. Raises BadQuery."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise BadQuery("limit", f"must be a number from 1 to {most}")
    return int(text)


def find(route: UUID, alias: str = "default") -> RouteHistory | None:
    """One route, whole. One query."""
    return RouteHistory.objects.using(alias).filter(id=route).first()


def effective(filters: Filters, span: TimeRange, order: str = "-created_at", *, recent: bool = False) -> TimeRange:
    """``span``, or the last 24 hours where a search without one would read everything."""
    narrow = filters.empty or filters.indexed
    return span.recent if recent or not (narrow and "created_at" in order) else span


def count(filters: Filters, span: TimeRange, alias: str = "default") -> int | None:
    """How many rows match; None when counting takes too long."""
    rows = RouteHistory.objects.using(alias).filter(effective(filters, span).q(), filters.condition)
    try:
        with time_limit(alias):
            return rows.count()
    except RangeTooLarge:
        return None


def estimate(filters: Filters, span: TimeRange, alias: str = "default") -> int | None:
    """About how many: PostgreSQL's own guess for the whole table, else counted."""
    connection = connections[alias]
    if connection.vendor == "postgresql" and filters.empty and span == TimeRange():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT sum(greatest(reltuples, 0)) FROM pg_class JOIN pg_inherits ON oid = inhrelid "
                "WHERE inhparent = %s::regclass",
                [RouteHistory._meta.db_table],
            )
            return int(cursor.fetchone()[0])
    return count(filters, span, alias)


def _fetch(
    rows: QuerySet[RouteHistory],
    filters: Filters,
    span: TimeRange,
    order: str,
    at: Cursor | None,
    forward: bool,
    wanted: int,
    alias: str,
) -> tuple[list[RouteHistory], UUID | None]:
    """The rows from the cursor on, and how far the search got if it did not get to its end."""
    descending = order.startswith("-") == forward
    if "latency" in order:
        sign = "-" if descending else ""
        matching = rows.filter(filters.condition, _beyond(at, descending), latency_ms__isnull=False)
        with time_limit(alias):
            return list(matching.order_by(f"{sign}latency_ms", f"{sign}id")[:wanted]), None
    remaining = rows.order_by("-id" if descending else "id").filter(_beyond(at, descending))
    found: list[RouteHistory] = []
    deadline = time.monotonic() + SCAN_SECONDS
    if filters.empty or filters.indexed:
        walk = _Walk(span, descending)
        try:
            with time_limit(alias, INDEX_SECONDS):
                if filters.empty:
                    return list(remaining[:wanted]), None
                return walk.rows(remaining, filters.condition, wanted), None
        except RangeTooLarge:  # the indexes did not narrow it enough
            found, remaining = walk.found, remaining.filter(walk.left)
    more, scanned_to = _scan(remaining, filters, descending, wanted - len(found), deadline)
    return found + more, scanned_to


class _Walk:
    """The search by index, in stretches that grow: ``found`` and ``left`` say how far it got.

    The first ``SCAN_ROWS`` are read in the order of the key, where a common value fills the page. Behind them the value
    is rare, and rows are asked for in an order that no index has: the database must then find them by the filter's own
    indexes and sort them. It would rather read in the key's order until it has a page full, believing that what is
    asked for lies scattered evenly; of a value that nobody has used for weeks, or two that never come together, that is
    the whole table.
    """

    def __init__(self, span: TimeRange, descending: bool) -> None:
        self.found: list[RouteHistory] = []
        self.left = Q()  # what has not been looked at
        self._descending = descending
        end = span.id_bounds[0 if descending else 1]
        self._end_ms = None if end is None else milliseconds(end)

    def rows(self, remaining: QuerySet[RouteHistory], condition: Q, wanted: int) -> list[RouteHistory]:
        """Raises RangeTooLarge."""
        deadline = time.monotonic() + INDEX_SECONDS
        edge = _edge(remaining)
        self._read(remaining.filter(condition), edge, wanted)
        by_time = ("-created_at", "-id") if self._descending else ("created_at", "id")  # the same order: see ids
        days = iter(STRETCH_DAYS)
        while edge is not None and len(self.found) < wanted:
            if time.monotonic() > deadline:
                raise RangeTooLarge("the indexes narrow it too little")
            edge = self._next(milliseconds(edge), next(days))
            self._read(remaining.filter(condition, self.left).order_by(*by_time), edge, wanted)
        return self.found

    def _read(self, rows: QuerySet[RouteHistory], edge: UUID | None, wanted: int) -> None:
        """Up to ``edge`` and with it, or all."""
        if edge is not None:
            rows = rows.filter(Q(id__gte=edge) if self._descending else Q(id__lte=edge))
        self.found += rows[: wanted - len(self.found)]
        if edge is not None:
            self.left = Q(id__lt=edge) if self._descending else Q(id__gt=edge)

    def _next(self, unix_ms: int, days: int | None) -> UUID | None:
        """Where a stretch of so many days from there ends; None = where everything does."""
        if days is None:
            return None
        unix_ms += -days * DAY_MS if self._descending else days * DAY_MS
        over = unix_ms <= (self._end_ms or 0) if self._descending else unix_ms >= (self._end_ms or 2**48)
        return None if over else UUID(int=unix_ms << 80)


def _edge(remaining: QuerySet[RouteHistory]) -> UUID | None:
    """The id so many rows on that reading them takes some ten milliseconds; None if there are fewer."""
    return remaining.values_list("id", flat=True)[SCAN_ROWS : SCAN_ROWS + 1].first()


def _scan(
    remaining: QuerySet[RouteHistory], filters: Filters, descending: bool, wanted: int, deadline: float
) -> tuple[list[RouteHistory], UUID | None]:
    """At least one stretch, whatever the time."""
    found: list[RouteHistory] = []
    comparison = "lt" if descending else "gt"
    while True:
        edge = _edge(remaining)
        stretch = remaining.filter(filters.condition)
        if edge is not None:
            stretch = stretch.filter(Q(**{f"id__{'gte' if descending else 'lte'}": edge}))
        found += stretch[: wanted - len(found)]
        if edge is None or len(found) >= wanted:
            return found, None
        if time.monotonic() > deadline:
            return found, edge
        remaining = remaining.filter(Q(**{f"id__{comparison}": edge}))


def _beyond(at: Cursor | None, descending: bool) -> Q:
    if at is None:
        return Q()
    comparison = "lt" if descending else "gt"
    behind = Q(**{f"id__{comparison}": at.identifier})
    if at.latency_ms is None:
        return behind
    return Q(**{f"latency_ms__{comparison}": at.latency_ms}) | Q(latency_ms=at.latency_ms) & behind


@contextmanager
def time_limit(
    alias: str,
    seconds: float = SCAN_SECONDS,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[None]:
    """Stop statements inside after ``seconds``; raises RangeTooLarge then. ``settings`` are more of PostgreSQL's."""
    connection: Any = connections[alias]
    try:
        if connection.vendor == "postgresql":
            limit = {"statement_timeout": str(int(seconds * 1000))}
            with postgresql.transaction_with(alias, limit | dict(settings)):
                yield
        else:
            connection.ensure_connection()
            deadline = time.monotonic() + seconds
            connection.connection.set_progress_handler(lambda: time.monotonic() > deadline, 20_000)
            try:
                yield
            finally:
                connection.connection.set_progress_handler(None, 0)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == "57014" or str(error) == "interrupted":
            raise RangeTooLarge("this takes too long; narrow the time range or filter by an indexed field") from None
        raise
