"""``least_in_flight``: the fewest requests in flight per weight. Above eight candidates the better of two random
ones: as even as looking at all, at the cost of two. Equals take turns. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import Family, Ranking, Strategy, ascending, pair_of, turn_of
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run

#: Up to so many candidates all are looked at.
LOOKED_AT = 8


class LeastInFlight(Strategy):
    name: ClassVar[str] = "least_in_flight"
    description: ClassVar[str] = "The target with the fewest requests in flight for its weight."
    by_weight: ClassVar[bool] = True
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        if len(pool.candidates) <= LOOKED_AT or backup:
            return _all(pool, run, backup)
        one, other = pair_of(pool, run)
        candidates, weights = pool.candidates, pool.weights
        stats = run.live.stats
        flying, flying_there = stats(candidates[one].id).in_flight, stats(candidates[other].id).in_flight
        load, load_there = flying / weights[one], flying_there / weights[other]
        if load_there < load or (load_there == load and turn_of(run, pool.key + "/ties", backup, "tie") % 2):
            one, other, flying = other, one, flying_there
        winner = candidates[one]
        run.inputs["pair"] = (winner.position, candidates[other].position)
        return (Ranked(winner.target, winner.model, "in_flight_of_two", flying),), _others(pool, run, one)


def _all(pool: Pool, run: Run, backup: bool) -> Ranking:
    flying = [stats.in_flight for stats in run.live.stats_of(pool.ids)]
    loads = [number / weight for number, weight in zip(flying, pool.weights, strict=True)]
    return ascending(pool, run, loads, lambda index: ("in_flight", flying[index]), backup, rotate=True)


def _others(pool: Pool, run: Run, first: int) -> Iterator[Ranked]:
    flying = [stats.in_flight for stats in run.live.stats_of(pool.ids)]
    n = len(flying)
    for _, _, index in sorted((flying[at] / pool.weights[at], (at - first) % n, at) for at in range(n)):
        if index != first:
            candidate = pool.candidates[index]
            yield Ranked(candidate.target, candidate.model, "in_flight", flying[index])
