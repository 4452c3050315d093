"""``hybrid``: a target of the request's region or area that can take load, else what ``predictive`` says.
Imports the engine only."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies import loads, regions
from routes.engine.strategies.base import Family, NoParams, Ranking, Strategy
from routes.engine.strategies.predictive import Predictive
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run

_PREDICTIVE = Predictive()
_NO_PARAMS = NoParams()


class Hybrid(Strategy):
    name: ClassVar[str] = "hybrid"
    description: ClassVar[str] = "A head of the requested region that can take load, else the least loaded foreseen."
    family: ClassVar[Family | None] = "adaptive"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        near = nearest(pool, run, (regions.SAME, regions.AREA)) if run.snapshot.policy.enable_geo_routing else None
        return by_forecast(near, pool, run, backup)


def nearest(pool: Pool, run: Run, codes: Collection[str]) -> Ranked | None:
    """The first candidate that can take load, among those of the groups named, nearest first."""
    for code, group in regions.groups(pool, run.request.region, run.snapshot.policy.region_priority):
        if code in codes:
            for candidate in group.candidates:
                if loads.can_take(candidate, run):
                    return Ranked(candidate.target, candidate.model, code, candidate.target.region)
    return None


def by_forecast(leader: Ranked | None, pool: Pool, run: Run, backup: bool, strategy: Strategy = _PREDICTIVE) -> Ranking:
    """The leader, if there is one, and the others by their load."""
    if leader is None:
        return strategy.rank(pool, run, _NO_PARAMS, backup)
    return (leader,), _others(leader, pool, run, strategy)


def _others(leader: Ranked, pool: Pool, run: Run, strategy: Strategy) -> Iterator[Ranked]:
    ranked, rest = strategy.rank(pool, run, _NO_PARAMS, True)
    for entry in (*ranked, *(rest or ())):
        if entry.target is not leader.target:
            yield entry
