"""``model_specific``: heads by how well they fit what the request requires of a model.

The same version 3 points, a more precise one of it 2; room for the size of model 2; each capability 2; a target that
can take load 1. A request that requires nothing scores every target 0, which leaves the configured order. What a
target without a head is able to do is not known: it scores for its load alone. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies import loads
from routes.engine.strategies.base import Family, Ranking, Strategy, ascending
from routes.engine.strategies.model_size import is_prefix, parameters

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Candidate, Pool
    from routes.engine.stages import Run
    from routes.engine.types import Requirements

SAME_VERSION = 3
PREFIX_OF_VERSION = 2
LARGE_ENOUGH = 2
PER_CAPABILITY = 2
CAN_TAKE_LOAD = 1


class ModelSpecific(Strategy):
    name: ClassVar[str] = "model_specific"
    description: ClassVar[str] = "The head that fits the required version, model size and capabilities best."
    family: ClassVar[Family | None] = "model_specific"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        points = scores(pool, run)
        lost = [-number for number in points]
        return ascending(pool, run, lost, lambda index: ("model_score", points[index]), backup, rotate=False)


def scores(pool: Pool, run: Run) -> list[int]:
    """Points of all candidates; 0 for all when the request requires nothing."""
    wanted = run.request.requirements
    if wanted is None or not (wanted.version or wanted.model_size or wanted.capabilities):
        return [0] * len(pool.candidates)
    return [fit(c, wanted) + (CAN_TAKE_LOAD if loads.can_take(c, run) else 0) for c in pool.candidates]


def fit(candidate: Candidate, wanted: Requirements) -> int:
    """Points for what the head is, whatever its load."""
    head = candidate.target.head
    if head is None:
        return 0
    version, model_size, capabilities = wanted
    points = 0
    if version and head.version:
        if head.version == version:
            points = SAME_VERSION
        elif is_prefix(version, head.version):
            points = PREFIX_OF_VERSION
    if model_size and head.max_model_size:
        size, most = parameters(model_size), parameters(head.max_model_size)
        if size is not None and most is not None and most >= size:
            points += LARGE_ENOUGH
    return points + PER_CAPABILITY * len(capabilities & head.capabilities) if capabilities else points
