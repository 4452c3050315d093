"""The file behind the host's live state: its header, who is attached, how it is made, checked and given up.

Made and attached to under a lock file, so that two processes that start together agree. A file of another layout, or
that is not what it says, is put aside by a new one in its place (whoever still maps the old one goes on with it); the
worst that can happen is that circuits and pins start anew. Parts are reserved on the disk before they are written
for the first time: writing to a hole of a mapped file on a full disk would kill the process.

A process is alive while the kernel holds its lock on its slot's byte: no process id can be mistaken for another one
that reuses it, and a killed process is known to be dead at once. Imports the tables for their layout.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import mmap
import os
import secrets
import struct
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from routes.engine.circuit import OWNERS
from routes.engine.tables.layout import VERSION, Layout
from routes.engine.tables.memory import HIGHEST
from routes.live.locks import FileLocks

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC: Final = b"SgnlLive"
_HEADER: Final = struct.Struct("<8sI4x16s16sd10Q")  # magic, version, host id, boot id, wall - monotonic, sizes
_BOOT: Final = struct.Struct("<16sd")
_BOOT_AT: Final = 8 + 8 + 16
_SLOT: Final = struct.Struct("<Qd40s")  # process id, attached (Unix time), name
_SLOTS_AT: Final = 4096
_DOWN_AT: Final = 4095
_TABLES_AT: Final = 16384
#: Stripes of the file itself come before those of the tables.
LEADER: Final = OWNERS
_FIRST_TABLE_STRIPE: Final = OWNERS + 16

logger = logging.getLogger(__name__)
_open: weakref.WeakSet[HostFile] = weakref.WeakSet()


class Attached(NamedTuple):
    """A process in the registry."""

    owner: int
    pid: int
    since: float  # Unix time
    name: str


class HostFile:
    """One process's hold on the file. ``owner`` is its slot in the registry."""

    def __init__(self, path: Path, layout: Layout) -> None:
        """Open or make it. Raises OSError. Call under ``attaching``."""
        self.path = path
        self.layout = layout
        self.replaced = False
        self._full = False
        self._map = self._opened() or self._made()
        # A descriptor of its own for locks: a mapping keeps its descriptor for as long as there are views of it.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self.locks = FileLocks(self._descriptor, _FIRST_TABLE_STRIPE)
        self._slots = FileLocks(self._descriptor, 0)
        self.owner = -1
        _open.add(self)

    @property
    def tables(self) -> memoryview:
        return memoryview(self._map)[_TABLES_AT : _TABLES_AT + self.layout.length]

    @property
    def host(self) -> str:
        """Names this data folder among the hosts that share a Redis."""
        host: bytes = _HEADER.unpack_from(self._map)[2]
        return host.hex()

    # -- opening and making --------------------------------------------------------------------------------
    def _opened(self) -> mmap.mmap | None:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            size = _TABLES_AT + self.layout.length
            if os.fstat(descriptor).st_size != size:
                self._aside("its size is another one")
                return None
            mapped = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        magic, version, *_ = header = _HEADER.unpack_from(mapped)
        if magic != MAGIC or version != VERSION or header[5:] != _sizes(self.layout):
            self._aside("it was written by another release" if magic == MAGIC else "it is not a live state")
            return None
        return mapped

    def _aside(self, reason: str) -> None:
        logger.warning("%s is replaced by a new one, circuits and pins start anew: %s", self.path, reason)
        self.replaced = True

    def _made(self) -> mmap.mmap:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            size = _TABLES_AT + self.layout.length
            os.ftruncate(descriptor, size)
            _reserve(descriptor, 0, _TABLES_AT + self.layout.base)
            mapped = mmap.mmap(descriptor, size)
            _HEADER.pack_into(mapped, 0, MAGIC, VERSION, secrets.token_bytes(16), bytes(16), 0.0, *_sizes(self.layout))
            temporary.replace(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return mapped

    def make_anew(self) -> None:
        """What it holds makes no sense. Call under ``attaching``, before ``register``, while nobody else is there."""
        self._aside("its content makes no sense")
        os.close(self._descriptor)
        self._map = self._made()
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self.locks = FileLocks(self._descriptor, _FIRST_TABLE_STRIPE)
        self._slots = FileLocks(self._descriptor, 0)

    def reserve(self, offset: int, length: int) -> bool:
        """Room on the disk for a part of the tables."""
        try:
            _reserve(self._descriptor, _TABLES_AT + offset, length)
        except OSError as error:
            if not self._full:
                logger.error("%s cannot grow: %s; this process remembers new targets by itself", self.path, error)
            self._full = True
            return False
        return True

    # -- who is attached -----------------------------------------------------------------------------------
    def register(self, name: str, wall: float) -> bool:
        """Take a slot, or raise OSError when there is none. Whether nobody else is attached."""
        alone = True
        for owner in range(OWNERS):
            if not self._slots.take(owner):
                alone = False
            elif self.owner < 0:
                self.owner = owner
            else:
                self._slots.give_back(owner)
        if self.owner < 0:
            raise OSError(errno.EUSERS, "too many processes")
        self._note(self.owner, os.getpid(), wall, name)
        return alone

    def attached(self) -> list[Attached]:
        """Those registered, alive or not."""
        found = []
        for owner in range(int(self.tables.cast("d")[HIGHEST])):
            pid, since, name = _SLOT.unpack_from(self._map, _SLOTS_AT + owner * _SLOT.size)
            if pid:
                found.append(Attached(owner, pid, since, name.rstrip(b"\0").decode("utf-8", "replace")))
        return found

    def dead(self) -> Iterator[int]:
        """Owners that are gone, each held while the caller takes back what was theirs."""
        for each in self.attached():
            if each.owner != self.owner and self._slots.take(each.owner):
                try:
                    yield each.owner
                    self._note(each.owner, 0, 0.0, "")
                finally:
                    self._slots.give_back(each.owner)

    @property
    def exchange_down(self) -> bool:
        """Whether the process that leads has lost the other hosts."""
        return self._map[_DOWN_AT] != 0

    @exchange_down.setter
    def exchange_down(self, down: bool) -> None:
        self._map[_DOWN_AT] = down

    def lead(self) -> bool:
        """Be the one process of the host that talks to others, if there is none."""
        return self._slots.take(LEADER)

    def stop_leading(self) -> None:
        if self.open:
            self._slots.give_back(LEADER)

    @property
    def open(self) -> bool:
        return self._descriptor >= 0

    def close(self) -> None:
        """Leave. The mapping goes with the last view of it."""
        self._note(self.owner, 0, 0.0, "")
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptor, which is all that keeps us alive in the eyes of others."""
        os.close(self._descriptor)
        self._descriptor = -1
        self.locks.close()
        self._slots.close()

    def _note(self, owner: int, pid: int, wall: float, name: str) -> None:
        _SLOT.pack_into(self._map, _SLOTS_AT + owner * _SLOT.size, pid, wall, name.encode()[:40])

    # -- clocks --------------------------------------------------------------------------------------------
    def clock_shift(self, boot: bytes, now: float, wall: float) -> float:
        """Seconds to add to every time in the tables, because the monotonic clock has started anew since; 0 = it
        has not. Times keep their distance to the wall clock."""
        known, offset = _BOOT.unpack_from(self._map, _BOOT_AT)
        return 0.0 if known in (boot, bytes(16)) else offset - (wall - now)

    def note_clock(self, boot: bytes, now: float, wall: float) -> None:
        _BOOT.pack_into(self._map, _BOOT_AT, boot, wall - now)


@contextlib.contextmanager
def attaching(path: Path) -> Iterator[None]:
    """One process at a time opens, makes, or replaces the file."""
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def boot_id() -> bytes:
    """Changes with every start of the machine, and with it the monotonic clock's zero."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # pragma: no cover - not on Linux
        return b"no boot id known"
    return bytes.fromhex(text.replace("-", ""))


def _sizes(layout: Layout) -> tuple[int, ...]:
    return (*layout.sizes(), OWNERS)


def _reserve(descriptor: int, offset: int, length: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, offset, length)


def _after_fork() -> None:
    """A forked child must not keep its parent alive in the eyes of others."""
    for each in list(_open):
        if each.open:
            each.abandon()


os.register_at_fork(after_in_child=_after_fork)
