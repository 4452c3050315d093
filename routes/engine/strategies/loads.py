"""What heads report of themselves, as numbers that strategies compare: load over capacity, now and foreseen.

A target without reports counts what is in flight on it. Where no capacity is known in a pool, loads are compared as
they are; where only some are known, the others count with the mean of those. Imports the vocabulary only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from routes.engine.candidates import Candidate, Pool
    from routes.engine.live import Stats
    from routes.engine.stages import Run

#: Reports that the mean of a forecast is made of.
REPORTS = 5


def current(stats: Stats) -> float:
    """The last reported load and what was sent since; without reports what is in flight."""
    report = stats.load
    return float(stats.in_flight) if report is None else report.load + report.sent_since


def foreseen(pool: Pool, run: Run) -> list[float]:
    """The loads to expect: what they are, or the mean of the latest reports, grown, where that is more."""
    policy = run.snapshot.policy
    since, growth = run.now - 60.0 * policy.prediction_window, policy.load_growth_factor
    found = []
    for stats in run.live.stats_of(pool.ids):
        load = current(stats)
        reports = stats.loads(since)[-REPORTS:]
        if reports:
            total = 0.0
            for _, reported in reports:
                total += reported
            expected = total / len(reports) * growth
            if expected > load:
                load = expected
        found.append(load)
    return found


def can_take(candidate: Candidate, run: Run) -> bool:
    """Whether the target is below the policy's threshold; one of unknown capacity always is."""
    capacity = candidate.target.capacity
    if capacity is None:
        return True
    return 100.0 * current(run.live.stats(candidate.id)) < run.snapshot.policy.capacity_threshold * capacity


def per_capacity(pool: Pool, loads: list[float]) -> list[float]:
    """Loads made comparable."""
    return [load / capacity for load, capacity in zip(loads, _capacities(pool), strict=True)]


def reason(pool: Pool, loads: list[float], index: int, code: str) -> tuple[str, float]:
    """Percent of the capacity; the load itself, under another code, where no capacity is known."""
    capacity = pool.candidates[index].target.capacity
    return (code + "_load", loads[index]) if not capacity else (code + "_percent", 100.0 * loads[index] / capacity)


def _capacities(pool: Pool) -> tuple[float, ...]:
    found: tuple[float, ...] | None = pool.memo.get("capacities")
    if found is None:
        capacities = [c.target.capacity for c in pool.candidates]
        known = [capacity for capacity in capacities if capacity]
        typical = sum(known) / len(known) if known else 1.0
        # A capacity of 0 is full by any load: next to nothing instead, so that it divides.
        found = tuple(typical if capacity is None else capacity or 1e-9 for capacity in capacities)
        pool.memo["capacities"] = found
    return found
