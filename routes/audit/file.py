"""The audit log as a file: one JSON object a line, every entry exactly once, in the order of the chain.

Who writes holds a lock of this host and goes on from the file's own last entry: whatever happened to file, volume or
processes, what it lacks after that comes from the table. Only a file without entries has to be told where the one
before it ended, so that it may be moved away at any time: that is the place, kept for each path beside the lock in the
data folder. A line is on disk before the place is; a line that was torn is taken back and written anew. Once an hour,
and in each new file, a line with the head of the chain says how far the table was then, also when nothing happens: a
table that is shorter later has been cut.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.utils import timezone

from routes.audit.chain import Link, hash_of, head_line, line_of, moment
from routes.audit.reading import COLUMNS, Place, following, head
from routing_project.env import get_env
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = get_logger("audit")

MODE: Final = 0o640  # a group may read it, as other logs
BATCH: Final = 500
HEAD_EVERY: Final = timedelta(hours=1)
#: A tail is read in pieces of this size until it holds a whole entry.
PIECE: Final = 64 * 1024
#: How often a command looks whether the file is free.
PATIENCE: Final = 0.02
#: The place at which this process has last told that the table has another entry, or none.
_parted: Link | None = None


class Kept(NamedTuple):
    """What is known of a path from before: the place, when a head was written last, and the file as it was left."""

    place: Place = Place()
    head_at: datetime | None = None
    inode: int = 0
    size: int = -1


def deliver(seconds: float | None = None) -> int:
    """Write what the file has not had, for about ``seconds`` (None = all of it); how many entries. 0 also when somebody
    else is at it for so long. Raises OSError when it cannot be written. One query when there is nothing."""
    deadline = None if seconds is None else time.monotonic() + seconds
    with _lock(deadline) as held:
        if not held:
            return 0
        path = get_env().audit_log_path
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            return _write_all(path, descriptor, deadline)
        finally:
            os.close(descriptor)


def _write_all(path: Path, descriptor: int, deadline: float | None) -> int:
    kept, new = kept_of(path), not os.fstat(descriptor).st_size
    place, written = _where(descriptor, kept), 0
    while True:
        found = following(place, BATCH)
        if found.parted:
            _tell_parted(place, found.documents[0]["id"] if found.documents else None)
        if found.documents:
            if place.link.id < kept.place.link.id:
                told = {"last_in_file": place.link.id, "was_written_to": kept.place.link.id}
                log.warning("audit_file_was_behind", path=str(path), **told)
            _append(descriptor, b"".join(line_of(document) + b"\n" for document in found.documents))
            place = place_of(found.documents[-1])
            written += len(found.documents)
            kept = _keep(path, descriptor, place, kept.head_at)
        if len(found.documents) < BATCH:
            break
        if deadline is not None and time.monotonic() >= deadline:
            return written
    now = timezone.now()
    if new or kept.head_at is None or not kept.head_at <= now < kept.head_at + HEAD_EVERY:
        _append(descriptor, head_line(head(), now) + b"\n")
        # Where file and table both end earlier than before, what was known of it stays until there is a next entry.
        _keep(path, descriptor, max(place, kept.place, key=lambda known: known.link.id), now)
    return written


def _tell_parted(place: Place, next_id: int | None) -> None:
    """Once for each place, and again with what the file goes on with. ``next_id`` None = nothing was written since."""
    global _parted
    if next_id is not None or _parted != place.link:
        log.error("audit_table_differs_from_file", last_in_file=place.link.id, goes_on_with=next_id)
    _parted = place.link


def place_of(document: dict[str, Any]) -> Place:
    return Place(Link(document["id"], document["hash"]), datetime.fromisoformat(document["at"]))


def _append(descriptor: int, content: bytes) -> None:
    """All of it, on disk, or nothing: what a full disk leaves no room for is taken back. Where that is refused, the
    next delivery sees to it."""
    start = os.fstat(descriptor).st_size
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, start)
        raise


# -- the place -------------------------------------------------------------------------------------------
def _where(descriptor: int, kept: Kept) -> Place:
    """The last entry in the file; the place where it has none."""
    status = os.fstat(descriptor)
    if (status.st_ino, status.st_size) == (kept.inode, kept.size):
        return kept.place
    end = _mend(descriptor, status.st_size)
    for line in backwards(descriptor, end):
        if (place := _entry(line)) is not None:
            return place
    return kept.place


def _entry(line: bytes) -> Place | None:
    """The place of an entry; None for a head, and for what no hash proves to be one: that decides nothing."""
    try:
        tree = json.loads(line)
        proved = set(tree) == set(COLUMNS) and type(tree["id"]) is int and hash_of(tree) == tree["hash"]
        return place_of(tree) if proved else None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _mend(descriptor: int, size: int) -> int:
    """Where the last whole line ends; what comes after it was torn and is taken back. Where a file may only be added to
    it is ended instead, and told of by the verification."""
    end = size
    while end:
        start = max(0, end - PIECE)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        try:
            os.ftruncate(descriptor, end)
        except PermissionError:
            os.write(descriptor, b"\n")
            return size + 1
        log.warning("audit_line_repaired", bytes=size - end)
    return end


def backwards(descriptor: int, end: int) -> Iterator[bytes]:
    """The lines before ``end``, which is the end of one, last first."""
    tail = b""
    while end:
        start = max(0, end - PIECE)
        lines = (os.pread(descriptor, end - start, start) + tail).split(b"\n")
        tail, end = lines[0], start
        yield from (line for line in reversed(lines[1:]) if line)
    if tail:
        yield tail


def place_path() -> Path:
    return get_env().data / "audit_log.place"


def reached() -> int:
    """The id of the last entry that was written."""
    return kept_of(get_env().audit_log_path).place.link.id


def kept_of(path: Path) -> Kept:
    """Of a path that nothing was written to yet: the place of the one before it, where it goes on."""
    places = read_places()
    return places.get(str(path)) or next(reversed(places.values()), Kept())


def read_places() -> dict[str, Kept]:
    """By path, the one that was written last at the end. Raises OSError when it is there and cannot be read."""
    try:
        return {path: _kept(tree) for path, tree in json.loads(place_path().read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("audit_place_unreadable", path=str(place_path()))
        return {}


def _kept(tree: dict[str, Any]) -> Kept:
    last = Place(Link(tree["id"], tree["hash"]), tree["at"] and datetime.fromisoformat(tree["at"]))
    return Kept(last, tree["head_at"] and datetime.fromisoformat(tree["head_at"]), tree["inode"], tree["size"])


def _keep(path: Path, descriptor: int, place: Place, head_at: datetime | None) -> Kept:
    status, places = os.fstat(descriptor), read_places()
    if places and (before := next(reversed(places))) != str(path):
        log.warning("audit_file_elsewhere", path=str(path), before=before)
    places.pop(str(path), None)
    places[str(path)] = kept = Kept(place, head_at, status.st_ino, status.st_size)
    temporary = place_path().with_suffix(".new")
    temporary.write_text(json.dumps({name: _tree(known) for name, known in places.items()}) + "\n")
    temporary.replace(place_path())
    return kept


def _tree(kept: Kept) -> dict[str, Any]:
    at, head_at = kept.place.at, kept.head_at
    return {
        **kept.place.link._asdict(),
        "at": at and moment(at),
        "head_at": head_at and moment(head_at),
        "inode": kept.inode,
        "size": kept.size,
    }


@contextmanager
def _lock(deadline: float | None) -> Iterator[bool]:
    """One writer at a time among the processes of this host; False when it was not our turn by ``deadline``."""
    get_env().make_folders()
    with (get_env().data / ".audit_log.lock").open("a") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX if deadline is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if deadline is None or time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(PATIENCE)
            else:
                yield True
                return
