"""A smart rule in the configuration document: a condition and the partition of targets it leads to. Free of Django.

What only shows beside the profile is judged by ``settle``, because a rule is also edited by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from routes.document.base import Name, Strict
from routes.document.condition import When
from routes.document.errors import DocumentError, path_of
from routes.document.strategy import OwnStrategyName, filled_params, unknown_members
from routes.document.target import Target, Targets, doubles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_RULES = 1000


def _text(value: str) -> str:
    if not all(character.isprintable() or character == "\n" for character in value):
        raise ValueError("must not hold control characters other than line ends")
    return value


class Rule(Strict):
    """The first enabled rule whose condition holds decides among its own targets. ``strategy`` and ``params`` null =
    the profile's; params alone change those of the profile's strategy."""

    name: Name
    description: Annotated[str, Field(max_length=2000), AfterValidator(_text)] = ""
    enabled: bool = True
    when: When
    targets: Targets
    strategy: OwnStrategyName = None
    params: dict[str, Any] | None = None
    fallback_to_profile: bool = True


def settle(rule: Rule, strategy: str, targets: Sequence[Target]) -> Iterator[tuple[str, str]]:
    """Fill in the defaults of a rule's params beside this profile, and say what cannot be: ``(path, message)`` below
    the rule. Params without a strategy are those of the profile's strategy."""
    places = [named(target, targets) for target in rule.targets]
    for index, first in doubles(places):
        yield path_of(("targets", index)), f"the same provider and model as targets[{first}]"
    if rule.params is None:
        return
    try:
        rule.params = filled_params(rule.strategy or strategy, rule.params)
    except ValidationError as error:
        yield from DocumentError.from_pydantic(error, "params").errors
    else:
        yield from unknown_members(rule.strategy or strategy, rule.params, places)


def named(target: Target, profile: Sequence[Target]) -> tuple[str, str | None]:
    """(provider, model) that a rule's target stands for; the engine resolves it the same way."""
    if target.model is None:
        of_provider = (place.model for place in profile if place.provider == target.provider)
        return target.provider, next(of_provider, None)
    return target.provider, target.model
