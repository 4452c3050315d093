"""``weighted``: a random draw proportional to weight; the rest by successive draws without replacement.

The first pick is a binary search in precomputed sums, tens of nanoseconds at a thousand targets; an alias table would
save no more than that, and a recorded draw would no longer mean the target it meant. The tail is drawn only if
somebody walks it. What was dropped renormalises by itself: 50/30/20 without the 30 is 71.4/28.6.
Imports the engine only.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import Family, Ranking, Strategy, drawn, in_proportion, successive
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run


class Weighted(Strategy):
    name: ClassVar[str] = "weighted"
    description: ClassVar[str] = "A random target, each as often as its weight says."
    by_weight: ClassVar[bool] = True
    replayable: ClassVar[bool] = True
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        draw = drawn(run)
        if backup:
            draw = successive(draw, -pool.salt)
        sums = pool.cumulative
        # draw < 1, but the product may round up to the total
        index = min(bisect_right(sums, draw * sums[-1]), len(sums) - 1)
        winner = pool.candidates[index]
        first = Ranked(winner.target, winner.model, "weight", pool.share(index))
        if len(sums) == 1:
            return (first,), None
        return (first,), in_proportion(pool, pool.weights, lambda at: ("weight", pool.share(at)), draw, index)
