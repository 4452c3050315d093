"""OpenAPI of the history API: components for what is answered, and what each address may answer.

``add_components`` is drf-spectacular's postprocessing hook; views refer to components by name.
"""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse

from history.api import examples, parameters
from history.filters import NUMBERS
from history.models import RouteStatus, RouteType
from history.rows import ROW_FIELDS
from history.statistics import GROUPINGS
from routes.api.openapi import (
    FIGURE,
    FLAG,
    LINK,
    MAYBE_FIGURE,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    MAYBE_TIME,
    MAYBE_UUID,
    NUMBER,
    TEXT,
    TIME,
    UUID,
    object_of,
    reference,
)

OBJECT: Final[dict[str, Any]] = {"type": "object", "additionalProperties": True}
PARAMETER: Final = "#/components/parameters/History.{name}"
JSON: Final = "application/json"
CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"

_REQUIRED_NUMBERS: Final = frozenset({"selection_us", "attempt_count", "revision"})
_SPECIAL: Final[dict[str, dict[str, Any]]] = {
    "id": UUID,
    "created_at": TIME,
    "route_id": MAYBE_UUID,
    "session_id": MAYBE_UUID,
    "endpoint_id": MAYBE_UUID,
    "session_key": MAYBE_TEXT,
    "error_code": MAYBE_TEXT,
    "rule": MAYBE_TEXT,
    "recovered": FLAG,
    "degraded": FLAG,
    "status": {"type": "string", "enum": RouteStatus.values},
    "route_type": {"type": "string", "enum": RouteType.values},
}

# -- what may be answered -----------------------------------------------------------------------------------------
Responses = dict[Any, Any]
RETRY_AFTER: Final = OpenApiParameter(
    "Retry-After", NUMBER, OpenApiParameter.HEADER, response=[429], description="Seconds."
)
LINKS: Final = OpenApiParameter(
    "Link",
    TEXT,
    OpenApiParameter.HEADER,
    response=[200],
    description='The pages beside this one, with `rel="next"` and `rel="prev"`.',
)
HEADERS: Final = [RETRY_AFTER, LINKS]


def _error(description: str, *shown: str) -> OpenApiResponse:
    told = [OpenApiExample(name, examples.ERRORS[name]) for name in shown]
    return OpenApiResponse(reference("Error"), description, told)


_FORBIDDEN: Final = {scope: _error(f"This needs the scope `{scope}`.", f"no_{scope}") for scope in ("read", "admin")}
_REFUSED: Final[Responses] = {
    (400, JSON): _error(
        "A parameter is not understood, or what is asked takes too long.", "invalid", "range_too_large"
    ),
    (401, JSON): _error("No key and no session, or one that is not valid.", "unauthenticated"),
    (403, JSON): _FORBIDDEN["read"],
    (429, JSON): _error("Too many calls; or, of exports, too many at once.", "throttled"),
}


def one(name: str, *, missing: str = "", scope: str = "read") -> Responses:
    """A JSON document. ``missing``: the error when there is no such thing; ``scope``: what it needs."""
    gone: Responses = {(404, JSON): _error("There is no such thing.", missing)} if missing else {}
    return {(200, JSON): reference(name), **_REFUSED, (403, JSON): _FORBIDDEN[scope], **gone}


def page(name: str, *, missing: str = "", ambiguous: bool = False) -> Responses:
    """A page of rows, in each form that there is. ``ambiguous``: a name may mean several."""
    several: Responses = (
        {(409, JSON): OpenApiResponse(reference("HistoryAmbiguous"), "Several have this name.")} if ambiguous else {}
    )
    return {
        **one(name, missing=missing),
        (200, CSV): _lines(examples.CSV),
        (200, NDJSON): _lines(examples.NDJSON),
        **several,
    }


def _lines(example: str) -> OpenApiResponse:
    return OpenApiResponse(TEXT, "", [OpenApiExample("rows", example)])


EXPORT_RESPONSES: Final[Responses] = {
    (200, CSV): _lines(examples.CSV),
    (200, NDJSON): _lines(examples.NDJSON),
    **_REFUSED,
    (406, JSON): _error("Exports are CSV or NDJSON.", "not_acceptable"),
}

# -- components -----------------------------------------------------------------------------------------------------


def _row() -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name in ROW_FIELDS:
        if name in NUMBERS:
            properties[name] = NUMBER if name in _REQUIRED_NUMBERS else MAYBE_NUMBER
        else:
            properties[name] = _SPECIAL.get(name, TEXT)
        if name in parameters.MEANING:
            properties[name] = {**properties[name], "description": parameters.MEANING[name]}
    return properties


def _sums() -> dict[str, Any]:
    """G of the contract: what statistics say of the whole and of each group."""
    times = object_of(dict.fromkeys(("avg", "p50", "p95", "p99"), MAYBE_FIGURE))
    share = {**FIGURE, "minimum": 0, "maximum": 1}
    return {
        **{name: {**NUMBER, "minimum": 0} for name in ("count", *RouteStatus.values, "recovered")},
        "failure_rate": {**share, "description": "Failed, timed out, rejected and interrupted, of all."},
        "latency_ms": {**times, "description": "Milliseconds to the end of the answer; WebSockets are left out."},
        "ttfb_ms": {**times, "description": "Milliseconds to the first byte or content event."},
        "input_tokens": NUMBER,
        "output_tokens": NUMBER,
        "cost_usd": {**FIGURE, "description": "US dollars, of the requests whose cost is known."},
        "share": {**share, "description": "Of all requests of the range."},
        "expected_share": {
            **MAYBE_FIGURE,
            "description": "What the weights of the live revision would give; null where they say nothing.",
        },
    }


