"""Scenario settings of a profile in the configuration document. Free of Django."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from routes.document.base import ModelName, Strict, unique
from routes.engine.facts.catalogue import SCENARIOS
from routes.engine.facts.scenario import BACKGROUND_MODELS, DEFAULT_THRESHOLD, normalise


def scenario_name(value: Any) -> Any:
    """``webSearch``, ``web-search`` and ``web_search`` are one."""
    name = normalise(value) if isinstance(value, str) else None
    if name is None:
        raise ValueError(f"must be one of {', '.join(SCENARIOS)}")
    return name


def _order(values: list[str]) -> list[str]:
    """A scenario left out is never seen; what is none of the others is the default, so that comes last."""
    if "default" in values[:-1]:
        raise ValueError("'default' is what is left, so it comes last")
    return values if "default" in values else [*values, "default"]


class Scenario(Strict):
    """How requests are classified: the first in ``order`` that fits. Threshold in tokens."""

    order: Annotated[
        list[Annotated[str, BeforeValidator(scenario_name)]], AfterValidator(unique), AfterValidator(_order)
    ] = Field(default_factory=lambda: list(SCENARIOS))
    long_context_threshold: int = Field(default=DEFAULT_THRESHOLD, ge=1, le=1_000_000_000)
    background_models: Annotated[list[ModelName], Field(max_length=1000), AfterValidator(unique)] = Field(
        default_factory=lambda: list(BACKGROUND_MODELS)
    )
