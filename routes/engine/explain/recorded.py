"""The live state of a moment that is gone, as far as a record tells of it. Imports the engine only.

Knows who was out and why, the session's pin, the turns of counters; of measurements only what a ranking can be told
from. What it is asked for and does not know it answers as if nothing had ever been measured, and notes it in
``missing``, so that whoever asked can say that the answer is not known rather than guess.
"""

from __future__ import annotations

import hashlib
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from routes.engine.circuit import CLOSED, CircuitView
from routes.engine.live import Means, Pin, Quarantine

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from routes.engine.live import Observed
    from routes.engine.snapshot import Target
    from routes.engine.types import AdminState, Decision

#: The moment of every replay, on a clock of its own: records hold durations, not moments.
NOW = 1_000_000.0
_QUARANTINED = "quarantined_"
_DEMOTED = "demoted_"
#: Nothing is known, so nothing is demoted for it: of an unmeasured target.
_NOTHING = Means(None, 0, None, 0)


class RecordedStats:
    """Of one target. ``demoted`` names the number for which failover mode put it behind others."""

    in_flight = 0
    mean_output_tokens: float | None = None
    load = None

    def __init__(self, missing: set[str], target_id: str, demoted: tuple[str, float] | None, known: bool) -> None:
        self._missing = missing
        self._target_id = target_id
        self._demoted = demoted
        self._known = known  # whether the failover mode had nothing to say against it

    def _unknown(self) -> None:
        self._missing.add(self._target_id)

    def _number(self, kind: str, good: float) -> float:
        if self._demoted is not None and self._demoted[0] == kind:
            return self._demoted[1]
        if not self._known:
            self._unknown()
        return good

    @property
    def consecutive_failures(self) -> int:
        return int(self._number("threshold", 0))

    @property
    def success_rate(self) -> float:
        return self._number("success_rate", 1.0)

    def percentile_s(self, stream: bool, percent: float, now: float) -> tuple[float | None, int]:
        milliseconds = self._number("latency", 0.0)
        return milliseconds / 1000, 100

    def ewma_s(self, stream: bool, now: float) -> float | None:
        self._unknown()
        return None

    def means_s(self, stream: bool, now: float) -> Means:
        self._unknown()
        return _NOTHING

    def mean_latency_s(self, stream: bool, now: float) -> tuple[float | None, int]:
        self._unknown()
        return None, 0

    def requests_in(self, seconds: float, now: float) -> int:
        self._unknown()
        return 0

    def tokens_in(self, seconds: float, now: float) -> int:
        self._unknown()
        return 0

    def speed(self, now: float) -> tuple[float | None, int]:
        self._unknown()
        return None, 0

    def loads(self, since: float) -> Sequence[Any]:
        self._unknown()
        return ()


