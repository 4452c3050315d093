"""Set-associative tables: 16-byte keys, payloads of one size, 8 entries to a set; a full set forgets one of its own.

No directory and no growth: a key's set follows from the key, so finding it is one search through 128 bytes. Each set
has a sequence word and a stripe of its own. Imports the memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.tables.memory import CELL, KEY, WAYS, Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from routes.engine.tables.memory import Memory, Section

#: Sets that are reserved, and walked over, together.
GROUP = 64
_KEYS = WAYS * KEY
_FREE = bytes(KEY)
_TRIES = 3


def nothing() -> None:
    """Sets need no repair: an entry is without its key while it is written."""


class SetTable:
    """``marks``: a byte per group of sets, 1 once anything was written there."""

    def __init__(self, memory: Memory, section: Section, marks: Section, payload: int) -> None:
        self._memory = memory
        self._section = section
        self._marks = marks
        self._payload = payload
        self._reserved: set[int] = set()
        self._guards: dict[int, Guard] = {}

    def index(self, key: bytes) -> int:
        """The key's set."""
        return int.from_bytes(key[:CELL], "big") % self._section.entries

    def read(self, key: bytes) -> bytes | None:
        """The payload, without a lock unless the set is being written."""
        index = self.index(key)
        word = self._section.offset(index) // CELL
        cells = self._memory.cells
        for _ in range(_TRIES):
            sequence = cells[word]
            if sequence % 2:
                break
            found = self._find(index, key)
            if cells[word] == sequence:
                return found
        guard = self.guard(index)
        guard.still()
        try:
            return self._find(index, key)
        finally:
            guard.moving()

    def write(self, key: bytes, payload: bytes, worth: Callable[[bytes], float]) -> bool:
        """Under the set's guard, which the caller holds. In a full set the entry of the lowest worth goes. False =
        nothing could be written."""
        index = self.index(key)
        if not self._prepared(index // GROUP):
            return False
        keys = self._keys(index)
        place = _place(keys, key)
        if place < 0:
            place = _place(keys, _FREE)
        if place < 0:
            place = min(range(WAYS), key=lambda way: worth(self._at(index, way)))
        raw = self._memory.raw
        at = self._section.offset(index) + CELL + place * KEY
        start = self._start(index, place)
        raw[at : at + KEY] = _FREE
        raw[start : start + self._payload] = payload
        raw[at : at + KEY] = key
        return True

    def remove(self, index: int, way: int) -> None:
        """Under the set's guard."""
        at = self._section.offset(index) + CELL + way * KEY
        self._memory.raw[at : at + KEY] = _FREE

    def get(self, key: bytes) -> bytes | None:
        """The payload; under the set's guard."""
        return self._find(self.index(key), key)

    def place(self, key: bytes) -> tuple[int, int]:
        """Byte offsets of a key that is there, and of its payload; under the set's guard."""
        index = self.index(key)
        way = _place(self._keys(index), key)
        return self._section.offset(index) + CELL + way * KEY, self._start(index, way)

    def guard(self, index: int) -> Guard:
        found = self._guards.get(index)
        if found is None:
            word = self._section.offset(index) // CELL
            cells = self._memory.cells[word : word + 1]
            found = self._guards[index] = Guard(self._memory.locks, self._section.stripe + index, cells, nothing)
        return found

    def entries(self, index: int) -> Iterator[tuple[int, bytes, bytes]]:
        """(way, key, payload) of a set as it stands now; a torn one is possible without the guard."""
        keys = self._keys(index)
        if keys.count(0) == _KEYS:
            return
        for way in range(WAYS):
            key = keys[way * KEY : way * KEY + KEY]
            if key != _FREE:
                yield way, key, self._at(index, way)

    def sets(self) -> Iterator[int]:
        """Those that may hold anything."""
        for group, mark in enumerate(self.marks()):
            if mark:
                yield from range(group * GROUP, min(group * GROUP + GROUP, self._section.entries))

    def marks(self) -> bytes:
        start = self._marks.start
        return bytes(self._memory.raw[start : start + self._marks.entries])

    def clear(self) -> None:
        """Forget everything. Only while nobody else is there."""
        for index in self.sets():
            start = self._section.offset(index)
            self._memory.raw[start : start + self._section.size] = bytes(self._section.size)

    def copy_to(self, other: Memory) -> None:
        """Into another memory of the same layout."""
        for group, mark in enumerate(self.marks()):
            if mark:
                start, length = self._group(group)
                other.raw[start : start + length] = self._memory.raw[start : start + length]
        marks = self._marks.start
        other.raw[marks : marks + self._marks.entries] = self._memory.raw[marks : marks + self._marks.entries]

    def _group(self, group: int) -> tuple[int, int]:
        """(offset, length) of a group of sets."""
        first = group * GROUP
        last = min(first + GROUP, self._section.entries)
        return self._section.offset(first), (last - first) * self._section.size

    def _prepared(self, group: int) -> bool:
        if group not in self._reserved:
            if not self._memory.reserve(*self._group(group)):
                return False
            self._reserved.add(group)
            self._memory.raw[self._marks.start + group] = 1
        return True

    def _keys(self, index: int) -> bytes:
        start = self._section.offset(index) + CELL
        return bytes(self._memory.raw[start : start + _KEYS])

    def _start(self, index: int, way: int) -> int:
        return self._section.offset(index) + CELL + _KEYS + way * self._payload

    def _at(self, index: int, way: int) -> bytes:
        start = self._start(index, way)
        return bytes(self._memory.raw[start : start + self._payload])

    def _find(self, index: int, key: bytes) -> bytes | None:
        way = _place(self._keys(index), key)
        return None if way < 0 else self._at(index, way)


def _place(keys: bytes, key: bytes) -> int:
    """The way of a key among the keys of a set, or -1."""
    at = keys.find(key)
    while at > 0 and at % KEY:
        at = keys.find(key, at + 1)
    return -1 if at < 0 else at // KEY
