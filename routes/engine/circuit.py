"""The circuit breaker of one target: closed -> open -> half-open -> closed, in periods.

Owns the state machine and its numbers, which live in *cells*: a list, or a view of memory that all processes of a
host share. Reads no clock and draws no random number (both are passed in), takes no lock (the tables do). Imports
the vocabulary only. Settings come with every call because a new revision may change them while the circuit lives on.

Every change of state starts a new period with empty counts and an empty window. Whoever starts an attempt
remembers the period it began in; a result of an older period is ignored.

A process may be killed between any two writes, so the order of writes matters: every prefix of an update is a
state that somebody else can go on from (counts cleared, but the state not yet changed; a slot's lapse without its
token). Only the window's two sums follow from other cells; ``repair`` counts them again.
"""

from __future__ import annotations

from array import array
from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from routes.engine.types import Transition

if TYPE_CHECKING:
    from collections.abc import MutableSequence

    from routes.engine.settings import CircuitSettings
    from routes.engine.types import CircuitState

    Cells: TypeAlias = MutableSequence[float] | memoryview[float]

#: Least share of requests admitted during slow start.
SLOW_START_FLOOR = 0.10
#: Part of the open period that jitter may add or take away.
JITTER = 0.20
#: The failure-rate window is counted in this many buckets.
BUCKETS = 30
#: Doubling ends here however often a circuit re-opens (the settings' maximum ends it long before).
MAX_DOUBLINGS = 16
#: Half-open slots there is room for; more than that is not trying carefully any more.
SLOTS = 128
#: Processes of a host that may hold something here. A slot's token names its owner.
OWNERS = 128

STATES: tuple[CircuitState, ...] = ("closed", "open", "half_open")
_CLOSED, _OPEN, _HALF_OPEN = 0.0, 1.0, 2.0
REASONS = (
    "",
    "consecutive_failures",
    "failure_rate",
    "recovery_timeout",
    "degraded_success",
    "successes",
    "half_open_failure",
    "another_host",
    "probe_success",
    "forced_open",
    "forced_closed",
    "force_ended",
    "reset",
)

# Cells. All zero is a fresh closed circuit.
STATE, PERIOD, SINCE, UNTIL, CONSECUTIVE, SUCCESSES, REOPENED, REASON, ISSUED, SHARE, SHARE_UNTIL = range(11)
# Held by people: how, until when (0 = until they let go), and the Unix time of the act, so that each is done once.
FORCED, FORCED_UNTIL, ACTED = range(11, 14)
WINDOW, NEWEST, GOOD, BAD = range(14, 18)
GOODS = 18
BADS = GOODS + BUCKETS
TOKENS = BADS + BUCKETS
LAPSES = TOKENS + SLOTS
SIZE = LAPSES + SLOTS

_NO_RESULTS = array("d", bytes(8 * 2 * BUCKETS))
_NO_SLOTS = array("d", bytes(8 * SLOTS))


class CircuitView(NamedTuple):
    """What a decision needs to know. ``state`` is the one in force now: an open circuit whose time has come
    is seen as half-open before anybody has tried it."""

    state: CircuitState
    until: float  # open: when it may be tried (inf: when somebody lets go of it); else 0
    admitted: float  # share of requests let in by slow start; 1 outside it
    forced: bool = False  # held so by people


CLOSED = CircuitView("closed", 0.0, 1.0)
HELD_CLOSED = CircuitView("closed", 0.0, 1.0, True)
#: What people do to a circuit. ``reset`` lets go of it, closed and with nothing counted.
Act = Literal["open", "closed", "reset"]
_HELD: tuple[Act | None, ...] = (None, "open", "closed")


class CircuitPeriod(NamedTuple):
    """What people want to know of a circuit: its state as its last change left it, since when and why."""

    state: CircuitState
    since: float | None  # None = it never changed
    until: float  # open: when it may be tried; else 0
    reason: str
    reopened: int


