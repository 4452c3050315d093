"""The audit log as a file: one JSON object a line, every entry exactly once, in the order of the chain.

Who writes holds a lock of this host and decides by the place: the last entry written, kept beside the lock in the data
folder, and the file's own last line where the file is not as the place says. A line is on disk before the place is, so
a crash between the two is seen by the line; a line that was torn is taken back and written anew. The file may be moved
away at any time: the next entry begins a new one. Once an hour, and in each new file, a line with the head of the chain
says how far the table was then, also when nothing happens: a table that is shorter later has been cut.
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

from routes.audit.chain import Link, line_of, moment
from routes.audit.reading import Place, following, head
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


class Kept(NamedTuple):
    """What is known from before: the place, when a head was written last, and the file as it was left."""

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
            return _write_all(descriptor, deadline)
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, deadline: float | None) -> int:
    kept, new = _read_place(), not os.fstat(descriptor).st_size
    place, written = _where(descriptor, kept), 0
    while True:
        found = following(place, BATCH)
        if found.parted and found.documents:
            log.error(
                "audit_table_differs_from_file", last_in_file=place.link.id, goes_on_with=found.documents[0]["id"]
            )
        if found.documents:
            _append(descriptor, b"".join(line_of(document) + b"\n" for document in found.documents))
            place = place_of(found.documents[-1])
            written += len(found.documents)
            kept = _keep(descriptor, place, kept.head_at)
        if len(found.documents) < BATCH:
            break
        if deadline is not None and time.monotonic() >= deadline:
            return written
    now = timezone.now()
    if new or kept.head_at is None or not kept.head_at <= now < kept.head_at + HEAD_EVERY:
        _append(descriptor, json.dumps({"head": {**head()._asdict(), "at": moment(now)}}).encode() + b"\n")
        _keep(descriptor, place, now)
    return written


def place_of(document: dict[str, Any]) -> Place:
    return Place(Link(document["id"], document["hash"]), datetime.fromisoformat(document["at"]))


def _append(descriptor: int, content: bytes) -> None:
    """All of it, on disk, or nothing: what a full disk leaves no room for is taken back. Where that is refused, the next
    delivery sees to it."""
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
    """The last entry that was written."""
    status = os.fstat(descriptor)
    if (status.st_ino, status.st_size) == (kept.inode, kept.size):
        return kept.place
    end = _mend(descriptor, status.st_size)
    for line in backwards(descriptor, end):
        try:
            tree = json.loads(line)
            place = place_of(tree)
        except (ValueError, KeyError, TypeError):
            continue  # a head, or nothing of ours
        return place if place.link.id > kept.place.link.id else kept.place
    return kept.place


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


def _place_path() -> Path:
    return get_env().data / "audit_log.place"


def _read_place() -> Kept:
    try:
        tree = json.loads(_place_path().read_bytes())
        last = Place(Link(tree["id"], tree["hash"]), tree["at"] and datetime.fromisoformat(tree["at"]))
        return Kept(last, tree["head_at"] and datetime.fromisoformat(tree["head_at"]), tree["inode"], tree["size"])
    except FileNotFoundError:
        return Kept()
    except (ValueError, KeyError, TypeError):
        log.warning("audit_place_unreadable", path=str(_place_path()))
        return Kept()


def _keep(descriptor: int, place: Place, head_at: datetime | None) -> Kept:
    status = os.fstat(descriptor)
    kept = Kept(place, head_at, status.st_ino, status.st_size)
    tree = {
        **place.link._asdict(),
        "at": place.at and moment(place.at),
        "head_at": head_at and moment(head_at),
        "inode": kept.inode,
        "size": kept.size,
    }
    temporary = _place_path().with_suffix(".new")
    temporary.write_text(json.dumps(tree) + "\n")
    temporary.replace(_place_path())
    return kept


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
