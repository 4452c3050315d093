"""How rows get into the database: one transaction per batch, together with how far the journal was read.

Owns the SQL that differs between the databases. Rows whose id is there already are left alone, so a batch may be
applied any number of times. The transaction also says which hours it changed, for ``history.rollups``. Raises Django's
database errors; what they mean is for ``history.shipper`` to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from history.models import JournalPosition, ParkedRecord, RouteHistory, RouteStatus
from history.rollups.periods import raise_versions, slices_of
from history.rollups.sealing import LateRows, is_sealed, may_be_sealed
from history.rows import ATTEMPT_COLUMNS, METRIC_COLUMNS, PAYLOAD_COLUMNS, ROUTE_COLUMNS, Rows, changes

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

    from history.records import Update
    from history.rows import MetricsPolicy, Row

#: PostgreSQL's code of a row that does not belong into the partition it was sent to.
CHECK_VIOLATION: Final = "23514"
#: How often that may happen to one batch.
RACES: Final = 3


class KeyedUpdate(NamedTuple):
    """An update record and where it was read: its identity for replays and for parking."""

    key: str
    update: Update
    payload: bytes


class Parked(NamedTuple):
    """A row of ``ParkedRecord``."""

    key: str
    route: bytes
    payload: bytes


@dataclass(slots=True)
class Batch:
    """Everything one transaction does."""

    rows: Rows
    updates: list[KeyedUpdate] = field(default_factory=list)
    park: list[Parked] = field(default_factory=list)
    unpark: list[str] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)


class Result(NamedTuple):
    inserted: int
    waiting: list[KeyedUpdate]  # their row does not exist yet
    conflicts: int  # updates the row's status does not allow


class _Late(Exception):
    """An hour that looked too young to be sealed is sealed."""


class Store:
    """The journal's side of one database."""

    def __init__(self, node: UUID, policy: MetricsPolicy, alias: str = "default") -> None:
        self.node = node
        self.policy = policy
        self.alias = alias

    @property
    def connection(self) -> Any:
        return connections[self.alias]

    def disconnect(self) -> None:
        """Drop a connection that may be broken; the next use opens a new one."""
        self.connection.close()

    # -- reading -------------------------------------------------------------------------------------
    def positions(self) -> dict[str, int]:
        rows = JournalPosition.objects.using(self.alias).filter(node=self.node)
        return dict(rows.values_list("segment", "position"))

    def parked(self) -> list[Parked]:
        rows = ParkedRecord.objects.using(self.alias).filter(node=self.node).order_by("parked_at", "key")
        return [Parked(key, route.bytes, bytes(payload)) for key, route, payload in rows.values_list(*Parked._fields)]

    def existing(self, routes: Iterable[bytes]) -> dict[bytes, str]:
        """Status by id, of those that have a row."""
        wanted = [UUID(bytes=route) for route in set(routes)]
        found: dict[bytes, str] = {}
        for start in range(0, len(wanted), 500):
            rows = RouteHistory.objects.using(self.alias).filter(id__in=wanted[start : start + 500])
            found.update((identifier.bytes, status) for identifier, status in rows.values_list("id", "status"))
        return found

    # -- writing -------------------------------------------------------------------------------------
    def apply(self, batch: Batch) -> Result:
        """Commit the batch, or nothing of it."""
        metrics = len(batch.rows.metrics)
        for _ in range(RACES):
            try:
                return self._apply(batch)
            except IntegrityError as error:
                # Not the row's fault: its partition was made while it was on its way into the default one.
                if getattr(error.__cause__, "sqlstate", None) != CHECK_VIOLATION:
                    raise
                del batch.rows.metrics[metrics:]  # updates add theirs again
        return self._apply(batch)

    def _apply(self, batch: Batch) -> Result:
        routes = [bytes.fromhex(row[0]) for row in batch.rows.routes]
        updated = (entry.update.id for entry in batch.updates if changes(entry.update))
        slices = slices_of([*routes, *updated])
        if not may_be_sealed(slices):
            metrics = len(batch.rows.metrics)
            try:
                return self._write(batch, routes, slices, careful=False)
            except _Late:  # our clock is behind that of who sealed it
                del batch.rows.metrics[metrics:]
        return self._write(batch, routes, slices, careful=True)

    def _write(self, batch: Batch, routes: Sequence[bytes], slices: Counter[int], *, careful: bool) -> Result:
        """``careful``: know of sealed hours before anything is written to them. Raises _Late without it."""
        with transaction.atomic(using=self.alias), self.connection.cursor() as cursor:
            late = None
            if careful:
                raise_versions(cursor, slices)
                late = LateRows(cursor, slices, self.alias)
                late.will_insert(routes)
            insert = self._copy if self.connection.vendor == "postgresql" else self._insert
            inserted = insert(cursor, RouteHistory._meta.db_table, ROUTE_COLUMNS, batch.rows.routes)
            result = self._update(batch, late)
            insert(cursor, "route_attempts", ATTEMPT_COLUMNS, batch.rows.attempts)
            insert(cursor, "route_history_metrics", METRIC_COLUMNS, batch.rows.metrics)
            insert(cursor, "route_payloads", PAYLOAD_COLUMNS, batch.rows.payloads)
            self._park(batch, result.waiting)
            if batch.positions:
                JournalPosition.objects.using(self.alias).bulk_create(
                    [JournalPosition(segment=s, node=self.node, position=p) for s, p in batch.positions.items()],
                    update_conflicts=True,
                    unique_fields=["segment"],
                    update_fields=["position"],
                )
            if late is not None:
                late.done()
            else:
                raise_versions(cursor, slices)  # last: other hosts' shippers wait for it
                if is_sealed(slices, self.alias):
                    raise _Late
        return result._replace(inserted=inserted)

    def forget(self, segments: Sequence[str]) -> None:
        """Remove the positions of segments whose files are gone."""
        JournalPosition.objects.using(self.alias).filter(node=self.node, segment__in=segments).delete()

    def _update(self, batch: Batch, late: LateRows | None) -> Result:
        if not batch.updates:
            return Result(0, [], 0)
        existing = self.existing(entry.update.id for entry in batch.updates)
        if late is not None:
            late.will_update(route for route, status in existing.items() if status == RouteStatus.DECIDED)
        now_ms = int(timezone.now().timestamp() * 1000)
        waiting = []
        conflicts = 0
        for entry in batch.updates:
            status = existing.get(entry.update.id)
            if status is None:
                waiting.append(entry)
                continue
            wanted = entry.update.status
            if wanted is not None and status != RouteStatus.DECIDED:
                conflicts += wanted != status  # the same again changes nothing
                continue
            changed = changes(entry.update)
            if changed:
                # Once more the status: another host's shipper may have been at the same decision meanwhile.
                row = RouteHistory.objects.using(self.alias).filter(id=UUID(bytes=entry.update.id), status=status)
                if not row.update(**changed):
                    existing.update(self.existing([entry.update.id]))
                    conflicts += wanted != existing[entry.update.id]
                    continue
            if wanted is not None:
                existing[entry.update.id] = wanted
            batch.rows.add_metrics(entry.update, entry.key, now_ms)
        return Result(0, waiting, conflicts)

    def _park(self, batch: Batch, waiting: list[KeyedUpdate]) -> None:
        parked = [*batch.park, *(Parked(entry.key, entry.update.id, entry.payload) for entry in waiting)]
        if batch.unpark:
            ParkedRecord.objects.using(self.alias).filter(key__in=batch.unpark).delete()
        if parked:
            now = timezone.now()
            ParkedRecord.objects.using(self.alias).bulk_create(
                [
                    ParkedRecord(
                        key=entry.key,
                        node=self.node,
                        route=UUID(bytes=entry.route),
                        payload=entry.payload,
                        parked_at=now,
                    )
                    for entry in parked
                ],
                ignore_conflicts=True,
            )

    @staticmethod
    def _insert(cursor: Any, table: str, columns: Sequence[str], rows: list[Row]) -> int:
        # ON CONFLICT, not INSERT OR IGNORE: that would also swallow rows that break NOT NULL.
        if not rows:
            return 0
        marks = ", ".join(["%s"] * len(columns))
        names = ", ".join(columns)
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 own names
        cursor.executemany(statement, rows)
        return int(cursor.rowcount)

    def _copy(self, cursor: Any, table: str, columns: Sequence[str], rows: list[Row]) -> int:
        # COPY cannot say ON CONFLICT: copy into a temporary table, insert from there.
        if not rows:
            return 0
        names = ", ".join(columns)
        cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS ship_{table} (LIKE {table}) ON COMMIT DELETE ROWS")
        copying = f"COPY ship_{table} ({names}) FROM STDIN"
        with self.connection.wrap_database_errors, cursor.copy(copying) as copy:  # Django does not know copy
            for row in rows:
                copy.write_row(row)
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM ship_{table} ON CONFLICT DO NOTHING"  # noqa: S608
        )
        return int(cursor.rowcount)
