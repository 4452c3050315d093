"""``predictive``: heads by the load to expect over capacity: what it is, or what the reports of the last minutes say
it grows to. Equals take turns. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies import loads
from routes.engine.strategies.base import Family, Ranking, Strategy, ascending

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run


class Predictive(Strategy):
    name: ClassVar[str] = "predictive"
    description: ClassVar[str] = "The head whose load is expected to be lowest for its capacity."
    family: ClassVar[Family | None] = "predictive"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        found = loads.foreseen(pool, run)
        numbers = loads.per_capacity(pool, found)
        return ascending(pool, run, numbers, lambda at: loads.reason(pool, found, at, "foreseen"), backup, rotate=True)
