"""``least_used``: the fewest requests in a window of time. Equals take turns. Imports the engine and pydantic only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from routes.engine.strategies.base import Family, Params, Ranking, Strategy, ascending

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run


class LeastUsedParams(Params):
    window: float = Field(60, gt=0, le=3600, description="Seconds in which requests are counted.")


class LeastUsed(Strategy):
    name: ClassVar[str] = "least_used"
    description: ClassVar[str] = "The target that was sent the fewest requests lately."
    params_model: ClassVar[type[BaseModel]] = LeastUsedParams
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        assert isinstance(params, LeastUsedParams)
        window, now = params.window, run.now
        used = [stats.requests_in(window, now) for stats in run.live.stats_of(pool.ids)]
        return ascending(pool, run, used, lambda index: ("requests", used[index]), backup, rotate=True)
