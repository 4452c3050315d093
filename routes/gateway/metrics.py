"""Data-plane metrics: plain integers in the request path, handed to prometheus-client once a second.

A bound child of the multiprocess mode costs 1–3 µs a touch and a request makes a dozen, so requests only add to
dicts and lists here and ``flush`` moves the sums. What families there are says ``routing_project.metrics.catalogue``.
Nothing a client sends becomes a label: callers pass route templates, configured slugs and closed lists only. Series
that nothing was counted in are no business of this process: whoever scrapes adds them with 0.
The process joins before this module is imported (``routing_project.metrics.joining``); must not import Django.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from routing_project.metrics import catalogue, instruments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prometheus_client import CollectorRegistry, Counter, Histogram

    from routes.engine.types import Transition
    from routing_project.metrics.catalogue import Family

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

#: What is looked up in memory: the pin of a session, an access key, the price of a model.
CACHES: Final = ("affinity", "key", "price")

#: What became of copies of a request: dropped ones found the journal half full.
PAYLOAD_OUTCOMES: Final = ("kept", "dropped", "failed")

#: How a request of a profile ends, as in its row.
PROFILE_STATUSES: Final = ("routed", "failed", "timeout", "rejected", "cancelled", "interrupted")

Labels = tuple[str, ...]


class _Tally:
    """Counts of one histogram child since the last flush."""

    __slots__ = ("counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


class _Counts:
    """A labelled counter that collects in a dict: ``counts[labels] += n`` in the request path."""

    __slots__ = ("_children", "counter", "pending")

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.pending: dict[Labels, float] = {}
        self._children: dict[Labels, Counter] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        try:
            self.pending[labels] += amount
        except KeyError:  # the first since the last flush
            self.pending[labels] = amount

    def flush(self) -> None:
        if not self.pending:
            return
        pending, self.pending = self.pending, {}
        for labels, amount in pending.items():
            child = self._children.get(labels)
            if child is None:
                child = self._children[labels] = self.counter.labels(*labels) if labels else self.counter
            child.inc(amount)


class _Observations:
    """A labelled histogram that collects bucket counts."""

    __slots__ = ("_children", "bounds", "histogram", "pending")

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self.histogram = histogram
        self.bounds = tuple(float(bound) for bound in bounds)
        self.pending: dict[Labels, _Tally] = {}
        self._children: dict[Labels, Histogram] = {}

    def add(self, labels: Labels, value: float) -> None:
        try:
            tally = self.pending[labels]
        except KeyError:
            tally = self.pending[labels] = _Tally(self.bounds)
        # Same side as prometheus-client: a value on a bound belongs to that bound's bucket.
        tally.counts[bisect_left(self.bounds, value)] += 1
        tally.total += value

    def flush(self) -> None:
        if not self.pending:
            return
        pending, self.pending = self.pending, {}
        for labels, tally in pending.items():
            child = self._children.get(labels)
            if child is None:
                child = self._children[labels] = self.histogram.labels(*labels) if labels else self.histogram
            # observe() takes one value at a time and would cost as much here as it did in the request; a
            # bucket's own value takes any number at once (test_metrics compares both ways).
            for bucket, count in zip(child._buckets, tally.counts, strict=True):
                if count:
                    bucket.inc(count)
            child._sum.inc(tally.total)


class Metrics:
    """All series of one gateway process. ``flush`` once a second and at the end."""

    def __init__(self, process: str, registry: CollectorRegistry = instruments.REGISTRY) -> None:
        def counter(family: Family) -> _Counts:
            return _Counts(instruments.counter(family, registry))

        def histogram(family: Family) -> _Observations:
            return _Observations(instruments.histogram(family, registry), family.buckets)

        self.decisions = counter(catalogue.ROUTING_DECISIONS)
        self.requests = counter(catalogue.HTTP_REQUESTS)
        self.profiles = counter(catalogue.PROFILE_REQUESTS)
        self.durations = histogram(catalogue.HTTP_DURATION)
        self.service_calls = counter(catalogue.SERVICE_CALLS)
        self.attempts = counter(catalogue.ROUTE_ATTEMPTS)
        self.latency = histogram(catalogue.ROUTE_LATENCY)
        self.ttfb = histogram(catalogue.ROUTE_TTFB)
        self.overhead = histogram(catalogue.ROUTE_OVERHEAD)
        self.stages = histogram(catalogue.ROUTE_STAGE)
        self.transitions = counter(catalogue.CIRCUIT_TRANSITIONS)
        self.tokens = counter(catalogue.ROUTE_TOKENS)
        self.cost = counter(catalogue.ROUTE_COST)
        self.cache_hits = counter(catalogue.CACHE_HITS)
        self.cache_misses = counter(catalogue.CACHE_MISSES)
        self.journal_dropped = counter(catalogue.JOURNAL_DROPPED)
        self.payloads = counter(catalogue.PAYLOAD_COPIES)
        self.queue = counter(catalogue.QUEUE_MESSAGES)
        #: routes whose answer is an event stream, or a WebSocket, that a client holds open; whoever adds one leaves its
        #: removal to the end of the request (``app``). Gauges are the sizes of these sets, so they cannot drift.
        self.streams: set[bytes] = set()
        self.sockets: set[bytes] = set()
        #: heads say themselves in what region they are
        self.few_regions = instruments.Few(instruments.MOST_REGIONS, "none")
        self._streams = instruments.gauge(catalogue.SSE_CONNECTIONS, registry)
        self._sockets = instruments.gauge(catalogue.WEBSOCKET_CONNECTIONS, registry)
        self._revision = instruments.gauge(catalogue.CONFIG_REVISION, registry).labels(process)
        self._loop_lag = instruments.gauge(catalogue.LOOP_LAG, registry).labels(process)
        self._all: tuple[_Counts | _Observations, ...] = tuple(
            value for value in vars(self).values() if isinstance(value, _Counts | _Observations)
        )
        self._journal_seen: dict[str, int] = {}
        self._revision.set(0)
        self._loop_lag.set(0)

    def revision(self, number: int) -> None:
        self._revision.set(number)

    def loop_lag(self, seconds: float) -> None:
        self._loop_lag.set(seconds)

    def moved(self, transition: Transition) -> None:
        """A circuit changed its state by something that this process did or heard."""
        self.transitions.add((transition.target_id, transition.after, transition.reason))

    def closed(self, route: bytes) -> None:
        """A request is over, whatever it was."""
        self.streams.discard(route)
        self.sockets.discard(route)

    def journal(self, appended: int, dropped: Mapping[str, int]) -> None:
        """Take over the journal writer's own running totals."""
        seen = self._journal_seen
        if more := appended - seen.get("", 0):
            self.queue.add(("journal", "published"), more)
            seen[""] = appended
        for reason, total in dropped.items():
            if more := total - seen.get(reason, 0):
                self.journal_dropped.add((reason,), more)
                self.queue.add(("journal", "dropped"), more)
                seen[reason] = total

    def flush(self) -> None:
        """Hand everything collected to prometheus-client. Microseconds per series touched; no I/O but mmap."""
        for each in self._all:
            each.flush()
        self._streams.set(len(self.streams))
        self._sockets.set(len(self.sockets))
