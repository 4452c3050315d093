"""The journal: append-only segment files that carry history records from the processes that decide to the shipper.

Owns file names, locks, framing, rotation, the size cap and the reading side; must not import Django (gateways
write here in the request path). What a record means is ``history.records``', where it ends up ``history.shipper``'s.

One writer per process. A writer is named by its birth (nanoseconds) and pid, its segments by a sequence number
after that: ``<birth_ns>-<pid>-<seq>.seg``. The name is never reused, unlike a pid or an inode. A segment is created
as ``.tmp``, locked with ``flock`` and only then renamed, so a ``.seg`` whose lock is free has no living owner; the
next segment is in place before the lock of the one before is given up, so a living writer always holds one.

Frame: marker (4 bytes), length (u32 LE), CRC-32 of the payload seeded with the length (u32 LE), payload.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
import weakref
import zlib
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from history.records import Started, encode, scrub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from history.records import Payload, Record

MARKER: Final = b"SBJ\x01"
HEADER: Final = Struct("<4sII")
HEADER_SIZE: Final = HEADER.size
MAX_PAYLOAD: Final = 4 * 1024 * 1024
READ_SIZE: Final = MAX_PAYLOAD + HEADER_SIZE
SEGMENT_MAX: Final = 8 * 1024 * 1024
SEGMENT_MIN: Final = 64 * 1024
#: A full journal is measured again this often, not on every record.
RETRY_SECONDS: Final = 0.25

DROP_REASONS: Final = ("journal_full", "disk", "oversize")

_NAME: Final = re.compile(r"^(?P<birth>\d{20})-(?P<pid>\d+)-(?P<seq>\d{6})\.seg$")
_pack_header = HEADER.pack
_crc32 = zlib.crc32


class SegmentName(NamedTuple):
    """A segment's place in the folder; sorts by writer, then by sequence."""

    birth: int
    pid: int
    seq: int

    @property
    def writer(self) -> str:
        return f"{self.birth:020d}-{self.pid}"

    @property
    def file_name(self) -> str:
        return f"{self.writer}-{self.seq:06d}.seg"

    @classmethod
    def parse(cls, file_name: str) -> SegmentName | None:
        match = _NAME.match(file_name)
        return cls(int(match["birth"]), int(match["pid"]), int(match["seq"])) if match else None


def frame(payload: bytes) -> bytes:
    """``payload`` with marker, length and checksum in front."""
    size = len(payload)
    return _pack_header(MARKER, size, _crc32(payload, size)) + payload


def _framed(record: Record) -> bytes:
    try:
        payload = encode(record)
    except (UnicodeEncodeError, OverflowError):  # a lone surrogate or a number no column holds, from outside
        payload = encode(scrub(record))
    return frame(payload)


# -- writing ---------------------------------------------------------------------------------------