class Window:
    """Successes and failures of the last so many seconds, in buckets, so that its size does not grow with
    traffic. A result leaves at most one bucket (window / 30) early."""

    __slots__ = ("_cells",)

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    @property
    def good(self) -> int:
        return int(self._cells[GOOD])

    @property
    def bad(self) -> int:
        return int(self._cells[BAD])

    def restart(self, seconds: float) -> None:
        """Forget all results; from now on of the last ``seconds``."""
        cells = self._cells
        cells[GOOD] = cells[BAD] = cells[NEWEST] = 0.0
        cells[GOODS:TOKENS] = _NO_RESULTS
        cells[WINDOW] = seconds

    def add(self, success: bool, now: float) -> None:
        """Count one result after dropping what has become too old."""
        cells = self._cells
        number = now // (cells[WINDOW] / BUCKETS)
        newest = cells[NEWEST]
        if number > newest:
            steps = number - newest
            if steps >= BUCKETS:
                cells[GOODS:TOKENS] = _NO_RESULTS
                cells[GOOD] = cells[BAD] = 0.0
            else:
                for step in range(1, int(steps) + 1):
                    slot = int(newest + step) % BUCKETS
                    cells[GOOD] -= cells[GOODS + slot]
                    cells[BAD] -= cells[BADS + slot]
                    cells[GOODS + slot] = cells[BADS + slot] = 0.0
            cells[NEWEST] = number
        slot = int(number) % BUCKETS
        if success:
            cells[GOOD] += 1
            cells[GOODS + slot] += 1
        else:
            cells[BAD] += 1
            cells[BADS + slot] += 1


