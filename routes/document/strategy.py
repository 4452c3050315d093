"""Names of strategies and their params in the configuration document. Free of Django; strategies are asked about
their own params."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from routes.document.errors import path_of
from routes.engine import strategies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


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


StrategyName = Annotated[str, BeforeValidator(strategy_name)]
#: null = somebody else's choice.
OwnStrategyName = Annotated[str | None, BeforeValidator(own_strategy_name)]


def filled_params(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """``params`` with the strategy's defaults, in canonical form. Raises pydantic's ValidationError."""
    return strategies.get(name).params_model.model_validate(params).model_dump(mode="json")


def unknown_members(
    name: str, params: Mapping[str, Any], targets: Sequence[tuple[str, str | None]]
) -> Iterator[tuple[str, str]]:
    """Params that name targets which are not among ``targets`` (provider, model): ``(path, message)``. What a
    strategy cannot say by itself, because it is given its targets later."""
    if name != "ab_test":
        return
    for place, variant in enumerate(params["variants"]):
        for index, member in enumerate(variant["targets"]):
            provider, _, model = member.partition("/")
            if not any(slug == provider and (not model or own in (None, model)) for slug, own in targets):
                path = path_of(("params", "variants", place, "targets", index))
                yield path, "is no target here: name one by its provider, or by provider/model"
