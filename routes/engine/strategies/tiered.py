"""``tiered``: tiers, and within a tier any other strategy. Tiers bind every strategy, so all that is left to do here
is to ask the other one; the name says in one word what a profile with tiers does. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.nested import Nested

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Ranking


class Tiered(Nested):
    name: ClassVar[str] = "tiered"
    description: ClassVar[str] = "The lowest tier that is available, and within it another strategy."
    field: ClassVar[str] = "within"
    field_description: ClassVar[str] = "The strategy within a tier."
    default: ClassVar[str] = "weighted"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        strategy, inner_params = self.inner(params)
        return strategy.rank(pool, run, inner_params, backup)
