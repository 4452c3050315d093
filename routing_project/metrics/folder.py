"""The folder in which all processes count: one set of files per process, and the totals of those that are dead.

A process counts into files of its own (prometheus-client's multiprocess mode), named after it; what is scraped is their
sum. A dead process's counts must stay in that sum, but not its files: a child that crashes all night would leave
thousands. ``fold`` adds them to one file of totals and removes them. Its write is one rename: the totals say whose
counts they hold, and files of those are not read any more, so that a crash between any two steps neither doubles nor
drops a count. A process lives while the kernel holds its lock on ``<process>.lock``; names hold the time of birth, so
that a process id that is used again is somebody else.

Damage (a power cut, a stray hand) costs what was in the damaged piece and never the rest: totals that cannot be read
are set aside as ``dead.json.damaged``, a process's file is read up to where it makes no sense.

Whoever reads or folds has the folder's lock, shared or alone; nobody waits for it longer than said. Reads files itself:
neither ``serve`` nor a reader of totals needs prometheus-client. Imports nothing of the project.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LOCK_NAME: Final = ".lock"
TOTALS_NAME: Final = "dead.json"
#: Totals that could not be read; the last of them.
DAMAGED_NAME: Final = "dead.json.damaged"
#: What only adds up. Gauges end with their process.
SUMMED: Final = ("counter", "histogram")
_POLL_SECONDS: Final = 0.005
#: A process that has not put its lock in place by then was killed while it made it.
_STRAY_SECONDS: Final = 60.0

_int_at = struct.Struct("i").unpack_from
_pair_at = struct.Struct("dd").unpack_from

logger = logging.getLogger(__name__)

#: Series and their values. A series is called as prometheus-client does, by a JSON list of family, name, labels and
#: help, but the help is always empty (``plain``): releases say it in different words.
Sums = dict[str, float]


class Busy(Exception):
    """Somebody else has the folder, and goes on having it."""


class Member(NamedTuple):
    """A process that counts here."""

    ident: str
    name: str  # as in logs: "gateway-1"
    pid: int


class Counts(NamedTuple):
    """Everything that was counted. ``gauges``: what each living process says, with the time where it matters, by mode
    and series."""

    sums: dict[str, Sums]  # by kind
    gauges: dict[str, dict[str, list[tuple[float, float]]]]


# -- belonging to it -------------------------------------------------------------------------------------------
def enter(folder: Path, name: str) -> str:
    """Let this process count here for as long as it lives; what its files are named after. The descriptor stays open
    for good: closing it says that the process is dead. Programs it starts do not inherit it."""
    ident = f"{os.getpid()}-{time.time_ns()}"
    temporary = folder / f"{ident}.new"
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with suppress(OSError):  # on a full disk it has no name
        os.write(descriptor, name.encode())
    temporary.rename(_lock_of(folder, ident))  # there is no moment in which it is seen without its lock
    return ident


def members(folder: Path) -> list[Member]:
    """The processes that live."""
    found = []
    for ident in _idents(folder):
        if _alive(folder, ident):
            with suppress(OSError, ValueError):  # it ended; or the file is no process's
                found.append(Member(ident, _lock_of(folder, ident).read_text(), int(ident.partition("-")[0])))
    return found


# -- the dead ----------------------------------------------------------------------------------------------------
def fold(folder: Path, seconds: float = 0.0) -> int:
    """Add the counts of dead processes to the totals and remove their files; how many there were. Raises Busy, OSError
    (nothing is lost then, and the next call goes on)."""
    with _locked(folder, fcntl.LOCK_EX, seconds):
        return _fold(folder)


def clear(folder: Path) -> None:
    """Begin from zero, unless processes are at work in it: their counts go on, so those of the dead must. A sum that
    fell to those of the living would look like a restart that counted all of them at once. Raises Busy, OSError."""
    with _locked(folder, fcntl.LOCK_EX, 5.0):
        if any(_alive(folder, ident) for ident in _idents(folder)):
            _fold(folder)
            return
        for path in folder.iterdir():
            if path.name != LOCK_NAME:
                path.unlink(missing_ok=True)


def _fold(folder: Path) -> int:
    dead = [ident for ident in _idents(folder) if not _alive(folder, ident)]
    if dead:
        _add(folder, dead)
        for ident in dead:
            _remove(folder, ident)
    _sweep(folder)
    return len(dead)


def _add(folder: Path, dead: list[str]) -> None:
    held, sums = _totals(folder)
    for ident in dead:
        if ident not in held:
            for kind in SUMMED:
                _add_file(folder / f"{kind}_{ident}.db", sums[kind])
    # Those who were in it before and are not among the dead any more have no files left.
    temporary = folder / f"{TOTALS_NAME}.tmp"
    temporary.write_text(json.dumps({"of": dead, **sums}))
    with temporary.open("rb") as written:
        os.fsync(written.fileno())  # or a power cut may keep the rename and lose the bytes, and the files are gone
    temporary.rename(folder / TOTALS_NAME)


def _remove(folder: Path, ident: str) -> None:
    """The lock last: while it is there, its files are known to be a dead process's."""
    for path in folder.glob(f"*_{ident}.db"):
        path.unlink(missing_ok=True)
    _lock_of(folder, ident).unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    for path in folder.glob("*.new"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _STRAY_SECONDS:
                path.unlink()


# -- reading -----------------------------------------------------------------------------------------------------
def read(folder: Path, seconds: float = 1.0) -> Counts:
    """What all processes counted, dead ones too. Raises Busy."""
    with _locked(folder, fcntl.LOCK_SH, seconds):
        held, sums = _totals(folder)
        gauges: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for path in sorted(folder.glob("*.db")):
            kind, _, rest = path.stem.partition("_")
            ident = _ident_of(path)
            if ident in held:
                continue
            if kind in SUMMED:
                _add_file(path, sums[kind])
            elif kind == "gauge" and _alive(folder, ident):
                told = gauges.setdefault(rest.partition("_")[0], {})
                for key, value, at in _values(path):
                    if series := plain(key):
                        told.setdefault(series, []).append((value, at))
        return Counts(sums, gauges)


def _totals(folder: Path) -> tuple[frozenset[str], dict[str, Sums]]:
    """(whose counts are in it although their files may still be there, the counts)"""
    path = folder / TOTALS_NAME
    try:
        document = json.loads(path.read_bytes())
        held = frozenset(map(str, document["of"]))
        sums: dict[str, Sums] = {kind: {} for kind in SUMMED}
        for kind in SUMMED:
            _add_all(((key, float(each)) for key, each in document[kind].items()), sums[kind])
        return held, sums
    except FileNotFoundError:
        pass
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.error("%s is damaged (%s): what dead processes counted is lost, and counters begin anew", path, error)
        with suppress(OSError):  # by another reader, or it stays, and is seen again
            path.rename(folder / DAMAGED_NAME)
    return frozenset(), {kind: {} for kind in SUMMED}


def _add_file(path: Path, sums: Sums) -> None:
    _add_all(((key, value) for key, value, _ in _values(path)), sums)


def _add_all(counts: Iterable[tuple[str, float]], sums: Sums) -> None:
    for key, value in counts:
        if series := plain(key):
            sums[series] = sums.get(series, 0.0) + value


@lru_cache(maxsize=65_536)
def plain(key: str) -> str:
    """The series of a key in a file, whatever help is in it; "" if it is none."""
    try:
        family, name, labels, _help = json.loads(key)
        if isinstance(family, str) and isinstance(name, str) and isinstance(labels, dict):
            return json.dumps([family, name, labels, ""], sort_keys=True)
    except (ValueError, TypeError):
        pass
    logger.warning("a count belongs to no series and is left out: %.100r", key)
    return ""


def _values(path: Path) -> Iterator[tuple[str, float, float]]:
    """(series, value, time) of a file that its process may be writing to: the number in its head says how much of it
    is whole."""
    try:
        with path.open("rb") as stream:
            data = stream.read(8)
            data += stream.read(max(0, _int_at(data)[0] - 8)) if len(data) == 8 else b""
    except FileNotFoundError:
        return
    end, position = len(data), 8
    while position < end:
        try:
            length = _int_at(data, position)[0]
            start = position + 4
            place = start + length + 8 - (length + 4) % 8
            if length <= 0:
                raise ValueError("a series without a name")
            value, at = _pair_at(data, place)
            if not isfinite(value):
                raise ValueError("no number")
            key = data[start : start + length].decode()
        except (struct.error, ValueError) as error:
            logger.warning("%s is damaged at byte %d (%s): the rest of it is not counted", path, position, error)
            return
        yield key, value, at
        position = place + 16


# -- locks -------------------------------------------------------------------------------------------------------
@contextmanager
def _locked(folder: Path, how: int, seconds: float) -> Iterator[None]:
    """The folder's lock. Whoever has it may be stopped and never let go: nobody waits for ever."""
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Busy(str(folder)) from None
                time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _alive(folder: Path, ident: str) -> bool:
    try:
        descriptor = os.open(_lock_of(folder, ident), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_of(folder: Path, ident: str) -> Path:
    return folder / f"{ident}.lock"


def _ident_of(path: Path) -> str:
    """Of any file that belongs to a process."""
    return path.stem.rpartition("_")[2]


def _idents(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.lock") if path.name != LOCK_NAME)
