"""``random``: any target of a weight above 0, all alike; the rest in random order, drawn only if somebody walks it.
Imports the engine only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import Family, Ranking, Strategy, drawn, successive
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run


class Random(Strategy):
    name: ClassVar[str] = "random"
    description: ClassVar[str] = "A random target, each as often as the others; a weight of 0 leaves a target out."
    by_weight: ClassVar[bool] = True
    replayable: ClassVar[bool] = True
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        draw = drawn(run)
        if backup:
            draw = successive(draw, -pool.salt)
        n = len(pool.candidates)
        index = int(draw * n)
        winner = pool.candidates[index]
        return (Ranked(winner.target, winner.model, "random", n),), (_rest(pool, index, draw) if n > 1 else None)


def _rest(pool: Pool, first: int, draw: float) -> Iterator[Ranked]:
    """The others, shuffled as far as somebody walks."""
    left = list(pool.candidates)
    left[first] = left[-1]
    left.pop()
    for step in range(1, len(left) + 1):
        place = int(successive(draw, step) * len(left))
        candidate = left[place]
        left[place] = left[-1]
        left.pop()
        yield Ranked(candidate.target, candidate.model, "random", len(left) + 1)
