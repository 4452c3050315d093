"""The policy section of the configuration document. Free of Django."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from routes.document.base import Later, Strict
from routes.document.profile import StrategyName
from routes.engine import strategies


class Policy(Strict):
    default_strategy: StrategyName = strategies.DEFAULT
    enable_geo_routing: Annotated[Any, Later(True, "policy switches are")] = True
    enable_load_balancing: Annotated[Any, Later(True, "policy switches are")] = True
    enable_model_specific: Annotated[Any, Later(True, "policy switches are")] = True
    enable_predictive: Annotated[Any, Later(True, "policy switches are")] = True
    enable_adaptive: Annotated[Any, Later(True, "policy switches are")] = True
    region_priority: Annotated[Any, Later([], "regions are")] = Field(default_factory=list)
    prediction_window: Annotated[Any, Later(15, "predictive strategies are")] = 15
    load_growth_factor: Annotated[Any, Later(1.1, "predictive strategies are")] = 1.1
    capacity_threshold: Annotated[Any, Later(80, "strategies by load are")] = 80
    geo: Annotated[Any, Later({}, "regions are")] = Field(default_factory=dict)
