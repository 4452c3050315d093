"""Live state: everything the engine reads that changes between two requests, behind one protocol.

``LiveState`` is what strategies, stages and the attempt loop see. ``routes.live`` keeps it in memory that all
processes of a host share; ``local_live.LocalLiveState`` is the same tables in private memory (tests, explain). Keys
are stable ids of targets, providers, profiles and rules, so publishing a revision keeps circuits, samples, pins and
counters. Imports the vocabulary only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from routes.engine.circuit import Act, CircuitView
    from routes.engine.limits import Crossing, Exceeded, KeyLimits, KeyUsage, Meters, MoneyWindow
    from routes.engine.snapshot import Snapshot, Target
    from routes.engine.types import AdminState, Outcome, Transition

#: What active probes say of a target; labels for people, but for ``unhealthy``, which removes it.
Observed = Literal["unknown", "healthy", "degraded", "unhealthy"]
PinKind = Literal["session", "response"]

#: A claim on a half-open slot lapses after this many seconds unless the caller knows better.
CLAIM_LEASE = 600.0


class Quarantine(NamedTuple):
    """Why and until when traffic keeps away. ``told``: the upstream itself said until when (Retry-After)."""

    until: float
    cause: str  # an error class
    told: bool


class Means(NamedTuple):
    """Of a window of samples. ``seconds``: first event of streams, latency of others. Failed attempts count as
    their time-out, in ``per_token`` spread over the tokens of a typical answer."""

    seconds: float | None
    samples: int
    per_token: float | None
    token_samples: int  # answers that reported tokens, and failures beside them


class Pin(NamedTuple):
    """A session's target, until ``expires``; ``pinned_at``: when it was first sent there."""

    target_id: str
    pinned_at: float
    expires: float


class PinEntry(NamedTuple):
    """A pin as people see it: the session's name as given, or the head of it where it is long."""

    profile_id: str
    target_id: str
    session: str
    pinned_at: float
    expires: float
    kind: PinKind


class LoadReport(NamedTuple):
    """What a head said of itself, in its own unit (requests under way)."""

    at: float
    load: float


class HeadLoad(NamedTuple):
    """A head's last report, and how many requests this host has sent it since."""

    load: float
    at: float
    sent_since: int


class RecentOutcome(NamedTuple):
    """One of the last outcomes of a target. ``error_class`` None = it succeeded."""

    at: float
    error_class: str | None
    http_status: int | None
    source: Literal["traffic", "probe"]


class HeadState(NamedTuple):
    """A head of the moment. Past ``until`` it is offline for everybody, by each process's own clock."""

    online: bool
    draining: bool
    load: float | None  # as last reported
    heard_at: float | None  # None = never
    until: float


class Forced(NamedTuple):
    """What people did to a circuit at ``at``; ``until`` None = until it is reset. Both are Unix time."""

    act: Act
    until: float | None
    at: float


class Happening(NamedTuple):
    """A line of the host's log: something that people will want to read later. ``about``: the id of the target (kind
    ``circuit``), provider (``quarantine``) or access key (``budget``) that it happened to. In ``detail``, durations
    before and after ``at`` are in seconds."""

    number: int
    at: float
    kind: str
    about: str
    before: str
    after: str
    reason: str
    actor: str
    detail: Mapping[str, Any]


