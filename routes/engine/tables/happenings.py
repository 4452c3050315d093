"""The host's log: a ring of lines about what happened to circuits, credentials and budgets, for people to read later.

Whoever notes something never waits for a reader: a reader that stays away too long misses lines, and is told how many.
Lines are JSON, because they are rare and read by processes of other releases. Imports the memory.
"""

from __future__ import annotations

import json
from struct import Struct
from typing import TYPE_CHECKING, Any

from routes.engine.live import Happening
from routes.engine.tables.memory import HAPPENED, HAPPENINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.engine.tables.memory import Memory

_HEADER = Struct("<dI4x")  # moment, length of the line
#: Bytes per line, header included.
LINE_SIZE = 2048
_ROOM = LINE_SIZE - _HEADER.size
KEPT = 4096


class Happenings:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._section = memory.layout.happenings
        self._lock = memory.locks.handle(HAPPENINGS)

    def note(self, at: float, line: Mapping[str, Any]) -> None:
        """``line``: the fields of a Happening but number and moment. A detail that is too long is left out."""
        packed = _dumps(line)
        if len(packed) > _ROOM:
            packed = _dumps({**line, "detail": {}})[:_ROOM]
        memory = self._memory
        memory.locks.acquire(self._lock)
        try:
            number = int(memory.words[HAPPENED])
            offset = self._section.offset(number % self._section.entries)
            if memory.reserve(offset, LINE_SIZE):
                start = offset + _HEADER.size
                memory.raw[start : start + len(packed)] = packed
                memory.raw[offset:start] = _HEADER.pack(at, len(packed))
                memory.words[HAPPENED] = number + 1
        finally:
            memory.locks.release(self._lock)

    def since(self, after: int) -> tuple[list[Happening], int]:
        """(lines from number ``after`` on, how many of them are gone)"""
        memory = self._memory
        memory.locks.acquire(self._lock)
        try:
            end = int(memory.words[HAPPENED])
            begin = max(after, end - self._section.entries)
            raw = [(number, self._raw(number)) for number in range(begin, end)]
        finally:
            memory.locks.release(self._lock)
        lines = []
        for number, (at, packed) in raw:
            try:
                lines.append(Happening(number=number, at=at, **json.loads(packed)))
            except (ValueError, TypeError):
                continue  # cut short by a full disk, or by a release that knows other fields
        return lines, begin - after

    def shift(self, seconds: float) -> None:
        """The clock starts anew, ``seconds`` ahead of where these times were taken."""
        end = int(self._memory.words[HAPPENED])
        for number in range(max(0, end - self._section.entries), end):
            offset = self._section.offset(number % self._section.entries)
            at, length = _HEADER.unpack(self._memory.raw[offset : offset + _HEADER.size])
            self._memory.raw[offset : offset + _HEADER.size] = _HEADER.pack(at + seconds, length)

    def _raw(self, number: int) -> tuple[float, bytes]:
        offset = self._section.offset(number % self._section.entries)
        at, length = _HEADER.unpack(self._memory.raw[offset : offset + _HEADER.size])
        start = offset + _HEADER.size
        return at, bytes(self._memory.raw[start : start + min(length, _ROOM)])


def _dumps(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
