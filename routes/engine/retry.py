"""What follows an attempt: which outcome goes where, what counts against the target, how long to wait. Pure.

``rule_on_status`` and ``rule_on_failure`` are the outcome table of the gateway as code; ``Walk`` is the order in
which a ranking is tried; ``RetryBudget`` is the only state, one per process. Clock and random source come in as
arguments. Imports nothing outside the engine.
"""

from __future__ import annotations

from collections import deque
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from routes.engine.quarantine import rate_limit_seconds

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from routes.engine.live import LiveState
    from routes.engine.settings import Failover
    from routes.engine.snapshot import Target

BACKOFF_BASE: Final = 0.1
BACKOFF_CAP: Final = 2.0
#: An answer like any other, without a body: what the client has is still right.
NOT_MODIFIED: Final = 304
#: A 429 that asks for more patience than this is not waited for inside a request.
MAX_RATE_LIMIT_WAIT: Final = 5.0


class Step(Enum):
    """Where a request goes after an attempt."""

    DELIVER = "deliver"  # the answer, once its body proved to be one
    NEXT = "next"  # another target
    LARGER = "larger"  # a target that takes in more, else like SURFACE
    SURFACE = "surface"  # the upstream's answer goes to the client as it is
    REFUSE = "refuse"  # our own error: the credential is ours, not the client's


class Again(Enum):
    """Whether a later pass may try the same target again."""

    NO = "no"
    QUICK = "quick"  # it failed at once: trying again is cheap
    WAIT = "wait"  # rate-limited: when its own time has come


class Keep(Enum):
    """Which quarantine an outcome asks for."""

    NONE = "none"
    RATE_LIMIT = "rate_limit"  # the upstream model on this credential, for Retry-After
    MODEL = "model"  # the same for ``quarantine.auth``
    ACCOUNT = "account"  # the whole credential, at the second time in 60 s
    COOL_DOWN = "cool_down"  # the upstream model, only if it named a time


class Ruling(NamedTuple):
    """``verdict`` is what the target's circuit hears."""

    error_class: str | None
    step: Step
    verdict: Literal["success", "failure", "neutral"]
    again: Again = Again.NO
    keep: Keep = Keep.NONE


_OK = Ruling(None, Step.DELIVER, "success")
_RATE_LIMITED = Ruling("rate_limited", Step.NEXT, "neutral", Again.WAIT, Keep.RATE_LIMIT)
_FORBIDDEN = Ruling("auth_failed", Step.NEXT, "neutral", Again.NO, Keep.MODEL)
_REDIRECT = Ruling("upstream_redirect", Step.NEXT, "failure")

#: Failures below or instead of a status. Slow ones are never tried again in the same request.
_FAILURES: dict[str, Ruling] = {
    name: Ruling(name, Step.NEXT, "failure", again)
    for name, again in (
        ("connect_refused", Again.QUICK),
        ("reset_before_headers", Again.QUICK),
        ("dns", Again.QUICK),
        ("tls", Again.QUICK),
        ("connect_timeout", Again.NO),
        ("timeout_first_byte", Again.NO),
        ("timeout_first_event", Again.NO),
        ("timeout_idle", Again.NO),
        ("invalid_response", Again.NO),
        ("error_in_200", Again.NO),
        ("truncated", Again.QUICK),
        ("reset_midstream", Again.QUICK),
        ("upstream_framing", Again.NO),
        ("too_large", Again.NO),
    )
}
_FAILURES["timeout_total"] = Ruling("timeout_total", Step.REFUSE, "failure")
_FAILURES["internal"] = Ruling("internal", Step.NEXT, "neutral")
#: The error classes that ``rule_on_failure`` knows.
FAILURES: Final = frozenset(_FAILURES)
#: Left for another target after ``first_event_soft``: it may have been about to answer.
TOO_SLOW_SO_FAR: Final = Ruling("timeout_first_event", Step.NEXT, "neutral")


def rule_on_failure(error_class: str) -> Ruling:
    """For an attempt that brought no complete answer."""
    return _FAILURES[error_class]


def rule_on_status(status: int, cause: str | None, failover: Failover) -> Ruling:
    """For an answer with ``status``; ``cause`` is what its body says where the status does not:
    ``context_length``, ``content_filter``, ``billing`` or None."""
    if 200 <= status < 300 or status == NOT_MODIFIED:
        return _OK
    if status < 400:
        return _REDIRECT
    if status == 429:
        return _RATE_LIMITED
    if status in (401, 402) or (status == 400 and cause == "billing"):
        step = Step.NEXT if failover.auth_errors == "failover" else Step.REFUSE
        error_class = "auth_failed" if status == 401 else "quota_exhausted"
        return Ruling(error_class, step, "neutral", Again.NO, Keep.ACCOUNT)
    if cause == "context_length":
        return Ruling(cause, Step.LARGER, "neutral")
    if cause == "content_filter":
        return Ruling(cause, Step.SURFACE, "neutral")
    if status == 403:
        return _FORBIDDEN
    error_class = "client_error" if status < 500 else "overloaded" if status == 529 else "upstream_5xx"
    if status in failover.retry_statuses:
        keep = Keep.COOL_DOWN if status == 503 else Keep.NONE
        return Ruling(error_class, Step.NEXT, "failure", Again.QUICK, keep)
    return Ruling(error_class, Step.SURFACE, "neutral")


