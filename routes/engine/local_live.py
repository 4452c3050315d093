"""``LocalLiveState``: the live state kept in this process, safe from any thread. Imports the engine only.

One lock guards everything that is read and then written (counters, claims, results); plain reads take none.
Nothing here waits for anything but that lock, which is never held longer than a few microseconds.
"""

from __future__ import annotations

import threading
from random import Random
from typing import TYPE_CHECKING

from routes.engine.circuit import CLOSED, Circuit
from routes.engine.live import CLAIM_LEASE, Claim, Quarantine
from routes.engine.quarantine import Quarantines
from routes.engine.stats import TargetStats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routes.engine.circuit import CircuitView
    from routes.engine.snapshot import Target
    from routes.engine.stats import Sample
    from routes.engine.types import AdminState, Outcome, Transition


class LocalClaim:
    """See ``live.Claim``."""

    __slots__ = ("half_open", "period", "released", "sample", "settled", "stats", "target_id", "token", "transitions")

    def __init__(self, target_id: str, stats: TargetStats, period: int, token: int, half_open: bool) -> None:
        self.target_id = target_id
        self.stats = stats
        self.period = period
        self.token = token
        self.half_open = half_open
        self.settled: str | None = None  # the verdict reported last
        self.released = False
        self.sample: Sample | None = None
        self.transitions: list[Transition] = []


