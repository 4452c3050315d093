"""Rotation counters: whose turn it is in a pool, exact over all threads and processes.

A counter is named by its pool's key, of which 16 bytes of a hash are kept. Where a set is full, the counter that was
not used for longest goes; it starts at 0 when its pool is asked for again. Imports the sets.
"""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from routes.engine.tables.memory import CELL, TICK
from routes.engine.tables.sets import SetTable

if TYPE_CHECKING:
    from routes.engine.tables.memory import Guard, Memory

_ENTRY = Struct("<dd")  # next turn, when it was last made room for
PAYLOAD = _ENTRY.size
#: Pools whose place is remembered; they hold hashes of models that clients name.
MAX_PLACES = 10_000


class _Place(NamedTuple):
    key: bytes
    at: int  # byte offset of the key
    turn: int  # cell of the counter
    guard: Guard


class Counters:
    def __init__(self, memory: Memory) -> None:
        layout = memory.layout
        self._memory = memory
        self._table = SetTable(memory, layout.counters, layout.counter_marks, PAYLOAD)
        self._places: dict[str, _Place] = {}
        self._alone: dict[str, int] = {}  # counters of this process, where the disk is full

    def rotate(self, pool: str) -> int:
        """The turn, and on to the next."""
        place = self._places.get(pool)
        if place is None:
            return self._first(pool)
        key, at, turn, guard = place
        memory = self._memory
        with guard:
            if memory.raw[at : at + 16] == key:
                cells = memory.cells
                number = cells[turn]
                cells[turn] = number + 1
                cells[turn + 1] = memory.words[TICK]
                return int(number)
        return self._first(pool)  # another pool took its place

    def read(self, pool: str) -> int:
        """The turn that ``rotate`` would give."""
        payload = self._table.read(_key(pool))
        return self._alone.get(pool, 0) if payload is None else int(_ENTRY.unpack(payload)[0])

    def clear(self) -> None:
        """All start at 0. Only while nobody else is there."""
        self._table.clear()

    def copy_to(self, other: Memory) -> None:
        self._table.copy_to(other)

    def _first(self, pool: str) -> int:
        """Like ``rotate``, of a pool whose place is not known."""
        key, memory, table = _key(pool), self._memory, self._table
        guard = table.guard(table.index(key))
        with guard:
            payload = table.get(key)
            number = 0 if payload is None else int(_ENTRY.unpack(payload)[0])
            memory.words[TICK] += 1
            written = _ENTRY.pack(number + 1, memory.words[TICK])
            if table.write(key, written, lambda entry: _ENTRY.unpack(entry)[1]):
                if len(self._places) >= MAX_PLACES:
                    self._places = {}
                at, start = table.place(key)
                self._places[pool] = _Place(key, at, start // CELL, guard)
                return number
            number = self._alone.get(pool, 0)
            if len(self._alone) >= MAX_PLACES:
                self._alone = {}
            self._alone[pool] = number + 1
            return number


def _key(pool: str) -> bytes:
    return hashlib.blake2b(pool.encode("utf-8", "surrogatepass"), digest_size=16).digest()
