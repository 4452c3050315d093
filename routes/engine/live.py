"""Live state: everything the engine reads that changes between two requests, behind one protocol.

``LiveState`` is what strategies, stages and the attempt loop see. ``local_live.LocalLiveState`` keeps it in this
process (tests, and every gateway process until the host-wide shared memory of a later stage takes its place
behind the same protocol). Keys are stable target ids, so publishing a revision keeps circuits, samples and
counters. Imports the vocabulary only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from routes.engine.circuit import CircuitView
    from routes.engine.snapshot import Snapshot, Target
    from routes.engine.types import AdminState, Outcome, Transition

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


class Stats(Protocol):
    """Samples of one target; every figure is None until there are samples."""

    @property
    def in_flight(self) -> int: ...

    @property
    def consecutive_failures(self) -> int: ...

    @property
    def mean_output_tokens(self) -> float | None: ...

    def ewma_s(self, stream: bool, now: float) -> float | None:
        """Peak EWMA of the first event (streams) or the latency (others), decayed to ``now``."""
        ...

    def mean_latency_s(self, stream: bool, now: float) -> tuple[float | None, int]:
        """(mean of the window for requests of that kind, number of samples)."""
        ...

    def means_s(self, stream: bool, now: float) -> Means:
        """Both means of the window for requests of that kind."""
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


class Rotation(Protocol):
    """The part of the live state that a decision advances, and the only one."""

    def rotate(self, pool: str) -> int:
        """Return the pool's counter and advance it by one; starts at 0."""
        ...

    def smooth_pick(self, pool: str, ids: Sequence[str], weights: Sequence[float]) -> int:
        """One step of smooth weighted round robin over ``ids``; the index chosen."""
        ...


class LiveState(Rotation, Protocol):
    """Seconds are of the clock that the caller passes as ``now`` everywhere."""

    # -- what a decision reads ---------------------------------------------------------------------
    def inactive(self, now: float) -> Mapping[str, AdminState]:
        """The admin states in force that are not ``active``, by provider id; almost always empty."""
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

    def stats(self, target_id: str) -> Stats: ...

    def stats_of(self, target_ids: Sequence[str]) -> Sequence[Stats]:
        """``stats`` of several targets in one call."""
        ...

    # -- what the configuration says ---------------------------------------------------------------------
    def published(self, snapshot: Snapshot) -> None:
        """A new revision is in force: forget targets and profiles that are gone, keep everything else."""
        ...

    def set_admin_states(self, states: Mapping[str, tuple[AdminState, float | None]], now: float, wall: float) -> None:
        """Admin states by provider id as (state, until). ``until`` is Unix time as in the overlay, None = for
        good; ``now`` and ``wall`` are the same moment on the engine's clock and as Unix time."""
        ...

    def set_credentials(self, generations: Mapping[str, int]) -> None:
        """Credential generations by provider id; a changed one lifts that provider's quarantines."""
        ...

    # -- what only looks at what a decision would advance --------------------------------------------
    def peek(self) -> Rotation:
        """The same counters without advancing them: for explaining, previewing, replaying."""
        ...

    # -- around one attempt ------------------------------------------------------------------------
    def claim(self, target: Target, now: float, panic: int = 0, lease: float = CLAIM_LEASE) -> Claim | None:
        """Count the attempt in flight, taking a half-open slot when the circuit asks for one.

        None = no slot left, or the circuit opened meanwhile: go on to the next in the ranking, this is not an
        attempt. ``panic``: of a degraded decision (``decision.panic``); the circuit is not asked, but at most
        that many may be in flight on the target. ``lease``: seconds after which a half-open slot is taken
        back although nobody settled it (the profile's ``total`` time-out fits).
        """
        ...

    def settle(self, claim: Claim, target: Target, outcome: Outcome, now: float) -> list[Transition]:
        """Report what the target did and free its half-open slot. Success may come before the end (first
        content event of a stream) and may be followed by one failure (the stream was cut); anything else
        after the first report is ignored. Returns the changes of state it caused."""
        ...

    def release(self, claim: Claim, now: float, output_tokens: int | None = None) -> None:
        """The attempt is over: no longer in flight; an unsettled half-open slot is given back. Idempotent.
        ``output_tokens`` of a complete answer, where known."""
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
