"""``single``: the profile's first target and no other; when it is left out there is none. Imports the engine only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import Strategy
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Ranking


class Single(Strategy):
    name: ClassVar[str] = "single"
    description: ClassVar[str] = "The first target only, without backups."
    first_only: ClassVar[bool] = True
    replayable: ClassVar[bool] = True

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        return tuple(Ranked(c.target, c.model, "first") for c in pool.candidates), None