class RecordedLive:
    """The reading half of ``live.LiveState``, from a decision that was recorded. ``own``: it is asked by the revision
    that made the decision, so what the record does not name was in order. ``draw``: for how many-th request like it."""

    def __init__(self, decision: Decision, route_id: str, *, own: bool, draw: int = 0) -> None:
        self.missing: set[str] = set()
        self._own = own
        self._route_id = route_id
        self._turn: int | None = decision.inputs.get("turn")
        self._draw = draw
        self._inactive: dict[str, AdminState] = {}
        self._away: dict[str, Literal["head_offline", "head_draining"]] = {}
        self._circuits: dict[str, CircuitView] = {}
        self._quarantines: dict[str, Quarantine] = {}
        self._unhealthy: set[str] = set()
        self._full: dict[str, int] = {}
        self._demoted: dict[str, tuple[str, float]] = {}
        self._counters: dict[str, int] = {}
        # Whether upstreams named the time of quarantines matters when everybody is out: then nobody was tried.
        self._told = not decision.ranked
        self._recovered = NOW if decision.pin is not None and decision.pin.honoured else None
        self.pinned_to: Pin | None = None
        providers: dict[str, list[str]] = {}
        for target in decision.profile.targets:
            providers.setdefault(target.provider.id, []).append(target.id)
        for target, _, code, value in decision.excluded:
            self._excluded(target.id, target.provider.id, code, value)
        for provider_id, target_ids in providers.items():
            # What was said of each target of a provider was said of the provider: also of those it has elsewhere.
            states = {self._inactive.get(target_id) for target_id in target_ids}
            state = states.pop()
            if state is not None and not states:
                self._inactive[provider_id] = state
        age = 0.0
        for target, _, code, value in decision.ranked:
            if code == "next_try":
                self._circuits[target.id] = CircuitView("open", NOW + _number(value), 1.0)
            elif code == "pinned":
                age = _number(value)
            elif code.startswith(_DEMOTED):
                self._demoted[target.id] = code.removeprefix(_DEMOTED), _number(value)
        pin = decision.pin
        if pin is not None and pin.target_id:
            self.pinned_to = Pin(pin.target_id, NOW - age, NOW + pin.ttl)
            if (
                not pin.honoured
                and not decision.degraded
                and any(e.target.id == pin.target_id for e in decision.ranked)
            ):
                # Not honoured although it could be ranked: it was half-open, or a lower tier was back.
                self._circuits[pin.target_id] = CircuitView("half_open", 0.0, 1.0)
        #: targets whose numbers the failover mode found in order, or did not look at
        self._known = {entry.target.id for entry in decision.ranked} if own else set()

    def _excluded(self, target_id: str, provider_id: str, code: str, value: float | str | None) -> None:
        if code == "disabled":
            self._inactive[target_id] = "disabled"
        elif code == "draining":
            self._inactive[target_id] = "draining"
        elif code == "head_offline":
            self._away[target_id] = "head_offline"
        elif code == "head_draining":
            self._away[target_id] = "head_draining"
        elif code == "circuit_forced_open":
            until = inf if value is None else NOW + _number(value)
            self._circuits[target_id] = CircuitView("open", until, 1.0, True)
        elif code == "circuit_open":
            self._circuits[target_id] = CircuitView("open", NOW + _number(value), 1.0)
        elif code == "slow_start":
            self._circuits[target_id] = CircuitView("closed", 0.0, _number(value) / 100)
        elif code == "unhealthy":
            self._unhealthy.add(target_id)
        elif code == "at_capacity":
            self._full[provider_id] = int(_number(value))
        elif code.startswith(_QUARANTINED):
            cause = code.removeprefix(_QUARANTINED)
            self._quarantines[target_id] = Quarantine(NOW + _number(value), cause, told=self._told)

    # -- what a decision reads -------------------------------------------------------------------------
    def inactive(self, now: float) -> Mapping[str, AdminState]:
        return self._inactive

    def admin_state(self, target: Target, now: float) -> AdminState:
        return self._inactive.get(target.id) or self._inactive.get(target.provider.id, "active")

    def heads_away(self, now: float) -> Mapping[str, Literal["head_offline", "head_draining"]]:
        return self._away

    def suspects(self, now: float) -> Collection[str]:
        return self._circuits.keys() | self._quarantines.keys() | self._unhealthy

    def circuit(self, target: Target, now: float) -> CircuitView:
        return self._circuits.get(target.id, CLOSED)

    def quarantined_until(self, target: Target, model: str, now: float) -> Quarantine | None:
        return self._quarantines.get(target.id)

    def observed(self, target_id: str, now: float) -> Observed:
        return "unhealthy" if target_id in self._unhealthy else "unknown"

    def recovered_at(self, target: Target, model: str, now: float) -> float | None:
        """A pin that was honoured was honoured whatever had recovered."""
        return self._recovered

    def in_flight(self, provider_id: str) -> int:
        if provider_id not in self._full and not self._own:
            self.missing.add(provider_id)
        return self._full.get(provider_id, 0)

    def pinned(self, target_id: str) -> int:
        self.missing.add(target_id)
        return 0

    def pin(self, key: bytes, now: float) -> Pin | None:
        return self.pinned_to

    def last_input(self, key: bytes, now: float) -> int | None:
        return None

    def stats(self, target_id: str) -> RecordedStats:
        return RecordedStats(self.missing, target_id, self._demoted.get(target_id), target_id in self._known)

    def stats_of(self, target_ids: Sequence[str]) -> Sequence[RecordedStats]:
        return [self.stats(target_id) for target_id in target_ids]

    # -- counters that were not recorded ---------------------------------------------------------------
    def rotate(self, pool: str) -> int:
        """The turn after the recorded one; else one that follows from the request's id."""
        turn = self._counters.get(pool)
        if turn is None:
            digest = hashlib.blake2b(f"{self._route_id}:{pool}".encode(), digest_size=2).digest()
            turn = self._draw + (int.from_bytes(digest, "big") if self._turn is None else self._turn)
        self._counters[pool] = turn + 1
        return turn

    def peek(self) -> RecordedLive:
        return self


def _number(value: float | str | None) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
