"""``capacity``: random, in proportion to free seats: capacity less pinned sessions less requests in flight.

A target of unknown capacity counts as free as the freest whose capacity is known, and where none is known all count
alike. When every seat is taken, the least overbooked go first, equals in turn. Imports the engine only.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import Family, Ranking, Strategy, ascending, drawn, in_proportion, successive
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run


class Capacity(Strategy):
    name: ClassVar[str] = "capacity"
    description: ClassVar[str] = "A random target, each as often as it has free seats."
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        free = free_seats(pool, run)
        most = max((seats for seats in free if seats is not None), default=1.0)
        counted = [max(most, 1.0) if seats is None else seats for seats in free]

        def reason(index: int) -> tuple[str, float | None]:
            seats = free[index]
            return ("seats_unknown", None) if seats is None else ("free_seats", seats)

        shares = [max(0.0, seats) for seats in counted]
        sums = list(accumulate(shares))
        if sums[-1] <= 0:
            return ascending(pool, run, [-seats for seats in counted], reason, backup, rotate=True)
        draw = drawn(run)
        if backup:
            draw = successive(draw, -pool.salt)
        # draw < 1, but the product of a tiny total may round up to it
        index = min(bisect_right(sums, draw * sums[-1]), len(sums) - 1)
        winner = pool.candidates[index]
        first = Ranked(winner.target, winner.model, *reason(index))
        return (first,), in_proportion(pool, shares, reason, draw, index)


def free_seats(pool: Pool, run: Run) -> list[float | None]:
    """Per candidate; None = its capacity is not known."""
    free: list[float | None] = []
    for candidate, stats in zip(pool.candidates, run.live.stats_of(pool.ids), strict=True):
        capacity = candidate.target.capacity
        free.append(None if capacity is None else capacity - run.live.pinned(candidate.id) - stats.in_flight)
    return free
