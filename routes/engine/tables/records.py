"""Records of targets and providers: which cells they have, and the objects that work on them.

A target's record holds its circuit, its statistics, and a column per process for what is in flight and was sent; a
provider's holds what is in flight on it and how often its credential was refused. Imports the engine's cells.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from routes.engine import circuit as circuits
from routes.engine import stats as statistics
from routes.engine.circuit import OWNERS, Circuit
from routes.engine.live import HeadState
from routes.engine.stats import TargetStats
from routes.engine.tables import recent
from routes.engine.tables.directory import GENERATION, HEAD, SEQUENCE
from routes.engine.tables.memory import TROUBLE, Guard

if TYPE_CHECKING:
    from routes.engine.live import Observed
    from routes.engine.snapshot import Target
    from routes.engine.tables.memory import Memory, Section

OBSERVED_STATES: Final[tuple[Observed, ...]] = ("unknown", "healthy", "degraded", "unhealthy")

# Cells of a target's record, after the directory's; ``SEEN`` is every record's: when it was configured last.
SEEN, OBSERVED, OBSERVED_UNTIL, OBSERVED_AT = range(HEAD, HEAD + 4)
# Of the target that stands for a whole head: when it was last heard of (0 = never), until when it is online, whether it
# wants no new sessions.
HEARD, HEARD_UNTIL, DRAINING = range(HEAD + 4, HEAD + 7)
_RECENT = HEAD + 7
_CIRCUIT = _RECENT + recent.SIZE
STATE = _CIRCUIT + circuits.STATE
_STATS = _CIRCUIT + circuits.SIZE
_IN_FLIGHT = _STATS + statistics.SIZE
_SENT = _IN_FLIGHT + OWNERS
IN_FLIGHT = slice(_IN_FLIGHT, _IN_FLIGHT + OWNERS)
TARGET_SIZE = _SENT + OWNERS

# Cells of a provider's record: when its credential was last refused, quarantines for that so far, and the
# credential's generation then.
REFUSED, ROUNDS, REFUSED_GENERATION = range(HEAD + 1, HEAD + 4)
_PROVIDER_IN_FLIGHT = HEAD + 4
PROVIDER_IN_FLIGHT = slice(_PROVIDER_IN_FLIGHT, _PROVIDER_IN_FLIGHT + OWNERS)
PROVIDER_SIZE = _PROVIDER_IN_FLIGHT + OWNERS

NO_COLUMN = array("d", bytes(8 * OWNERS))

#: Bits of a target's flag: its circuit is not closed or was closed not long ago; probes found it unhealthy.
TROUBLED, UNHEALTHY = 1, 2


def guard_of(memory: Memory, section: Section, index: int) -> Guard:
    """Of a record that is being given away: nothing to repair, all of it is cleared."""
    cells = memory.part(section, index)
    return Guard(memory.locks, section.stripe + index, cells[SEQUENCE : SEQUENCE + 1], lambda: None)


class TargetRecord:
    """One target, as this process sees it. Made once per process; ``generation`` tells when it was given away."""

    __slots__ = (
        "_flag",
        "_memory",
        "cells",
        "circuit",
        "generation",
        "guard",
        "head",
        "id",
        "in_flight",
        "recent",
        "sent",
        "stats",
        "target",
    )

    def __init__(self, memory: Memory, index: int, target_id: str) -> None:
        section = memory.layout.targets
        cells = memory.part(section, index)
        self.id = target_id
        self.cells = cells
        self.generation = cells[GENERATION]
        self.target: Target | None = None  # as configured, or as last claimed
        self.head: TargetRecord | None = None  # of the head as a whole, where this is one of its models
        self.guard = Guard(memory.locks, section.stripe + index, cells[SEQUENCE : SEQUENCE + 1], self.repair)
        self.recent = recent.Recent(cells[_RECENT : _RECENT + recent.SIZE])
        self.circuit = Circuit(target_id, cells[_CIRCUIT : _CIRCUIT + circuits.SIZE])
        self.in_flight = memory.column(cells[IN_FLIGHT])
        self.sent = memory.column(cells[_SENT : _SENT + OWNERS])
        self.stats = TargetStats(
            cells[_STATS : _STATS + statistics.SIZE], self.guard, self.in_flight.sum, self.sent.sum
        )
        self._memory = memory
        self._flag = memory.layout.flags.start + index

    @property
    def given_away(self) -> bool:
        return self.cells[GENERATION] != self.generation

    def observed(self, now: float) -> Observed:
        return OBSERVED_STATES[int(self.cells[OBSERVED])] if now < self.cells[OBSERVED_UNTIL] else "unknown"

    def observe(self, state: Observed, until: float, at: float) -> None:
        """Under the guard."""
        self.cells[OBSERVED] = OBSERVED_STATES.index(state)
        self.cells[OBSERVED_UNTIL], self.cells[OBSERVED_AT] = until, at
        if state == "unhealthy":
            self.set_flag(UNHEALTHY)
        elif self.flag & UNHEALTHY:
            self.clear_flag(UNHEALTHY)

    def head_state(self, now: float) -> HeadState:
        """Of the target that stands for a whole head."""
        heard, until, load = self.cells[HEARD], self.cells[HEARD_UNTIL], self.stats.load
        return HeadState(
            now < until, bool(self.cells[DRAINING]), None if load is None else load.load, heard or None, until
        )

    def hear(self, load: float | None, draining: bool, until: float, at: float) -> bool:
        """A heartbeat at ``at``; whether anything turns by it: the head is back, or drains, or does so no more. Under
        the guard."""
        cells = self.cells
        same = at < cells[HEARD_UNTIL] and cells[DRAINING] == draining
        cells[HEARD], cells[HEARD_UNTIL], cells[DRAINING] = at, until, draining
        if load is not None:
            self.stats.report(load, at)
        return not same

    def belongs_to(self, head: TargetRecord) -> None:
        """It is one model of a head: loads, and what was sent since, are those of the head as a whole."""
        if head is not self:
            self.head, self.stats.head = head, head.stats

    @property
    def flag(self) -> int:
        return self._memory.raw[self._flag]

    def set_flag(self, bit: int) -> None:
        """Under the guard. Everybody's ``suspects`` will look again."""
        self._memory.raw[self._flag] |= bit
        self._memory.changed(TROUBLE)

    def clear_flag(self, bit: int) -> None:
        """Likewise."""
        self._memory.raw[self._flag] &= ~bit
        self._memory.changed(TROUBLE)

    def shift(self, seconds: float) -> None:
        """The clock starts anew, ``seconds`` ahead of where these times were taken."""
        self.circuit.shift(seconds)
        self.stats.shift(seconds)
        self.recent.shift(seconds)
        for at in (OBSERVED_UNTIL, OBSERVED_AT, HEARD, HEARD_UNTIL):
            if self.cells[at]:
                self.cells[at] += seconds

    def repair(self) -> None:
        self.circuit.repair()
        self.stats.repair()
        self.set_flag(TROUBLED)  # whoever was killed may have changed the state and not yet said so


class ProviderRecord:
    """One provider, likewise."""

    __slots__ = ("cells", "generation", "guard", "in_flight")

    def __init__(self, memory: Memory, index: int) -> None:
        section = memory.layout.providers
        self.cells = cells = memory.part(section, index)
        self.generation = cells[GENERATION]
        self.guard = guard_of(memory, section, index)
        self.in_flight = memory.column(cells[PROVIDER_IN_FLIGHT])

    @property
    def given_away(self) -> bool:
        return self.cells[GENERATION] != self.generation
