"""OpenAPI of the health API: components for what is answered, with an example of each, and bodies from the models that
validate.

``add_components`` is drf-spectacular's postprocessing hook; views refer to components by name.
"""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter
from pydantic.json_schema import models_json_schema

from health.models import Check, HealthEvent
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
    TEMPLATE,
    TEXT,
    TIME,
    UUID,
    reference,
)
from routes.api.schema import ADMIN_STATE
from routes.document.acts import AdminStateRequest, ForceRequest, ReasonRequest

STATUS: Final = {"enum": Check.Observed.values}
CIRCUIT_STATE: Final = {"enum": ["closed", "open", "half_open"]}
STATE: Final[dict[str, Any]] = {"enum": ["active", "draining", "disabled"]}
SHARE: Final = {**FIGURE, "minimum": 0, "maximum": 1}
WHY: Final = {**TEXT, "description": "The state, why, and when it is tried again, in plain English."}

EVENT_PARAMETERS: Final = [
    OpenApiParameter("kind", enum=HealthEvent.Kind.values, description="Only events of this kind."),
    OpenApiParameter("from", description="ISO 8601; events from this moment on."),
    OpenApiParameter("to", description="ISO 8601; events before this moment."),
]

TARGET_ID: Final = "0198f6a2-7d1c-5b7e-9a40-3c1d8e5f2a11"
PROVIDER_ID: Final = "0198f6a2-5e0b-7c33-8f21-6b0d4a9c7e52"
_OUTCOME: Final = {
    "at": "2026-11-20T14:02:10.120Z",
    "class": "connect_refused",
    "http_status": None,
    "source": "traffic",
}
_QUARANTINE: Final = {
    "model": "acme-gpt-4o",
    "since": "2026-11-20T14:01:30.000Z",
    "until": "2026-11-20T14:02:30.000Z",
    "cause": "rate_limited",
    "told": True,
}
_CIRCUIT: Final = {
    "circuit": "open",
    "circuit_since": "2026-11-20T14:02:10.120Z",
    "circuit_until": "2026-11-20T14:03:12.480Z",
    "circuit_reason": "consecutive_failures",
    "reopened": 0,
    "forced": False,
    "forced_until": None,
    "forced_by": "",
    "forced_reason": "",
}
_WHY: Final = (
    "Circuit open since 14:02:10 UTC: 5 consecutive failures: 3 × connect_refused, 2 × timeout_first_byte; "
    "tried again at 14:03:12 UTC."
)
_TARGET: Final = {
    "id": TARGET_ID,
    "label": "acme-eu / gpt-4o",
    "model": "gpt-4o",
    "head_id": None,
    "endpoint": "https://llm.example/v1",
    "profiles": ["default"],
    "status": "unhealthy",
    "why": _WHY,
    "eligible": False,
    "admin_state": "active",
    "observed": {
        "state": "degraded",
        "since": "2026-11-20T13:58:00.000Z",
        "checked_at": "2026-11-20T14:01:58.310Z",
        "next_check_at": "2026-11-20T14:02:28.310Z",
        "kind": "models",
        "latency_ms": 84.2,
        "error_class": None,
        "message": "",
    },
    **_CIRCUIT,
    "next_try": "2026-11-20T14:03:12.480Z",
    "quarantine": None,
    "in_flight": 0,
    "average_latency_ms": 412.7,
    "p50_ms": 380.0,
    "p95_ms": 910.4,
    "p99_ms": 1204.9,
    "measured": "latency",
    "samples": 100,
    "success_rate": 0.59,
    "consecutive_failures": 5,
    "usable": False,
    "listed_healthy": False,
    "last_error": _OUTCOME,
    "recent": [_OUTCOME],
}
_PROVIDER: Final = {
    "provider_id": PROVIDER_ID,
    "name": "Acme EU",
    "wire": "openai",
    "region": "eu-west",
    "status": "unhealthy",
    "why": _WHY,
    "admin_state": "active",
    "admin_until": None,
    "admin_reason": "",
    "admin_by": "",
    "last_check_timestamp": "2026-11-20T14:01:58.310Z",
    "consecutive_failures": 5,
    "average_latency_ms": 412.7,
    "success_rate": 0.59,
    "usable": False,
    "listed_healthy": False,
    "in_flight": 0,
    "eligible_targets": 0,
    "quarantine": _QUARANTINE,
    "quarantines": [_QUARANTINE],
    "heads": {"registered": 0, "approved": 0, "online": 0, "active": 0},
    "targets": [_TARGET],
}
_EVENT: Final = {
    "id": 4711,
    "at": "2026-11-20T14:02:10.120Z",
    "kind": "circuit",
    "provider": "acme-eu",
    "target": TARGET_ID,
    "subject": "acme-eu / gpt-4o",
    "before": "closed",
    "after": "open",
    "reason": "consecutive_failures",
    "actor": "traffic",
    "sentence": "Circuit opened: 5 consecutive failures: 5 × connect_refused; tried again at 2026-11-20 14:03:12 UTC.",
    "detail": {
        "outcomes": [
            {
                "at": 1795183330.12,
                "ok": False,
                "error_class": "connect_refused",
                "http_status": None,
                "source": "traffic",
            }
        ],
        "until": 1795183392.48,
        "reopened": 0,
    },
}


