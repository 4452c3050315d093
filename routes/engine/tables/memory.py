"""Memory: a buffer cut into sections, the locks that go with it, and the guard of one record.

``layout`` says where the sections are. Imports the engine's cells only; does no I/O (``private`` asks the kernel for
pages that nobody else sees).
"""

from __future__ import annotations

import mmap
import threading
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from routes.engine.circuit import OWNERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from routes.engine.tables.layout import Layout

CELL = 8
PAGE = 4096
KEY = 16
WAYS = 8
# The first cells of the buffer: words that everybody looks at.
(
    TROUBLE,  # changes whenever a circuit's state, an observed state or a flag does
    QUARANTINED,  # ... a quarantine
    MOVED,  # ... a record has been given to another id
    PUBLISHED,  # revisions put in force, over all processes
    HIGHEST,  # owners ever registered at once: columns beyond are zero
    TARGETS,  # records in use
    PROVIDERS,
    QUARANTINES,
    TICK,  # of the counters: which one was not used for longest
    DROPS,  # drops of pins, ever
    KEYS,  # records in use
    HOSTS,  # hosts that are known to be at work, this one included
    HOSTS_UNTIL,  # ... and until when that holds; then this host is alone
    HAPPENED,  # lines ever written into the host's log
    PROBED,  # changes with whatever probes found out
) = range(15)
WORDS = 64

# Stripes: what can be locked. Sections of records follow one another, so that no two things share a stripe.
DIRECTORY, QUARANTINE_TABLE, DROP_LOG, HAPPENINGS = range(4)
FIRST_RECORD = 16


class Section(NamedTuple):
    """Where a table is: byte offset, bytes per entry (record or set), number of them, stripe of the first."""

    start: int
    size: int
    entries: int
    stripe: int

    @property
    def length(self) -> int:
        return self.size * self.entries

    def offset(self, index: int) -> int:
        return self.start + index * self.size


def set_size(payload: int) -> int:
    """Bytes of a set: sequence word, keys, payloads."""
    return CELL + WAYS * (KEY + payload)


def private(length: int) -> mmap.mmap:
    """Zeroed memory of this process alone. Pages cost nothing until they are written."""
    return mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def id_key(text: str) -> bytes:
    """The 16 bytes of an id (a UUID as text)."""
    return bytes.fromhex(text.replace("-", ""))


def id_text(key: bytes) -> str:
    digits = key.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class Locks(Protocol):
    """Locks by stripe, between threads and, where the buffer is shared, between processes. Not reentrant, never
    nested but by ``also``. ``mutex`` is the part between threads: whoever holds a stripe holds it."""

    mutex: threading.Lock

    def handle(self, stripe: int) -> Any:
        """What ``acquire`` and ``release`` want; made once where the stripe is used often."""
        ...

    def acquire(self, handle: Any) -> None: ...
    def release(self, handle: Any) -> None: ...

    def also(self, handle: Any) -> None:
        """A second stripe by whoever holds ``DIRECTORY``."""
        ...

    def not_also(self, handle: Any) -> None: ...


class ThreadLocks:
    """Of memory that one process has to itself: one lock for everything."""

    def __init__(self, mutex: threading.Lock | None = None) -> None:
        self.mutex = mutex or threading.Lock()

    def handle(self, stripe: int) -> None:
        return None

    def acquire(self, handle: None) -> None:
        self.mutex.acquire()

    def release(self, handle: None) -> None:
        self.mutex.release()

    def also(self, handle: None) -> None:
        pass

    def not_also(self, handle: None) -> None:
        pass


class Memory:
    """One buffer, its views, and how to lock parts of it.

    ``owner``: the number of the process whose columns it writes. ``reserve(offset, length)`` is asked before a part
    is written for the first time: False = there is no room behind it (a full disk), leave it alone. ``stamps``:
    numbers that nobody else uses, for words that only say "something changed".
    """

    def __init__(
        self,
        buffer: Buffer,
        layout: Layout,
        locks: Locks,
        owner: int = 0,
        reserve: Callable[[int, int], bool] = lambda offset, length: True,
        first_stamp: int = 0,
    ) -> None:
        self.raw = memoryview(buffer).cast("B")
        self.cells: memoryview[float] = self.raw.cast("d")
        self.words = self.cells[:WORDS]
        self.layout = layout
        self.locks = locks
        self.owner = owner
        self.reserve = reserve
        self._stamps = count(first_stamp * OWNERS + OWNERS + owner, OWNERS)
        if self.words[HIGHEST] <= owner:
            self.words[HIGHEST] = owner + 1

    def changed(self, word: int) -> None:
        """Say that something changed. Needs no lock: whoever comes last, the word is a new one."""
        self.words[word] = next(self._stamps)

    def part(self, section: Section, index: int) -> memoryview[float]:
        """The cells of one record."""
        start = section.offset(index) // CELL
        return self.cells[start : start + section.size // CELL]

    def column(self, cells: memoryview[float]) -> Column:
        return Column(self.words, cells, self.owner)


class Column:
    """A number per owner. This process writes its own, under the mutex; a sum takes no lock."""

    __slots__ = ("_cells", "_owner", "_words")

    def __init__(self, words: memoryview[float], cells: memoryview[float], owner: int) -> None:
        self._words = words
        self._cells = cells
        self._owner = owner

    def add(self, number: int) -> None:
        self._cells[self._owner] += number

    def sum(self) -> int:
        highest = int(self._words[HIGHEST])
        return int(self._cells[0]) if highest == 1 else int(sum(self._cells[:highest]))


class Guard:
    """Excludes writers of one record while one writes: ``with guard``. An odd sequence word found on entering
    means that the last writer was killed in the middle: ``repair`` counts again what follows from other cells."""

    __slots__ = ("_handle", "_locks", "_repair", "_word")

    def __init__(self, locks: Locks, stripe: int, word: memoryview[float], repair: Callable[[], None]) -> None:
        self._locks = locks
        self._handle = locks.handle(stripe)
        self._word = word
        self._repair = repair

    @property
    def sequence(self) -> float:
        return self._word[0]

    def __enter__(self) -> None:
        self._locks.acquire(self._handle)
        if self._word[0] % 2:
            self._recover()
        self._word[0] += 1

    def __exit__(self, *_: object) -> None:
        self._word[0] += 1
        self._locks.release(self._handle)

    def still(self) -> float:
        """Wait until nobody writes, and keep it so until ``moving``; the sequence word."""
        self._locks.acquire(self._handle)
        if self._word[0] % 2:
            self._recover()
        return self._word[0]

    def moving(self) -> None:
        self._locks.release(self._handle)

    def also(self) -> None:
        """Enter while holding the directory, to give the record away."""
        self._locks.also(self._handle)
        self._word[0] += 1 if self._word[0] % 2 == 0 else 2

    def not_also(self) -> None:
        self._word[0] += 1
        self._locks.not_also(self._handle)

    def _recover(self) -> None:
        self._repair()
        self._word[0] += 1
