"""What a profile does about failures, in the configuration document. Free of Django."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from routes.document.base import TIDY, PositiveSeconds, Seconds, Strict

#: Answered by rules of their own (quarantines), whatever the list says.
NEVER_RETRIED = frozenset({401, 402, 403, 429})
RETRY_STATUSES = (500, 502, 503, 504, 529)


class Timeouts(Strict):
    """Seconds. ``first_event_soft`` 0 = off."""

    connect: PositiveSeconds = 5
    first_byte: PositiveSeconds = 300
    first_event: PositiveSeconds = 60
    first_event_soft: Seconds = 10
    idle: PositiveSeconds = 20
    total: PositiveSeconds = 600
    stream_max: PositiveSeconds = 3600


class Threshold(Strict):
    """The leader steps back after so many failures in a row."""

    failures: int = Field(default=3, ge=1, le=10_000)


class SuccessRate(Strict):
    """The leader steps back while fewer of its attempts succeed than this share."""

    min: Annotated[float, Field(gt=0, le=1), TIDY] = 0.8


class Latency(Strict):
    """The leader steps back while a percentile of its latency is above ``ms``."""

    ms: Annotated[float, Field(gt=0, le=3_600_000, allow_inf_nan=False), TIDY] = 2000
    percentile: Literal["p50", "p90", "p95", "p99"] = "p95"


class _ThresholdMode(Strict):
    threshold: Threshold


class _SuccessRateMode(Strict):
    success_rate: SuccessRate


class _LatencyMode(Strict):
    latency: Latency


MODE_WORDS = ("immediate", "cost")
MODES: dict[str, type[Strict]] = {
    "threshold": _ThresholdMode,
    "success_rate": _SuccessRateMode,
    "latency": _LatencyMode,
}
_FORMS = f"must be {', '.join(MODE_WORDS)} or one of {', '.join(f'{{{name}: {{…}}}}' for name in MODES)}"


def _mode(value: Any) -> Any:
    if isinstance(value, str) and value in MODE_WORDS:
        return value
    if isinstance(value, dict) and len(value) == 1 and (model := MODES.get(next(iter(value)))):
        return model.model_validate(value).model_dump(mode="json")
    raise ValueError(_FORMS)


def _mode_schema() -> dict[str, Any]:
    forms = []
    for name, model in MODES.items():
        inner = model.model_json_schema()["$defs"].popitem()[1]
        forms.append({"type": "object", "properties": {name: inner}, "required": [name], "additionalProperties": False})
    return {
        "anyOf": [{"enum": list(MODE_WORDS)}, *forms],
        "default": "immediate",
        "description": "When the leading target steps back behind the next one; failures always move on.",
    }


FailoverMode = Annotated[Any, BeforeValidator(_mode), WithJsonSchema(_mode_schema())]


class Failover(Strict):
    """What happens inside a request when an attempt fails, and when a leader is kept behind the others.
    ``non_idempotent``: service routing sends a POST or PATCH again, too, that may have been carried out already."""

    mode: FailoverMode = "immediate"
    max_attempts: int = Field(default=3, ge=1, le=50)
    same_target_retries: int = Field(default=1, ge=0, le=20)
    retry_statuses: list[Annotated[int, Field(ge=400, le=599)]] = Field(default_factory=lambda: list(RETRY_STATUSES))
    auth_errors: Literal["failover", "surface"] = "failover"
    when_all_unhealthy: Literal["try", "reject"] = "try"
    panic_concurrency: int = Field(default=10, ge=1, le=100_000)
    non_idempotent: bool = False
    timeouts: Timeouts = Field(default_factory=Timeouts)

    @field_validator("retry_statuses")
    @classmethod
    def known_statuses(cls, values: list[int]) -> list[int]:
        if wrong := sorted(NEVER_RETRIED & set(values)):
            raise ValueError(f"{wrong[0]} has rules of its own and cannot be listed here")
        return sorted(set(values))
