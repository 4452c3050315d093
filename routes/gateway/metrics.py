"""Data-plane metrics: plain integers in the request path, handed to prometheus-client once a second.

A bound child of the multiprocess mode costs 1–3 µs a touch and a request makes a dozen, so requests only add to
dicts and lists here and ``flush`` moves the sums. Names and labels are fixed by the contract. Nothing a client
sends becomes a label: callers pass route templates, configured slugs and closed lists only.
``PROMETHEUS_MULTIPROC_DIR`` must be set before this module is imported; must not import Django.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from routes.engine.types import MODEL_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Answers of a model take minutes, so the last bounds are far out.
DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
TTFB_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
OVERHEAD_BUCKETS: Final = (5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
STAGE_BUCKETS: Final = (1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.005, 0.025)

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

#: What is looked up in memory: the pin of a session, an access key, the price of a model.
CACHES: Final = ("affinity", "key", "price")

#: What became of copies of a request: dropped ones found the journal half full.
PAYLOAD_OUTCOMES: Final = ("kept", "dropped", "failed")

Labels = tuple[str, ...]


class _Tally:
    """Counts of one histogram child since the last flush."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0


class _Counts:
    """A labelled counter that collects in a dict: ``counts[labels] += n`` in the request path."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.pending: dict[Labels, float] = {}
        self._children: dict[Labels, Counter] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        pending = self.pending
        pending[labels] = pending.get(labels, 0) + amount

    def prepare(self, labels: Iterable[Labels]) -> None:
        """Make the series exist with 0."""
        for each in labels:
            if each not in self._children:
                self._children[each] = self.counter.labels(*each) if each else self.counter

    def flush(self) -> None:
        if not self.pending:
            return
        pending, self.pending = self.pending, {}
        self.prepare(pending)
        for labels, amount in pending.items():
            self._children[labels].inc(amount)


class _Observations:
    """A labelled histogram that collects bucket counts."""

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self.histogram = histogram
        self.bounds = tuple(float(bound) for bound in bounds)
        self.pending: dict[Labels, _Tally] = {}
        self._children: dict[Labels, Histogram] = {}

    def add(self, labels: Labels, value: float) -> None:
        tally = self.pending.get(labels)
        if tally is None:
            tally = self.pending[labels] = _Tally(self.bounds)
        # Same side as prometheus-client: a value on a bound belongs to that bound's bucket.
        tally.counts[bisect_left(tally.bounds, value)] += 1
        tally.total += value

    def prepare(self, labels: Iterable[Labels]) -> None:
        for each in labels:
            if each not in self._children:
                self._children[each] = self.histogram.labels(*each) if each else self.histogram

    def flush(self) -> None:
        if not self.pending:
            return
        pending, self.pending = self.pending, {}
        self.prepare(pending)
        for labels, tally in pending.items():
            child = self._children[labels]
            # observe() takes one value at a time and would cost as much here as it did in the request; a
            # bucket's own value takes any number at once (test_metrics compares both ways).
            for bucket, count in zip(child._buckets, tally.counts, strict=True):
                if count:
                    bucket.inc(count)
            child._sum.inc(tally.total)


class Metrics:
    """All series of one gateway process. ``flush`` once a second and at the end."""

    def __init__(self, process: str, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> _Counts:
            return _Counts(Counter(name, text, labels, registry=registry))

        def histogram(name: str, text: str, bounds: Sequence[float], *labels: str) -> _Observations:
            return _Observations(Histogram(name, text, labels, registry=registry, buckets=bounds), bounds)

        self.decisions = counter(
            "routing_decisions_total",
            "Routing decisions by the strategy that ranked.",
            "strategy",
            "model_type",
            "region",
        )
        self.requests = counter("http_requests_total", "HTTP requests answered.", "method", "endpoint", "status")
        self.durations = histogram(
            "http_request_duration_seconds", "Time to the end of the answer.", DURATION_BUCKETS, "method", "endpoint"
        )
        self.service_calls = counter("external_service_calls_total", "Requests sent to providers.", "service", "status")
        self.attempts = counter("route_attempts_total", "Attempts by how they ended.", "provider", "outcome")
        self.latency = histogram("route_latency_seconds", "Whole routes, accept to last byte.", DURATION_BUCKETS)
        self.ttfb = histogram("route_ttfb_seconds", "Accept to first byte for the client.", TTFB_BUCKETS, "provider")
        self.overhead = histogram(
            "route_overhead_seconds", "Our own time from the complete request to its first attempt.", OVERHEAD_BUCKETS
        )
        self.stages = histogram("route_stage_seconds", "Time spent in one stage of a decision.", STAGE_BUCKETS, "stage")
        self.transitions = counter(
            "circuit_transitions_total", "Circuits that changed state.", "target", "to", "reason"
        )
        self.tokens = counter("route_tokens_total", "Tokens used.", "provider", "direction")
        self.cost = counter("route_cost_usd_total", "Cost of answered requests in USD.", "provider")
        self.cache_hits = counter("cache_hits_total", "Look-ups that found what they looked for.", "cache")
        self.cache_misses = counter("cache_misses_total", "Look-ups that did not.", "cache")
        self.journal_dropped = counter("journal_dropped_total", "History records lost.", "reason")
        self.payloads = counter("payload_copies_total", "Requests whose copies were to be kept.", "outcome")
        self.queue = counter("message_queue_messages_total", "Messages by queue and fate.", "queue", "status")
        self._revision = Gauge(
            "config_revision",
            "Number of the revision in use.",
            ["process"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        ).labels(process)
        self._loop_lag = Gauge(
            "loop_lag_seconds",
            "How late the event loop was, at worst in the last second.",
            ["process"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        ).labels(process)
        self._all: tuple[_Counts | _Observations, ...] = tuple(
            value for value in vars(self).values() if isinstance(value, _Counts | _Observations)
        )
        self._journal_seen: dict[str, int] = {}
        self._revision.set(0)
        self._loop_lag.set(0)
        self.latency.prepare([()])
        self.overhead.prepare([()])

    def prepare(
        self,
        *,
        strategies: Iterable[str],
        stages: Iterable[str],
        endpoints: Iterable[tuple[str, str]],
        drop_reasons: Iterable[str],
    ) -> None:
        """Let every series with fixed label values exist with 0, so that rates start from a known point."""
        model_types = sorted(set(MODEL_TYPES.values()))
        self.decisions.prepare((strategy, kind, "none") for strategy in (*strategies, "none") for kind in model_types)
        self.stages.prepare((stage,) for stage in stages)
        endpoints = list(endpoints)
        self.requests.prepare((method, endpoint, "200") for method, endpoint in endpoints)
        self.durations.prepare(endpoints)
        self.journal_dropped.prepare((reason,) for reason in drop_reasons)
        self.payloads.prepare((outcome,) for outcome in PAYLOAD_OUTCOMES)
        self.queue.prepare([("journal", "published"), ("journal", "dropped")])
        self.cache_hits.prepare((cache,) for cache in CACHES)
        self.cache_misses.prepare((cache,) for cache in CACHES)

    def prepare_providers(self, slugs: Iterable[str]) -> None:
        """The same for the providers of a revision."""
        for provider in slugs:
            self.attempts.prepare([(provider, "ok")])
            self.service_calls.prepare([(provider, "200")])
            self.ttfb.prepare([(provider,)])
            self.tokens.prepare([(provider, direction) for direction in ("input", "output", "cached")])
            self.cost.prepare([(provider,)])

    def prepare_targets(self, targets: Iterable[str]) -> None:
        """... and for its targets. Not for those on heads: machines come and go by thousands, a series stays for good,
        so that one begins when there is something to count."""
        for target in targets:
            self.transitions.prepare([(target, "open", "consecutive_failures"), (target, "closed", "successes")])

    def revision(self, number: int) -> None:
        self._revision.set(number)

    def loop_lag(self, seconds: float) -> None:
        self._loop_lag.set(seconds)

    def journal(self, appended: int, dropped: Mapping[str, int]) -> None:
        """Take over the journal writer's own running totals."""
        seen = self._journal_seen
        self.queue.add(("journal", "published"), appended - seen.get("", 0))
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
