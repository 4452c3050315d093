"""Pins: which target a session is kept on, and which target a stored response came from; sessions' last inputs too.

One set-associative table for both kinds of pin, another for last inputs. A full set forgets the entry due soonest.
Beside them two logs that the exchange between hosts reads: sets written to, one ring per process, and drops. A ring
that ran over is no loss of pins: the reader walks the whole table then. Imports the sets.
"""

from __future__ import annotations

from array import array
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from routes.engine.circuit import OWNERS
from routes.engine.live import Pin, PinEntry
from routes.engine.tables.memory import CELL, DROP_LOG, DROPS, id_key, id_text
from routes.engine.tables.sets import SetTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routes.engine.live import PinKind
    from routes.engine.tables.memory import Memory

#: Bytes kept of a session's name; longer ones show their head.
SESSION = 54
_PIN = Struct(f"<16s16sdddBB{SESSION}s")  # target, profile, pinned at, expires, written, kind, length of the name, name
PAYLOAD = _PIN.size
_INPUT = Struct("<dd")  # tokens, expires
INPUT = _INPUT.size
KINDS: Final[tuple[PinKind, ...]] = ("session", "response")
_EXPIRES = Struct("<d")
#: How long a session's last input is remembered.
INPUT_SECONDS = 3600.0
#: Cells of one process's log: how many writes ever, then the last of their sets.
LOG_SIZE = 512
_LOGGED = LOG_SIZE - 1
_DROP = Struct("<16s16sd")  # profile, target (zero: any), when
DROP_SIZE = _DROP.size
DROPS_KEPT = 64
_ANY = bytes(16)


class Written(NamedTuple):
    """A pin as it is written."""

    key: bytes
    target_id: str
    profile_id: str
    pinned_at: float
    expires: float
    written: float
    kind: PinKind
    session: str


class Drop(NamedTuple):
    """All pins of a profile, of a target, of both, or all (None = any) were dropped then."""

    profile_id: str | None
    target_id: str | None
    at: float