def _session() -> dict[str, Any]:
    counted = {"count": NUMBER}
    return {
        "session_id": UUID,
        "session_key": TEXT,
        "access_key": TEXT,
        "first_at": TIME,
        "last_at": TIME,
        "count": NUMBER,
        "recovered": NUMBER,
        "statuses": object_of(dict.fromkeys(RouteStatus.values, NUMBER)),
        "profiles": _list(object_of({"profile": TEXT, **counted})),
        "providers": _list(object_of({"provider": TEXT, **counted})),
        "targets": _list(object_of({"endpoint_id": MAYBE_UUID, "provider": TEXT, "model": TEXT, **counted})),
        "input_tokens": NUMBER,
        "output_tokens": NUMBER,
        "cached_tokens": NUMBER,
        "cost_usd": {**FIGURE, "description": "US dollars, of the requests whose cost is known."},
    }


def components() -> dict[str, Any]:
    """Every component that our views refer to."""
    row = _row()
    attempt = {
        "ordinal": NUMBER,
        "provider": TEXT,
        "model": TEXT,
        "target": MAYBE_UUID,
        "endpoint": TEXT,
        "http_status": MAYBE_NUMBER,
        "error_class": MAYBE_TEXT,
        "message": TEXT,
        "started_at": TIME,
        "ttfb_ms": MAYBE_NUMBER,
        "latency_ms": MAYBE_NUMBER,
        "bytes": NUMBER,
        "transitions": {"type": "array", "items": {"type": "array", "items": TEXT}},
    }
    metric = {"metric_name": TEXT, "metric_value": {"type": "number"}, "metric_unit": TEXT, "timestamp": TIME}
    group = {
        "error_code": MAYBE_TEXT,
        "provider": TEXT,
        "count": NUMBER,
        "recovered": NUMBER,
        "first_seen": TIME,
        "last_seen": TIME,
        "sample_ids": _list(UUID),
    }
    excerpt = object_of(
        {
            "content_type": TEXT,
            "size": {**MAYBE_NUMBER, "description": "Bytes of the whole; null if it was not received in full."},
            "truncated": {**FLAG, "description": "Something between `text` and `tail` is not kept."},
            "text": TEXT,
            "tail": TEXT,
        }
    )
    beside = {"results": _list(reference("HistoryRow")), "next": LINK, "previous": LINK}
    scanned = {"scanned_to": {**TIME, "description": "How far this page looked, when it stopped early."}}
    counted = {"count": {**MAYBE_NUMBER, "description": "With `count=exact` or `count=estimate`."}}
    span = {"from": MAYBE_TIME, "to": MAYBE_TIME}
    sums = _sums()
    sighting = {"session_id": UUID, "access_key": TEXT, "first_at": TIME, "last_at": TIME, "count": NUMBER}
    error = {
        "code": {"const": "session_ambiguous"},
        "message": TEXT,
        "fields": {"type": "object"},
        "sessions": _list(object_of(sighting)),
    }
    found = {
        "HistoryRow": object_of(row),
        "HistoryAttempt": object_of(attempt),
        "HistoryMetric": object_of(metric),
        "HistoryDetail": object_of(
            {
                **row,
                "usage_estimated": FLAG,
                "source_info": OBJECT,
                "target_info": OBJECT,
                "routing_decision": OBJECT,
                "attempts": _list(reference("HistoryAttempt")),
                "metrics": _list(reference("HistoryMetric")),
                "explanation": _list(TEXT),
            }
        ),
        "HistoryExcerpt": excerpt,
        "HistoryPayload": object_of(
            {
                "id": UUID,
                "created_at": TIME,
                "kept_until": TIME,
                "redactions": {**NUMBER, "description": "Secrets that were taken out."},
                "request": reference("HistoryExcerpt"),
                "response": reference("HistoryExcerpt"),
            }
        ),
        "HistoryPage": object_of(beside, optional={**counted, **scanned}),
        "HistoryFailureGroup": object_of(group),
        "HistoryFailures": object_of(
            {
                **span,
                "total": NUMBER,
                "recovered": NUMBER,
                "groups": _list(reference("HistoryFailureGroup")),
                **beside,
            },
            optional=scanned,
        ),
        "HistorySums": object_of(sums),
        "HistoryStatistics": object_of(
            {
                **span,
                "group_by": {"enum": [*GROUPINGS, None]},
                "totals": reference("HistorySums"),
                "groups": _list(reference("HistoryGroup")),
            }
        ),
        "HistoryGroup": object_of(
            {
                "key": {
                    **MAYBE_TEXT,
                    "description": "Value of the field; of hours and days, the moment (ISO 8601) they begin at.",
                },
                **sums,
            }
        ),
        "HistorySessionFigures": object_of(_session()),
        "HistorySession": object_of(
            {"session": {"oneOf": [reference("HistorySessionFigures"), {"type": "null"}]}, **beside}, optional=scanned
        ),
        "HistoryAmbiguous": object_of({"error": object_of(error)}),
    }
    for name, example in examples.DOCUMENTS.items():
        found[name]["examples"] = [example]
    return found


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def add_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook: our components, and references to filters in the place of their copies."""
    parts = result.setdefault("components", {})
    parts.setdefault("schemas", {}).update(components())
    shared = parts.setdefault("parameters", {})
    for path, operations in result["paths"].items():
        if path.startswith("/api/v1/history/"):
            for operation in operations.values():
                operation["parameters"] = [_shared(each, shared) for each in operation.get("parameters", ())]
    return result


def _shared(parameter: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    name = parameter["name"]
    if parameter["in"] != "query" or name not in parameters.FILTER_NAMES:
        return parameter
    shared[f"History.{name}"] = parameter
    return {"$ref": PARAMETER.format(name=name)}
