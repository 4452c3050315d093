"""The table of quarantines: who is kept away from until when, by (provider, upstream model) and (provider, all).

Small, seldom written, often asked: each process keeps a dict of it and reads the table again when the word
``QUARANTINED`` has changed. A row says under which generation of the provider's credential it was made; under
another one it is void, without anybody having to take it out. What is over stays until its row is needed, so that
a recovery can be dated. Imports the memory and the rules.
"""

from __future__ import annotations

import hashlib
from math import inf
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from routes.engine.live import Quarantine
from routes.engine.tables.memory import QUARANTINE_TABLE, QUARANTINED, QUARANTINES, id_key, id_text
from routes.engine.types import ERROR_CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.engine.tables.memory import Memory

#: Bytes of an upstream model's name; of longer ones the head and a hash.
MODEL = 94
_ROW = Struct(f"<16sBB{MODEL}sdddBB6x")  # provider, of a model?, its length, name, until, made, generation, cause, told
ROW_SIZE = _ROW.size
_KEY = 16 + 2 + MODEL
_UNTIL = slice(_KEY, _KEY + 8)
_DUE = Struct("<d")
_TIMES = Struct("<dd")  # until, made
#: How long a quarantine that is over is remembered, if there is room.
ENDED_KEPT = 600.0


_NEVER = bytes(8)


class Row(NamedTuple):
    provider_id: str
    model: str | None  # None = the whole credential
    quarantine: Quarantine
    made: float
    generation: int


