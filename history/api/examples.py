"""Examples of what the history API answers, as its OpenAPI document shows them; a test holds them to the schema."""

from __future__ import annotations

from typing import Any, Final

from history import lines
from history.rows import ROW_FIELDS

ROUTE_ID: Final = "019aa131-7a00-7c3e-9f0b-2d7c51a9e604"
TARGET_ID: Final = "0198f6a2-7d1c-5b7e-9a40-3c1d8e5f2a11"
SESSION_ID: Final = "5d1f8c34-9a77-5e0c-8b52-6f1e0c7d2a90"

ROW: Final[dict[str, Any]] = {
    "id": ROUTE_ID,
    "created_at": "2026-11-20T12:00:00.000Z",
    "route_id": "0198f6a2-5e0b-7c33-8f21-6b0d4a9c7e52",
    "profile": "default",
    "session_id": SESSION_ID,
    "session_key": "chat-17",
    "endpoint_id": TARGET_ID,
    "route_type": "inference",
    "status": "routed",
    "error_code": None,
    "message": "",
    "http_status": 200,
    "latency_ms": 842,
    "selection_us": 38,
    "ttfb_ms": 131,
    "provider": "acme-eu",
    "model": "acme-gpt-4o",
    "requested_model": "gpt-4o",
    "strategy": "weighted",
    "source": "load_balancer",
    "rule": None,
    "attempt_count": 2,
    "recovered": True,
    "degraded": False,
    "input_tokens": 412,
    "output_tokens": 96,
    "cached_tokens": 0,
    "cost_micro_usd": 1990,
    "revision": 12,
    "access_key": "app",
}
CSV: Final = (lines.head(ROW_FIELDS, "csv") + lines.body([ROW], ROW_FIELDS, "csv")).decode()
NDJSON: Final = lines.body([ROW], ROW_FIELDS, "ndjson").decode()

_NEXT: Final = "https://signalbox.example/api/v1/history/?cursor=WyItY3JlYXRlZF9hdCIsMSwiMDE5YWEx"
_PAGE: Final = {"results": [ROW], "next": _NEXT, "previous": None}
_SPAN: Final = {"from": "2026-11-19T12:00:00.000Z", "to": None}
_ATTEMPT: Final = {
    "ordinal": 1,
    "provider": "acme-us",
    "model": "acme-gpt-4o",
    "target": "0198f6a2-7d1c-5b7e-9a40-3c1d8e5f2a12",
    "endpoint": "https://us.acme.example/v1",
    "http_status": 503,
    "error_class": "upstream_5xx",
    "message": "",
    "started_at": "2026-11-20T12:00:00.001Z",
    "ttfb_ms": 88,
    "latency_ms": 90,
    "bytes": 0,
    "transitions": [["closed", "open", "consecutive_failures"]],
}
_METRIC: Final = {
    "metric_name": "request_latency",
    "metric_value": 842.0,
    "metric_unit": "ms",
    "timestamp": "2026-11-20T12:00:00.000Z",
}
_EXCERPT: Final = {
    "content_type": "application/json",
    "size": 71,
    "truncated": False,
    "text": '{"model":"gpt-4o","messages":[{"role":"user","content":"My key: [redacted]"}]}',
    "tail": "",
}
_GROUP: Final = {
    "error_code": "connect_refused",
    "provider": "acme-us",
    "count": 31,
    "recovered": 0,
    "first_seen": "2026-11-20T09:14:02.118Z",
    "last_seen": "2026-11-20T09:15:40.902Z",
    "sample_ids": ["019aa09a-2f96-7b41-8d0e-5b1f3c7a9d20"],
}
_TIMES: Final = {"avg": 912.4, "p50": 790, "p95": 2210, "p99": 4180}
_SUMS: Final[dict[str, Any]] = {
    "count": 1200,
    "routed": 1160,
    "failed": 20,
    "timeout": 6,
    "rejected": 9,
    "cancelled": 3,
    "interrupted": 2,
    "decided": 0,
    "recovered": 14,
    "failure_rate": 0.030833333333333334,
    "latency_ms": _TIMES,
    "ttfb_ms": {"avg": 188.1, "p50": 140, "p95": 420, "p99": 980},
    "input_tokens": 512000,
    "output_tokens": 130400,
    "cost_usd": 2.584,
    "share": 1.0,
    "expected_share": None,
}
_HOUR: Final = {"key": "2026-11-20T11:00:00.000Z", **_SUMS}
_SESSION: Final = {
    "session_id": SESSION_ID,
    "session_key": "chat-17",
    "access_key": "app",
    "first_at": "2026-11-20T11:48:10.411Z",
    "last_at": "2026-11-20T12:00:00.000Z",
    "count": 4,
    "recovered": 1,
    "statuses": {
        "routed": 4,
        "failed": 0,
        "timeout": 0,
        "rejected": 0,
        "cancelled": 0,
        "interrupted": 0,
        "decided": 0,
    },
    "profiles": [{"profile": "default", "count": 4}],
    "providers": [{"provider": "acme-eu", "count": 4}],
    "targets": [{"endpoint_id": TARGET_ID, "provider": "acme-eu", "model": "acme-gpt-4o", "count": 4}],
    "input_tokens": 1648,
    "output_tokens": 401,
    "cached_tokens": 0,
    "cost_usd": 0.00813,
}
_SIGHTING: Final = {
    "session_id": SESSION_ID,
    "access_key": "app",
    "first_at": _SESSION["first_at"],
    "last_at": _SESSION["last_at"],
    "count": 4,
}