class Circuit:
    """State of one target's circuit. ``period`` counts changes of state."""

    __slots__ = ("_window", "cells", "target_id")

    def __init__(self, target_id: str, cells: Cells | None = None) -> None:
        self.target_id = target_id
        self.cells: Cells = [0.0] * SIZE if cells is None else cells
        self._window = Window(self.cells)

    @property
    def state(self) -> CircuitState:
        return STATES[int(self.cells[STATE])]

    @property
    def closed(self) -> bool:
        return self.cells[STATE] == _CLOSED

    @property
    def period(self) -> float:
        return self.cells[PERIOD]

    @property
    def since(self) -> float | None:
        """When this period began; None = fresh."""
        return self.cells[SINCE] if self.cells[PERIOD] else None

    @property
    def consecutive(self) -> int:
        return int(self.cells[CONSECUTIVE])

    @property
    def until(self) -> float:
        """Open: when it may be tried again; else 0."""
        return self.cells[UNTIL]

    @property
    def reopened(self) -> int:
        """Half-open failures since it last closed."""
        return int(self.cells[REOPENED])

    @property
    def reason(self) -> str:
        """Why it is in its state."""
        return REASONS[int(self.cells[REASON])]

    @property
    def acted(self) -> float:
        """When people last did something to it, as Unix time; 0 = never."""
        return self.cells[ACTED]

    def held(self, now: float) -> Act | None:
        """How people hold it."""
        cells = self.cells
        if not cells[FORCED] or 0 < cells[FORCED_UNTIL] <= now:
            return None
        return _HELD[int(cells[FORCED])]

    @property
    def held_until(self) -> float:
        """When people's hold on it ends by itself; 0 = it does not, or there is none."""
        return self.cells[FORCED_UNTIL] if self.cells[FORCED] else 0.0

    def view(self, settings: CircuitSettings, now: float) -> CircuitView:
        """The state in force at ``now``. Changes nothing."""
        cells = self.cells
        state = cells[STATE]
        if cells[FORCED] and (held := self.held(now)) is not None:
            return HELD_CLOSED if held == "closed" else CircuitView("open", cells[FORCED_UNTIL] or inf, 1.0, True)
        if state == _CLOSED:
            if not cells[PERIOD] or settings.slow_start <= 0:
                return CLOSED
            elapsed = now - cells[SINCE]
            if elapsed >= settings.slow_start:
                return CLOSED
            return CircuitView("closed", 0.0, max(SLOW_START_FLOOR, elapsed / settings.slow_start))
        until = cells[UNTIL]
        if state == _OPEN and now < until:
            return CircuitView("open", until, 1.0)
        return CircuitView("half_open", 0.0, 1.0)

    def due(self, now: float) -> Transition | None:
        """Move an open circuit on to half-open if its time has come (and it is on this host to try it)."""
        cells = self.cells
        if cells[STATE] != _OPEN or now < cells[UNTIL] or (not cells[SHARE] and now < cells[SHARE_UNTIL]):
            return None
        if cells[FORCED] and self.held(now) is not None:
            return None
        reason = "force_ended" if self.reason == "forced_open" else "recovery_timeout"
        cells[FORCED] = 0.0
        return self._change(_HALF_OPEN, reason, now)

    # -- by hand -------------------------------------------------------------------------------------------
    def act(self, act: Act, until: float, acted: float, now: float) -> Transition | None:
        """What somebody did at ``acted`` (Unix time): the first process of a host to hear of it does it, once.
        ``until`` 0 = until it is reset. Resetting a circuit that nothing ever happened to is nothing; nor is a hold
        that is over when it is heard of, but that it ends one before it."""
        cells = self.cells
        if acted <= cells[ACTED]:
            return None
        transition = None
        if 0 < until <= now:
            if cells[FORCED]:
                cells[FORCED_UNTIL] = until
                if cells[STATE] == _OPEN:
                    cells[UNTIL] = until
        elif act == "reset":
            cells[FORCED] = cells[FORCED_UNTIL] = 0.0
            transition = self._change(_CLOSED, "reset", now) if cells[PERIOD] else None
        else:
            cells[FORCED] = 0.0
            if act == "open":
                transition = self._change(_OPEN, "forced_open", now, until or now)
            elif cells[STATE] != _CLOSED:
                transition = self._change(_CLOSED, "forced_closed", now)
            cells[FORCED_UNTIL] = until
            cells[FORCED] = float(_HELD.index(act))
        cells[ACTED] = acted  # last: an act that is cut short is done again
        return transition

    def pass_over(self, acted: float) -> None:
        """What was done then is void here, and not to be looked at again."""
        self.cells[ACTED] = max(self.cells[ACTED], acted)

    def as_left(self) -> CircuitPeriod:
        """Of its last change. Whoever asks holds the guard."""
        return CircuitPeriod(self.state, self.since, self.until, self.reason, self.reopened)

    # -- half-open slots -----------------------------------------------------------------------------------
    def take_slot(self, settings: CircuitSettings, owner: int, now: float, lease: float) -> int:
        """Half-open: one of ``half_open_max_calls`` slots, for at most ``lease`` seconds: its token, 0 = all
        taken. While other hosts try the same target, this host has a share of them."""
        cells = self.cells
        limit = min(settings.half_open_max_calls, SLOTS)
        if now < cells[SHARE_UNTIL]:
            limit = min(limit, int(cells[SHARE]))
        tokens = list(cells[TOKENS : TOKENS + SLOTS])
        if SLOTS - tokens.count(0.0) >= limit:
            for place, token in enumerate(tokens):
                if token and cells[LAPSES + place] <= now:
                    cells[TOKENS + place] = tokens[place] = 0.0
            if SLOTS - tokens.count(0.0) >= limit:
                return 0
        place = tokens.index(0.0)
        cells[ISSUED] += 1
        issued = int(cells[ISSUED]) * OWNERS + owner
        cells[LAPSES + place] = now + lease
        cells[TOKENS + place] = issued
        return issued

    def free_slot(self, token: int) -> None:
        """Give a half-open slot back; nothing happens if it is no longer held."""
        tokens = list(self.cells[TOKENS : TOKENS + SLOTS])
        if token in tokens:
            self.cells[TOKENS + tokens.index(token)] = 0.0

    def free_slots_of(self, owner: int) -> None:
        """Take back what a process that is gone held."""
        for place, token in enumerate(self.cells[TOKENS : TOKENS + SLOTS]):
            if token and int(token) % OWNERS == owner:
                self.cells[TOKENS + place] = 0.0

    def free_all_slots(self) -> None:
        """Nobody is left who could hold one."""
        self.cells[TOKENS:LAPSES] = _NO_SLOTS

    def set_share(self, slots: int, until: float) -> None:
        """How many half-open slots are this host's, until then; afterwards all of them."""
        self.cells[SHARE] = slots
        self.cells[SHARE_UNTIL] = until

    # -- results -------------------------------------------------------------------------------------------
    def succeeded(self, settings: CircuitSettings, period: float, now: float) -> Transition | None:
        """A complete valid answer or first content event of an attempt begun in ``period``."""
        cells = self.cells
        if period != cells[PERIOD] or (cells[FORCED] and self.held(now) is not None):
            return None
        state = cells[STATE]
        if state == _CLOSED:
            cells[CONSECUTIVE] = 0.0
            self._count(settings, True, now)
            return None
        if state == _OPEN:
            # Only a degraded decision sends anything here. Like a probe that succeeds, it ends the open
            # period early and is none of the successes that close the circuit.
            return self._change(_HALF_OPEN, "degraded_success", now)
        cells[SUCCESSES] += 1
        if cells[SUCCESSES] >= settings.success_threshold:
            return self._change(_CLOSED, "successes", now)
        return None

    def failed(self, settings: CircuitSettings, period: float, now: float, jitter: float) -> Transition | None:
        """A countable failure of an attempt begun in ``period``. ``jitter`` is a uniform draw in [0, 1)."""
        cells = self.cells
        state = cells[STATE]
        if period != cells[PERIOD] or state == _OPEN or (cells[FORCED] and self.held(now) is not None):
            return None
        if state == _HALF_OPEN:
            cells[REOPENED] += 1
            return self._open(settings, "half_open_failure", now, jitter)
        cells[CONSECUTIVE] += 1
        self._count(settings, False, now)
        if cells[CONSECUTIVE] >= settings.failure_threshold:
            return self._open(settings, "consecutive_failures", now, jitter)
        # A run of failures alone is the threshold's business, whatever it is set to; the rate is for targets
        # that fail between successes.
        good, bad = cells[GOOD], cells[BAD]
        results = good + bad
        if good and results >= settings.min_results and 100 * bad >= settings.failure_rate * results:
            return self._open(settings, "failure_rate", now, jitter)
        return None

    def probed(self, now: float) -> Transition | None:
        """A probe succeeded: it ends an open period early, and is none of the successes that close the circuit."""
        if self.cells[STATE] != _OPEN or self.held(now) is not None:
            return None
        self.cells[FORCED] = 0.0
        return self._change(_HALF_OPEN, "probe_success", now)

    def adopt(self, state: CircuitState, since: float, until: float, reopened: int, now: float) -> Transition | None:
        """Another host's word, newer than ours. Where people hold it closed, a host that does not know yet has nothing
        to say: it would be left open in here, and take nobody who was sent by what is held."""
        code = float(STATES.index(state))
        if code != _CLOSED and self.held(now) == "closed":
            return None
        self.cells[REOPENED] = reopened
        if code == self.cells[STATE]:
            self.cells[UNTIL] = until
            self.cells[SINCE] = since
            return None
        return self._change(code, "another_host", since, until)

    def repair(self) -> None:
        """Whoever wrote last was killed while writing."""
        cells = self.cells
        cells[GOOD] = sum(cells[GOODS:BADS])
        cells[BAD] = sum(cells[BADS:TOKENS])

    def shift(self, seconds: float) -> None:
        """The clock starts anew, ``seconds`` ahead of where these times were taken."""
        cells = self.cells
        for at in (SINCE, UNTIL):
            cells[at] += seconds
        if cells[FORCED_UNTIL]:
            cells[FORCED_UNTIL] += seconds
        cells[WINDOW] = cells[SHARE_UNTIL] = 0.0

    def _count(self, settings: CircuitSettings, success: bool, now: float) -> None:
        if self.cells[WINDOW] != settings.window:
            self._window.restart(settings.window)
        self._window.add(success, now)

    def _open(self, settings: CircuitSettings, reason: str, now: float, jitter: float) -> Transition:
        doubled = settings.recovery_timeout * 2 ** min(self.cells[REOPENED], MAX_DOUBLINGS)
        seconds = min(doubled, settings.recovery_timeout_max) * (1 + JITTER * (2 * jitter - 1))
        return self._change(_OPEN, reason, now, now + seconds)

    def _change(self, state: float, reason: str, now: float, until: float = 0.0) -> Transition:
        cells = self.cells
        before = cells[STATE]
        # Counts first, the state itself last: see above.
        cells[CONSECUTIVE] = cells[SUCCESSES] = cells[WINDOW] = 0.0
        cells[TOKENS:LAPSES] = _NO_SLOTS
        if state == _CLOSED:
            cells[REOPENED] = 0.0
        cells[REASON] = REASONS.index(reason)
        cells[UNTIL] = until
        cells[SINCE] = now
        cells[PERIOD] += 1
        cells[STATE] = state
        return Transition(self.target_id, STATES[int(before)], STATES[int(state)], reason, now)
