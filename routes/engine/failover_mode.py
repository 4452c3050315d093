"""Failover modes: what a profile does about a leader that answers, but not well enough.

``immediate`` and ``cost`` leave the leader alone; ``cost`` puts the cheapest of the others behind it. The rest
demote a leader while one of its numbers is bad (failures in a row, rate of success, latency): the next target
whose number is not takes its place, but for a few requests by which it can earn the place back. Works on what
any strategy ranked. Imports the engine only.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from routes.engine.errors import SnapshotError
from routes.engine.strategies import DEFAULT_PARAMS, REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from routes.engine.candidates import Step
    from routes.engine.live import Stats
    from routes.engine.stages import Run
    from routes.engine.types import Ranked

#: Share of requests that a demoted leader keeps.
KEPT_SHARE = 0.05
#: Outcomes needed before a percentile says anything.
MIN_SAMPLES = 5

Kind = Literal["immediate", "cost", "threshold", "success_rate", "latency"]
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}


class Mode(NamedTuple):
    """A profile's failover mode. ``limit``: failures, a rate of success, or milliseconds."""

    kind: Kind
    limit: float = 0.0
    percent: float = 0.0  # of ``latency``

    def bad(self, stats: Stats, stream: bool, now: float) -> float | None:
        """The number that is too bad for a leader; None when it is good enough or not known."""
        if self.kind == "threshold":
            failures = stats.consecutive_failures
            return float(failures) if failures >= self.limit else None
        if self.kind == "success_rate":
            rate = stats.success_rate
            return rate if rate < self.limit else None
        seconds, samples = stats.percentile_s(stream, self.percent, now)
        if seconds is None or samples < MIN_SAMPLES:
            return None
        return 1000.0 * seconds if 1000.0 * seconds > self.limit else None


IMMEDIATE = Mode("immediate")


def parse_mode(written: Any, path: str) -> Mode:
    """As the document writes it: a name, or {name: {number: …}}. Raises SnapshotError with the path."""
    match written:
        case "immediate":
            return IMMEDIATE
        case "cost":
            return Mode("cost")
        case {"threshold": {"failures": int(failures)}} if len(written) == 1:
            return Mode("threshold", float(failures))
        case {"success_rate": {"min": int() | float() as least}} if len(written) == 1:
            return Mode("success_rate", float(least))
        case {"latency": {"ms": int() | float() as most, "percentile": str(percentile)}} if len(written) == 1:
            if percentile in PERCENTILES:
                return Mode("latency", float(most), PERCENTILES[percentile])
    raise SnapshotError(path, "unknown failover mode")


def apply(run: Run, steps: Sequence[Step]) -> None:
    """Rearrange what the strategy ranked from the pools of ``steps``."""
    mode = run.profile.mode
    if mode.kind == "cost":
        by_cost(run, steps)
        return
    stream, now, stats = run.request.stream, run.now, run.live.stats
    leader = run.ranked[0]
    number = mode.bad(stats(leader.target.id), stream, now)
    if number is None:
        return
    run.replayable = False
    run.inputs["kept"] = draw = run.rng.random()
    if draw < KEPT_SHARE:
        return
    code = f"demoted_{mode.kind}"
    following = chain(run.ranked[1:], run.tail or ())
    before, passed = [leader], [leader._replace(code=code, value=number)]
    for entry in following:
        number = mode.bad(stats(entry.target.id), stream, now)
        if number is None:
            run.ranked, run.tail = [entry, *passed], following
            return
        before.append(entry)
        passed.append(entry._replace(code=code, value=number))
    run.ranked, run.tail = before, None  # all are bad: none is to be preferred for it


def by_cost(run: Run, steps: Sequence[Step]) -> None:
    """Whoever leads, the cheapest of the others stand behind it."""
    run.tail = _cheapest_first(run, steps, run.ranked[0])
    del run.ranked[1:]
    run.replayable = False


def _cheapest_first(run: Run, steps: Sequence[Step], leader: Ranked) -> Iterator[Ranked]:
    """All but the leader, tier by tier, by what this request is expected to cost there."""
    strategy, params = REGISTRY["least_cost"], DEFAULT_PARAMS["least_cost"]
    for step in steps:
        pool = step.pool.without(leader.target.id)
        if pool is not None:
            ranked, rest = strategy.rank(pool, run, params, True)
            yield from ranked
            yield from rest or ()
