"""From rows to what people and API clients read: the list row, and the detail with attempts and words.

Rows are packed (ids, numbers, codes); names, weights and sentences come from the revision that made the decision,
which is kept as long as a row cites it. Renders plain values that ``json`` takes; knows nothing of HTTP.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from history import packing
from history.ids import same_moment
from history.models import RouteHistory, RouteStatus
from history.rows import ID_FIELDS, OWN_METRICS, ROW_FIELDS
from routes.engine import explain
from routes.engine.errors import EngineError
from routes.engine.words import seconds
from routes.snapshots import snapshot_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from history.models import RouteAttempt, RouteHistoryMetric

#: Status of a WebSocket that was open.
SWITCHING_PROTOCOLS: Final = 101


def row(route: RouteHistory) -> dict[str, Any]:
    """The list row. No query."""
    rendered: dict[str, Any] = {}
    for name in ROW_FIELDS:
        value = getattr(route, name)
        if name in ID_FIELDS:
            value = None if value is None else str(value)
        elif name == "created_at":
            value = moment(value)
        rendered[name] = value
    return rendered


def detail(route: RouteHistory) -> dict[str, Any]:
    """The whole route. Three queries: attempts, metrics, and the revision unless it is in the cache."""
    low, high = same_moment(route.id)
    attempts = attempts_of(route, list(route.attempts.filter(id__gte=low, id__lt=high).order_by("ordinal")))
    kept_metrics = route.metrics.filter(id__gte=low, id__lt=high).order_by("timestamp", "id")
    decision, kept = decision_of(route)
    return {
        **row(route),
        "usage_estimated": route.usage_estimated,
        "source_info": {**route.source_info, "access_key": route.access_key, "access_key_id": _id(route.access_key_id)},
        "target_info": _target_info(route),
        "routing_decision": decision,
        "attempts": attempts,
        "metrics": metrics_of(route, list(kept_metrics), attempts),
        "explanation": sentences(route, decision if kept else None, attempts),
    }


def attempts_of(route: RouteHistory, kept: Sequence[RouteAttempt]) -> list[dict[str, Any]]:
    """As many attempts as the route counts: those with rows, or the only one told by the route itself."""
    if kept:
        return [
            {
                "ordinal": entry.ordinal,
                "provider": entry.provider,
                "model": entry.model,
                "target": _id(entry.endpoint_id),
                "endpoint": entry.endpoint,
                "http_status": entry.http_status,
                "error_class": entry.error_class,
                "message": entry.message,
                "started_at": moment(entry.started_at),
                "ttfb_ms": entry.ttfb_ms,
                "latency_ms": entry.latency_ms,
                "bytes": entry.bytes,
                "transitions": entry.transitions,
            }
            for entry in kept
        ]
    if not route.attempt_count:
        return []
    offset, ttfb_ms, latency_ms, size, http_status = route.target_info.get("attempt") or (0, None, None, 0, None)
    return [
        {
            "ordinal": 1,
            "provider": route.provider,
            "model": route.model,
            "target": _id(route.endpoint_id),
            "endpoint": route.target_info.get("endpoint", ""),
            "http_status": http_status,
            "error_class": route.error_code,
            "message": "",
            "started_at": moment(route.created_at + timedelta(milliseconds=offset)),
            "ttfb_ms": ttfb_ms,
            "latency_ms": latency_ms,
            "bytes": size,
            "transitions": [],
        }
    ]


def metrics_of(
    route: RouteHistory, kept: Sequence[RouteHistoryMetric], attempts: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Our three measurements, from rows if they were kept and else from the columns, and what else was measured."""
    backend = attempts[-1]["latency_ms"] if attempts else None
    derived = (route.selection_us / 1000, backend, route.latency_ms)
    by_name = {entry.metric_name: entry for entry in kept}
    listed = []
    for name, value in zip(OWN_METRICS, derived, strict=True):
        entry = by_name.get(name)
        if entry is None and value is not None:
            listed.append(_metric(name, value, "ms", route.created_at))
    return listed + [_metric(e.metric_name, e.metric_value, e.metric_unit, e.timestamp) for e in kept]


def decision_of(route: RouteHistory) -> tuple[dict[str, Any], bool]:
    """The decision with names and reasons, and whether its revision is still there to tell them."""
    packed = packing.decision_of(route)
    if packed:
        snapshot = snapshot_of(route.revision, packed.get("h", ""))
        if snapshot is not None:
            try:
                return explain.render(packed, snapshot), True
            except (EngineError, LookupError, TypeError, ValueError):
                pass  # written by another version; what the columns say is still true
    return {
        "profile": route.profile,
        "revision": route.revision,
        "source": route.source,
        "strategy": route.strategy,
        "degraded": route.degraded,
        "matched_rule": route.rule,
        "packed": packed,
    }, False


def sentences(
    route: RouteHistory, decision: Mapping[str, Any] | None, attempts: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What happened, in plain words: the decision, each attempt, and how it ended."""
    told: list[str] = []
    if route.status == RouteStatus.INTERRUPTED:
        told.append(f"Strategy {route.strategy} of profile {route.profile} chose {route.provider} / {route.model}.")
    elif decision is not None:
        told += explain.sentences(decision, attempts)
    else:
        if route.routing_decision:
            told.append(f"The reasons of this decision cannot be told: revision {route.revision} is not kept any more.")
        told += explain.attempt_sentences(attempts)
    return [*told, _ending(route)]


def _ending(route: RouteHistory) -> str:
    took = f" after {seconds(route.latency_ms / 1000)}" if route.latency_ms is not None else ""
    said = f": {route.message.rstrip('.')}" if route.message else ""
    answer = f" with status {route.http_status}" if route.http_status is not None else ""
    match route.status:
        case RouteStatus.ROUTED:
            if route.http_status == SWITCHING_PROTOCOLS:
                return f"The WebSocket ended{took}{said}."
            extra = ", thanks to failover" if route.recovered else ""
            return f"The client was answered{answer}{took}{extra}."
        case RouteStatus.FAILED:
            return f"The request failed{answer}{took}{said}."
        case RouteStatus.TIMEOUT:
            return f"The request timed out{answer}{took}{said}."
        case RouteStatus.REJECTED:
            return f"The request was rejected{answer}{said}."
        case RouteStatus.CANCELLED:
            return f"The client left{took}{said}."
        case RouteStatus.INTERRUPTED:
            return "The process that served this request ended before the answer did."
    return "The caller has not reported the outcome yet."


def _target_info(route: RouteHistory) -> dict[str, Any]:
    return {
        "provider": route.provider,
        "model": route.model,
        "target": _id(route.endpoint_id),
        "endpoint": route.target_info.get("endpoint", ""),
        "region": route.target_info.get("region") or None,
        "head_id": route.target_info.get("head", ""),
    }


def _metric(name: str, value: float, unit: str, at: datetime) -> dict[str, Any]:
    return {"metric_name": name, "metric_value": value, "metric_unit": unit, "timestamp": moment(at)}


def moment(value: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, which is what ids hold. ``value`` is in UTC."""
    return value.isoformat(timespec="milliseconds")[:23] + "Z"


def _id(value: Any) -> str | None:
    return None if value is None else str(value)
