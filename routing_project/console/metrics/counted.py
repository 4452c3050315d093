"""What processes counted in their folder, as metrics: their sums, and with 0 what could have been counted and was not.

A counter that begins with its first event has no rate at that event, so series whose labels are configured or out of a
closed list are there from the start. They are added here: neither files nor memory of the processes hold them.

Series of what is configured no more are left out: heads that come and go would otherwise add some for ever. They are
not moved to a common one, which would jump by all they had counted. What is configured again goes on from its count.

A gauge is what its process said last, but the lag of a loop is told by the loop itself: one that hangs says nothing.
"""

from __future__ import annotations

import json
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from routes.engine.types import MODEL_TYPES
from routing_project.console.metrics.zeros import zeros
from routing_project.metrics import folder
from routing_project.metrics.catalogue import (
    DJANGO_FAMILIES,
    FAMILIES,
    LOOP_LAG,
    LOOP_LAG_SECONDS,
    PROCESS_CPU,
    PROCESS_RESTARTS,
)
from routing_project.metrics.instruments import bound_label

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from routes.engine.snapshot import Snapshot
    from routing_project.metrics.catalogue import Mode
    from routing_project.metrics.folder import Sums

#: What processes write. All others are worked out at the scrape.
WRITTEN: Final = tuple(
    each for each in FAMILIES if (each.mode or each.kind != "gauge") and each not in (PROCESS_CPU, PROCESS_RESTARTS)
)
_SUM: Final[Mode] = "livesum"
#: What decisions are about, whatever heads there are.
_KINDS: Final = frozenset({*MODEL_TYPES.values(), "other"})


#: By family as the files call it. What they say of it themselves may be of an earlier release.
HELP: Final = {each.name.removesuffix("_total"): each.help for each in (*FAMILIES, *DJANGO_FAMILIES)}


class Series(NamedTuple):
    """What a series is called in the files."""

    family: str
    name: str
    labels: dict[str, str]


@lru_cache(maxsize=65_536)
def _series(key: str) -> Series:
    family, name, labels, _help = json.loads(key)
    return Series(family, name, labels)


class CountedCollector(Collector):
    """``snapshot``: what is configured; ``now``: the clock by which gauges are told. Raises ``folder.Busy`` while the
    folder cannot be read."""

    def __init__(self, path: Path, snapshot: Snapshot | None, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._snapshot = snapshot
        self._now = now

    def collect(self) -> Iterable[Metric]:
        counts = folder.read(self._path)
        found: dict[str, Metric] = {}
        missing = zeros(self._snapshot)
        sums = {kind: self._of_the_configured(each) for kind, each in counts.sums.items()}
        counters = {**missing.counters, **sums["counter"]}
        for key, value in counters.items():
            series = _series(key)
            _metric(found, series, "counter").add_sample(series.name, series.labels, value)
        _histograms(found, {**missing.histograms, **sums["histogram"]})
        for mode, told in counts.gauges.items():
            for key, values in told.items():
                series = _series(key)
                if mode == _SUM:
                    value = sum(each for each, _ in values)
                else:
                    value, at = max(values, key=lambda each: each[1])
                    if series.family == LOOP_LAG.name:
                        value = max(value, self._now() - at - LOOP_LAG_SECONDS)
                _metric(found, series, "gauge").add_sample(series.name, series.labels, value)
        for family in WRITTEN:  # those of which there is no series yet are named all the same
            name = family.name.removesuffix("_total")
            if name not in found:
                found[name] = metric = Metric(name, family.help, family.kind)
                if family.mode == _SUM:
                    metric.add_sample(name, {}, 0.0)
        return found.values()

    def _of_the_configured(self, sums: Sums) -> Sums:
        if self._snapshot is None:  # it is not known what that is
            return sums
        providers, profiles = self._snapshot.providers.keys(), self._snapshot.profile_list
        known = {
            "provider": providers,
            "service": providers,
            "profile": {profile.slug for profile in profiles},
            "target": {target.id for profile in profiles for target in profile.targets},
            "model_type": self._snapshot.model_types | _KINDS,
            "region": self._snapshot.regions | {"none"},
        }

        def configured(key: str) -> bool:
            labels = _series(key).labels
            return all(labels[name] in known[name] for name in labels.keys() & known.keys())

        return {key: value for key, value in sums.items() if configured(key)}


def _metric(found: dict[str, Metric], series: Series, kind: str) -> Metric:
    metric = found.get(series.family)
    if metric is None:
        metric = found[series.family] = Metric(series.family, HELP.get(series.family, ""), kind)
    return metric


def _histograms(found: dict[str, Metric], sums: Sums) -> None:
    """Files count each bucket for itself; what is scraped counts all up to it."""
    totals: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    buckets: dict[tuple[str, tuple[tuple[str, str], ...]], dict[float, float]] = {}
    for key, value in sums.items():
        series = _series(key)
        labels = {name: each for name, each in series.labels.items() if name != "le"}
        place = series.family, tuple(labels.items())
        if (bound := series.labels.get("le")) is None:
            totals[place] = value
        else:
            buckets.setdefault(place, {})[float(bound)] = value
        _metric(found, series, "histogram")
    for place, counts in buckets.items():
        name, pairs = place
        labels, metric, so_far = dict(pairs), found[name], 0.0
        for bucket in sorted(counts):
            so_far += counts[bucket]
            metric.add_sample(f"{name}_bucket", {**labels, "le": bound_label(bucket)}, so_far)
        metric.add_sample(f"{name}_count", labels, so_far)
        metric.add_sample(f"{name}_sum", labels, totals.get(place, 0.0))