class Stats(Protocol):
    """Samples of one target; every figure is None until there are samples."""

    @property
    def in_flight(self) -> int: ...

    @property
    def consecutive_failures(self) -> int: ...

    @property
    def mean_output_tokens(self) -> float | None: ...

    @property
    def latency_ema_s(self) -> float | None:
        """Moving average of successful answers, each 20 % of it: the first event of streams, else the latency."""
        ...

    def ewma_s(self, stream: bool, now: float) -> float | None:
        """Peak EWMA of the first event (streams) or the latency (others), decayed to ``now``."""
        ...

    def mean_latency_s(self, stream: bool, now: float) -> tuple[float | None, int]:
        """(mean of the window for requests of that kind, number of samples)."""
        ...

    def means_s(self, stream: bool, now: float) -> Means:
        """Both means of the window for requests of that kind."""
        ...

    def percentile_s(self, stream: bool, percent: float, now: float) -> tuple[float | None, int]:
        """(nearest-rank percentile of the window for requests of that kind, number of samples). Costs a sort."""
        ...

    def answers_s(self, stream: bool, percents: Sequence[float], now: float) -> tuple[list[float | None], int]:
        """(nearest-rank percentiles, samples) of the same window without what failed, for people. Costs a sort."""
        ...

    def requests_in(self, seconds: float, now: float) -> int:
        """Attempts begun in the last ``seconds`` (at most an hour; whole minutes above a minute)."""
        ...

    def tokens_in(self, seconds: float, now: float) -> int:
        """Input and output tokens of answers that ended in the last ``seconds``, likewise."""
        ...

    def speed(self, now: float) -> tuple[float | None, int]:
        """(mean output tokens per second of the last 100 streams not older than an hour, number of them)."""
        ...

    @property
    def success_rate(self) -> float:
        """Moving average of success, each outcome 10 % of it; starts at 1."""
        ...

    @property
    def load(self) -> HeadLoad | None: ...

    def loads(self, since: float) -> Sequence[LoadReport]:
        """The head's last 10 reports that are not older than ``since``, oldest first."""
        ...


class Claim(Protocol):
    """Permission to send one attempt. Report what came of it with ``settle``, end it with ``release``."""

    @property
    def target_id(self) -> str: ...

    @property
    def half_open(self) -> bool: ...

    @property
    def transitions(self) -> list[Transition]:
        """Changes of circuit state that this attempt caused so far, in order (claiming may cause one too)."""
        ...


class Permit(Protocol):
    """A request of a limited key under way. End it with ``leave_key``."""

    @property
    def meters(self) -> Meters:
        """The key's limits by the minute, with this request counted."""
        ...


class Seat(Protocol):
    """A request under way on a profile that takes so many at once. End it with ``leave_profile``."""


class Rotation(Protocol):
    """The part of the live state that a decision advances, and the only one."""

    def rotate(self, pool: str) -> int:
        """Return the pool's counter and advance it by one; starts at 0."""
        ...