def keep_away(live: LiveState, target: Target, model: str, ruling: Ruling, wait: float | None, now: float) -> None:
    """Ask for the quarantine an outcome calls for. ``model`` is the upstream's; ``wait`` its own word, in seconds."""
    keep = ruling.keep
    if keep is Keep.NONE:
        return
    settings = target.provider.quarantine
    cause = ruling.error_class or ""
    if keep is Keep.ACCOUNT:
        live.auth_failure(target, cause, now)
    elif keep is Keep.MODEL:
        live.quarantine(target, model, settings.auth, cause, now)
    elif keep is Keep.RATE_LIMIT or wait is not None:
        live.quarantine(target, model, rate_limit_seconds(settings, wait), cause, now, told=wait is not None)


def retry_after(headers: Iterable[tuple[bytes, bytes]], unix_now: float) -> float | None:
    """Seconds an upstream asks us to stay away: ``retry-after-ms``, or ``Retry-After`` in seconds or as an
    HTTP-date. None without one that can be read; never negative. Names are in lower case."""
    seconds: float | None = None
    for name, value in headers:
        if name == b"retry-after-ms":
            milliseconds = _number(value)
            if milliseconds is not None:
                return milliseconds / 1000
        elif name == b"retry-after" and seconds is None:
            seconds = _number(value)
            if seconds is None:
                seconds = _until(value, unix_now)
    return seconds


def _number(value: bytes) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None  # also refuses nan and inf


def _until(value: bytes, unix_now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(value.decode("ascii")).timestamp() - unix_now)
    except (ValueError, TypeError, OverflowError):
        return None


class Walk:
    """The order in which one request tries its ranking.

    First pass: every place once. When the ranking is exhausted and attempts remain, ``same_target_retries`` more
    passes go over the places that failed quickly; when there is none, the soonest rate-limited one is waited
    for if it asked for little. Places that timed out are never tried again.
    """

    __slots__ = ("_again", "_allowed", "_limited", "_passes", "_queue", "attempts", "max_attempts")

    def __init__(self, failover: Failover, *, single: bool = False) -> None:
        self.max_attempts = 1 if single else failover.max_attempts
        self.attempts = 0
        self._allowed = 0 if single else failover.same_target_retries
        self._passes = 0
        self._queue: deque[int] | None = None  # None = first pass, which counts up by itself
        self._again: list[int] = []
        self._limited: dict[int, float] = {}  # place -> when it may be tried again

    @property
    def first_pass(self) -> bool:
        return self._queue is None

    @property
    def exhausted(self) -> bool:
        """No attempt is left, wherever."""
        return self.attempts >= self.max_attempts

    def following(self, index: int | None) -> int | None:
        """The place to try after ``index`` in this pass (-1 to begin); None = this pass is over. In the first
        pass the caller finds out where the ranking ends."""
        if self._queue is None:
            return None if index is None else index + 1
        return self._queue.popleft() if self._queue else None

    def began(self) -> None:
        self.attempts += 1

    def stop(self) -> None:
        """No further attempt, whatever is left."""
        self.max_attempts = self.attempts

    def failed(self, index: int, again: Again, now: float, wait: float | None = None) -> None:
        """An attempt at ``index`` failed. ``wait`` is the ``Retry-After`` of a rate limit."""
        if again is Again.QUICK:
            self._again.append(index)
        elif again is Again.WAIT and wait is not None and wait <= MAX_RATE_LIMIT_WAIT:
            self._limited[index] = now + wait

    def another_pass(self, now: float, rng: random.Random) -> float | None:
        """Seconds to pause before one more pass; None when the walk is over."""
        if self.exhausted or self._passes >= self._allowed:
            return None
        self._passes += 1
        if self._again:
            self._queue, self._again = deque(sorted(self._again)), []
            return rng.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2 ** (self._passes - 1)))
        if self._limited:
            index = min(self._limited, key=self._limited.__getitem__)
            self._queue = deque((index,))
            return max(0.0, self._limited.pop(index) - now)
        return None


class RetryBudget:
    """Stops retry storms: in any ``WINDOW`` seconds a process starts at most max(30, 20 % of its requests in them)
    attempts beyond the first. Requests are counted per second, rounded down; extra attempts exactly."""

    WINDOW: Final = 10
    FLOOR: Final = 30
    SHARE: Final = 0.2

    __slots__ = ("_counts", "_extra", "_second", "_total")

    def __init__(self) -> None:
        self._counts = [0] * self.WINDOW
        self._second = 0
        self._total = 0
        self._extra: deque[float] = deque()

    def request(self, now: float) -> None:
        """A request begins. O(1)."""
        second = int(now)
        if second != self._second:
            self._advance(second)
        self._counts[second % self.WINDOW] += 1
        self._total += 1

    def _advance(self, second: int) -> None:
        for gone in range(self._second + 1, min(second, self._second + self.WINDOW) + 1):
            self._total -= self._counts[gone % self.WINDOW]
            self._counts[gone % self.WINDOW] = 0
        self._second = second

    def take(self, now: float) -> bool:
        """Whether one more attempt beyond a request's first may start; counts it if so."""
        second = int(now)
        if second != self._second:
            self._advance(second)
        extra = self._extra
        while extra and extra[0] <= now - self.WINDOW:
            extra.popleft()
        if len(extra) >= max(self.FLOOR, int(self.SHARE * self._total)):
            return False
        extra.append(now)
        return True
