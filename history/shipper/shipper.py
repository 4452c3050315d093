"""The loop that empties the journal into the database: read, apply, delete what is done. One round at a time.

Guarantees, whatever is killed when: every whole record of a segment is applied, none twice. Positions are committed
with the rows they stand for; a segment is deleted only if nobody owned it *before* a read that found nothing more;
a request that began and never ended becomes ``interrupted`` once its writer is gone. Needs Django's ORM (through
``store``); called from one thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError

from history.journal import HEADER_SIZE, SegmentName, is_owned, read_chunk
from history.records import Announced, Finished, Payload, Started, Update, decode, decode_brief
from history.rows import Rows, essentials
from history.shipper.store import Batch, KeyedUpdate, Parked
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from history.shipper.folder import JournalFolder, Segment
    from history.shipper.store import Result, Store
    from history.shipper.teller import Teller

#: One read of one segment, and about what one transaction takes; small enough not to keep SQLite's writers waiting.
PIECE_BYTES: Final = 1024 * 1024
#: How often updates whose row is not there are tried again, and for how long (counted while there is no backlog).
RETRY_SECONDS: Final = 1.0
WAIT_SECONDS: Final = 3600.0
#: The row or record is at fault, not the database: look for it and set it aside.
_FAULTY: Final = (DataError, IntegrityError, ValueError, TypeError, OverflowError)

log = get_logger(__name__)


class Unavailable(Exception):
    """The database cannot take the batch now; nothing was applied and nothing is lost. ``code`` is stable."""

    code = "database_unavailable"


class Item(NamedTuple):
    """A record and where it was read; ``record`` is None when nothing here understands it."""

    segment: Segment
    offset: int
    end: int
    payload: memoryview
    record: Announced | Finished | Update | Payload | None

    @property
    def key(self) -> str:
        return f"{self.segment.file_name}:{self.offset}"


class Open(NamedTuple):
    """A request that began: an ``interrupted`` row if its writer goes first. ``payload`` is a ``Started``."""

    payload: bytes
    writer: str
    segment: str
    key: str
    parked: bool


@dataclass(slots=True)
class Counters:
    """Totals since this shipper started."""

    consumed: int = 0  # records read and dealt with
    shipped: int = 0  # rows inserted
    duplicates: int = 0  # rows that were there already
    interrupted: int = 0
    torn: int = 0  # damaged pieces of segments skipped
    unreadable: int = 0  # records set aside, payloads that could not be stored
    conflicts: int = 0  # updates that came too late
    abandoned: int = 0  # updates whose row never came


class Shipper:
    """Ships one folder into one database."""

    def __init__(
        self,
        folder: JournalFolder,
        store: Store,
        on_finished: Callable[[Finished], None] | None = None,
        teller: Teller | None = None,
    ) -> None:
        self.folder = folder
        self.store = store
        self.on_finished = on_finished  # called once per committed row, for the access log
        self.teller = teller  # reads by itself; hears what only the shipper knows
        self.counters = Counters()
        self.open: dict[bytes, Open] = {}
        self.waiting: dict[bytes, list[KeyedUpdate]] = {}
        self._waiting_since: dict[bytes, float] = {}
        self._retry_at = 0.0
        self._aside: set[str] = set()
        self._loaded = False

    def round(self) -> int:
        """Read each segment once and apply what was found. Returns the number of records; 0 = nothing to do.

        Raises Unavailable when the database does not take it; call again later.
        """
        try:
            if not self._loaded:
                self._load()
            count = self._ship()
            self._settle()
            self._retry_waiting(idle=count == 0)
        except (DatabaseError, InterfaceError) as error:
            self.store.disconnect()
            raise Unavailable(str(error).strip().partition("\n")[0] or type(error).__name__) from error
        return count

    # -- start ---------------------------------------------------------------------------------------
    def _load(self) -> None:
        """Take up where the shipper before stopped: positions, parked records, and which requests are open."""
        self.folder.sweep()
        positions = self.store.positions()
        segments = self.folder.segments(positions)
        self.open.clear()
        self.waiting.clear()
        for parked in self.store.parked():
            record = decode_brief(parked.payload)
            if isinstance(record, Announced):
                file_name = parked.key.rpartition(":")[0]
                self.open[record.id] = Open(parked.payload, _writer_of(file_name), file_name, parked.key, parked=True)
            elif isinstance(record, Update):
                self._wait(KeyedUpdate(parked.key, record, parked.payload))
        for segment in segments:
            self._reread(segment)
        present = {segment.file_name for segment in segments}
        self.store.forget([name for name in positions if name not in present])
        alive = {segment.name.writer for segment in segments}
        for writer in {entry.writer for entry in self.open.values()} - alive:
            self._interrupt(writer)
        self._loaded = True

    def _reread(self, segment: Segment) -> None:
        """Find the requests that were open at the committed position."""
        offset = 0
        while offset < segment.position:
            chunk = read_chunk(segment.descriptor, offset, owned=False)
            for start, payload in chunk.frames:
                if start >= segment.position:
                    return
                record = _decode(payload)
                if isinstance(record, Announced):
                    # Parked already if the shipper before was killed between that and removing the segment.
                    if record.id not in self.open:
                        key = f"{segment.file_name}:{start}"
                        self.open[record.id] = Open(
                            bytes(payload), segment.name.writer, segment.file_name, key, parked=False
                        )
                elif isinstance(record, Finished):
                    self.open.pop(record.id, None)
            if chunk.end == offset:
                return
            offset = chunk.end

    # -- reading and applying ------------------------------------------------------------------------
    def _ship(self) -> int:
        items: list[Item] = []
        size = count = 0
        busy: set[str] = set()  # writers with more to read in an earlier segment: within a writer, order matters
        for segment in self.folder.segments():
            if segment.name.writer in busy:
                segment.exhausted = False
                continue
            segment.owned = is_owned(segment.descriptor)  # before the read: see _settle
            chunk = read_chunk(segment.descriptor, segment.position, owned=segment.owned, size=PIECE_BYTES)
            segment.exhausted = chunk.end == segment.position
            if not segment.exhausted:
                busy.add(segment.name.writer)
            if chunk.torn:
                self.counters.torn += chunk.torn
                log.warning("damaged piece of the journal skipped", segment=segment.file_name, at=segment.position)
                segment.position = chunk.end
                count += 1
            for offset, payload in chunk.frames:
                length = len(payload)
                items.append(Item(segment, offset, offset + HEADER_SIZE + length, payload, _decode(payload)))
                size += length
            count += len(chunk.frames)
            if size >= PIECE_BYTES:
                self._apply(items)
                items, size = [], 0
        self._apply(items)
        return count

    def _apply(self, items: Sequence[Item]) -> None:
        """Commit the items and then take over what they mean for us; split around a record that is at fault."""
        if not items:
            return
        try:
            batch, opened = self._plan(items)
            result = self.store.apply(batch)
        except _FAULTY as error:
            if len(items) > 1:
                middle = len(items) // 2
                self._apply(items[:middle])
                self._apply(items[middle:])
                return
            self._apply_faulty(items[0], error)
            return
        self._committed(batch, result, opened)
        self.counters.consumed += len(items)
        for item in items:
            if isinstance(item.record, Finished):
                self._close(item.record.id)
                if self.on_finished is not None:
                    self.on_finished(item.record)
            item.segment.position = item.end

    def _plan(self, items: Sequence[Item]) -> tuple[Batch, dict[bytes, Open]]:
        batch = Batch(Rows(self.store.policy))
        begun: dict[bytes, Item] = {}
        for item in items:
            record = item.record
            if isinstance(record, Finished):
                batch.rows.add_finished(record)
                if begun.pop(record.id, None) is None:
                    entry = self.open.get(record.id)
                    if entry is not None and entry.parked:
                        batch.unpark.append(entry.key)
                if self.waiting:
                    for update in self.waiting.get(record.id, ()):
                        batch.updates.append(update)
                        batch.unpark.append(update.key)
            elif isinstance(record, Announced):
                begun[record.id] = item
            elif isinstance(record, Update):
                batch.updates.append(KeyedUpdate(item.key, record, bytes(item.payload)))
            elif isinstance(record, Payload):
                batch.rows.add_payload(record)
            else:
                self._set_aside(item)
        batch.positions = {item.segment.file_name: item.end for item in items}
        opened = {
            route: Open(bytes(item.payload), item.segment.name.writer, item.segment.file_name, item.key, parked=False)
            for route, item in begun.items()
        }
        return batch, opened

    def _committed(self, batch: Batch, result: Result, opened: dict[bytes, Open]) -> None:
        self.open.update(opened)
        self.counters.shipped += result.inserted
        self.counters.duplicates += len(batch.rows.routes) - result.inserted
        self.counters.conflicts += result.conflicts
        for update in result.waiting:
            self._wait(update)

    def _close(self, route: bytes) -> None:
        self.open.pop(route, None)
        if route in self.waiting:
            del self.waiting[route], self._waiting_since[route]

    def _apply_faulty(self, item: Item, error: Exception) -> None:
        """Store what can be stored of a record the database refuses; keep the whole of it beside the journal."""
        record = item.record
        if isinstance(record, Payload):  # what is set aside is kept for good, and a payload must not be
            log.error("payload dropped", segment=item.segment.file_name, at=item.offset, error=type(error).__name__)
            self.counters.unreadable += 1
        else:
            log.error("record set aside", segment=item.segment.file_name, at=item.offset, error=type(error).__name__)
            self._set_aside(item)
        only_position = Batch(Rows(self.store.policy), positions={item.segment.file_name: item.end})
        batch = only_position
        opened: dict[bytes, Open] = {}
        try:
            if isinstance(record, Finished):
                batch, opened = self._plan([item._replace(record=essentials(record))])
            result = self.store.apply(batch)
        except _FAULTY:
            batch, opened = only_position, {}
            result = self.store.apply(batch)
        self._committed(batch, result, opened)
        self.counters.consumed += 1
        if isinstance(record, Finished):
            self._close(record.id)
        item.segment.position = item.end

    def _set_aside(self, item: Item) -> None:
        if item.key not in self._aside:
            self.folder.set_aside(bytes(item.payload))
            self._aside.add(item.key)
            self.counters.unreadable += 1

    # -- what is over --------------------------------------------------------------------------------
    def _settle(self) -> None:
        """Delete segments that will never grow again, and close what their writers left open."""
        done = [segment for segment in self.folder.segments() if segment.exhausted and not segment.owned]
        if not done:
            return
        # Listed after the locks were tested: a writer that rotated had its next segment in place before that.
        present = set(self.folder.names())
        removed = []
        for segment in done:
            siblings = {name.seq for name in present if name.writer == segment.name.writer}
            if segment.name.seq != min(siblings, default=segment.name.seq):
                continue  # an earlier one comes first
            if len(siblings) > 1:
                self._carry(segment)
            else:
                self._interrupt(segment.name.writer)
            if self.teller is not None:
                self.teller.finish(segment.name)
            self.folder.remove(segment)
            present.discard(segment.name)
            removed.append(segment.file_name)
        self.store.forget(removed)

    def _carry(self, segment: Segment) -> None:
        """The writer lives on in its next segment: keep the requests that this one announced and that still run."""
        carried = {
            route: entry
            for route, entry in self.open.items()
            if entry.segment == segment.file_name and not entry.parked
        }
        if not carried:
            return
        batch = Batch(Rows(self.store.policy))
        batch.park = [Parked(entry.key, route, entry.payload) for route, entry in carried.items()]
        self.store.apply(batch)
        for route, entry in carried.items():
            self.open[route] = entry._replace(parked=True)

    def _interrupt(self, writer: str) -> None:
        """The writer is gone and read to its end: what it left open was cut off."""
        left = {route: entry for route, entry in self.open.items() if entry.writer == writer}
        if not left:
            return
        batch = Batch(Rows(self.store.policy))
        records = [record for entry in left.values() if isinstance(record := decode(entry.payload), Started)]
        for record in records:
            batch.rows.add_interrupted(record)
        batch.unpark += [entry.key for entry in left.values() if entry.parked]
        result = self.store.apply(batch)
        self.counters.interrupted += result.inserted
        if self.teller is not None and result.inserted:
            self.teller.interrupted(records)
        for route in left:
            del self.open[route]

    # -- updates before their row --------------------------------------------------------------------
    def _wait(self, update: KeyedUpdate) -> None:
        queue = self.waiting.setdefault(update.update.id, [])
        if all(entry.key != update.key for entry in queue):
            queue.append(update)
        self._waiting_since.setdefault(update.update.id, time.monotonic())

    def _retry_waiting(self, *, idle: bool) -> None:
        """Apply updates whose row was inserted by somebody else; give up on those whose row never came."""
        now = time.monotonic()
        if not self.waiting or now < self._retry_at:
            return
        self._retry_at = now + RETRY_SECONDS
        ready = list(self.store.existing(self.waiting))
        late = [route for route, since in self._waiting_since.items() if idle and now - since > WAIT_SECONDS]
        late = [route for route in late if route not in ready]
        batch = Batch(Rows(self.store.policy))
        batch.updates = [update for route in ready for update in self.waiting[route]]
        batch.unpark = [update.key for route in (*ready, *late) for update in self.waiting[route]]
        if not batch.unpark:
            return
        result = self.store.apply(batch)
        self._committed(batch, result, {})
        for route in late:
            self.counters.abandoned += len(self.waiting[route])
            log.warning("update without a route dropped", route=route.hex())
        for route in (*ready, *late):
            self._close(route)


def _decode(payload: memoryview) -> Announced | Finished | Update | Payload | None:
    try:
        record: Announced | Finished | Update | Payload = decode_brief(payload)
        return record
    except msgspec.MsgspecError:
        return None


def _writer_of(file_name: str) -> str:
    name = SegmentName.parse(file_name)
    return name.writer if name else ""