#: By the component that they are an example of.
DOCUMENTS: Final[dict[str, dict[str, Any]]] = {
    "HistoryRow": ROW,
    "HistoryAttempt": _ATTEMPT,
    "HistoryMetric": _METRIC,
    "HistoryDetail": {
        **ROW,
        "usage_estimated": False,
        "source_info": {
            "client_ip": "192.0.2.7",
            "path": "/v1/chat/completions",
            "wire": "openai",
            "access_key": "app",
            "access_key_id": "0198f6a2-6b11-7f0d-a2c4-91d05e3b8c77",
        },
        "target_info": {
            "provider": "acme-eu",
            "model": "acme-gpt-4o",
            "target": TARGET_ID,
            "endpoint": "https://eu.acme.example/v1",
            "region": "eu-west",
            "head_id": "",
        },
        "routing_decision": {"profile": "default", "revision": 12, "source": "load_balancer", "strategy": "weighted"},
        "attempts": [_ATTEMPT],
        "metrics": [_METRIC],
        "explanation": [
            "Attempt 1: acme-us / acme-gpt-4o failed with a server error (503) after 90 ms.",
            "The client was answered with status 200 after 842 ms, thanks to failover.",
        ],
    },
    "HistoryExcerpt": _EXCERPT,
    "HistoryPayload": {
        "id": ROUTE_ID,
        "created_at": ROW["created_at"],
        "kept_until": "2026-11-27T12:00:00.000Z",
        "redactions": 1,
        "request": _EXCERPT,
        "response": {**_EXCERPT, "text": '{"choices":[{"message":{"content":"Hello!"}}]}', "size": 47},
    },
    "HistoryPage": {**_PAGE, "count": 1284, "scanned_to": "2026-11-19T18:20:00.000Z"},
    "HistoryFailureGroup": _GROUP,
    "HistoryFailures": {**_SPAN, "total": 31, "recovered": 14, "groups": [_GROUP], **_PAGE},
    "HistorySums": _SUMS,
    "HistoryGroup": _HOUR,
    "HistoryStatistics": {**_SPAN, "group_by": "hour", "totals": _SUMS, "groups": [_HOUR]},
    "HistorySessionFigures": _SESSION,
    "HistorySession": {"session": _SESSION, **_PAGE},
    "HistoryAmbiguous": {
        "error": {
            "code": "session_ambiguous",
            "message": "2 access keys have a session of this name; say which with access_key",
            "fields": {},
            "sessions": [
                _SIGHTING,
                {**_SIGHTING, "session_id": "9e0b7c52-1f4d-5a36-9d18-0c7e3f5b6a21", "access_key": "batch"},
            ],
        }
    },
}


def _error(code: str, message: str, **fields: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "fields": {name: [text] for name, text in fields.items()}}}


#: By the code of the error, or what is missing.
ERRORS: Final[dict[str, dict[str, Any]]] = {
    "invalid": _error("invalid", "limit: must be a number from 1 to 1000", limit="must be a number from 1 to 1000"),
    "range_too_large": _error(
        "range_too_large", "this takes too long; narrow the time range or filter by an indexed field"
    ),
    "unauthenticated": _error("unauthenticated", "unknown access key"),
    "no_read": _error("permission_denied", "this needs the scope 'read'"),
    "no_admin": _error("permission_denied", "this needs the scope 'admin'"),
    "route_not_found": _error("route_not_found", "there is no route with this id"),
    "payload_not_kept": _error("payload_not_kept", "no copy of this request is kept"),
    "session_not_found": _error("session_not_found", "there is no session with this id"),
    "not_acceptable": _error("not_acceptable", "Could not satisfy the request Accept header."),
    "throttled": _error("throttled", "Request was throttled. Expected available in 41 seconds."),
}
