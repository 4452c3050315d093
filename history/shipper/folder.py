"""The shipper's view of the journal folder: segments with their place, who owns them, what is synced to disk.

Owns the shipper's lock, the folder's identity and the ``fdatasync`` beat; must not import Django. What is in a
segment is ``history.journal``'s business, what to do with it ``history.shipper.shipper``'s.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from history.journal import SegmentName, frame, list_segments

if TYPE_CHECKING:
    from pathlib import Path

SYNC_SECONDS: Final = 0.1
#: A ``.tmp`` this old was left by a process that died between creating and renaming it; it is empty.
STALE_TMP_SECONDS: Final = 60.0
#: Where records go that nothing here can read or store; framed like a segment, never deleted by us.
SET_ASIDE: Final = "unreadable.journal"

_sync_data = getattr(os, "fdatasync", os.fsync)


class Segment:
    """An open segment and how far it is in the database."""

    __slots__ = ("descriptor", "exhausted", "file_name", "name", "owned", "position")

    def __init__(self, name: SegmentName, descriptor: int, position: int) -> None:
        self.name = name
        self.file_name = name.file_name
        self.descriptor = descriptor
        self.position = position
        self.owned = True  # as of just before the last read
        self.exhausted = False  # the last read found nothing

    def __repr__(self) -> str:
        return f"<Segment {self.file_name} @ {self.position}>"


class JournalFolder:
    """One journal folder, read by one shipper at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._segments: dict[SegmentName, Segment] = {}
        self._lock = -1

    # -- one shipper only --------------------------------------------------------------------------
    def lock(self, seconds: float = 0.0) -> bool:
        """Become the folder's shipper; waits that long for one that is about to end."""
        descriptor = os.open(self.path / "shipper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return False
                time.sleep(0.05)
            else:
                self._lock = descriptor
                return True

    def node(self) -> UUID:
        """The folder's identity, made once. Call it with the lock held."""
        path = self.path / "node"
        try:
            return UUID(path.read_text().strip())
        except (FileNotFoundError, ValueError):
            temporary = self.path / "node.new"
            temporary.write_text(f"{uuid4()}\n")
            temporary.replace(path)
            return UUID(path.read_text().strip())

    def close(self) -> None:
        for segment in self._segments.values():
            os.close(segment.descriptor)
        self._segments.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- segments ------------------------------------------------------------------------------------
    def segments(self, positions: dict[str, int] | None = None) -> list[Segment]:
        """All segments in place now, oldest writer first, each writer's in order. ``positions`` for the first call."""
        for name in list_segments(self.path):
            if name not in self._segments:
                descriptor = os.open(self.path / name.file_name, os.O_RDONLY | os.O_CLOEXEC)
                self._segments[name] = Segment(name, descriptor, (positions or {}).get(name.file_name, 0))
        return [self._segments[name] for name in sorted(self._segments)]

    def names(self) -> list[SegmentName]:
        """What is on disk right now, opened or not."""
        return list_segments(self.path)

    def remove(self, segment: Segment) -> None:
        """Delete a segment that is in the database to its last frame."""
        (self.path / segment.file_name).unlink(missing_ok=True)
        os.close(segment.descriptor)
        del self._segments[segment.name]

    def backlog(self) -> int:
        """Bytes that are not in the database yet."""
        return sum(
            max(0, os.fstat(segment.descriptor).st_size - segment.position) for segment in self._segments.values()
        )

    def set_aside(self, payload: bytes) -> None:
        """Keep a record that cannot be shipped, for a person to look at."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self.path / SET_ASIDE, flags, 0o600)
        try:
            os.write(descriptor, frame(payload))
        finally:
            os.close(descriptor)

    def sweep(self) -> None:
        """Remove what processes left that died while opening a segment."""
        for path in self.path.glob("*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_TMP_SECONDS:
                    path.unlink()


class Syncer(threading.Thread):
    """Writes what gateways appended through to the disk ten times a second: what a power cut can cost.

    A thread, so that it goes on while the database keeps the shipper waiting; with descriptors of its own, so that
    neither waits for the other.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(name="journal-sync", daemon=True)
        self.path = path
        self.synced: dict[SegmentName, int] = {}
        self._stop_event = threading.Event()

    def run(self) -> None:
        while not self._stop_event.wait(SYNC_SECONDS):
            self.sync()

    def stop(self) -> None:
        self._stop_event.set()
        self.join()
        self.sync()

    def sync(self) -> int:
        """One beat; how many files had something new."""
        names = list_segments(self.path)
        count = 0
        fresh = False
        for name in names:
            with contextlib.suppress(OSError):
                count += self._sync_file(name)
            fresh = fresh or name not in self.synced
        self.synced = {name: self.synced.get(name, 0) for name in names}
        if fresh:
            with contextlib.suppress(OSError):
                _sync_path(self.path)  # the new files' names
        return count

    def _sync_file(self, name: SegmentName) -> int:
        path = self.path / name.file_name
        size = path.stat().st_size
        if size == self.synced.get(name):
            return 0
        _sync_path(path)
        self.synced[name] = size
        return 1


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _sync_data(descriptor)
    finally:
        os.close(descriptor)
