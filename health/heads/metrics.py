"""Heads in ``/metrics``: what was said, counted over all processes, and how many are there, recomputed at each scrape.

The gauges go by what every process of this host goes by: the overlay's copy on disk and the live state. No database.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from health.heads.known import known
from routes import live
from routes.engine.provider import head_key
from routing_project.metrics.catalogue import ACTIVE_HEADS, HEAD_REGISTRATIONS, HEAD_UPDATES, HEADS_REGISTERED
from routing_project.metrics.instruments import counter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

registrations = counter(HEAD_REGISTRATIONS)
updates = counter(HEAD_UPDATES)


class HeadCollector(Collector):
    def collect(self) -> Iterable[Metric]:
        heads = known().heads.values()
        active = 0
        if heads:  # where nobody ever registered there may be no live state, and none is made to be counted
            state, now = live.current(), time.monotonic()
            for head in heads:
                seen = state.head_state(head_key(head.provider_id, head.head_id), now)
                active += head.approved and seen.online and not seen.draining
        return [
            GaugeMetricFamily(HEADS_REGISTERED.name, HEADS_REGISTERED.help, value=len(heads)),
            GaugeMetricFamily(ACTIVE_HEADS.name, ACTIVE_HEADS.help, value=active),
        ]