def page_of(name: str) -> dict[str, Any]:
    return reference(f"{name}Page")


def components() -> dict[str, Any]:
    """Every component that our views refer to."""
    models = (AdminStateRequest, ForceRequest, ReasonRequest)
    _, tree = models_json_schema([(model, "validation") for model in models], ref_template=TEMPLATE)
    found: dict[str, Any] = tree["$defs"]
    outcome = {
        "at": TIME,
        "class": {**MAYBE_TEXT, "description": "The error class; null = it succeeded."},
        "http_status": MAYBE_NUMBER,
        "source": {"enum": ["traffic", "probe"]},
    }
    quarantine = {
        "model": {**MAYBE_TEXT, "description": "Upstream name; null = the whole credential."},
        "since": TIME,
        "until": TIME,
        "cause": {**TEXT, "description": "An error class."},
        "told": {**FLAG, "description": "The provider itself said until when."},
    }
    observed = {
        "state": STATUS,
        "since": MAYBE_TIME,
        "checked_at": MAYBE_TIME,
        "next_check_at": MAYBE_TIME,
        "kind": {
            **TEXT,
            "description": "What was asked (models, completion, tcp, http), or traffic in its place.",
        },
        "latency_ms": MAYBE_FIGURE,
        "error_class": MAYBE_TEXT,
        "message": TEXT,
    }
    circuit = {
        "circuit": CIRCUIT_STATE,
        "circuit_since": {**MAYBE_TIME, "description": "Null: nothing ever happened to it."},
        "circuit_until": {**MAYBE_TIME, "description": "When it is tried again; null unless it is open."},
        "circuit_reason": TEXT,
        "reopened": {**NUMBER, "description": "How often it failed again while being tried, since it last closed."},
        "forced": {**FLAG, "description": "An operator holds it in this state."},
        "forced_until": {**MAYBE_TIME, "description": "Null: until it is reset."},
        "forced_by": TEXT,
        "forced_reason": TEXT,
    }
    next_try = {
        **MAYBE_TIME,
        "description": "When requests are sent to it again. Null: they are now, or nobody can say.",
    }
    figures = {
        "in_flight": NUMBER,
        "average_latency_ms": {**MAYBE_FIGURE, "description": "Moving average, each answer 20 % of it."},
        "p50_ms": MAYBE_FIGURE,
        "p95_ms": MAYBE_FIGURE,
        "p99_ms": MAYBE_FIGURE,
        "measured": {"enum": ["latency", "first_event"], "description": "What the percentiles are of."},
        "samples": {**NUMBER, "description": "How many they are of: the last 100 of the last hour."},
    }
    passive = {
        "success_rate": {**SHARE, "description": "Moving average, each outcome 10 % of it; starts at 1."},
        "consecutive_failures": NUMBER,
        "usable": {**FLAG, "description": "Success rate of 0.8 or more, and fewer than 5 failures in a row."},
        "listed_healthy": {**FLAG, "description": "Fewer than 3 failures in a row."},
    }
    found["HealthOutcome"] = _object(outcome, _OUTCOME)
    found["QuarantineState"] = _object(quarantine, _QUARANTINE)
    found["TargetHealth"] = _object(
        {
            "id": UUID,
            "label": TEXT,
            "model": {**MAYBE_TEXT, "description": "As configured; null = what the client asks for."},
            "head_id": MAYBE_TEXT,
            "endpoint": TEXT,
            "profiles": _list(TEXT),
            "status": STATUS,
            "why": WHY,
            "eligible": {**FLAG, "description": "Whether a request may be sent to it now."},
            "admin_state": {**STATE, "description": "In force: its own, or its provider's."},
            "observed": _object(observed),
            **circuit,
            "next_try": next_try,
            "quarantine": _maybe(reference("QuarantineState")),
            **figures,
            **passive,
            "last_error": _maybe(reference("HealthOutcome")),
            "recent": {**_list(reference("HealthOutcome")), "description": "The last 10, oldest first."},
        },
        _TARGET,
    )
    heads = dict.fromkeys(("registered", "approved", "online", "active"), NUMBER)
    found["ProviderHealth"] = _object(
        {
            "provider_id": UUID,
            "name": TEXT,
            "wire": TEXT,
            "region": MAYBE_TEXT,
            "status": STATUS,
            "why": WHY,
            "admin_state": STATE,
            "admin_until": MAYBE_TIME,
            "admin_reason": TEXT,
            "admin_by": TEXT,
            "last_check_timestamp": MAYBE_TIME,
            **passive,
            "average_latency_ms": {**MAYBE_FIGURE, "description": "The mean of its targets' moving averages."},
            "in_flight": NUMBER,
            "eligible_targets": NUMBER,
            "quarantine": _maybe(reference("QuarantineState")),
            "quarantines": _list(reference("QuarantineState")),
            "heads": _object(heads),
            "targets": _list(reference("TargetHealth")),
        },
        _PROVIDER,
    )
    found["ProviderHealth"]["description"] = "Rates and counts of failures are those of the target that does worst."
    counts = {f"{name}_providers": NUMBER for name in ("total", "healthy", "degraded", "unhealthy", "unknown")}
    found["Health"] = _object(
        {
            "at": TIME,
            "revision": MAYBE_NUMBER,
            "live": {**FLAG, "description": "False: no gateway has run on this host yet, so nothing is known."},
            **counts,
            "average_latency_ms": MAYBE_FIGURE,
            "provider_details": {"type": "object", "additionalProperties": reference("ProviderHealth")},
        },
        {
            "at": "2026-11-20T14:02:20.000Z",
            "revision": 12,
            "live": True,
            **{name: int(name in ("total_providers", "unhealthy_providers")) for name in counts},
            "average_latency_ms": 412.7,
            "provider_details": {"acme-eu": _PROVIDER},
        },
    )
    found["CircuitState"] = _object(
        {
            "target": UUID,
            "label": TEXT,
            "provider": TEXT,
            "model": MAYBE_TEXT,
            "head_id": MAYBE_TEXT,
            **circuit,
            "next_try": next_try,
            "consecutive_failures": NUMBER,
            "success_rate": SHARE,
            "why": WHY,
        },
        {
            "target": TARGET_ID,
            "label": "acme-eu / gpt-4o",
            "provider": "acme-eu",
            "model": "gpt-4o",
            "head_id": None,
            **_CIRCUIT,
            "next_try": _TARGET["next_try"],
            "consecutive_failures": 5,
            "success_rate": 0.59,
            "why": _WHY,
        },
    )
    found["HealthEvent"] = _object(
        {
            "id": NUMBER,
            "at": TIME,
            "kind": {"enum": HealthEvent.Kind.values},
            "provider": TEXT,
            "target": MAYBE_UUID,
            "subject": TEXT,
            "before": {**TEXT, "description": "Empty where there was nothing before."},
            "after": TEXT,
            "reason": {**TEXT, "description": "A stable code; `sentence` has it in words."},
            "actor": {**TEXT, "description": "traffic, probe, clock, or who acted."},
            "sentence": TEXT,
            "detail": {"type": "object", "additionalProperties": True},
        },
        _EVENT,
    )
    check = {
        "id": UUID,
        "label": TEXT,
        "model": MAYBE_TEXT,
        "head_id": MAYBE_TEXT,
        **{name: observed[name] for name in ("state", "checked_at", "kind", "latency_ms", "error_class", "message")},
    }
    found["Probed"] = _object(
        {"provider": TEXT, "done": FLAG, "message": TEXT, "checks": _list(_object(check))},
        {
            "provider": "acme-eu",
            "done": True,
            "message": "Checked.",
            "checks": [
                {
                    "id": TARGET_ID,
                    "label": "acme-eu",
                    "model": None,
                    "head_id": None,
                    "state": "healthy",
                    "checked_at": "2026-11-20T14:02:20.000Z",
                    "kind": "models",
                    "latency_ms": 84.2,
                    "error_class": None,
                    "message": "",
                }
            ],
        },
    )
    found["AdminState"] = _object(
        {"provider": TEXT, "target": MAYBE_UUID, **ADMIN_STATE},
        {
            "provider": "acme-eu",
            "target": None,
            "state": "draining",
            "until": "2031-01-01T06:00:00+00:00",
            "reason": "new disks",
            "by": "ada",
        },
    )
    for name in ("CircuitState", "HealthEvent"):
        found[f"{name}Page"] = {
            **_object({"results": _list(reference(name)), "next": LINK, "previous": LINK}),
        }
    found["HealthEventPage"]["properties"]["count"] = {
        **NUMBER,
        "description": "With `count=exact` or `count=estimate`.",
    }
    return found


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: dict[str, Any], example: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "required": list(properties), "properties": properties}
    return found if example is None else {**found, "examples": [example]}


def add_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(components())
    return result
