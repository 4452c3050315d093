"""Circuits and probes in ``/metrics``, as they are at the scrape: by the host's live state, which is what decisions go
by, and the revision on disk. No database. What this process does to circuits is counted (``moved``).
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from routes import live
from routing_project.env import get_env
from routing_project.metrics.catalogue import CIRCUIT_STATE, CIRCUIT_TRANSITIONS, HEALTH_CHECK_AGE, TARGET_INFO
from routing_project.metrics.instruments import counter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from routes.engine.snapshot import Snapshot, Target
    from routes.engine.tables.state import TableState
    from routes.engine.types import Transition

#: How the states are written as numbers: the worse, the higher.
STATES: Final = {"closed": 0, "half_open": 1, "open": 2}


def moved(transition: Transition) -> None:
    """Of console and worker, by probes, people's acts, outcomes that were reported, the clock. Gateways count theirs in
    their own way (``routes.gateway.metrics``)."""
    counter(CIRCUIT_TRANSITIONS).labels(transition.target_id, transition.after, transition.reason).inc()


class TargetCollector(Collector):
    """``snapshot``: what is configured; None before the first publish."""

    def __init__(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        circuits = GaugeMetricFamily(CIRCUIT_STATE.name, CIRCUIT_STATE.help, labels=CIRCUIT_STATE.labels)
        info = GaugeMetricFamily(TARGET_INFO.name, TARGET_INFO.help, labels=TARGET_INFO.labels)
        ages = GaugeMetricFamily(HEALTH_CHECK_AGE.name, HEALTH_CHECK_AGE.help, labels=HEALTH_CHECK_AGE.labels)
        snapshot = self._snapshot
        if snapshot is not None:
            targets = _targets(snapshot)
            # Where no gateway ever ran there is no live state, and none is made to be looked at.
            state, now = live.current() if get_env().live_path.exists() else None, time.monotonic()
            for target in targets:
                circuit = "closed" if state is None else state.circuit_state(target, now)
                circuits.add_metric([target.id], STATES[circuit])
                head = target.head.id if target.head is not None else ""
                info.add_metric([target.id, target.provider.slug, target.model or "*", head], 1)
            for slug, age in _ages(snapshot, targets, state, now).items():
                ages.add_metric([slug], age)
        return [circuits, info, ages]


def _targets(snapshot: Snapshot) -> list[Target]:
    """Of all profiles, each once."""
    return list({target.id: target for profile in snapshot.profile_list for target in profile.targets}.values())


def _ages(snapshot: Snapshot, targets: Iterable[Target], state: TableState | None, now: float) -> dict[str, float]:
    """Seconds since the last word on each provider that is probed. One of which nothing was heard yet is as old as the
    revision; a head that is offline is not asked, so nothing is expected of it."""
    never = max(0.0, time.time() - datetime.fromisoformat(snapshot.published_at).timestamp())
    ages: dict[str, float] = {}
    for target in targets:
        provider = target.provider
        if provider.probe.kind == "off":
            continue
        if target.head is not None and (state is None or not state.head_state(target.head_key, now).online):
            continue
        at = None if state is None else state.observed_at(target.id)
        age = never if at is None else max(0.0, now - at)
        ages[provider.slug] = min(age, ages.get(provider.slug, age))
    return ages
