"""Tells the live feed what is in the journal as soon as it is there, whatever the database does.

A thread beside the shipper with places of its own: a record is told when it has been read, once, and shipped when the
database takes it. How far everything was told is kept in a small file, so that a restart neither repeats nor skips;
only a shipper that is killed in the instant between telling and writing the file down repeats a tenth of a second.
What watchers get is the list row of the API. Must not import Django.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from history.journal import SegmentName, list_segments, read_chunk
from history.records import Finished, Update, decode_brief
from history.rows import changes, finished_row, interrupted_row
from routing_project.feed.names import ROUTES
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from history.records import Started

TELL_SECONDS: Final = 0.1
#: One read of one segment, told together.
PIECE_BYTES: Final = 256 * 1024
#: Decisions whose outcome may still be reported: the row is told again with it.
MAX_DECIDED: Final = 10_000
FILE_NAME: Final = "told.json"

log = get_logger(__name__)


class _Place:
    """A segment and how far it was told. Whoever reads it holds its lock: the shipper waits for one segment at most."""

    __slots__ = ("closed", "descriptor", "lock", "offset")

    def __init__(self, descriptor: int, offset: int) -> None:
        self.descriptor = descriptor
        self.offset = offset
        self.lock = threading.Lock()
        self.closed = False

    def close(self) -> None:
        self.closed = True
        os.close(self.descriptor)


class Teller(threading.Thread):
    """One journal folder's; the shipper that has the folder's lock has one."""

    def __init__(self, path: Path, publish: Callable[[str, Sequence[Mapping[str, Any]]], None]) -> None:
        super().__init__(name="journal-teller", daemon=True)
        self._path = path
        self._publish = publish
        self._lock = threading.Lock()
        self._places: dict[SegmentName, _Place] = {}
        self._finished: dict[SegmentName, _Place] = {}  # until they are removed
        self._decided: OrderedDict[bytes, dict[str, Any]] = OrderedDict()
        self._told = self._load()
        self._stop_event = threading.Event()

    def run(self) -> None:
        while not self._stop_event.wait(TELL_SECONDS):
            try:
                self.tell()
            except Exception:
                log.exception("telling the live feed failed; it is tried again")

    def stop(self) -> None:
        """After what is there now was told."""
        self._stop_event.set()
        if self.is_alive():
            self.join()
        self.tell()
        with self._lock:
            for place in self._places.values():
                place.close()
            self._places.clear()

    # -- what is told ----------------------------------------------------------------------------------
    def tell(self) -> int:
        """Tell what is new in every segment; the number of records."""
        with self._lock:
            present = list_segments(self._path)
            for name in present:
                self._open(name)
            self._finished = {name: place for name, place in self._finished.items() if name in present}
            # What is being finished first: an outcome is told only after its decision.
            places = [*self._finished.values(), *self._places.values()]
            gone = [self._places.pop(name) for name in self._places.keys() - set(present)]
        count = sum(self._read_on(place, owned=place not in gone) for place in places)
        for place in gone:
            place.close()
        with self._lock:
            if count or self._told != self._offsets():
                self._save()
        return count

    def finish(self, name: SegmentName) -> None:
        """Tell the rest of a segment that is about to be removed."""
        with self._lock:
            self._open(name)
            place = self._places.pop(name, None)
            if place is None:
                return
            self._finished[name] = place
        self._read_on(place, owned=False)
        with place.lock:
            place.close()
        with self._lock:
            self._save()

    def interrupted(self, records: Iterable[Started]) -> None:
        """Tell of requests whose process died: nothing in the journal says so."""
        self._publish(ROUTES, [interrupted_row(record) for record in records])

    # -- reading ---------------------------------------------------------------------------------------
    def _open(self, name: SegmentName) -> None:
        if name not in self._places and name not in self._finished:
            with suppress(FileNotFoundError):  # removed since it was listed
                descriptor = os.open(self._path / name.file_name, os.O_RDONLY | os.O_CLOEXEC)
                self._places[name] = _Place(descriptor, self._told.get(name.file_name, 0))

    def _read_on(self, place: _Place, *, owned: bool) -> int:
        """``owned``: its end may still be completed; else what is damaged is passed over, as the shipper does."""
        count = 0
        with place.lock:
            while not place.closed:
                chunk = read_chunk(place.descriptor, place.offset, owned=owned, size=PIECE_BYTES)
                if chunk.end == place.offset:
                    break
                self._publish(ROUTES, [row for _, payload in chunk.frames if (row := self._row(payload)) is not None])
                place.offset = chunk.end
                count += len(chunk.frames)
        return count

    def _row(self, payload: memoryview) -> dict[str, Any] | None:
        try:
            record = decode_brief(payload)
            if isinstance(record, Finished):
                row = finished_row(record)
                if record.status == "decided":
                    self._decided[record.id] = row
                    if len(self._decided) > MAX_DECIDED:
                        self._decided.popitem(last=False)
                return row
            if isinstance(record, Update) and record.status is not None:
                decided = self._decided.pop(record.id, None)
                return None if decided is None else {**decided, **changes(record)}
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
            pass  # the shipper sets it aside and says so
        return None

    # -- how far -----------------------------------------------------------------------------------------
    def _load(self) -> dict[str, int]:
        try:
            return msgspec.json.decode((self._path / FILE_NAME).read_bytes(), type=dict[str, int])
        except (OSError, msgspec.MsgspecError):
            return {}

    def _offsets(self) -> dict[str, int]:
        return {name.file_name: place.offset for name, place in (self._places | self._finished).items()}

    def _save(self) -> None:
        """Whatever happens to the disk, telling goes on."""
        self._told = self._offsets()
        temporary = self._path / f"{FILE_NAME}.new"
        with suppress(OSError):
            temporary.write_bytes(msgspec.json.encode(self._told))
            temporary.replace(self._path / FILE_NAME)
