"""``adaptive``: the first of these that finds a target which can take load: the head that fits best what the request
requires, the nearest target that can, the load foreseen.

A step has a say only where it has something to go by: requirements that some head fits, a region that some target is
in or near. A family that the policy has switched off is passed over; without ``predictive``, loads are taken as they
are. To adapt to live performance, use ``peak_ewma``. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies import loads, regions
from routes.engine.strategies.base import Family, Ranking, Strategy
from routes.engine.strategies.hybrid import by_forecast, nearest
from routes.engine.strategies.least_loaded import LeastLoaded
from routes.engine.strategies.model_specific import CAN_TAKE_LOAD, scores
from routes.engine.strategies.predictive import Predictive
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run

_PREDICTIVE, _LEAST_LOADED = Predictive(), LeastLoaded()


class Adaptive(Strategy):
    name: ClassVar[str] = "adaptive"
    description: ClassVar[str] = "The head that fits best if it can take load, else the nearest, else the least loaded."
    family: ClassVar[Family | None] = "adaptive"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        policy = run.snapshot.policy
        leader = _fitting(pool, run) if policy.enable_model_specific else None
        if leader is None and policy.enable_geo_routing:
            leader = nearest(pool, run, (regions.SAME, regions.AREA, regions.PRIORITY))
        return by_forecast(leader, pool, run, backup, _PREDICTIVE if policy.enable_predictive else _LEAST_LOADED)


def _fitting(pool: Pool, run: Run) -> Ranked | None:
    """What ``model_specific`` chooses, if it fits anything of what is required and can take load."""
    points = scores(pool, run)
    most = max(points)
    winner = pool.candidates[points.index(most)]
    if most <= CAN_TAKE_LOAD or not loads.can_take(winner, run):
        return None
    return Ranked(winner.target, winner.model, "model_score", most)
