"""An access key in the configuration document. Free of Django."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from routes.document.base import Count, Label, Labels, ModelName, Name, Number, Slug, Strict
from routes.scopes import SCOPES, Scope

VALUE_PATTERN = r"^sbx_[A-Za-z0-9_-]{32,}$"
_VALUE = re.compile(VALUE_PATTERN)
ALLOWANCES = ("debug", "overrides")


def _value(value: str) -> str:
    if not _VALUE.fullmatch(value) or len(value) > 512:
        raise ValueError("must be sbx_ and at least 32 letters, digits, _ or -")
    return value


def parse_time(value: Any) -> Any:
    """ISO 8601; without an offset it is UTC, without a time it is the start of that day."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a time in ISO 8601, such as 2027-01-31T00:00:00Z") from None
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise ValueError("is out of range") from None
    return value


def format_time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def _in_order(order: tuple[str, ...]) -> AfterValidator:
    return AfterValidator(lambda values: sorted(set(values), key=order.index))


class KeyLimits(Strict):
    """Requests and tokens per minute, requests in flight, USD per day, week and month in UTC. 0 = no limit."""

    rpm: Count = 0
    tpm: Count = 0
    concurrency: Count = 0
    usd_day: Number = 0
    usd_week: Number = 0
    usd_month: Number = 0


class AccessKey(Strict):
    """What a client authenticates with. ``value`` goes in and never comes out again."""

    OBJECTS: ClassVar[dict[str, dict[str, Any]]] = {"limits": {}}

    name: Name
    profile: Slug = "default"
    value: Annotated[str, AfterValidator(_value)] | None = Field(
        default=None, exclude=True, repr=False, json_schema_extra={"writeOnly": True}
    )
    scopes: Annotated[list[Scope], Field(min_length=1), _in_order(SCOPES)] = Field(default=["route"])
    enabled: bool = True
    expires: Time | None = None
    region: Label | None = None
    tags: Labels = Field(default_factory=list)
    models: list[ModelName] | None = None
    profiles: list[Slug] | None = None
    allow: Annotated[list[Literal["debug", "overrides"]], _in_order(ALLOWANCES)] = Field(default_factory=list)
    limits: KeyLimits = Field(default_factory=KeyLimits)
