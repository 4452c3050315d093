"""``least_loaded``: heads by load over capacity, counting what was sent since the last report. Equals take turns.
Imports the engine only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies import loads
from routes.engine.strategies.base import Family, Ranking, Strategy, ascending

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run


class LeastLoaded(Strategy):
    name: ClassVar[str] = "least_loaded"
    description: ClassVar[str] = "The head with the lowest load for its capacity, by its own reports."
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        found = [loads.current(stats) for stats in run.live.stats_of(pool.ids)]
        numbers = loads.per_capacity(pool, found)
        return ascending(pool, run, numbers, lambda at: loads.reason(pool, found, at, "current"), backup, rotate=True)
