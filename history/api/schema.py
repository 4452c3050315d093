"""OpenAPI of the history API: parameters from the closed list of filters, components for what is answered.

``add_components`` is drf-spectacular's postprocessing hook; views refer to components by name.
"""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter

from history.filters import FIELDS, NUMBERS
from history.models import RouteStatus, RouteType
from history.rows import ROW_FIELDS
from history.search import MAX_LIMIT, ORDERS
from routes.api.openapi import (
    FLAG,
    LINK,
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


def _filters() -> list[OpenApiParameter]:
    known = [
        OpenApiParameter(
            name, description=f"Also {', '.join(f'`{name}__{o}`' for o in sorted(field.operators - {'eq'}))}."
        )
        for name, field in FIELDS.items()
    ]
    return [
        *known,
        OpenApiParameter("session", description="A session by its id or by the client's own name for it."),
        OpenApiParameter(
            "filter",
            description='A JSON tree: `{"all": […]}`, `{"any": […]}`, `{"not": {…}}` of `{"field", "op", "value"}`.',
        ),
    ]


_PAGE: Final = [
    OpenApiParameter("cursor", description="From `next` or `previous`."),
    OpenApiParameter("limit", int, description=f"Rows a page, 1 to {MAX_LIMIT}; 50 by default."),
    OpenApiParameter("from", description="ISO 8601; rows from this moment on."),
    OpenApiParameter("to", description="ISO 8601; rows before this moment."),
]
LIST_PARAMETERS: Final = [
    *_PAGE,
    OpenApiParameter("order", enum=ORDERS, description="Newest first by default."),
    OpenApiParameter(
        "count", enum=["exact", "estimate"], description="Also count the rows; null if that takes too long."
    ),
    *_filters(),
]
FAILURE_PARAMETERS: Final = [
    *_PAGE,
    OpenApiParameter("include_recovered", enum=["0", "1"], description="Also requests that failover saved."),
    *_filters(),
]


def _row() -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name in ROW_FIELDS:
        if name in NUMBERS:
            properties[name] = NUMBER if name in _REQUIRED_NUMBERS else MAYBE_NUMBER
        else:
            properties[name] = _SPECIAL.get(name, TEXT)
    return properties


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
    page = {"results": _list(reference("HistoryRow")), "next": LINK, "previous": LINK}
    scanned = {"scanned_to": {**TIME, "description": "How far back this page looked, when it stopped early."}}
    counted = {"count": {**MAYBE_NUMBER, "description": "With `count=exact` or `count=estimate`."}}
    return {
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
        "HistoryPage": object_of(page, optional={**counted, **scanned}),
        "HistoryFailureGroup": object_of(group),
        "HistoryFailures": object_of(
            {
                "from": MAYBE_TIME,
                "to": MAYBE_TIME,
                "total": NUMBER,
                "recovered": NUMBER,
                "groups": _list(reference("HistoryFailureGroup")),
                **page,
            },
            optional=scanned,
        ),
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def add_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(components())
    return result
