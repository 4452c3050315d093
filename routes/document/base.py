"""Building blocks of the configuration document: strictness and named formats.

Everything under ``routes.document`` is free of Django and of the database: it knows what a document may say,
not what is stored. Models fill in every default, sort what has no order, and so turn whatever was written into
one canonical form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

SLUG_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
MODEL_LENGTH = 200


class Strict(BaseModel):
    """Unknown fields are refused, nothing is coerced, and errors never quote the input (it may be a secret)."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def _matching(pattern: str, message: str) -> tuple[Any, Any]:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(message)
        return value

    return AfterValidator(check), Field(json_schema_extra={"pattern": pattern})


def _printable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must not be empty or hold control characters")
    return value


Printable = AfterValidator(_printable)


def tidy(value: float) -> float:
    """70.0 and 70 are one number: whole ones are written without a fraction."""
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else value


def unique(values: list[str]) -> list[str]:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"'{value}' is listed twice")
        seen.add(value)
    return values


def _sorted(values: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(values.items()))


_slug = _matching(SLUG_PATTERN, "must be lower-case letters, digits and hyphens, at most 64")
Slug = Annotated[str, _slug[0], _slug[1]]
Name = Annotated[str, Field(min_length=1, max_length=200), Printable]
ModelName = Annotated[str, Field(min_length=1, max_length=MODEL_LENGTH), Printable]
Label = Annotated[str, Field(min_length=1, max_length=64), Printable]
Labels = Annotated[list[Label], AfterValidator(unique)]

TIDY = PlainSerializer(tidy, return_type=Any)
Number = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False), TIDY]
#: How many of something; in limits 0 = no limit.
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]
#: Seconds; ``PositiveSeconds`` where 0 would make no sense.
Seconds = Annotated[float, Field(ge=0, le=86_400 * 7, allow_inf_nan=False), TIDY]
PositiveSeconds = Annotated[float, Field(gt=0, le=86_400 * 7, allow_inf_nan=False), TIDY]


#: For maps whose order means nothing: kept in one order, so that equal documents are equal text.
SORTED = AfterValidator(_sorted)


def _scalar_text(value: Any) -> Any:
    """Header and query values may be written as numbers."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return value


ScalarText = Annotated[str, BeforeValidator(_scalar_text), Field(max_length=4000)]


def merged(current: Mapping[str, Any], changes: Mapping[str, Any], objects: Mapping[str, Any]) -> dict[str, Any]:
    """``current`` with ``changes`` laid over it, as PATCH does: objects with fixed fields (named by ``objects``,
    nested) are merged, everything else, also lists and maps, is replaced."""
    result = dict(current)
    for name, value in changes.items():
        before = result.get(name)
        if name in objects and isinstance(value, Mapping) and isinstance(before, Mapping):
            value = merged(before, value, objects[name])
        result[name] = value
    return result
