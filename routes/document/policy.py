"""The policy section of the configuration document. Free of Django."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from routes.document.base import SORTED, TIDY, Label, Labels, Strict
from routes.document.strategy import StrategyName
from routes.engine import strategies

PLACE_PATTERN = r"^([A-Za-z]{2}|[*])$"


def _place(code: str) -> str:
    if not re.fullmatch(PLACE_PATTERN, code):
        raise ValueError("must be the code of a country or continent, such as DE or EU, or * for any other")
    return code.upper()


def _one_spelling(values: Any) -> Any:
    if isinstance(values, dict):
        spelled = [code.upper() for code in values if isinstance(code, str)]
        if len(set(spelled)) != len(spelled):
            raise ValueError("a place is given twice in different case")
    return values


Place = Annotated[str, AfterValidator(_place), Field(json_schema_extra={"pattern": PLACE_PATTERN})]
Geo = Annotated[dict[Place, Label], BeforeValidator(_one_spelling), Field(max_length=1000), SORTED]


class Policy(Strict):
    """What holds for every profile. ``prediction_window`` in minutes, ``capacity_threshold`` in percent, ``geo``:
    country or continent of a client -> region; the country goes first, ``*`` is any other."""

    default_strategy: StrategyName = strategies.DEFAULT
    enable_geo_routing: bool = True
    enable_load_balancing: bool = True
    enable_model_specific: bool = True
    enable_predictive: bool = True
    enable_adaptive: bool = True
    region_priority: Annotated[Labels, Field(max_length=1000)] = Field(default_factory=list)
    prediction_window: Annotated[float, Field(gt=0, le=10_080, allow_inf_nan=False), TIDY] = 15
    load_growth_factor: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False), TIDY] = 1.1
    capacity_threshold: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False), TIDY] = 80
    geo: Annotated[dict[Place, Label], BeforeValidator(_one_spelling), Field(max_length=1000), SORTED] = Field(
        default_factory=dict
    )
