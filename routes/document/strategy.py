"""Names of strategies and their params in the configuration document. Free of Django; strategies are asked about
their own params."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from routes.engine import strategies


def strategy_name(value: Any) -> Any:
    """The registered name for what was written; empty, null and absent mean failover."""
    if value is None:
        return strategies.DEFAULT
    if not isinstance(value, str):
        raise ValueError("must be the name of a strategy")
    name = strategies.normalise(value)
    if name not in strategies.NAMES:
        raise ValueError(f"unknown strategy; there are {', '.join(strategies.NAMES)}")
    return name


def own_strategy_name(value: Any) -> Any:
    """A rule's: empty and null mean the profile's."""
    return None if value is None or value == "" else strategy_name(value)


def works_without_params(name: str) -> str:
    """For places that name a strategy and cannot give it params."""
    model = strategies.get(name).params_model
    if required := [field for field, info in model.model_fields.items() if info.is_required()]:
        raise ValueError(f"'{name}' needs {', '.join(required)}, so it can only be chosen in a profile or a rule")
    return name


StrategyName = Annotated[str, BeforeValidator(strategy_name)]
#: null = somebody else's choice.
OwnStrategyName = Annotated[str | None, BeforeValidator(own_strategy_name)]
#: Chosen where no params can be given.
BareStrategyName = Annotated[StrategyName, AfterValidator(works_without_params)]


def filled_params(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """``params`` with the strategy's defaults, in canonical form. Raises pydantic's ValidationError."""
    return strategies.get(name).params_model.model_validate(params).model_dump(mode="json")
