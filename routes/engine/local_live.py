"""``LocalLiveState``: the live state kept in this process, safe from any thread. Imports the engine only.

One lock guards everything that is read and then written (counters, claims, results); plain reads take none.
Nothing here waits for anything but that lock, which is never held longer than a few microseconds.
"""

from __future__ import annotations

import copy
import threading
from random import Random
from typing import TYPE_CHECKING

from routes.engine.candidates import profile_of
from routes.engine.circuit import CLOSED, Circuit
from routes.engine.live import CLAIM_LEASE, Claim, Pin, PinEntry, Quarantine
from routes.engine.quarantine import Quarantines
from routes.engine.stats import TargetStats

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from routes.engine.circuit import CircuitView
    from routes.engine.live import Observed, PinKind
    from routes.engine.snapshot import Snapshot, Target
    from routes.engine.stats import Sample
    from routes.engine.types import AdminState, Outcome, Transition


_NOBODY: dict[str, AdminState] = {}


class LocalClaim:
    """See ``live.Claim``."""

    __slots__ = (
        "circuit",
        "half_open",
        "period",
        "released",
        "sample",
        "settled",
        "settled_at",
        "stats",
        "provider_id",
        "stream",
        "target_id",
        "token",
        "transitions",
    )

    def __init__(self, circuit: Circuit, stats: TargetStats, token: int) -> None:
        self.target_id = circuit.target_id
        self.circuit = circuit
        self.stats = stats
        self.period = circuit.period
        self.token = token  # of the half-open slot; 0 = none
        self.half_open = token > 0
        self.settled: str | None = None  # the verdict reported last
        self.settled_at = 0.0
        self.stream = False
        self.provider_id = ""
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
        self._in_flight: dict[str, int] = {}
        self._pins: dict[bytes, PinEntry] = {}
        self._inputs: dict[bytes, tuple[int, float]] = {}
        self._observed: dict[str, Observed] = {}
        self._quarantine_ends: dict[str, float] = {}

    # -- from the configuration --------------------------------------------------------------------------
    def set_admin_states(self, states: Mapping[str, tuple[AdminState, float | None]], now: float, wall: float) -> None:
        self._admin = {
            provider: (state, None if until is None else now + (until - wall))
            for provider, (state, until) in states.items()
            if state != "active"
        }

    def set_credentials(self, generations: Mapping[str, int]) -> None:
        with self._lock:
            self._quarantines.credentials(generations)

    def published(self, snapshot: Snapshot) -> None:
        targets = {target.id: target for profile in snapshot.profile_list for target in profile.targets}
        profiles = {profile.id for profile in snapshot.profile_list}
        with self._lock:
            self._circuits = {key: value for key, value in self._circuits.items() if key in targets}
            self._troubled = {key: targets[key] for key in self._troubled if key in targets}
            self._stats = {key: value for key, value in self._stats.items() if key in targets}
            self._counters = {key: value for key, value in self._counters.items() if profile_of(key) in profiles}
            self._smooth = {key: value for key, value in self._smooth.items() if profile_of(key) in profiles}

    # -- what a decision reads ---------------------------------------------------------------------
    def inactive(self, now: float) -> Mapping[str, AdminState]:
        if not self._admin:
            return _NOBODY
        return {key: state for key, (state, until) in self._admin.items() if until is None or until > now}

    def admin_state(self, target: Target, now: float) -> AdminState:
        return self.inactive(now).get(target.provider.id, "active")

    def suspects(self, now: float) -> Collection[str]:
        if not self._troubled and not self._quarantines and not self._observed:
            return ()
        with self._lock:
            for target_id, target in list(self._troubled.items()):
                if self._circuits[target_id].view(target.provider.circuit, now) is CLOSED:
                    del self._troubled[target_id]
            unhealthy = {key for key, state in self._observed.items() if state == "unhealthy"}
            return self._troubled.keys() | self._quarantines.providers(now) | unhealthy

    def circuit(self, target: Target, now: float) -> CircuitView:
        circuit = self._circuits.get(target.id)
        return CLOSED if circuit is None else circuit.view(target.provider.circuit, now)

    def quarantined_until(self, target: Target, model: str, now: float) -> Quarantine | None:
        return self._quarantines.find(target.provider.id, model, now)

    def stats(self, target_id: str) -> TargetStats:
        found = self._stats.get(target_id)
        return self._stats.setdefault(target_id, TargetStats(self._lock)) if found is None else found

    def stats_of(self, target_ids: Sequence[str]) -> Sequence[TargetStats]:
        known = self._stats
        return [known.get(target_id) or self.stats(target_id) for target_id in target_ids]

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
            token = 0
            if panic:
                if stats.in_flight >= panic:
                    return None
            elif circuit.state != "closed":
                moved = circuit.due(now)
                if circuit.state == "open":
                    return None
                self._tokens = token = self._tokens + 1
                if not circuit.take_slot(target.provider.circuit, token, now, lease):
                    return None
            provider = target.provider
            limit = getattr(provider, "max_concurrency", 0)
            if limit and self._in_flight.get(provider.id, 0) >= limit:
                circuit.free_slot(token)
                return None
            self._in_flight[provider.id] = self._in_flight.get(provider.id, 0) + 1
            stats.in_flight += 1
            stats.begun(now)
            claim = LocalClaim(circuit, stats, token)
            claim.provider_id = provider.id
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
            claim.settled_at, claim.stream = now, outcome.stream
            circuit = claim.circuit
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
            if transition.after == "closed":
                claim.stats.recovered()
            if self._circuits.get(claim.target_id) is circuit:  # still configured
                self._troubled[claim.target_id] = target
        claim.transitions.append(transition)
        return [transition]

    def release(
        self, claim: Claim, now: float, output_tokens: int | None = None, input_tokens: int | None = None
    ) -> None:
        assert isinstance(claim, LocalClaim)
        with self._lock:
            if claim.released:
                return
            claim.released = True
            claim.stats.in_flight -= 1
            self._in_flight[claim.provider_id] -= 1
            if output_tokens or input_tokens:
                claim.stats.used((output_tokens or 0) + (input_tokens or 0), now)
            if output_tokens and claim.stream and claim.settled == "success" and now > claim.settled_at:
                claim.stats.streamed(output_tokens / (now - claim.settled_at), now)
            if claim.half_open and claim.settled is None:
                claim.circuit.free_slot(claim.token)
            if output_tokens:
                claim.stats.answered(output_tokens)

    # -- sessions, loads, copies -------------------------------------------------------------------------
    def in_flight(self, provider_id: str) -> int:
        return self._in_flight.get(provider_id, 0)

    def observed(self, target_id: str) -> Observed:
        return self._observed.get(target_id, "unknown")

    def set_observed(self, target_id: str, state: Observed) -> None:
        self._observed[target_id] = state

    def recovered_at(self, target: Target, model: str, now: float) -> float | None:
        circuit = self._circuits.get(target.id)
        if circuit is not None and circuit.state != "closed":
            return None
        closed = None if circuit is None else circuit.since
        ended = self._quarantine_ends.get(target.provider.id)
        known = [at for at in (closed, ended) if at is not None and at <= now]
        return max(known, default=None)

    def report_load(self, target_id: str, load: float, now: float) -> None:
        with self._lock:
            self.stats(target_id).report(load, now)

    def pin(self, key: bytes, now: float) -> Pin | None:
        entry = self._pins.get(key)
        return None if entry is None or entry.expires <= now else Pin(entry.target_id, entry.pinned_at, entry.expires)

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
        self._pins[key] = PinEntry(
            profile_id, target_id, session, now if pinned_at is None else pinned_at, now + ttl, kind
        )

    def pins(self, now: float, profile_id: str | None = None, target_id: str | None = None) -> Iterator[PinEntry]:
        for entry in list(self._pins.values()):
            if entry.expires > now and profile_id in (None, entry.profile_id) and target_id in (None, entry.target_id):
                yield entry

    def drop_pins(self, now: float, profile_id: str | None = None, target_id: str | None = None) -> int:
        doomed = set(self.pins(now, profile_id, target_id))
        self._pins = {key: entry for key, entry in self._pins.items() if entry not in doomed}
        return len(doomed)

    def pinned(self, target_id: str) -> int:
        return sum(1 for entry in list(self._pins.values()) if entry.target_id == target_id)

    def remember_input(self, key: bytes, tokens: int, now: float) -> None:
        self._inputs[key] = (tokens, now + 3600.0)

    def last_input(self, key: bytes, now: float) -> int | None:
        tokens, expires = self._inputs.get(key, (0, now))
        return tokens if expires > now else None

    def fork(self) -> LocalLiveState:
        lock, self._lock = self._lock, None  # type: ignore[assignment]
        try:
            memo = {id(lock): threading.Lock()}
            twin = copy.deepcopy(self, memo)
        finally:
            self._lock = lock
        twin._lock = threading.Lock()
        return twin

    # -- quarantines -------------------------------------------------------------------------------
    def quarantine(
        self, target: Target, model: str | None, seconds: float, cause: str, now: float, told: bool = False
    ) -> None:
        with self._lock:
            self._quarantine_ends[target.provider.id] = now + seconds
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
