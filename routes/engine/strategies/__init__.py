"""The registry of strategies. Each is one module with its params model, a one-sentence description for forms
and docs, and ``rank``. Imports the engine and pydantic only.

To add one: write the module, name it below. A strategy ranks the pool of one tier; the
``load_balancer`` stage takes care of tiers, single candidates and degraded decisions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from routes.engine.errors import InvalidParamsError, UnknownStrategyError
from routes.engine.strategies.ab_test import AbTest
from routes.engine.strategies.adaptive import Adaptive
from routes.engine.strategies.base import Strategy
from routes.engine.strategies.capacity import Capacity
from routes.engine.strategies.consistent_hash import ConsistentHash
from routes.engine.strategies.failover import Failover
from routes.engine.strategies.geo_preferred import GeoPreferred
from routes.engine.strategies.hybrid import Hybrid
from routes.engine.strategies.least_cost import LeastCost
from routes.engine.strategies.least_in_flight import LeastInFlight
from routes.engine.strategies.least_latency import LeastLatency
from routes.engine.strategies.least_loaded import LeastLoaded
from routes.engine.strategies.least_used import LeastUsed
from routes.engine.strategies.model_specific import ModelSpecific
from routes.engine.strategies.nested import plain
from routes.engine.strategies.peak_ewma import PeakEwma
from routes.engine.strategies.predictive import Predictive
from routes.engine.strategies.random_draw import Random
from routes.engine.strategies.round_robin import RoundRobin
from routes.engine.strategies.single import Single
from routes.engine.strategies.smooth_weighted import SmoothWeighted
from routes.engine.strategies.speed import Speed
from routes.engine.strategies.tiered import Tiered
from routes.engine.strategies.token_budget import TokenBudget
from routes.engine.strategies.weighted import Weighted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from routes.engine.settings import Policy
    from routes.engine.strategies.base import Family

__all__ = (
    "DEFAULT",
    "DEFAULT_PARAMS",
    "NAMES",
    "REGISTRY",
    "SWITCHES",
    "Strategy",
    "allowed",
    "get",
    "normalise",
    "parse_params",
)

DEFAULT = "failover"

#: What may rank among targets that are equally near: all but those that look at regions or tiers themselves, and
#: ``single``, which would leave nothing to prefer.
_AMONG_EQUALS: tuple[Strategy, ...] = (
    Failover(),
    RoundRobin(),
    Weighted(),
    SmoothWeighted(),
    Random(),
    LeastLatency(),
    PeakEwma(),
    LeastInFlight(),
    LeastUsed(),
    LeastCost(),
    Speed(),
    TokenBudget(),
    Capacity(),
    ConsistentHash(),
    AbTest(),
    LeastLoaded(),
    ModelSpecific(),
    Predictive(),
)
_WITHIN_TIERS: tuple[Strategy, ...] = (
    *_AMONG_EQUALS[:1],
    Single(),
    *_AMONG_EQUALS[1:],
    GeoPreferred(_AMONG_EQUALS),
    Adaptive(),
    Hybrid(),
)

#: As lists and forms show them.
NAMES: tuple[str, ...] = (
    "failover",
    "single",
    "round_robin",
    "weighted",
    "smooth_weighted",
    "random",
    "least_latency",
    "peak_ewma",
    "least_in_flight",
    "least_used",
    "least_cost",
    "speed",
    "token_budget",
    "capacity",
    "tiered",
    "consistent_hash",
    "ab_test",
    "geo_preferred",
    "least_loaded",
    "model_specific",
    "predictive",
    "adaptive",
    "hybrid",
)
_BY_NAME: dict[str, Strategy] = {strategy.name: strategy for strategy in (*_WITHIN_TIERS, Tiered(_WITHIN_TIERS))}
REGISTRY: dict[str, Strategy] = {name: _BY_NAME[name] for name in NAMES}


def normalise(name: str | None) -> str:
    """Hyphens and underscores alike, any case; empty = the default."""
    return plain(name or "") or DEFAULT


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


#: Family -> the switch of the policy.
SWITCHES: dict[Family, str] = {
    "load_balancing": "enable_load_balancing",
    "geo": "enable_geo_routing",
    "model_specific": "enable_model_specific",
    "predictive": "enable_predictive",
    "adaptive": "enable_adaptive",
}


def allowed(strategy: Strategy, policy: Policy, params: BaseModel | None = None) -> bool:
    """Whether the policy leaves the strategy's family switched on, and with params that of the one within it."""
    if strategy.family is not None and not getattr(policy, SWITCHES[strategy.family]):
        return False
    inner = None if params is None else strategy.inner(params)
    return inner is None or allowed(inner[0], policy, inner[1])
