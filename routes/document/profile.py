"""A profile in the configuration document. Free of Django; strategies are asked about their own params."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from routes.document.base import Later, ModelName, Name, Number, PositiveSeconds, Seconds, Slug, Strict
from routes.engine import strategies

#: Strategies of the specification that this release does not have.
STRATEGIES_TO_COME = frozenset(
    {
        *("random", "least_in_flight", "least_used", "speed", "token_budget", "capacity", "tiered"),
        *("consistent_hash", "ab_test", "geo_preferred", "least_loaded", "model_specific", "predictive"),
        *("adaptive", "hybrid"),
    }
)
#: Answered by rules of their own (quarantines), whatever the list says.
NEVER_RETRIED = frozenset({401, 402, 403, 429})
RETRY_STATUSES = (500, 502, 503, 504, 529)


def strategy_name(value: Any) -> Any:
    """The registered name for what was written; empty, null and absent mean failover."""
    if value is None:
        return strategies.DEFAULT
    if not isinstance(value, str):
        raise ValueError("must be the name of a strategy")
    name = strategies.normalise(value)
    if name in strategies.NAMES:
        return name
    if name in STRATEGIES_TO_COME:
        raise ValueError(f"the strategy '{name}' is not available yet")
    raise ValueError(f"unknown strategy; there are {', '.join(strategies.NAMES)}")


StrategyName = Annotated[str, BeforeValidator(strategy_name)]


class Target(Strict):
    """One place of a profile: ``model`` null = what the client asks for, ``weight`` null = the provider's."""

    provider: Slug
    model: ModelName | None = None
    weight: Number | None = None
    tier: int = Field(default=0, ge=0, le=1000)


class Timeouts(Strict):
    """Seconds. ``first_event_soft`` 0 = off."""

    connect: PositiveSeconds = 5
    first_byte: PositiveSeconds = 300
    first_event: PositiveSeconds = 60
    first_event_soft: Seconds = 10
    idle: PositiveSeconds = 20
    total: PositiveSeconds = 600
    stream_max: PositiveSeconds = 3600


class Failover(Strict):
    """What happens inside a request when an attempt fails."""

    mode: Annotated[Any, Later("immediate", "failover modes other than immediate are")] = "immediate"
    max_attempts: int = Field(default=3, ge=1, le=50)
    same_target_retries: int = Field(default=1, ge=0, le=20)
    retry_statuses: list[Annotated[int, Field(ge=400, le=599)]] = Field(default_factory=lambda: list(RETRY_STATUSES))
    auth_errors: Literal["failover", "surface"] = "failover"
    when_all_unhealthy: Literal["try", "reject"] = "try"
    panic_concurrency: int = Field(default=10, ge=1, le=100_000)
    non_idempotent: Annotated[Any, Later(False, "service routing is")] = False
    timeouts: Timeouts = Field(default_factory=Timeouts)

    @field_validator("retry_statuses")
    @classmethod
    def known_statuses(cls, values: list[int]) -> list[int]:
        if wrong := sorted(NEVER_RETRIED & set(values)):
            raise ValueError(f"{wrong[0]} has rules of its own and cannot be listed here")
        return sorted(set(values))


class Affinity(Strict):
    """Sessions are not pinned in this release; only ``{enabled: false}`` is accepted."""

    enabled: Annotated[Any, Later(False, "session affinity is")] = False
    ttl: Annotated[Any, Later(1800, "session affinity is")] = 1800
    scope: Annotated[Any, Later("rule", "session affinity is")] = "rule"
    sliding: Annotated[Any, Later(False, "session affinity is")] = False
    promotion_hold: Annotated[Any, Later(60, "session affinity is")] = 60
    client_ip: Annotated[Any, Later(False, "session affinity is")] = False


class Limits(Strict):
    concurrency: Annotated[Any, Later(0, "limits per profile are")] = 0
    queue_ms: Annotated[Any, Later(0, "limits per profile are")] = 0


SCENARIO_ORDER = ["web_search", "thinking", "image", "long_context", "code", "background", "default"]
BACKGROUND_MODELS = ["*haiku*", "*mini*", "*flash*"]


class Scenario(Strict):
    order: Annotated[Any, Later(SCENARIO_ORDER, "scenarios are")] = Field(default_factory=lambda: list(SCENARIO_ORDER))
    long_context_threshold: Annotated[Any, Later(32000, "scenarios are")] = 32000
    background_models: Annotated[Any, Later(BACKGROUND_MODELS, "scenarios are")] = Field(
        default_factory=lambda: list(BACKGROUND_MODELS)
    )


def _accounting(value: Any) -> Any:
    if value == "always":
        raise ValueError("'always' is not available yet")
    return value


class Profile(Strict):
    """A named routing policy."""

    #: Fixed-field objects that a partial update merges instead of replacing.
    OBJECTS: ClassVar[dict[str, dict[str, Any]]] = {
        "affinity": {},
        "failover": {"timeouts": {}},
        "limits": {},
        "scenario": {},
    }

    slug: Slug
    name: Name
    strategy: StrategyName = strategies.DEFAULT
    params: dict[str, Any] = Field(default_factory=dict)
    targets: list[Target] = Field(max_length=1000)
    affinity: Affinity = Field(default_factory=Affinity)
    failover: Failover = Field(default_factory=Failover)
    limits: Limits = Field(default_factory=Limits)
    scenario: Scenario = Field(default_factory=Scenario)
    accounting: Annotated[Literal["off", "when_asked"], BeforeValidator(_accounting)] = "when_asked"
    require_tags: Annotated[Any, Later(False, "required tags are")] = False
    rules: Annotated[Any, Later([], "smart rules are")] = Field(default_factory=list)

    @field_validator("params", mode="before")
    @classmethod
    def absent_params(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("params")
    @classmethod
    def known_params(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Checked against the strategy's own model, with its defaults filled in."""
        if "strategy" not in info.data:
            return value  # the strategy itself is wrong; one error is enough
        model = strategies.get(info.data["strategy"]).params_model
        return model.model_validate(value).model_dump(mode="json")

    @field_validator("targets")
    @classmethod
    def compact_tiers(cls, targets: list[Target]) -> list[Target]:
        """Tiers become 0..n without gaps, in the order they had."""
        order = {tier: index for index, tier in enumerate(sorted({target.tier for target in targets}))}
        for target in targets:
            target.tier = order[target.tier]
        return targets

    @model_validator(mode="after")
    def no_target_twice(self) -> Self:
        """Circuits and samples belong to provider + model: a second one would be the same target."""
        seen: dict[tuple[str, str | None], int] = {}
        for index, target in enumerate(self.targets):
            first = seen.setdefault((target.provider, target.model), index)
            if first != index:
                raise _at("targets", index, message=f"the same provider and model as targets[{first}]")
        return self


def _at(*location: str | int, message: str) -> ValidationError:
    error = InitErrorDetails(
        type=PydanticCustomError("refused", "{message}", {"message": message}), loc=location, input=None
    )
    return ValidationError.from_exception_data("Profile", [error], hide_input=True)
