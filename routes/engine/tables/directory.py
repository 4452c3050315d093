"""Directory: which record of a section belongs to which id. Records never move while their id is known.

Looking an id up costs a dict access: what other processes added is read when an id is missing. Adding one takes the
directory's lock. Where all records are taken, the least useful one is given away; ``MOVED`` changes then, and every
process looks again at what it remembers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.tables.memory import CELL, DIRECTORY, KEY, MOVED

if TYPE_CHECKING:
    from collections.abc import Callable

    from routes.engine.tables.memory import Guard, Memory, Section

_NOBODY = bytes(KEY)
#: Cells of every record: its key (two), the guard's word, and how often it was given away.
SEQUENCE, GENERATION = 2, 3
HEAD = 4


class Directory:
    """Of one section; ``used`` is the word that counts its records in use."""

    def __init__(self, memory: Memory, section: Section, used: int) -> None:
        self._memory = memory
        self._section = section
        self._used = used
        self._lock = memory.locks.handle(DIRECTORY)
        self._known: dict[bytes, int] = {}
        self._read = 0
        self._moved = memory.words[MOVED]

    def find(self, key: bytes) -> int | None:
        """The record's index. Costs a look at what others added, if it is not known yet."""
        self._refresh()
        return self._known.get(key)

    def keys(self) -> dict[bytes, int]:
        """All ids and their records."""
        self._refresh()
        return self._known

    def place(self, key: bytes, worth: Callable[[int], float | None], guard: Callable[[int], Guard]) -> int | None:
        """The record's index, made if need be. ``worth`` of a record: the lowest is given away when there is no
        room, None = never. Returns None when nothing can be given away, or the disk is full."""
        memory = self._memory
        memory.locks.acquire(self._lock)
        try:
            found = self.find(key)
            if found is not None:
                return found
            index = int(memory.words[self._used])
            if index < self._section.entries:
                offset = self._section.offset(index)
                if not memory.reserve(offset, self._section.size):
                    return None
                memory.raw[offset : offset + KEY] = key
                memory.words[self._used] = index + 1
            else:
                given = self._give_away(key, worth, guard)
                if given is None:
                    return None
                index = given
            self._known[key] = index
            return index
        finally:
            memory.locks.release(self._lock)

    def _give_away(self, key: bytes, worth: Callable[[int], float | None], guard: Callable[[int], Guard]) -> int | None:
        memory, section = self._memory, self._section
        worths = [(value, index) for index in range(section.entries) if (value := worth(index)) is not None]
        if not worths:
            return None
        index = min(worths)[1]
        held = guard(index)
        held.also()
        try:
            # Whoever is killed in here leaves a record that nobody uses under its old id, and without one in the
            # end: worth nothing, the next to go. The generation changes twice, because between the first time and
            # the loss of its key somebody may have found it again.
            offset, cells = section.offset(index), memory.part(section, index)
            cells[GENERATION] += 1
            memory.changed(MOVED)
            memory.raw[offset : offset + KEY] = _NOBODY
            memory.raw[offset + HEAD * CELL : offset + section.size] = bytes(section.size - HEAD * CELL)
            cells[GENERATION] += 1
            memory.raw[offset : offset + KEY] = key
            memory.changed(MOVED)
        finally:
            held.not_also()
        self._refresh()
        return index

    def _refresh(self) -> None:
        memory = self._memory
        moved = memory.words[MOVED]
        if moved != self._moved:
            self._moved = moved
            self._known, self._read = {}, 0
        used = int(memory.words[self._used])
        for index in range(self._read, used):
            offset = self._section.offset(index)
            key = bytes(memory.raw[offset : offset + KEY])
            if key != _NOBODY:
                self._known[key] = index
        self._read = used