class Quarantines:
    """All quarantines, as this process sees them; ``generations`` are the overlay's."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._section = memory.layout.quarantines
        self._lock = memory.locks.handle(QUARANTINE_TABLE)
        self._seen = -1.0
        self._rows: dict[str, dict[str | None, Row]] = {}
        self.generations: dict[str, int] = {}

    def providers(self, now: float) -> tuple[set[str], float]:
        """Those with a quarantine in force, and until when that can be true (if nothing is added)."""
        found, until = set(), inf
        for provider, rows in self._current().items():
            for row in rows.values():
                if self._in_force(row, now):
                    found.add(provider)
                    until = min(until, row.quarantine.until)
        return found, until

    def find(self, provider: str, model: str, now: float) -> Quarantine | None:
        """The one that lasts longest of the model's and the credential's."""
        rows = self._current().get(provider)
        if rows is None:
            return None
        found = None
        for key in (None, _name(model)):
            row = rows.get(key)
            if row is not None and self._in_force(row, now) and (not found or row.quarantine.until > found.until):
                found = row.quarantine
        return found

    def ended_at(self, provider: str, model: str, now: float) -> float | None:
        """When the last one ended; None = never, or one is in force."""
        rows = self._current().get(provider, {})
        ended = [row.quarantine.until for key in (None, _name(model)) if (row := rows.get(key)) is not None]
        latest = max(ended, default=None)
        return None if latest is None or latest > now else latest

    def put(self, row: Row, now: float) -> Quarantine | None:
        """Replaces an earlier one: the newest answer knows best. The one that was in force until then."""
        memory = self._memory
        row = row._replace(model=None if row.model is None else _name(row.model))
        packed = _pack(row)
        before = None
        memory.locks.acquire(self._lock)
        try:
            start = self._room(packed[:_KEY], now)
            if start is not None:
                held = bytes(memory.raw[start : start + ROW_SIZE])
                if held[:_KEY] == packed[:_KEY] and held[_UNTIL] != _NEVER:
                    found = _unpack(held)
                    before = found.quarantine if self._in_force(found, now) else None
                at = memory.raw[start : start + ROW_SIZE]
                at[_UNTIL] = _NEVER  # the end comes last: until then there is no row
                at[:_KEY] = packed[:_KEY]
                at[_KEY + 8 :] = packed[_KEY + 8 :]
                at[_UNTIL] = packed[_UNTIL]
        finally:
            memory.changed(QUARANTINED)
            memory.locks.release(self._lock)
        return before

    def in_force(self, now: float) -> list[Row]:
        return [row for row in self.rows() if self._in_force(row, now)]

    def rows(self) -> list[Row]:
        return [row for rows in self._current().values() for row in rows.values()]

    def shift(self, seconds: float) -> None:
        """The clock starts anew, ``seconds`` ahead of where these times were taken. Only while nobody else is there."""
        for index in range(int(self._memory.words[QUARANTINES])):
            start = self._section.offset(index) + _KEY
            until, made = _TIMES.unpack(self._memory.raw[start : start + _TIMES.size])
            if until:
                self._memory.raw[start : start + _TIMES.size] = _TIMES.pack(until + seconds, made + seconds)
        self._memory.changed(QUARANTINED)

    def copy_to(self, other: Memory) -> None:
        """Into another memory of the same layout, whose words are ours already."""
        section = self._section
        end = section.offset(int(self._memory.words[QUARANTINES]))
        other.raw[section.start : end] = self._memory.raw[section.start : end]

    def _in_force(self, row: Row, now: float) -> bool:
        return row.quarantine.until > now and row.generation == self.generations.get(row.provider_id, 0)

    def _current(self) -> Mapping[str, Mapping[str | None, Row]]:
        seen = self._memory.words[QUARANTINED]
        if seen != self._seen:
            memory = self._memory
            memory.locks.acquire(self._lock)
            try:
                seen, rows = memory.words[QUARANTINED], self._read()
            finally:
                memory.locks.release(self._lock)
            found: dict[str, dict[str | None, Row]] = {}
            for row in rows:
                found.setdefault(row.provider_id, {})[row.model] = row
            self._rows, self._seen = found, seen
        return self._rows

    def _read(self) -> list[Row]:
        starts = (self._section.offset(index) for index in range(int(self._memory.words[QUARANTINES])))
        packed = (bytes(self._memory.raw[start : start + ROW_SIZE]) for start in starts)
        return [_unpack(row) for row in packed if row[_UNTIL] != _NEVER]

    def _room(self, key: bytes, now: float) -> int | None:
        """Where a row goes: its own place, one that is over, a new one, or that of the soonest due."""
        memory, section = self._memory, self._section
        used = int(memory.words[QUARANTINES])
        soonest, room = inf, None
        for index in range(used):
            start = section.offset(index)
            if memory.raw[start : start + _KEY] == key:
                return start
            until = _DUE.unpack(memory.raw[start + _KEY : start + _KEY + 8])[0]
            if until < soonest:
                soonest, room = until, start
        if used < section.entries and soonest > now - ENDED_KEPT:
            start = section.offset(used)
            if memory.reserve(start, section.size):
                memory.words[QUARANTINES] = used + 1
                return start
        return room


def _name(model: str) -> str:
    """What a model is called in the table."""
    encoded = model.encode("utf-8", "replace")
    if len(encoded) <= MODEL:
        return model
    digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
    return encoded[: MODEL - len(digest) - 1].decode("utf-8", "ignore") + "#" + digest


def _pack(row: Row) -> bytes:
    name = (row.model or "").encode("utf-8", "replace")
    until, cause, told = row.quarantine
    return _ROW.pack(
        id_key(row.provider_id),
        row.model is not None,
        len(name),
        name,
        until,
        row.made,
        row.generation,
        ERROR_CLASSES.index(cause),
        told,
    )


def _unpack(packed: bytes) -> Row:
    provider, of_model, length, name, until, made, generation, cause, told = _ROW.unpack(packed)
    model = name[:length].decode("utf-8", "replace") if of_model else None
    known = ERROR_CLASSES[cause] if cause < len(ERROR_CLASSES) else "internal"
    return Row(id_text(provider), model, Quarantine(until, known, bool(told)), made, int(generation))
