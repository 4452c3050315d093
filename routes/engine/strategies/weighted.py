"""``weighted``: a random draw proportional to weight; the rest by successive draws without replacement.

The first pick is a search in precomputed sums; the tail is drawn only if somebody walks it. What was dropped
renormalises by itself: 50/30/20 without the 30 is 71.4/28.6. Imports the engine only.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import NoParams, successive
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Ranking


class Weighted:
    name: ClassVar[str] = "weighted"
    description: ClassVar[str] = "A random target, each as often as its weight says."
    params_model: ClassVar[type[BaseModel]] = NoParams
    by_weight: ClassVar[bool] = True
    first_only: ClassVar[bool] = False
    replayable: ClassVar[bool] = True

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        if backup:
            draw = successive(run.inputs["draw"], -pool.tier)
        else:
            draw = run.inputs["draw"] = run.rng.random()
        sums = pool.cumulative
        # draw < 1, but the product may round up to the total
        index = min(bisect_right(sums, draw * sums[-1]), len(sums) - 1)
        winner = pool.candidates[index]
        first = Ranked(winner.target, winner.model, "weight", pool.share(index))
        return (first,), (_rest(pool, index, draw) if len(sums) > 1 else None)


def _rest(pool: Pool, first: int, draw: float) -> Iterator[Ranked]:
    """The others, each time one of those left proportional to weight."""
    left = [index for index in range(len(pool.candidates)) if index != first]
    shares = [pool.share(index) for index in left]
    total = sum(shares)
    for step in range(1, len(left) + 1):
        aim = successive(draw, step) * total
        place = 0
        while place < len(left) - 1 and aim >= shares[place]:
            aim -= shares[place]
            place += 1
        share = shares.pop(place)
        total -= share
        chosen = pool.candidates[left.pop(place)]
        yield Ranked(chosen.target, chosen.model, "weight", share)
