"""Health as JSON: reports and events as the API answers them. Translates, and knows no rules of its own.

Times are ISO 8601 in UTC with milliseconds, durations are milliseconds, shares between 0 and 1.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from health import words

if TYPE_CHECKING:
    from datetime import datetime

    from health.models import Check, HealthEvent
    from health.report import Circuit, HealthReport, Outcome, ProviderHealth, Quarantine, TargetHealth


def report(found: HealthReport) -> dict[str, Any]:
    return {
        "at": moment(found.at),
        "revision": found.revision,
        "live": found.live,
        "total_providers": len(found.providers),
        "healthy_providers": found.count("healthy"),
        "degraded_providers": found.count("degraded"),
        "unhealthy_providers": found.count("unhealthy"),
        "unknown_providers": found.count("unknown"),
        "average_latency_ms": found.average_latency_ms,
        "provider_details": {each.slug: provider(each) for each in found.providers},
    }


def provider(found: ProviderHealth) -> dict[str, Any]:
    """``quarantine``: the one of the whole credential, else the longest of a model's."""
    worst = max(found.quarantines, key=lambda each: (each.model is None, each.until), default=None)
    return {
        "provider_id": found.id,
        "name": found.name,
        "wire": found.wire,
        "region": found.region,
        "status": found.status,
        "why": found.why,
        "admin_state": found.admin.state,
        "admin_until": moment(found.admin.until),
        "admin_reason": found.admin.reason,
        "admin_by": found.admin.by,
        "last_check_timestamp": moment(found.last_check),
        "consecutive_failures": found.consecutive_failures,
        "average_latency_ms": found.average_latency_ms,
        "success_rate": found.success_rate,
        "usable": found.usable,
        "listed_healthy": found.listed_healthy,
        "in_flight": found.in_flight,
        "eligible_targets": found.eligible_targets,
        "quarantine": quarantine(worst),
        "quarantines": [quarantine(each) for each in found.quarantines],
        "heads": {
            "registered": found.heads.registered,
            "approved": found.heads.approved,
            "online": found.heads.online,
            "active": found.heads.active,
        },
        "targets": [target(each) for each in found.targets],
    }


def target(found: TargetHealth) -> dict[str, Any]:
    return {
        "id": found.id,
        "label": found.label,
        "model": found.model,
        "head_id": found.head.head_id if found.head else None,
        "endpoint": found.endpoint,
        "profiles": list(found.profiles),
        "status": found.status,
        "why": found.why,
        "eligible": found.eligible,
        "admin_state": found.admin_in_force,
        "observed": {
            "state": found.observed.state,
            "since": moment(found.observed.since),
            "checked_at": moment(found.observed.checked_at),
            "next_check_at": moment(found.observed.next_check_at),
            "kind": found.observed.kind,
            "latency_ms": found.observed.latency_ms,
            "error_class": found.observed.error_class,
            "message": found.observed.message,
        },
        **_circuit(found.circuit),
        "next_try": moment(found.next_try),
        "quarantine": quarantine(found.quarantine),
        "in_flight": found.in_flight,
        "average_latency_ms": found.average_latency_ms,
        "p50_ms": found.p50_ms,
        "p95_ms": found.p95_ms,
        "p99_ms": found.p99_ms,
        "measured": found.measured,
        "samples": found.samples,
        "success_rate": found.success_rate,
        "consecutive_failures": found.consecutive_failures,
        "usable": found.usable,
        "listed_healthy": found.listed_healthy,
        "last_error": None if found.last_error is None else outcome(found.last_error),
        "recent": [outcome(each) for each in found.recent],
    }


def circuit(found: TargetHealth) -> dict[str, Any]:
    """A target as ``circuits/`` lists it."""
    return {
        "target": found.id,
        "label": found.label,
        "provider": found.provider,
        "model": found.model,
        "head_id": found.head.head_id if found.head else None,
        **_circuit(found.circuit),
        "next_try": moment(found.next_try),
        "consecutive_failures": found.consecutive_failures,
        "success_rate": found.success_rate,
        "why": found.why,
    }


def _circuit(found: Circuit) -> dict[str, Any]:
    return {
        "circuit": found.state,
        "circuit_since": moment(found.since),
        "circuit_until": moment(found.until),
        "circuit_reason": found.reason,
        "reopened": found.reopened,
        "forced": found.forced,
        "forced_until": moment(found.forced_until),
        "forced_by": found.by,
        "forced_reason": found.note,
    }


def quarantine(found: Quarantine | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "model": found.model,
        "since": moment(found.since),
        "until": moment(found.until),
        "cause": found.cause,
        "told": found.told,
    }


def outcome(found: Outcome) -> dict[str, Any]:
    return {
        "at": moment(found.at),
        "class": found.error_class,
        "http_status": found.http_status,
        "source": found.source,
    }


def check(found: Check) -> dict[str, Any]:
    return {
        "id": str(found.pk),
        "label": found.label,
        "model": found.model,
        "head_id": found.head_id or None,
        "state": found.observed,
        "checked_at": moment(found.checked_at),
        "kind": found.kind,
        "latency_ms": found.latency_ms,
        "error_class": found.error_class,
        "message": found.message,
    }


def event(found: HealthEvent) -> dict[str, Any]:
    return {
        "id": found.pk,
        "at": moment(found.at),
        "kind": found.kind,
        "provider": found.provider,
        "target": None if found.target_id is None else str(found.target_id),
        "subject": found.subject,
        "before": found.before,
        "after": found.after,
        "reason": found.reason,
        "actor": found.actor,
        "sentence": words.event(found),
        "detail": found.detail,
    }


def moment(value: datetime | None) -> str | None:
    if value is None:
        return None
    value = value.astimezone(UTC)
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
