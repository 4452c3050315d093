"""Strategies that leave the ranking to another one named in their params: how it is chosen, checked and found.

The params models are made from the strategies there are, so that forms offer exactly those, and unknown names and a
strategy within itself are refused like every wrong value. The inner strategy runs with its default params.
Imports the engine and pydantic only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, create_model

from routes.engine.strategies.base import Params, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from routes.engine.candidates import Candidate, Pool
    from routes.engine.stages import Run


def plain(name: Any) -> Any:
    """A strategy's name in the form it is registered under: any case, hyphens and underscores alike."""
    return name.strip().lower().replace("-", "_") if isinstance(name, str) else name


class Nested(Strategy):
    """Base of strategies with an inner one. ``field`` names the param that names it."""

    field: ClassVar[str]
    field_description: ClassVar[str]
    default: ClassVar[str]

    def __init__(self, choices: Iterable[Strategy]) -> None:
        """``choices``: the strategies that may be the inner one, all of which work without params."""
        self._choices = {strategy.name: (strategy, strategy.params_model()) for strategy in choices}
        names: Any = Literal[tuple(self._choices)]
        described = Field(self.default, description=self.field_description)
        fields: Any = {self.field: (Annotated[names, BeforeValidator(plain)], described)}
        # Of the class, of which there is one object: what may be chosen is known only here.
        type(self).params_model = create_model(f"{type(self).__name__}Params", __base__=Params, **fields)

    def inner(self, params: BaseModel) -> tuple[Strategy, BaseModel]:
        return self._choices[getattr(params, self.field)]

    def variant(self, pool: Pool, run: Run, params: BaseModel, candidate: Candidate) -> str | None:
        strategy, inner_params = self.inner(params)
        return strategy.variant(pool, run, inner_params, candidate)
