"""``smooth_weighted``: the shares of ``weighted`` without clumping (smooth weighted round robin), by a state that
all processes of a host share. Backups follow by weight, heaviest first. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import NoParams
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Ranking


class SmoothWeighted:
    name: ClassVar[str] = "smooth_weighted"
    description: ClassVar[str] = "Each target in turn as often as its weight says, evenly spread."
    params_model: ClassVar[type[BaseModel]] = NoParams
    by_weight: ClassVar[bool] = True
    first_only: ClassVar[bool] = False
    replayable: ClassVar[bool] = True

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        if backup:
            return (), _by_weight(pool, -1)
        index = run.rotation.smooth_pick(pool.key, pool.ids, pool.weights)
        winner = pool.candidates[index]
        run.inputs["pick"] = winner.position
        return (Ranked(winner.target, winner.model, "smooth", pool.share(index)),), _by_weight(pool, index)


def _by_weight(pool: Pool, chosen: int) -> Iterator[Ranked]:
    for index in sorted(range(len(pool.candidates)), key=lambda index: -pool.weights[index]):
        if index != chosen:
            candidate = pool.candidates[index]
            yield Ranked(candidate.target, candidate.model, "smooth", pool.share(index))
