"""The circuit breaker of one target: closed -> open -> half-open -> closed, in periods.

Owns the state machine and its numbers; reads no clock and draws no random number (both are passed in), takes
no lock (``LocalLiveState`` does). Imports the vocabulary only. Settings come with every call because a new
revision may change them while the circuit lives on.

Every change of state starts a new period with empty counts and an empty window. Whoever starts an attempt
remembers the period it began in; a result of an older period is ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from routes.engine.types import Transition

if TYPE_CHECKING:
    from routes.engine.settings import CircuitSettings
    from routes.engine.types import CircuitState

#: Least share of requests admitted during slow start.
SLOW_START_FLOOR = 0.10
#: Part of the open period that jitter may add or take away.
JITTER = 0.20
#: The failure-rate window is counted in this many buckets.
BUCKETS = 30
#: Doubling ends here however often a circuit re-opens (the settings' maximum ends it long before).
MAX_DOUBLINGS = 16


class CircuitView(NamedTuple):
    """What a decision needs to know. ``state`` is the one in force now: an open circuit whose time has come
    is seen as half-open before anybody has tried it."""

    state: CircuitState
    until: float  # open: when it may be tried; else 0
    admitted: float  # share of requests let in by slow start; 1 outside it


CLOSED = CircuitView("closed", 0.0, 1.0)


class Window:
    """Successes and failures of the last ``window`` seconds, in buckets, so that its size does not grow with
    traffic. A result leaves at most one bucket (window / 30) early."""

    __slots__ = ("_bad", "_good", "_newest", "_width", "bad", "good")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / BUCKETS
        self._good = [0] * BUCKETS
        self._bad = [0] * BUCKETS
        self._newest = 0
        self.good = 0
        self.bad = 0

    def add(self, success: bool, now: float) -> None:
        """Count one result after dropping what has become too old."""
        number = int(now / self._width)
        steps = number - self._newest
        if steps > 0:
            for step in range(1, min(steps, BUCKETS) + 1):
                slot = (self._newest + step) % BUCKETS if steps < BUCKETS else step - 1
                self.good -= self._good[slot]
                self.bad -= self._bad[slot]
                self._good[slot] = self._bad[slot] = 0
            self._newest = number
        slot = number % BUCKETS
        if success:
            self.good += 1
            self._good[slot] += 1
        else:
            self.bad += 1
            self._bad[slot] += 1


class Circuit:
    """State of one target's circuit. ``period`` counts changes of state."""

    __slots__ = (
        "_slots",
        "_window",
        "_window_seconds",
        "consecutive",
        "period",
        "reopened",
        "since",
        "state",
        "successes",
        "target_id",
        "until",
    )

    def __init__(self, target_id: str) -> None:
        self.target_id = target_id
        self.state: CircuitState = "closed"
        self.period = 0
        self.since: float | None = None  # when this period began; None = fresh
        self.until = 0.0  # open: when it may be tried again
        self.consecutive = 0
        self.successes = 0  # half-open: so far
        self.reopened = 0  # half-open failures since it last closed
        self._slots: dict[int, float] = {}  # half-open: token -> when the claim lapses
        self._window: Window | None = None
        self._window_seconds = 0.0

    def view(self, settings: CircuitSettings, now: float) -> CircuitView:
        """The state in force at ``now``. Changes nothing."""
        if self.state == "closed":
            if self.since is None or settings.slow_start <= 0:
                return CLOSED
            elapsed = now - self.since
            if elapsed >= settings.slow_start:
                return CLOSED
            return CircuitView("closed", 0.0, max(SLOW_START_FLOOR, elapsed / settings.slow_start))
        if self.state == "open" and now < self.until:
            return CircuitView("open", self.until, 1.0)
        return CircuitView("half_open", 0.0, 1.0)

    def due(self, now: float) -> Transition | None:
        """Move an open circuit on to half-open if its time has come."""
        if self.state == "open" and now >= self.until:
            return self._change("half_open", "recovery_timeout", now)
        return None

    def take_slot(self, settings: CircuitSettings, token: int, now: float, lease: float) -> bool:
        """Half-open: one of ``half_open_max_calls`` slots, for at most ``lease`` seconds; False = all taken."""
        slots = self._slots
        if len(slots) >= settings.half_open_max_calls:
            for held in [held for held, lapses in slots.items() if lapses <= now]:
                del slots[held]
            if len(slots) >= settings.half_open_max_calls:
                return False
        slots[token] = now + lease
        return True

    def free_slot(self, token: int) -> None:
        """Give a half-open slot back; nothing happens if it is no longer held."""
        self._slots.pop(token, None)

    def succeeded(self, settings: CircuitSettings, period: int, now: float) -> Transition | None:
        """A complete valid answer or first content event of an attempt begun in ``period``."""
        if period != self.period:
            return None
        if self.state == "closed":
            self.consecutive = 0
            self._count(settings, True, now)
            return None
        if self.state == "open":
            # Only a degraded decision sends anything here. Like a probe that succeeds, it ends the open
            # period early and is none of the successes that close the circuit.
            return self._change("half_open", "degraded_success", now)
        self.successes += 1
        if self.successes >= settings.success_threshold:
            return self._change("closed", "successes", now)
        return None

    def failed(self, settings: CircuitSettings, period: int, now: float, jitter: float) -> Transition | None:
        """A countable failure of an attempt begun in ``period``. ``jitter`` is a uniform draw in [0, 1)."""
        if period != self.period or self.state == "open":
            return None
        if self.state == "half_open":
            self.reopened += 1
            return self._open(settings, "half_open_failure", now, jitter)
        self.consecutive += 1
        window = self._count(settings, False, now)
        if self.consecutive >= settings.failure_threshold:
            return self._open(settings, "consecutive_failures", now, jitter)
        # A run of failures alone is the threshold's business, whatever it is set to; the rate is for targets
        # that fail between successes.
        results = window.good + window.bad
        if window.good and results >= settings.min_results and 100 * window.bad >= settings.failure_rate * results:
            return self._open(settings, "failure_rate", now, jitter)
        return None

    def _count(self, settings: CircuitSettings, success: bool, now: float) -> Window:
        window = self._window
        if window is None or self._window_seconds != settings.window:
            window = self._window = Window(settings.window)
            self._window_seconds = settings.window
        window.add(success, now)
        return window

    def _open(self, settings: CircuitSettings, reason: str, now: float, jitter: float) -> Transition:
        doubled = settings.recovery_timeout * 2 ** min(self.reopened, MAX_DOUBLINGS)
        seconds = min(doubled, settings.recovery_timeout_max) * (1 + JITTER * (2 * jitter - 1))
        transition = self._change("open", reason, now)
        self.until = now + seconds
        return transition

    def _change(self, state: CircuitState, reason: str, now: float) -> Transition:
        before, self.state = self.state, state
        self.period += 1
        self.since = now
        self.until = 0.0
        self.consecutive = 0
        self.successes = 0
        self._slots.clear()
        self._window = None
        if state == "closed":
            self.reopened = 0
        return Transition(self.target_id, before, state, reason, now)
