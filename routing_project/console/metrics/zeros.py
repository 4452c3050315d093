"""The series that are there before anything was counted: of every family that processes count, with every value of its
labels that is out of a closed list or configured now.

Not with every pair of values: a status nobody answered yet, a region nobody asked for begin with their first count.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.mmap_dict import mmap_key

from history.journal import DROP_REASONS
from history.tally import SPAN_OUTCOMES
from routes.engine import pipeline, strategies
from routes.engine.types import ERROR_CLASSES, MODEL_TYPES
from routes.gateway import endpoints
from routes.gateway.metrics import CACHES, PAYLOAD_OUTCOMES, PROFILE_STATUSES
from routing_project.metrics import catalogue
from routing_project.metrics.instruments import bound_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from routes.engine.snapshot import Snapshot
    from routing_project.metrics.catalogue import Family
    from routing_project.metrics.folder import Sums

Labels = tuple[str, ...]

NONE: Final = ((),)
QUEUES: Final = ("celery", "live", "journal")
FATES: Final = ("published", "consumed", "failed", "dropped")
#: What alerts look at: a status that begins with its first count has no rate for it.
ANSWERS: Final = ("200", "429", "500", "502", "503", "504")
DIRECTIONS: Final = ("input", "output", "cached")
#: How a circuit comes to its next state (``routes.engine.circuit``) by traffic, probes and the clock. What people and
#: other hosts do to it, and the end of it, begins with its first count.
TRANSITIONS: Final = (
    *(("open", reason) for reason in ("consecutive_failures", "failure_rate", "half_open_failure")),
    ("half_open", "recovery_timeout"),
    ("half_open", "probe_success"),
    ("half_open", "degraded_success"),
    ("closed", "successes"),
)


class Zeros(NamedTuple):
    """By series as the files name them; a histogram's are its buckets and its sum."""

    counters: Sums
    histograms: Sums


@lru_cache(maxsize=2)
def zeros(snapshot: Snapshot | None) -> Zeros:
    counters: Sums = {}
    histograms: Sums = {}
    for family, values in _all(snapshot):
        for each in values:
            if family.kind == "counter":
                counters[_counter(family, each)] = 0.0
            else:
                histograms.update(dict.fromkeys(_histogram(family, each), 0.0))
    return Zeros(counters, histograms)


def _all(snapshot: Snapshot | None) -> Iterator[tuple[Family, Iterable[Labels]]]:
    kinds = (*sorted(set(MODEL_TYPES.values())), "other")
    names = (*strategies.NAMES, "none")
    yield catalogue.ROUTING_DECISIONS, [(strategy, kind, "none") for strategy in names for kind in kinds]
    yield catalogue.HTTP_REQUESTS, [(*series, status) for series in endpoints.SERIES for status in ANSWERS]
    yield catalogue.HTTP_DURATION, endpoints.SERIES
    for family in (catalogue.CACHE_HITS, catalogue.CACHE_MISSES):
        yield family, _singles(CACHES)
    yield catalogue.ROUTE_STAGE, _singles(stage for stage, _ in pipeline.STAGES)
    yield catalogue.PAYLOAD_COPIES, _singles(PAYLOAD_OUTCOMES)
    yield catalogue.WATCHERS_REFUSED, _singles(("sse", "websocket"))
    yield catalogue.TRACE_SPANS, _singles(SPAN_OUTCOMES)
    yield catalogue.QUEUE_MESSAGES, [(queue, fate) for queue in QUEUES for fate in FATES]
    yield catalogue.JOURNAL_DROPPED, _singles(DROP_REASONS)
    for family in catalogue.FAMILIES:
        if not family.labels and family.kind != "gauge":
            yield family, NONE
    if snapshot is not None:
        yield from _of_providers(list(snapshot.providers))
        yield catalogue.PROFILE_REQUESTS, [(slug, status) for slug in snapshot.profiles for status in PROFILE_STATUSES]
        yield catalogue.CIRCUIT_TRANSITIONS, _of_targets(snapshot)


def _of_providers(slugs: list[str]) -> Iterator[tuple[Family, Iterable[Labels]]]:
    yield catalogue.ROUTE_ATTEMPTS, [(slug, outcome) for slug in slugs for outcome in ("ok", *ERROR_CLASSES)]
    yield catalogue.SERVICE_CALLS, [(slug, "200") for slug in slugs]
    yield catalogue.ROUTE_TTFB, _singles(slugs)
    yield catalogue.ROUTE_TOKENS, [(slug, direction) for slug in slugs for direction in DIRECTIONS]
    yield catalogue.ROUTE_COST, _singles(slugs)


def _of_targets(snapshot: Snapshot) -> Iterator[Labels]:
    """Not of those on heads: machines come and go, and what each of them did is not worth a dozen zeros."""
    ids = {target.id for profile in snapshot.profile_list for target in profile.targets if target.head is None}
    return ((target, to, reason) for target in sorted(ids) for to, reason in TRANSITIONS)


def _singles(values: Iterable[str]) -> Iterator[Labels]:
    return ((value,) for value in values)


def _counter(family: Family, labels: Labels) -> str:
    name = family.name.removesuffix("_total")
    return mmap_key(name, family.name, list(family.labels), list(labels), "")


def _histogram(family: Family, labels: Labels) -> Iterator[str]:
    names = [*family.labels, "le"]
    for bound in (*family.buckets, float("inf")):
        values = [*labels, bound_label(bound)]
        yield mmap_key(family.name, f"{family.name}_bucket", names, values, "")
    yield mmap_key(family.name, f"{family.name}_sum", list(family.labels), list(labels), "")
