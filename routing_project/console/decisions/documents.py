"""What callers of the decisions API send: a request to decide, and later what came of it. Free of Django."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from routes.document.base import Label, Labels, ModelName, Slug, Strict
from routes.engine import strategies
from routes.engine.errors import EngineError

#: Facts come from callers and are kept with the record.
MAX_FACTS = 50
MAX_METRICS = 50
#: As many as a request's ``x-route-tags`` may have; they are kept too.
MAX_LABELS = 32
_CODE = re.compile(r"[a-z0-9_]{1,64}")


def _strategy(value: str) -> str:
    try:
        return strategies.get(value).name
    except EngineError as error:
        raise ValueError(str(error)) from None


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError("must be an IP address") from None


def _code(value: str) -> str:
    if not _CODE.fullmatch(value):
        raise ValueError("must be lower-case letters, digits and underscores, at most 64")
    return value


Milliseconds = Annotated[float, Field(ge=0, le=86_400_000, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=0, le=2**31 - 1)]


class DecisionRequirements(Strict):
    """What a head must bring; ``model_size`` like ``70b``."""

    version: Label | None = None
    model_size: Label | None = None
    capabilities: Labels = Field(default_factory=list, max_length=MAX_LABELS)


class DecisionSource(Strict):
    """On whose behalf the caller asks."""

    client_ip: Annotated[str, AfterValidator(_address)] | None = None
    user_agent: str = Field(default="", max_length=512)


class DecisionRequest(Strict):
    """``profile`` absent: the access key's; callers without one are decided over every provider by the policy's
    default strategy. ``facts`` are given to smart rules as they are."""

    profile: Slug | None = None
    route_type: Literal["session", "service", "inference"]
    model_type: Label | None = None
    model: ModelName | None = None
    region: Label | None = None
    session: str | None = Field(default=None, min_length=1, max_length=256)
    strategy: Annotated[str, AfterValidator(_strategy)] | None = None
    tags: Labels = Field(default_factory=list, max_length=MAX_LABELS)
    requirements: DecisionRequirements | None = None
    facts: dict[str, Any] = Field(default_factory=dict, max_length=MAX_FACTS)
    source: DecisionSource = Field(default_factory=DecisionSource)


class DecisionMeasurement(Strict):
    metric_name: Label
    metric_value: float = Field(allow_inf_nan=False)
    metric_unit: str = Field(default="", max_length=32)


class OutcomeReport(Strict):
    """What became of a decision. ``error_code`` may be any of ours or the caller's own word."""

    status: Literal["routed", "failed", "timeout"]
    latency_ms: Milliseconds
    ttfb_ms: Milliseconds | None = None
    http_status: int | None = Field(default=None, ge=100, le=599)
    error_code: Annotated[str, AfterValidator(_code)] | None = None
    message: str | None = Field(default=None, max_length=2000)
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    metrics: list[DecisionMeasurement] = Field(default_factory=list, max_length=MAX_METRICS)