class JournalWriter:
    """Appends records to this process's segments. Never raises for a full or broken disk: it drops and counts.

    Costs one ``write`` system call per record (2–4 µs with encoding) and survives SIGKILL of the process from the
    moment ``append`` returns. May be used from several threads. A forked child does not share its parent's segment:
    it lets go of it and opens its own with its first record.

    ``max_bytes`` bounds the whole folder, all writers together. Each counts the segments of other living writers as
    full, so that together they stay below it; two that rotate in the same instant may exceed it by one segment, and
    ends that are owed (see ``append``) by two segments for each writer: a route is kept whole, or not at all. Copies of
    payloads get the first half of it only.
    """

    def __init__(self, folder: Path, max_bytes: int, *, segment_bytes: int | None = None) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.segment_bytes = segment_bytes or min(SEGMENT_MAX, max(SEGMENT_MIN, max_bytes // 32))
        self.dropped_by_reason: dict[str, int] = dict.fromkeys(DROP_REASONS, 0)
        self.appended = 0
        self.payloads_dropped = 0  # no loss of history: they are not in ``dropped``
        self._owed_bytes = 0  # of the segment, beyond its limit
        self._lock = threading.Lock()
        self._fd = -1
        self._size = 0
        self._limit = 0
        self._retry_at = 0.0
        self._refusal = "journal_full"
        self._measured = (-1.0, 0)  # until when the folder's size counts as known, and the size
        self._name = self._new_name()
        _WRITERS.add(self)

    @property
    def dropped(self) -> int:
        """Routes and updates lost because the journal or the disk was full; every one is counted exactly once. A
        beginning that was not kept is no loss: the end says everything it said."""
        return sum(self.dropped_by_reason.values())

    def append(self, record: Record, *, owed: bool = False) -> bool:
        """Write one record; False (and counted in ``dropped``) when it could not be kept. ``owed``: the end of a route
        whose beginning was kept, which has room in reserve: else it would be told as interrupted."""
        data = _framed(record)
        with self._lock:
            refusal = self._put(data, owed)
            if refusal:
                self.dropped_by_reason[refusal] += not isinstance(record, Started)
            return not refusal

    def append_payload(self, record: Payload) -> bool:
        """Write copies of a payload, which history can do without: not once the folder is half full. False (and
        counted in ``payloads_dropped``) when they were not kept."""
        data = _framed(record)
        with self._lock:
            kept = not self._is_half_full(len(data)) and not self._put(data, owed=False)
            self.payloads_dropped += not kept
            return kept

    def _put(self, data: bytes, owed: bool) -> str:
        """Write a frame. Why not; empty when it is written."""
        size = len(data)
        refusal = self._make_room(size, owed) if self._size + size > self._limit else ""
        if refusal:
            return refusal
        try:
            written = os.write(self._fd, data)
        except OSError:
            written = 0
        if written != size and not self._complete(data, written):
            return "disk"
        self._size += size
        self.appended += 1
        return ""

    def close(self) -> None:
        """Give up the segment; the shipper takes what is left. A later ``append`` opens a new one."""
        with self._lock:
            self._let_go()
            self._name = self._new_name()

    @staticmethod
    def _new_name() -> SegmentName:
        return SegmentName(time.time_ns(), os.getpid(), 0)

    def _complete(self, data: bytes, written: int) -> bool:
        """Write what a short write left out; else remove the half frame, or everything behind it would look torn."""
        try:
            while written < len(data):
                step = os.write(self._fd, data[written:])
                if step == 0:
                    break
                written += step
        except OSError:
            pass
        if written == len(data):
            return True
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._limit = 0  # the next record goes to a new segment; the reader skips the half frame of this one
        return False

    def _make_room(self, size: int, owed: bool) -> str:
        """Rotate to a new segment if the folder's cap and the disk allow it, or let what is owed grow this one. Why
        not; empty when there is room now."""
        if size > READ_SIZE:
            return "oversize"
        now = time.monotonic()
        if now >= self._retry_at:
            self._refusal = "journal_full"
            try:
                if self._folder_bytes() + max(size, self.segment_bytes) <= self.max_bytes:
                    self._open_next()
                    self._limit = max(size, self.segment_bytes)
                    return ""
            except OSError:
                self._refusal = "disk"
            self._retry_at = now + RETRY_SECONDS
        if owed and self._fd >= 0 and self._owed_bytes + size <= 2 * self.segment_bytes:
            self._owed_bytes += size
            self._limit = self._size + size
            return ""
        return self._refusal

    def _is_half_full(self, size: int) -> bool:
        """Whether there is no room for ``size`` more in the first half of the folder. Measured now and then, and always
        before a new segment would be opened for it."""
        now = time.monotonic()
        if now >= self._measured[0] or self._size + size > self._limit:
            try:
                self._measured = now + RETRY_SECONDS, self._folder_bytes()
            except OSError:
                return True
        return self._measured[1] + max(size, self.segment_bytes) > self.max_bytes // 2

    def _folder_bytes(self) -> int:
        """What the folder holds, the newest segment of every other living writer taken as full. One scan."""
        try:
            entries = list(os.scandir(self.folder))
        except FileNotFoundError:
            return 0
        newest: dict[str, SegmentName] = {}
        sizes: dict[SegmentName, int] = {}
        for entry in entries:
            name = SegmentName.parse(entry.name)
            if name is None:
                continue
            try:
                sizes[name] = entry.stat().st_size
            except FileNotFoundError:  # shipped meanwhile
                continue
            if name.writer != self._name.writer and name > newest.get(name.writer, name._replace(seq=-1)):
                newest[name.writer] = name
        total = sum(sizes.values())
        for name in newest.values():
            if _alive(name.pid):
                total += max(0, self.segment_bytes - sizes[name])
        return total

    def _open_next(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = self._name if self._fd < 0 else self._name._replace(seq=self._name.seq + 1)
        path = self.folder / name.file_name
        temporary = path.with_suffix(".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.rename(path)
        except OSError:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
            raise
        self._let_go()  # only now: there was no moment in which this writer held no lock
        self._fd, self._name, self._size, self._owed_bytes = descriptor, name, 0, 0

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size, self._limit, self._retry_at = -1, 0, 0, 0.0

    def _after_fork(self) -> None:
        # The lock belongs to the open file both processes share: were the child to keep it, the segment of a dead
        # parent would look alive for as long as the child lives.
        self._lock = threading.Lock()
        self._let_go()
        self._name = self._new_name()


_WRITERS: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


def _forget_writers_of_parent() -> None:
    for writer in list(_WRITERS):
        writer._after_fork()


os.register_at_fork(after_in_child=_forget_writers_of_parent)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


# -- reading ---------------------------------------------------------------------------------------


class Chunk(NamedTuple):
    """Whole frames from one read. ``frames`` are (offset, payload); ``end`` is where to read on."""

    frames: list[tuple[int, memoryview]]
    end: int
    torn: int  # damaged pieces skipped; only ever in a segment without an owner


def list_segments(folder: Path) -> list[SegmentName]:
    """The segments in place, each writer's in the order they were written."""
    try:
        names = [SegmentName.parse(entry.name) for entry in os.scandir(folder)]
    except FileNotFoundError:
        return []
    return sorted(name for name in names if name)


def is_owned(descriptor: int) -> bool:
    """Whether a living writer holds the segment's lock. Ask *before* reading: a segment that was free before a
    read that found nothing new will never grow again."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def read_chunk(descriptor: int, offset: int, *, owned: bool, size: int = READ_SIZE) -> Chunk:
    """Whole frames from ``offset`` on, about ``size`` bytes of them. Done when ``end`` equals ``offset``.

    A damaged or incomplete tail of an owned segment may still be completed: it is left for the next read. Without
    an owner it is skipped and counted, and the next read resumes at the next sound frame, if there is one.
    """
    data = os.pread(descriptor, size, offset)
    view = memoryview(data)
    frames: list[tuple[int, memoryview]] = []
    position = 0
    while (payload := _frame_at(view, position)) is not None:
        frames.append((offset + position, payload))
        position += HEADER_SIZE + len(payload)
    if not frames and len(data) == size < READ_SIZE:
        return read_chunk(descriptor, offset, owned=owned)  # the first frame is larger than the wanted piece
    if frames or owned or not data:
        return Chunk(frames, offset + position, 0)
    data = os.pread(descriptor, os.fstat(descriptor).st_size - offset, offset)
    return Chunk([], offset + _next_frame(data), 1)


def _frame_at(view: memoryview, position: int) -> memoryview | None:
    start = position + HEADER_SIZE
    if start > len(view):
        return None
    marker, length, checksum = HEADER.unpack_from(view, position)
    if marker != MARKER or length > MAX_PAYLOAD or start + length > len(view):
        return None
    payload = view[start : start + length]
    return payload if _crc32(payload, length) == checksum else None


def _next_frame(data: bytes) -> int:
    """Where the first sound frame behind the damage at the start begins; the end when there is none."""
    view = memoryview(data)
    position = 0
    while (position := data.find(MARKER, position + 1)) >= 0:
        if _frame_at(view, position) is not None:
            return position
    return len(data)


def read_segment(path: Path) -> Iterator[bytes]:
    """Every whole payload of a segment file, for tools and tests."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        offset = 0
        while True:
            chunk = read_chunk(descriptor, offset, owned=False)
            for _, payload in chunk.frames:
                yield bytes(payload)
            if chunk.end == offset:
                return
            offset = chunk.end
    finally:
        os.close(descriptor)
