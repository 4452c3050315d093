"""How much history is still on its way to the database, and whether that takes any; as the shipper last said, while it
says something.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from history import status
from routing_project.metrics.catalogue import JOURNAL_DATABASE_UP, JOURNAL_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from prometheus_client import Metric


class JournalCollector(Collector):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        report = status.read(self._folder)
        # Where nobody ships, the database takes no history, whatever it is like.
        up = report is not None and report.database == "up" and time.time() - report.at <= status.AWAY_SECONDS
        depth = status.unshipped_bytes(self._folder)
        return [
            GaugeMetricFamily(JOURNAL_DEPTH.name, JOURNAL_DEPTH.help, value=depth),
            GaugeMetricFamily(JOURNAL_DATABASE_UP.name, JOURNAL_DATABASE_UP.help, value=up),
        ]