class Pins:
    def __init__(self, memory: Memory) -> None:
        layout = memory.layout
        self._memory = memory
        self._table = SetTable(memory, layout.pins, layout.pin_marks, PAYLOAD)
        self._inputs = SetTable(memory, layout.inputs, layout.input_marks, INPUT)
        log = memory.layout.pin_log
        kept = memory.reserve(log.offset(memory.owner), log.size)
        self._log = memory.part(log, memory.owner) if kept else memoryview(array("d", bytes(log.size)))

    # -- pins ----------------------------------------------------------------------------------------------
    def find(self, key: bytes, now: float) -> Pin | None:
        payload = self._table.read(key)
        if payload is None:
            return None
        target, _, pinned_at, expires, *_ = _PIN.unpack(payload)
        return Pin(id_text(target), pinned_at, expires) if expires > now else None

    def put(self, pin: Written, told: bool = False) -> None:
        """``told``: by another host. Not over one that was written later, and nobody needs to be told again."""
        name = pin.session.encode("utf-8", "replace")[:SESSION]
        payload = _PIN.pack(
            id_key(pin.target_id),
            id_key(pin.profile_id),
            pin.pinned_at,
            pin.expires,
            pin.written,
            KINDS.index(pin.kind),
            len(name),
            name,
        )
        table, log = self._table, self._log
        index = table.index(pin.key)
        with table.guard(index):
            if told:
                held = table.get(pin.key)
                if held is not None and _PIN.unpack(held)[4] >= pin.written:
                    return
            if table.write(pin.key, payload, _expiry) and not told:
                count = int(log[0])
                log[1 + count % _LOGGED] = index
                log[0] = count + 1

    def entries(self, now: float, profile_id: str | None, target_id: str | None) -> Iterator[PinEntry]:
        profile, target = _filter(profile_id), _filter(target_id)
        for index in self._table.sets():
            for _, _, payload in self._table.entries(index):
                if _matches(payload, profile, target) and _expiry(payload) > now:
                    pin = _unpack(b"", payload)
                    yield PinEntry(pin.profile_id, pin.target_id, pin.session, pin.pinned_at, pin.expires, pin.kind)

    def drop(self, now: float, profile_id: str | None, target_id: str | None, before: float | None = None) -> int:
        """How many in force were forgotten. ``before``: only what was written until then, by another host's word;
        our own drops are logged for the others."""
        profile, target = _filter(profile_id), _filter(target_id)
        dropped = 0
        for index in self._table.sets():
            if not any(_matches(payload, profile, target) for _, _, payload in self._table.entries(index)):
                continue
            with self._table.guard(index):
                for way, _, payload in self._table.entries(index):
                    if _matches(payload, profile, target) and (before is None or _PIN.unpack(payload)[4] <= before):
                        self._table.remove(index, way)
                        dropped += _expiry(payload) > now
        if before is None:
            self._note(profile, target, now)
        return dropped

    def counts(self, index: int, now: float) -> Iterator[str]:
        """Targets of the sessions in one set."""
        for _, _, payload in self._table.entries(index):
            if not payload[_KIND_AT] and _expiry(payload) > now:
                yield id_text(payload[:16])

    def sets(self) -> list[int]:
        return list(self._table.sets())

    # -- last inputs ---------------------------------------------------------------------------------------
    def remember_input(self, key: bytes, tokens: int, now: float) -> None:
        with self._inputs.guard(self._inputs.index(key)):
            self._inputs.write(key, _INPUT.pack(tokens, now + INPUT_SECONDS), lambda entry: _INPUT.unpack(entry)[1])

    def last_input(self, key: bytes, now: float) -> int | None:
        payload = self._inputs.read(key)
        if payload is None:
            return None
        tokens, expires = _INPUT.unpack(payload)
        return int(tokens) if expires > now else None

    # -- what the exchange reads ---------------------------------------------------------------------------
    def written_in(self, index: int) -> Iterator[Written]:
        """All pins of one set."""
        for _, key, payload in self._table.entries(index):
            yield _unpack(key, payload)

    def log_positions(self) -> list[int]:
        """Writes ever, by owner."""
        layout, cells = self._memory.layout, self._memory.cells
        return [int(cells[layout.pin_log.offset(owner) // CELL]) for owner in range(OWNERS)]

    def logged(self, owner: int, since: int, until: int) -> list[int] | None:
        """The sets an owner wrote to between two positions; None = too many to remember."""
        if until - since > _LOGGED:
            return None
        log = self._memory.part(self._memory.layout.pin_log, owner)
        return [int(log[1 + position % _LOGGED]) for position in range(since, until)]

    def drops(self, since: int) -> list[Drop]:
        """Those after the first ``since`` ones, as far as they are kept."""
        memory = self._memory
        count = int(memory.words[DROPS])
        found = []
        for number in range(max(since, count - DROPS_KEPT), count):
            start = memory.layout.drop_log.offset(number % DROPS_KEPT)
            profile, target, at = _DROP.unpack(memory.raw[start : start + DROP_SIZE])
            found.append(Drop(_named(profile), _named(target), at))
        return found

    def shift(self, seconds: float) -> None:
        """The clock starts anew, ``seconds`` ahead of where these times were taken. Only while nobody else is there."""
        for index in list(self._table.sets()):
            for _, key, payload in list(self._table.entries(index)):
                pin = _unpack(key, payload)
                at = self._table.place(key)[1]
                times = Struct("<ddd").pack(pin.pinned_at + seconds, pin.expires + seconds, pin.written + seconds)
                self._memory.raw[at + 32 : at + 56] = times
        for index in list(self._inputs.sets()):
            for _, key, payload in list(self._inputs.entries(index)):
                tokens, expires = _INPUT.unpack(payload)
                at = self._inputs.place(key)[1]
                self._memory.raw[at : at + INPUT] = _INPUT.pack(tokens, expires + seconds)

    def copy_to(self, other: Memory) -> None:
        self._table.copy_to(other)
        self._inputs.copy_to(other)

    def _note(self, profile: bytes | None, target: bytes | None, now: float) -> None:
        memory = self._memory
        handle = memory.locks.handle(DROP_LOG)
        memory.locks.acquire(handle)
        try:
            count = int(memory.words[DROPS])
            start = memory.layout.drop_log.offset(count % DROPS_KEPT)
            memory.raw[start : start + DROP_SIZE] = _DROP.pack(profile or _ANY, target or _ANY, now)
            memory.words[DROPS] = count + 1
        finally:
            memory.locks.release(handle)


class PinCounts:
    """Sessions per target, found by walking over the table a little at every question: no question walks far, and
    however seldom it is asked, an answer is of some seconds ago at most."""

    #: Sets walked over per question, when they come often and when they come seldom.
    FEW, MANY = 64, 2048
    #: Aim at one walk over everything in this time.
    SECONDS = 2.0

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self._counts: dict[str, int] = {}
        self._building: dict[str, int] = {}
        self._todo: list[int] = []
        self._walked = 0.0

    def of(self, target_id: str, now: float) -> int:
        elapsed = now - self._walked
        if not elapsed:  # a decision asks for each of its targets, and walks on once
            return self._counts.get(target_id, 0)
        self._walked = now
        part = self.MANY if elapsed >= self.SECONDS else self.FEW
        if not self._todo:
            self._counts, self._building, self._todo = self._building, {}, self._pins.sets()
        for index in self._todo[:part]:
            for target in self._pins.counts(index, now):
                self._building[target] = self._building.get(target, 0) + 1
        del self._todo[:part]
        if not self._todo:
            self._counts = self._building
        return self._counts.get(target_id, 0)


_KIND_AT = 16 + 16 + 3 * CELL


def _expiry(payload: bytes) -> float:
    expires: float = _EXPIRES.unpack_from(payload, 40)[0]
    return expires


def _unpack(key: bytes, payload: bytes) -> Written:
    target, profile, pinned_at, expires, written, kind, length, name = _PIN.unpack(payload)
    session = name[:length].decode("utf-8", "replace")
    return Written(key, id_text(target), id_text(profile), pinned_at, expires, written, KINDS[kind & 1], session)


def _filter(name: str | None) -> bytes | None:
    return None if name is None else id_key(name)


def _named(key: bytes) -> str | None:
    return None if key == _ANY else id_text(key)


def _matches(payload: bytes, profile: bytes | None, target: bytes | None) -> bool:
    return target in (None, payload[:16]) and profile in (None, payload[16:32])
