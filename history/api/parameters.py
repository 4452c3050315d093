"""Every parameter of the history API as OpenAPI has it: typed, described, one for each field and operator.

Filters are a closed list (``history.filters.FIELDS``); what is said of them here is also the table in
docs/history_api.md. They are written once, as components, and referred to by every address that takes them.
"""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter

from history.filters import FIELDS, MAX_CONDITIONS, MAX_DEPTH, MAX_TEXT, MAX_VALUES, NUMBERS, SESSION
from history.lines import FORMATS
from history.models import RouteStatus, RouteType
from history.search import DEFAULT_LIMIT, MAX_LIMIT, ORDERS
from history.statistics import GROUPINGS
from routes.api.openapi import FLAG, NUMBER, TEXT, TIME, UUID

#: What a field is; with its unit.
MEANING: Final[dict[str, str]] = {
    "id": "Id of the request: its `x-route-id`.",
    "route_id": "Id of the profile.",
    "endpoint_id": "Id of the target that answered, or was tried last.",
    "session_id": "Id of the session.",
    "session_key": "The client's own name of the session.",
    "profile": "Slug of the profile.",
    "provider": "Slug of the provider that answered, or was tried last; empty if none was tried.",
    "access_key": "Name of the access key at that time.",
    "error_code": "Class of the error; absent where nothing failed.",
    "status": "What came of it.",
    "route_type": "What kind of request it was.",
    "model": "Model as sent upstream.",
    "requested_model": "Model that the client asked for.",
    "strategy": "Strategy that ranked the targets.",
    "source": "Stage of the decision that chose.",
    "rule": "Name of the rule that matched.",
    "message": "What was said of the error.",
    "recovered": "Whether it was answered after an attempt had failed.",
    "degraded": "Whether it was sent although nothing was healthy.",
    "http_status": "Status that the client was answered.",
    "latency_ms": "Time to the end of the answer, in milliseconds.",
    "selection_us": "Time that the decision took, in microseconds.",
    "ttfb_ms": "Time to the first byte or content event, in milliseconds.",
    "attempt_count": "Attempts that were made.",
    "input_tokens": "Tokens of the prompt.",
    "output_tokens": "Tokens of the answer.",
    "cached_tokens": "Tokens of the prompt that came from the provider's cache.",
    "cost_micro_usd": "Cost in millionths of a US dollar.",
    "revision": "Number of the revision that decided.",
}
#: What an operator asks.
OPERATORS: Final[dict[str, str]] = {
    "eq": "",
    "ne": "Anything but this; also where there is none.",
    "in": f"One of up to {MAX_VALUES} values, with commas between them.",
    "contains": "Has this in it.",
    "startswith": "Begins with this.",
    "gt": "More than this.",
    "lt": "Less than this.",
}
_IDS: Final = frozenset({"id", "route_id", "endpoint_id", "session_id"})
_CHOICES: Final = {"status": RouteStatus.values, "route_type": RouteType.values}
_FLAGS: Final = frozenset({"recovered", "degraded"})
#: No column of text holds NUL.
TYPED_TEXT: Final = {**TEXT, "maxLength": MAX_TEXT, "pattern": "^[^\\x00]*$"}


def type_of(field: str) -> dict[str, Any]:
    if field in _IDS:
        return UUID
    if field in _CHOICES:
        return {**TEXT, "enum": list(_CHOICES[field])}
    if field in _FLAGS:
        return FLAG
    if field in NUMBERS:
        return {**NUMBER, "format": "int64"}
    return TYPED_TEXT


def _filter(field: str, operator: str) -> OpenApiParameter:
    of_one = type_of(field)
    said = f"{MEANING[field]} {OPERATORS[operator]}".rstrip()
    if operator != "in":
        return OpenApiParameter(field if operator == "eq" else f"{field}__{operator}", of_one, description=said)
    if of_one == TYPED_TEXT:
        of_one = {**of_one, "minLength": 1, "pattern": "^[^,\\x00]+$"}
    many = {"type": "array", "items": of_one, "minItems": 1, "maxItems": MAX_VALUES}
    return OpenApiParameter(f"{field}__in", many, description=said, style="form", explode=False)


