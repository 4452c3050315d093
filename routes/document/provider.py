"""A provider in the configuration document. Free of Django."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from routes.document.address import (
    check_base_url,
    check_extra_header,
    check_header_name,
    check_header_value,
    check_network,
    check_probe_path,
    check_proxy,
    check_query_value,
)
from routes.document.base import (
    SORTED,
    TIDY,
    Count,
    Label,
    Labels,
    ModelName,
    Name,
    Number,
    PositiveSeconds,
    ScalarText,
    Seconds,
    Slug,
    Strict,
    unique,
)

CREDENTIAL_LENGTH = 8192

Wire = Literal["openai", "anthropic", "generic"]
#: How many tokens a model takes in and answers with, together.
Window = Annotated[int, Field(gt=0, le=1_000_000_000)]


class Price(Strict):
    """USD per million tokens; ``cached`` null = as input."""

    input: Number
    output: Number = 0
    cached: Number | None = None


Prices = Annotated[dict[ModelName, Price], SORTED]


class PriceSection(Strict):
    """The document's section by itself."""

    prices: Prices


class Credential(Strict):
    """What we authenticate with; exactly one of four. Never written out again."""

    value: str | None = Field(default=None, repr=False)
    env: str | None = None
    file: str | None = None
    keep: Literal[True] | None = None

    @model_validator(mode="after")
    def exactly_one(self) -> Self:
        given = [name for name in ("value", "env", "file", "keep") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("must be exactly one of value, env, file, keep")
        if self.value is not None:
            check_secret(self.value)
        return self


def check_secret(value: str) -> str:
    """A credential must survive being a header value. The message never quotes it."""
    if not value or len(value) > CREDENTIAL_LENGTH:
        raise ValueError(f"a credential has 1 to {CREDENTIAL_LENGTH} characters")
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError("a credential is one line of ASCII without outer spaces")
    return value


class CustomAuth(Strict):
    """The credential in a header of another name."""

    header: Annotated[str, AfterValidator(check_header_name)]
    prefix: Annotated[str, Field(max_length=100), AfterValidator(check_prefix)] = ""


def check_prefix(text: str) -> str:
    """Unlike a header value it may end with a space: ``Bearer ``."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("must be printable ASCII")
    return text


AUTH_WORDS = ("bearer", "x-api-key", "none")


def _auth(value: Any) -> Any:
    if isinstance(value, str):
        if value not in AUTH_WORDS:
            raise ValueError(f"must be {', '.join(AUTH_WORDS)} or {{header, prefix}}")
        return value
    if isinstance(value, dict):
        return CustomAuth.model_validate(value).model_dump()
    raise ValueError(f"must be {', '.join(AUTH_WORDS)} or {{header, prefix}}")


Auth = Annotated[
    Any,
    BeforeValidator(_auth),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(AUTH_WORDS)},
                {
                    "type": "object",
                    "required": ["header"],
                    "additionalProperties": False,
                    "properties": {"header": {"type": "string"}, "prefix": {"type": "string", "default": ""}},
                },
            ],
            "description": "Default bearer, for anthropic x-api-key.",
        }
    ),
]


class Circuit(Strict):
    """When targets of this provider open and close their circuit. Times in seconds, rate in percent."""

    failure_threshold: int = Field(default=5, ge=1, le=10_000)
    failure_rate: Annotated[float, Field(gt=0, le=100), TIDY] = 50
    window: PositiveSeconds = 30
    min_results: int = Field(default=10, ge=1, le=10_000)
    recovery_timeout: PositiveSeconds = 60
    recovery_timeout_max: PositiveSeconds = 300
    half_open_max_calls: int = Field(default=3, ge=1, le=1000)
    success_threshold: int = Field(default=2, ge=1, le=1000)
    slow_start: Seconds = 30

    @model_validator(mode="after")
    def longest_not_below_first(self) -> Self:
        _raise_ceiling(self, "recovery_timeout", "recovery_timeout_max")
        return self


class Quarantine(Strict):
    """How long traffic keeps away after 429 (without Retry-After) and after refused credentials; seconds."""

    rate_limit: PositiveSeconds = 60
    rate_limit_max: PositiveSeconds = 300
    auth: PositiveSeconds = 1800
    auth_max: PositiveSeconds = 7200

    @model_validator(mode="after")
    def longest_not_below_first(self) -> Self:
        _raise_ceiling(self, "rate_limit", "rate_limit_max")
        _raise_ceiling(self, "auth", "auth_max")
        return self


def _raise_ceiling(model: Strict, first: str, ceiling: str) -> None:
    """A ceiling that was left to its default follows the first value up; one that was given must fit."""
    if getattr(model, ceiling) >= getattr(model, first):
        return
    if ceiling in model.model_fields_set:
        raise ValueError(f"{ceiling} must not be below {first}")
    setattr(model, ceiling, getattr(model, first))


ProbeKind = Literal["models", "completion", "tcp", "http", "off"]
#: What is asked of a service that has no list of models.
PROBE_OF_WIRE: dict[str, ProbeKind] = {"generic": "tcp"}


class Probe(Strict):
    """How idle targets, and those that are out, are asked whether they work. Times in seconds; ``path`` below the base
    URL and ``expect`` a status are of kind ``http``; ``daily_requests`` and ``daily_usd`` cap kind ``completion``,
    0 = no cap."""

    kind: ProbeKind = "models"
    interval: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False), TIDY] = 30
    timeout: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False), TIDY] = 10
    rise: int = Field(default=2, ge=1, le=100)
    fall: int = Field(default=3, ge=1, le=100)
    path: Annotated[str, Field(max_length=2000), AfterValidator(check_probe_path)] | None = None
    expect: int = Field(default=200, ge=100, le=599)
    daily_requests: Count = 0
    daily_usd: Number = 0


ExtraHeader = Annotated[str, AfterValidator(check_extra_header)]
HeaderValue = Annotated[ScalarText, AfterValidator(check_header_value)]
QueryValue = Annotated[ScalarText, AfterValidator(check_query_value)]


class Provider(Strict):
    """An upstream account or service. ``capacity`` in seats, ``max_concurrency`` over all processes of a host,
    ``context`` in tokens by model. A ``generic`` one serves service routing only. Heads whose endpoint is in one of
    ``head_networks`` need no approval; with ``fallback_to_base_url`` the base URL serves while no head does."""

    #: Fixed-field objects that a partial update merges instead of replacing.
    OBJECTS: ClassVar[dict[str, dict[str, Any]]] = {"circuit": {}, "quarantine": {}, "probe": {}}

    slug: Slug
    name: Name
    wire: Wire
    base_url: Annotated[str, Field(max_length=2000), AfterValidator(check_base_url)]
    network: Literal["public", "private", "loopback"] = "public"
    auth: Auth = None
    credential: Credential | None = Field(default=None, exclude=True, repr=False)
    headers: Annotated[dict[ExtraHeader, HeaderValue], SORTED] = Field(default_factory=dict)
    query: Annotated[dict[ModelName, QueryValue], SORTED] = Field(default_factory=dict)
    proxy: Annotated[str, Field(max_length=2000), AfterValidator(check_proxy)] | None = None
    region: Label | None = None
    tags: Labels = Field(default_factory=list)
    weight: Number = 1
    capacity: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False), TIDY] | None = None
    max_concurrency: int = Field(default=0, ge=0, le=1_000_000)
    models: Annotated[dict[ModelName, ModelName], SORTED] | None = None
    context: Annotated[dict[ModelName, Window], SORTED] = Field(default_factory=dict)
    prices: Prices = Field(default_factory=dict)
    stream_usage: bool = True
    fallback_to_base_url: bool = False
    head_networks: Annotated[list[Annotated[str, AfterValidator(check_network)]], AfterValidator(unique)] = Field(
        default_factory=list, max_length=100
    )
    circuit: Circuit = Field(default_factory=Circuit)
    quarantine: Quarantine = Field(default_factory=Quarantine)
    probe: Probe = Field(default_factory=Probe)

    @model_validator(mode="before")
    @classmethod
    def defaults_of_the_wire(cls, data: Any) -> Any:
        """What is left out depends on the wire format."""
        if not isinstance(data, dict):
            return data
        wire = data.get("wire")
        given: dict[str, Any] = {}
        if data.get("auth") is None:
            given["auth"] = "x-api-key" if wire == "anthropic" else "bearer"
        probe = data.get("probe", {})
        if wire in PROBE_OF_WIRE and isinstance(probe, dict) and "kind" not in probe:
            given["probe"] = {**probe, "kind": PROBE_OF_WIRE[wire]}
        return {**data, **given}

    @model_validator(mode="after")
    def auth_header_is_not_given_twice(self) -> Self:
        if isinstance(self.auth, dict):
            name = self.auth["header"].lower()
            if any(header.lower() == name for header in self.headers):
                raise ValueError(f"'{name}' is both the auth header and in headers")
        lowered = [header.lower() for header in self.headers]
        if len(set(lowered)) != len(lowered):
            raise ValueError("headers: a name is given twice in different case")
        return self
