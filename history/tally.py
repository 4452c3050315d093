"""Brings the running totals of a journal writer, and of the shipper, into ``/metrics``. What is brought is what came
since the last time, so that it may be done as often as one likes. Gateways do it in their own way, with everything else
(``routes.gateway.metrics``). Without Django.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from routing_project.feed import published
from routing_project.feed.names import ROUTES
from routing_project.metrics import catalogue
from routing_project.metrics.instruments import counter, messages

if TYPE_CHECKING:
    from prometheus_client import Counter

    from history.journal import JournalWriter
    from history.shipper.shipper import Counters
    from history.tracing.export import TraceExport

SPAN_OUTCOMES: Final = ("exported", "dropped")

_SHIPPER: Final = {
    "shipped": catalogue.JOURNAL_SHIPPED,
    "interrupted": catalogue.JOURNAL_INTERRUPTED,
    "torn": catalogue.JOURNAL_TORN,
    "unreadable": catalogue.JOURNAL_UNREADABLE,
    "conflicts": catalogue.JOURNAL_CONFLICTS,
    "abandoned": catalogue.JOURNAL_ABANDONED,
}


class Running:
    """Totals that only grow, and what of each was brought already."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def bring(self, name: str, total: int, *into: Counter) -> None:
        more = total - self._seen.get(name, 0)
        if more:
            self._seen[name] = total
            for each in into:
                each.inc(more)


_lock = threading.Lock()
_writers: WeakKeyDictionary[JournalWriter, Running] = WeakKeyDictionary()


def bring_writer(journal: JournalWriter) -> None:
    """What was appended to a journal and what was lost. Any thread."""
    with _lock:
        running = _writers.setdefault(journal, Running())
        running.bring("appended", journal.appended, messages("journal", "published"))
        for reason, total in journal.dropped_by_reason.items():
            lost = counter(catalogue.JOURNAL_DROPPED).labels(reason)
            running.bring(reason, total, lost, messages("journal", "dropped"))


class ShipperTally:
    """Of one shipper."""

    def __init__(self) -> None:
        self._running = Running()

    def bring(self, counters: Counters, traces: TraceExport | None = None) -> None:
        bring = self._running.bring
        bring("consumed", counters.consumed, messages("journal", "consumed"))
        bring("set aside", counters.unreadable, messages("journal", "failed"))
        for name, family in _SHIPPER.items():
            bring(name, getattr(counters, name), counter(family))
        told = published()[ROUTES]
        bring("told", told.published, counter(catalogue.JOURNAL_TOLD))
        bring("untold", told.dropped, counter(catalogue.JOURNAL_UNTOLD))
        if traces is not None:
            for outcome in SPAN_OUTCOMES:
                bring(outcome, getattr(traces, outcome), counter(catalogue.TRACE_SPANS).labels(outcome))