def _names(operators: frozenset[str]) -> list[str]:
    return [operator for operator in OPERATORS if operator in operators]


FILTERS: Final = [
    *(_filter(name, operator) for name, field in FIELDS.items() for operator in _names(field.operators)),
    OpenApiParameter(
        SESSION,
        TYPED_TEXT,
        description="A session by its id or by the client's own name of it.",
    ),
    OpenApiParameter(
        "filter",
        {
            **TEXT,
            "examples": ['{"any": [{"field": "status", "value": "timeout"}, {"field": "http_status", "value": 429}]}'],
        },
        description='Groups, as JSON: `{"all": […]}`, `{"any": […]}` or `{"not": {…}}` of such groups and of '
        '`{"field": "latency_ms", "op": "gt", "value": 500}`; `op` is `eq` where it is left out, and `value` a list '
        f"for `in`. At most {MAX_CONDITIONS} conditions, nested {MAX_DEPTH} deep. Holds together with the other "
        "parameters.",
    ),
]
FILTER_NAMES: Final = frozenset(parameter.name for parameter in FILTERS)

LIMIT: Final = OpenApiParameter(
    "limit",
    {**NUMBER, "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    description="Rows a page.",
)
CURSOR: Final = OpenApiParameter("cursor", TEXT, description="From `next` or `previous`.")
FROM: Final = OpenApiParameter(
    "from", TIME, description="From this moment on. ISO 8601; without a zone it is UTC, a date is its midnight."
)
TO: Final = OpenApiParameter("to", TIME, description="Before this moment.")
ORDER: Final = OpenApiParameter(
    "order", {**TEXT, "enum": list(ORDERS), "default": ORDERS[0]}, description="Descending with `-`."
)
COUNT: Final = OpenApiParameter(
    "count",
    {**TEXT, "enum": ["exact", "estimate"]},
    description="Also count the rows: exactly, or about; null if that takes too long.",
)
RECOVERED: Final = OpenApiParameter(
    "include_recovered", {**FLAG, "default": False}, description="Also requests that failover saved."
)
GROUP_BY: Final = OpenApiParameter(
    "group_by", {**TEXT, "enum": list(GROUPINGS)}, description="Also by group; without it there is only the whole."
)
PAGE_FORMAT: Final = OpenApiParameter(
    "format", {**TEXT, "enum": ["json", *FORMATS]}, description="Instead of the header `Accept`."
)
FILE_FORMAT: Final = OpenApiParameter(
    "format", {**TEXT, "enum": list(FORMATS), "default": FORMATS[0]}, description="Instead of the header `Accept`."
)
BOM: Final = OpenApiParameter(
    "bom",
    {**FLAG, "default": False},
    description="Begin CSV with the mark that tells Excel that it is UTF-8. Programs take the mark for a part of the "
    "first name, so it is left out by default.",
)
ROUTE: Final = OpenApiParameter("route", UUID, OpenApiParameter.PATH, description="The `x-route-id` of the answer.")
SESSION_ID: Final = OpenApiParameter(
    "session", UUID, OpenApiParameter.PATH, description="The `session_id` of its rows."
)
SESSION_KEY: Final = OpenApiParameter(
    "session_key",
    {**TYPED_TEXT, "minLength": 1},
    required=True,
    description="The client's own name of the session.",
)
ACCESS_KEY: Final = OpenApiParameter(
    "access_key", TYPED_TEXT, description="Name of the access key; needed where several have a session of this name."
)

PAGE: Final = [CURSOR, LIMIT, PAGE_FORMAT]
LIST: Final = [*PAGE, FROM, TO, ORDER, COUNT, *FILTERS]
FAILURES: Final = [*PAGE, FROM, TO, RECOVERED, *FILTERS]
STATISTICS: Final = [FROM, TO, GROUP_BY, *FILTERS]
EXPORT: Final = [FILE_FORMAT, BOM, FROM, TO, ORDER, *FILTERS]
SESSION_BY_ID: Final = [SESSION_ID, *PAGE]
SESSION_BY_KEY: Final = [SESSION_KEY, ACCESS_KEY, *PAGE]
