"""``failover``: tier, then configured order. Imports the engine only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import Strategy

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Ranking


class Failover(Strategy):
    name: ClassVar[str] = "failover"
    description: ClassVar[str] = "Always the first target in the configured order that is available."
    replayable: ClassVar[bool] = True

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        return pool.in_order, None
