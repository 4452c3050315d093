"""The registry of strategies. Each is one module with its params model, a one-sentence description for forms
and docs, and ``rank``. Imports the engine and pydantic only.

To add one: write the module, name it in ``_STRATEGIES``. A strategy ranks the pool of one tier; the
``load_balancer`` stage takes care of tiers, single candidates and degraded decisions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import ValidationError

from routes.engine.errors import InvalidParamsError, UnknownStrategyError
from routes.engine.strategies.failover import Failover
from routes.engine.strategies.least_cost import LeastCost
from routes.engine.strategies.least_latency import LeastLatency
from routes.engine.strategies.peak_ewma import PeakEwma
from routes.engine.strategies.round_robin import RoundRobin
from routes.engine.strategies.single import Single
from routes.engine.strategies.smooth_weighted import SmoothWeighted
from routes.engine.strategies.weighted import Weighted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Ranking

DEFAULT = "failover"


class Strategy(Protocol):
    """What a strategy module provides, as a singleton without state."""

    name: ClassVar[str]
    description: ClassVar[str]  # one sentence for forms and docs
    params_model: ClassVar[type[BaseModel]]
    #: weight 0 = never: such candidates are taken out before ranking, unless all have it
    by_weight: ClassVar[bool]
    #: only the profile's first target may be used
    first_only: ClassVar[bool]
    #: the ranking follows from the snapshot, the exclusions and ``run.inputs`` alone, so a record of it need
    #: not list it
    replayable: ClassVar[bool]

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        """Rank the pool: (computed eagerly, the rest on demand or None). ``params`` are of ``params_model``; an
        argument, so that one strategy can ask another.

        ``backup``: the pool of a further tier. Only the first tier's winner may advance counters; tails and
        backups are functions of what was drawn for it, so that computing them changes nothing.
        """
        ...


_STRATEGIES: tuple[Strategy, ...] = (
    Failover(),
    Single(),
    RoundRobin(),
    Weighted(),
    SmoothWeighted(),
    LeastLatency(),
    PeakEwma(),
    LeastCost(),
)

REGISTRY: dict[str, Strategy] = {strategy.name: strategy for strategy in _STRATEGIES}
NAMES: tuple[str, ...] = tuple(REGISTRY)


def normalise(name: str | None) -> str:
    """Hyphens and underscores alike, any case; empty = the default."""
    return (name or "").strip().lower().replace("-", "_") or DEFAULT


def get(name: str | None) -> Strategy:
    """The strategy of that name. Raises UnknownStrategyError."""
    strategy = REGISTRY.get(normalise(name))
    if strategy is None:
        raise UnknownStrategyError(f"there is no strategy {name!r}; there are {', '.join(NAMES)}")
    return strategy


def parse_params(strategy: Strategy, params: Mapping[str, Any] | None) -> BaseModel:
    """Params checked against the strategy's model, defaults filled in. Raises InvalidParamsError."""
    try:
        return strategy.params_model.model_validate(params or {})
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidParamsError(".".join(map(str, first["loc"])), first["msg"]) from None


#: Params of a strategy chosen per request, where the profile has none for it.
DEFAULT_PARAMS: dict[str, BaseModel] = {name: parse_params(strategy, {}) for name, strategy in REGISTRY.items()}
