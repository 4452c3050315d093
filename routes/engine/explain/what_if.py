"""A live state in which some providers are imagined to be in trouble. Reads what it wraps and writes nothing to it but
what the decisions made on it write; whoever wraps a private copy touches nobody's counters. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from routes.engine.circuit import CircuitView
from routes.engine.live import Means, Quarantine

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from routes.engine.snapshot import Target

Trouble = Literal["down", "429", "slow"]
#: How slow "slow" is: so many times what was measured, and at least so many seconds.
TIMES = 10.0
AT_LEAST = 10.0
#: Samples that an unmeasured slow target is imagined to have: enough for every strategy.
SAMPLES = 100


class SlowStats:
    """Samples of a target as they would be if it were slow. Everything else is as it is."""

    def __init__(self, stats: Any) -> None:
        self._stats = stats

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stats, name)

    def ewma_s(self, stream: bool, now: float) -> float:
        return slowed(self._stats.ewma_s(stream, now))

    def mean_latency_s(self, stream: bool, now: float) -> tuple[float, int]:
        means = self.means_s(stream, now)
        assert means.seconds is not None
        return means.seconds, means.samples

    def means_s(self, stream: bool, now: float) -> Means:
        means = self._stats.means_s(stream, now)
        seconds = slowed(means.seconds)
        typical = self._stats.mean_output_tokens or SAMPLES
        per_token = seconds / typical if means.per_token is None else max(means.per_token * TIMES, AT_LEAST / typical)
        return Means(seconds, max(means.samples, SAMPLES), per_token, max(means.token_samples, SAMPLES))

    def percentile_s(self, stream: bool, percent: float, now: float) -> tuple[float, int]:
        seconds, samples = self._stats.percentile_s(stream, percent, now)
        return slowed(seconds), max(samples, SAMPLES)

    def speed(self, now: float) -> tuple[float, int]:
        speed, samples = self._stats.speed(now)
        return (speed or TIMES) / TIMES, max(samples, SAMPLES)


def slowed(seconds: float | None) -> float:
    return AT_LEAST if seconds is None else max(AT_LEAST, TIMES * seconds)


class WhatIf:
    """See the module. ``troubles`` by provider id."""

    def __init__(self, live: Any, troubles: Mapping[str, Trouble], targets: Sequence[Target]) -> None:
        self._live = live
        self._troubles = troubles
        self._out = {target.id for target in targets if troubles.get(target.provider.id) == "down"}
        self._out |= {provider for provider, trouble in troubles.items() if trouble == "429"}
        self._slow = {target.id for target in targets if troubles.get(target.provider.id) == "slow"}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._live, name)

    def suspects(self, now: float) -> Collection[str]:
        return self._out.union(self._live.suspects(now))

    def circuit(self, target: Target, now: float) -> CircuitView:
        if self._troubles.get(target.provider.id) == "down":
            return CircuitView("open", now + target.provider.circuit.recovery_timeout, 1.0)
        view: CircuitView = self._live.circuit(target, now)
        return view

    def quarantined_until(self, target: Target, model: str, now: float) -> Quarantine | None:
        if self._troubles.get(target.provider.id) == "429":
            return Quarantine(now + target.provider.quarantine.rate_limit, "rate_limited", told=False)
        found: Quarantine | None = self._live.quarantined_until(target, model, now)
        return found

    def stats(self, target_id: str) -> Any:
        stats = self._live.stats(target_id)
        return SlowStats(stats) if target_id in self._slow else stats

    def stats_of(self, target_ids: Sequence[str]) -> Sequence[Any]:
        stats = self._live.stats_of(target_ids)
        if self._slow.isdisjoint(target_ids):
            return list(stats)
        return [
            SlowStats(one) if target_id in self._slow else one for target_id, one in zip(target_ids, stats, strict=True)
        ]

    def peek(self) -> Any:
        return self._live.peek()