class LiveState(Rotation, Protocol):
    """Seconds are of the clock that the caller passes as ``now`` everywhere."""

    def hear_moves(self, moved: Callable[[Transition], None]) -> None:
        """Who hears of every change of a circuit that this process makes, whatever led to it; no lock is held then.
        Of all processes of a host one makes it, so each is heard of once. A fork is not listened to."""
        ...

    # -- what a decision reads ---------------------------------------------------------------------
    def inactive(self, now: float) -> Mapping[str, AdminState]:
        """The admin states in force that are not ``active``, by id of a provider or target; almost always empty."""
        ...

    def heads_away(self, now: float) -> Mapping[str, Literal["head_offline", "head_draining"]]:
        """Targets on heads that take no new sessions, by target id; empty without heads."""
        ...

    def admin_state(self, target: Target, now: float) -> AdminState: ...

    def suspects(self, now: float) -> Collection[str]:
        """Ids of targets whose circuit is not closed or still in slow start, and of providers with a quarantine:
        the only ones a decision needs to ask about. Almost always empty."""
        ...

    def circuit(self, target: Target, now: float) -> CircuitView: ...

    def quarantined_until(self, target: Target, model: str, now: float) -> Quarantine | None:
        """The longest quarantine on the target's credential or on upstream ``model`` with it, else None."""
        ...

    def observed(self, target_id: str, now: float) -> Observed:
        """What active probes found; targets that are ``unhealthy`` are among the suspects."""
        ...

    def recent(self, target_id: str) -> Sequence[RecentOutcome]:
        """Its last 10 outcomes, oldest first: what it answered to requests (none of ours or the client's faults), what
        it was quarantined for, and probes."""
        ...

    def head_state(self, head_key: str, now: float) -> HeadState: ...

    def recovered_at(self, target: Target, model: str, now: float) -> float | None:
        """When the target last came back: its circuit closed, or a quarantine on it or on ``model`` ended.
        None = it was never out, as far as is remembered, or it still is."""
        ...

    def in_flight(self, provider_id: str) -> int:
        """Attempts under way on all of the provider's targets."""
        ...

    def pinned(self, target_id: str) -> int:
        """Sessions pinned to the target; may lag behind by some seconds."""
        ...

    def stats(self, target_id: str) -> Stats: ...

    def stats_of(self, target_ids: Sequence[str]) -> Sequence[Stats]:
        """``stats`` of several targets in one call."""
        ...

    # -- sessions ------------------------------------------------------------------------------------------
    def pin(self, key: bytes, now: float) -> Pin | None: ...

    def set_pin(
        self,
        key: bytes,
        target_id: str,
        now: float,
        ttl: float,
        *,
        profile_id: str,
        session: str = "",
        kind: PinKind = "session",
        pinned_at: float | None = None,
    ) -> None:
        """Write, move or extend a pin. ``key``: 16 bytes, already hashed. ``pinned_at``: of the pin it extends.
        The table is bounded: where there is no room, the pin due soonest of a few makes some."""
        ...

    def pins(self, now: float, profile_id: str | None = None, target_id: str | None = None) -> Iterator[PinEntry]:
        """All in force, or those of a profile or target. Costs a walk over the table: for people only."""
        ...

    def drop_pins(self, now: float, profile_id: str | None = None, target_id: str | None = None) -> int:
        """Forget those pins; how many there were."""
        ...

    def remember_input(self, key: bytes, tokens: int, now: float) -> None:
        """Input tokens of a session's last request, kept for an hour."""
        ...

    def last_input(self, key: bytes, now: float) -> int | None: ...

    # -- what the configuration says ---------------------------------------------------------------------
    def published(self, snapshot: Snapshot) -> None:
        """A new revision is in force: forget targets and profiles that are gone, keep everything else."""
        ...

    def set_admin_states(self, states: Mapping[str, tuple[AdminState, float | None]], now: float, wall: float) -> None:
        """Admin states by id of a provider or target as (state, until). ``until`` is Unix time as in the overlay,
        None = for good; ``now`` and ``wall`` are the same moment on the engine's clock and as Unix time."""
        ...

    def set_forced(self, forced: Mapping[str, Forced], now: float, wall: float) -> None:
        """What people did to circuits, by target id. Whoever of the host hears of an act first does it."""
        ...

    def set_credentials(self, generations: Mapping[str, int]) -> None:
        """Credential generations by provider id; a changed one lifts that provider's quarantines."""
        ...

    # -- what only looks at what a decision would advance --------------------------------------------
    def peek(self) -> Rotation:
        """The same counters without advancing them: for explaining, previewing, replaying."""
        ...

    def fork(self) -> LiveState:
        """A private copy in memory: advance it, claim on it, pin on it; nobody else sees it."""
        ...

    # -- what others find out ------------------------------------------------------------------------------
    def set_observed(self, target_id: str, state: Observed, until: float, at: float | None = None) -> None:
        """Until then; past it the target reads as unknown, should nobody probe any more. ``at``: when it was found
        out; other hosts are told of what says so, and the newest word counts."""
        ...

    def probed(
        self, target: Target, ok: bool, error_class: str | None, now: float, http_status: int | None = None
    ) -> list[Transition]:
        """What a probe means for the circuit: a failure counts as one, a success only ends an open period early.
        Quarantines stay as they are."""
        ...

    def hear_head(self, head_key: str, load: float | None, draining: bool, until: float, now: float) -> None:
        """A head's heartbeat, with what it says of itself; its last 10 loads are kept."""
        ...

    def forget_head(self, head_key: str) -> None:
        """It is offline from now on."""
        ...

    def note(
        self,
        kind: str,
        about: str,
        before: str,
        after: str,
        reason: str,
        actor: str,
        detail: Mapping[str, Any],
        now: float,
    ) -> None:
        """Write a line into the host's log."""
        ...

    def happenings(self, after: int) -> tuple[Sequence[Happening], int]:
        """(lines of the host's log from number ``after`` on, how many of them were overwritten before)"""
        ...

    def move_on(self, now: float) -> None:
        """Open circuits whose time has come go on to half-open, also where nobody asks for their targets."""
        ...

    # -- around one attempt ------------------------------------------------------------------------
    def claim(self, target: Target, now: float, panic: int = 0, lease: float = CLAIM_LEASE) -> Claim | None:
        """Count the attempt in flight, taking a half-open slot when the circuit asks for one.

        None = no slot left, or the circuit opened meanwhile: go on to the next in the ranking, this is not an
        attempt. Refused as well while ``max_concurrency`` attempts are under way on the provider. ``panic``: of a
        degraded decision (``decision.panic``); the circuit is not asked, but at most that many may be in flight
        on the target. ``lease``: seconds after which a half-open slot is taken back although nobody settled it
        (the profile's ``total`` time-out fits).
        """
        ...

    def settle(self, claim: Claim, target: Target, outcome: Outcome, now: float) -> list[Transition]:
        """Report what the target did and free its half-open slot. Success may come before the end (first
        content event of a stream) and may be followed by one failure (the stream was cut); anything else
        after the first report is ignored. Returns the changes of state it caused."""
        ...

    def release(
        self, claim: Claim, now: float, output_tokens: int | None = None, input_tokens: int | None = None
    ) -> None:
        """The attempt is over: no longer in flight; an unsettled half-open slot is given back. Idempotent.
        Tokens of a complete answer, where known."""
        ...

    def finish(
        self,
        claim: Claim,
        target: Target,
        outcome: Outcome,
        now: float,
        output_tokens: int | None = None,
        input_tokens: int | None = None,
    ) -> list[Transition]:
        """``settle`` and ``release`` at once, for an attempt that is over when it is reported: half the locking."""
        ...

    # -- limits ------------------------------------------------------------------------------------
    # Exact over all threads and processes of the host. Between hosts: see ``tables.keys``.
    def enter_key(self, key_id: str, limits: KeyLimits, now: float) -> Permit | Exceeded:
        """Count a request of the key, in its minute and under way, unless that is one too many."""
        ...

    def reserve(self, permit: Permit, tokens: float, now: float, wall: float) -> tuple[Exceeded | None, list[Crossing]]:
        """Count tokens that the request is expected to use, unless they are too many or a budget is spent; and what
        people are to be told. ``wall`` is Unix time."""
        ...

    def leave_key(self, permit: Permit, tokens: float, micro_usd: int, now: float, wall: float) -> list[Crossing]:
        """The request is over and has used this, whatever was reserved. Idempotent."""
        ...

    def enter_profile(self, profile_id: str, limit: float, now: float) -> Seat | None:
        """One of ``limit`` seats; None when all are taken."""
        ...

    def leave_profile(self, seat: Seat) -> None:
        """Idempotent."""
        ...

    def key_usage(self, key_id: str, now: float, wall: float) -> KeyUsage:
        """What a key uses now. Zeros for one that has no limits: nothing is counted then."""
        ...

    def set_key_limits(self, limits: Mapping[str, KeyLimits], now: float, wall: float) -> None:
        """The limits now in force, by key id: budgets are remembered from here on."""
        ...

    def unseeded(self, wall: float) -> Mapping[str, Sequence[MoneyWindow]]:
        """Keys with budgets, and those of their windows whose beginning this state has not seen."""
        ...

    def seed_spent(self, key_id: str, window: MoneyWindow, micro_usd: int, wall: float) -> None:
        """What history says was spent in the window that runs, on all hosts; never lowers what is known."""
        ...

    # -- quarantines -------------------------------------------------------------------------------
    def quarantine(
        self, target: Target, model: str | None, seconds: float, cause: str, now: float, told: bool = False
    ) -> None:
        """Keep traffic away: ``model`` given = that upstream model on that credential, None = the whole
        provider credential. ``cause`` is an error class; ``told``: ``seconds`` is the upstream's own word."""
        ...

    def auth_failure(self, target: Target, cause: str, now: float) -> float | None:
        """A 401, 402 or billing refusal. The second in 60 s quarantines provider and credential for
        ``quarantine.auth`` seconds, doubling each time up to ``auth_max``; returns those seconds, else None."""
        ...
