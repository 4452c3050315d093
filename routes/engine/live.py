"""Live state: everything the engine reads that changes between two requests, behind one protocol.

``LiveState`` is what strategies, stages and the attempt loop see. ``LocalLiveState`` keeps it in this process
(tests, and every gateway process until the host-wide shared memory of a later stage takes its place behind
the same protocol). Keys are stable target ids, so publishing a revision keeps circuits, samples and counters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routes.engine.circuit import CircuitView
    from routes.engine.snapshot import Target
    from routes.engine.types import AdminState, Outcome, Transition


class Stats(Protocol):
    """Samples of one target; every figure is None until there are samples."""

    in_flight: int
    consecutive_failures: int

    def ewma_first_event_s(self, now: float) -> float | None: ...

    def mean_latency_s(self, stream: bool, now: float) -> tuple[float | None, int]:
        """(mean of the window for requests of that kind, number of samples)."""
        ...

    @property
    def mean_output_tokens(self) -> float | None: ...


class Claim(Protocol):
    """Permission to send one attempt; hand it back exactly once through ``LiveState.finish``."""

    target_id: str
    half_open: bool


class LiveState(Protocol):
    """Seconds are of the clock that the caller passes as ``now`` everywhere."""

    def admin_state(self, target: Target) -> AdminState: ...

    def circuit(self, target: Target, now: float) -> CircuitView: ...

    def quarantined_until(self, target: Target, model: str, now: float) -> tuple[float, str] | None:
        """(until, cause) while the target's upstream model or credential is quarantined, else None."""
        ...

    def stats(self, target_id: str) -> Stats: ...

    # -- what a decision may advance; never called when explaining --------------------------------
    def rotate(self, pool: str) -> int:
        """Return the pool's counter and advance it by one; starts at 0."""
        ...

    def smooth_pick(self, pool: str, ids: Sequence[str], weights: Sequence[float]) -> int:
        """One step of smooth weighted round robin over ``ids``; the index chosen."""
        ...

    # -- around one attempt ------------------------------------------------------------------------
    def claim(self, target: Target, now: float, forced: bool = False) -> Claim | None:
        """Count the attempt in flight, taking a half-open slot when the circuit asks for one.

        None = no slot left or the circuit opened meanwhile: try the next in the ranking. ``forced`` is for
        degraded decisions, bounded by the profile's ``panic_concurrency`` instead of by the circuit.
        """
        ...

    def settle(self, claim: Claim, target: Target, outcome: Outcome, now: float) -> list[Transition]:
        """Report what the target did (success may come before the end: first content event). At most once
        per claim; returns the changes of state it caused."""
        ...

    def release(self, claim: Claim, now: float) -> None:
        """The attempt is over: no longer in flight; an unsettled half-open slot is given back. Idempotent."""
        ...

    def quarantine(self, target: Target, model: str | None, seconds: float, cause: str, now: float) -> None:
        """Keep traffic away: ``model`` given = that upstream model on that credential, None = the whole
        provider credential. ``cause`` is an error class."""
        ...