class LocalLiveState:
    """See ``live.LiveState``. ``rng`` draws the jitter of open periods."""

    def __init__(self, rng: Random | None = None) -> None:
        self._rng = rng or Random()
        self._lock = threading.Lock()
        self._admin: dict[str, tuple[AdminState, float | None]] = {}
        self._circuits: dict[str, Circuit] = {}
        #: ids whose circuit is not closed, or was closed not long ago; only these are asked for a view
        self._troubled: dict[str, Target] = {}
        self._quarantines = Quarantines()
        self._stats: dict[str, TargetStats] = {}
        self._counters: dict[str, int] = {}
        self._smooth: dict[str, dict[str, float]] = {}
        self._tokens = 0

    # -- from the overlay --------------------------------------------------------------------------
    def set_admin_states(self, states: Mapping[str, tuple[AdminState, float | None]], now: float, wall: float) -> None:
        self._admin = {
            provider: (state, None if until is None else now + (until - wall))
            for provider, (state, until) in states.items()
            if state != "active"
        }

    def set_credentials(self, generations: Mapping[str, int]) -> None:
        with self._lock:
            self._quarantines.credentials(generations)

    # -- what a decision reads ---------------------------------------------------------------------
    def all_active(self, now: float) -> bool:
        return not self._admin

    def admin_state(self, target: Target, now: float) -> AdminState:
        entry = self._admin.get(target.provider.id)
        if entry is None or (entry[1] is not None and entry[1] <= now):
            return "active"
        return entry[0]

    def all_healthy(self, now: float) -> bool:
        if self._troubled:
            with self._lock:
                for target_id, target in list(self._troubled.items()):
                    if self._circuits[target_id].view(target.provider.circuit, now) is CLOSED:
                        del self._troubled[target_id]
        return not self._troubled and not self._quarantines.any(now)

    def circuit(self, target: Target, now: float) -> CircuitView:
        circuit = self._circuits.get(target.id)
        return CLOSED if circuit is None else circuit.view(target.provider.circuit, now)

    def quarantined_until(self, target: Target, model: str, now: float) -> Quarantine | None:
        return self._quarantines.find(target.provider.id, model, now)

    def stats(self, target_id: str) -> TargetStats:
        found = self._stats.get(target_id)
        return self._stats.setdefault(target_id, TargetStats()) if found is None else found

    # -- what a decision advances ------------------------------------------------------------------
    def rotate(self, pool: str) -> int:
        with self._lock:
            turn = self._counters.get(pool, 0)
            self._counters[pool] = turn + 1
        return turn

    def smooth_pick(self, pool: str, ids: Sequence[str], weights: Sequence[float]) -> int:
        with self._lock:
            current = self._smooth.get(pool)
            if current is None or len(current) > 2 * len(ids):  # mostly targets that are gone
                current = self._smooth[pool] = {key: value for key, value in (current or {}).items() if key in ids}
            chosen, highest, total = _smooth_step(current, ids, weights)
            for target_id, weight in zip(ids, weights, strict=True):
                current[target_id] = current.get(target_id, 0.0) + weight
            current[ids[chosen]] = highest - total
        return chosen

    def peek(self) -> Peek:
        return Peek(self._counters, self._smooth)

    # -- around one attempt ------------------------------------------------------------------------
    def claim(self, target: Target, now: float, panic: int = 0, lease: float = CLAIM_LEASE) -> LocalClaim | None:
        stats = self.stats(target.id)
        with self._lock:
            circuit = self._circuits.get(target.id)
            if circuit is None:
                circuit = self._circuits[target.id] = Circuit(target.id)
            moved = None
            half_open = False
            token = 0
            if panic:
                if stats.in_flight >= panic:
                    return None
            elif circuit.state != "closed":
                moved = circuit.due(now)
                if circuit.state == "open":
                    return None
                self._tokens = token = self._tokens + 1
                half_open = True
                if not circuit.take_slot(target.provider.circuit, token, now, lease):
                    return None
            stats.in_flight += 1
            claim = LocalClaim(target.id, stats, circuit.period, token, half_open)
        if moved is not None:
            claim.transitions.append(moved)
        return claim

    def settle(self, claim: Claim, target: Target, outcome: Outcome, now: float) -> list[Transition]:
        assert isinstance(claim, LocalClaim)
        settings = target.provider.circuit
        verdict = outcome.verdict
        transition: Transition | None = None
        with self._lock:
            if claim.settled is not None and (claim.settled, verdict) != ("success", "failure"):
                return []
            earlier = claim.sample
            claim.settled = verdict
            circuit = self._circuits[claim.target_id]
            if claim.half_open:
                circuit.free_slot(claim.token)
            if verdict == "success":
                first = outcome.first_event_s if outcome.stream else None
                seconds = outcome.latency_s if first is None else first
                claim.sample = claim.stats.succeeded(outcome.stream, seconds, outcome.output_tokens, now)
                transition = circuit.succeeded(settings, claim.period, now)
                self._quarantines.answered(target.provider.id)
            elif verdict == "failure":
                claim.stats.failed(outcome.stream, outcome.timeout_s or outcome.latency_s, now, earlier)
                transition = circuit.failed(settings, claim.period, now, self._rng.random())
            if transition is None:
                return []
            self._troubled[claim.target_id] = target
        claim.transitions.append(transition)
        return [transition]

    def release(self, claim: Claim, now: float, output_tokens: int | None = None) -> None:
        assert isinstance(claim, LocalClaim)
        with self._lock:
            if claim.released:
                return
            claim.released = True
            claim.stats.in_flight -= 1
            if claim.half_open and claim.settled is None:
                self._circuits[claim.target_id].free_slot(claim.token)
            if output_tokens:
                claim.stats.answered(output_tokens)

    # -- quarantines -------------------------------------------------------------------------------
    def quarantine(
        self, target: Target, model: str | None, seconds: float, cause: str, now: float, told: bool = False
    ) -> None:
        with self._lock:
            self._quarantines.put(target.provider.id, model, Quarantine(now + seconds, cause, told), now)

    def auth_failure(self, target: Target, cause: str, now: float) -> float | None:
        with self._lock:
            provider = target.provider
            return self._quarantines.auth_failure(provider.id, cause, provider.quarantine, now)


class Peek:
    """Counters as they stand, never advanced. See ``live.Rotation``."""

    __slots__ = ("_counters", "_smooth")

    def __init__(self, counters: Mapping[str, int], smooth: Mapping[str, Mapping[str, float]]) -> None:
        self._counters = counters
        self._smooth = smooth

    def rotate(self, pool: str) -> int:
        return self._counters.get(pool, 0)

    def smooth_pick(self, pool: str, ids: Sequence[str], weights: Sequence[float]) -> int:
        return _smooth_step(self._smooth.get(pool, {}), ids, weights)[0]


def _smooth_step(
    current: Mapping[str, float], ids: Sequence[str], weights: Sequence[float]
) -> tuple[int, float, float]:
    """Smooth weighted round robin: everyone gains its weight, the highest is chosen and pays the total.
    (index chosen, its value before paying, total)"""
    chosen, highest, total = 0, float("-inf"), 0.0
    for index, target_id in enumerate(ids):
        weight = weights[index]
        total += weight
        value = current.get(target_id, 0.0) + weight
        if value > highest:
            chosen, highest = index, value
    return chosen, highest, total
