"""What a process counts with: prometheus-client's objects, made once from the catalogue. Join first (``joining``).

A touch costs a microsecond or two. Where that is too much, in the data plane's requests, plain numbers are collected
and handed over once a second (``routes.gateway.metrics``). Nothing that a client sends becomes a label, and of what
heads are called only so much (``Few``).
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.utils import floatToGoString

from routing_project import logs
from routing_project.metrics.catalogue import LOG_LINES_DROPPED, QUEUE_MESSAGES, Family

#: How many regions, and kinds of heads beside ours, a process ever counts by their names.
MOST_REGIONS: Final = 256
MOST_MODEL_TYPES: Final = 64

#: Of this process. Nobody scrapes it: what is scraped are the files of all processes.
REGISTRY: Final = CollectorRegistry()


@cache
def counter(family: Family, registry: CollectorRegistry = REGISTRY) -> Counter:
    assert family.kind == "counter"
    return Counter(family.name, family.help, family.labels, registry=registry)


@cache
def gauge(family: Family, registry: CollectorRegistry = REGISTRY) -> Gauge:
    """One that processes set themselves."""
    assert family.mode
    return Gauge(family.name, family.help, family.labels, registry=registry, multiprocess_mode=family.mode)


@cache
def histogram(family: Family, registry: CollectorRegistry = REGISTRY) -> Histogram:
    assert family.kind == "histogram"
    return Histogram(family.name, family.help, family.labels, registry=registry, buckets=family.buckets)


@cache
def messages(queue: str, status: str) -> Counter:
    """Bound: ``messages("celery", "consumed").inc()``."""
    return counter(QUEUE_MESSAGES).labels(queue, status)


class Few:
    """The values of a label that are called by their names: the first ``most`` that there are in this process's life;
    all others are ``instead``. For what is configured by whoever registers heads, ever new ones perhaps: a series in a
    file of counts is there for good. Any thread."""

    def __init__(self, most: int, instead: str) -> None:
        self._most = most
        self._instead = instead
        self._named: set[str] = set()
        self._lock = threading.Lock()

    def name(self, value: str) -> str:
        if value in self._named:
            return value
        with self._lock:
            if len(self._named) >= self._most and value not in self._named:
                return self._instead
            self._named.add(value)
            return value


_lines_lock = threading.Lock()
_lines_seen = 0


def bring_dropped_lines() -> None:
    """Count the log lines that this process lost since the last call. For whoever comes by now and then: where a line
    is lost nothing may be waited for, which a counter does."""
    global _lines_seen
    with _lines_lock:
        if more := logs.dropped() - _lines_seen:
            _lines_seen += more
            counter(LOG_LINES_DROPPED).inc(more)


def bound_label(bound: float) -> str:
    """A bucket's bound as its label ``le`` says it."""
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]
