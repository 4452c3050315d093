"""OpenAPI of alerts: components from the models that validate, and from what is answered.

``add_components`` is drf-spectacular's postprocessing hook; views refer to components by name.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter
from pydantic.json_schema import models_json_schema

from health.alerts.document import AlertChannel, AlertRule
from health.alerts.kinds import EVENTS, SEVERITIES
from health.models import AlertDelivery
from routes.api.openapi import MAYBE_TEXT, MAYBE_TIME, NUMBER, TEMPLATE, TEXT, TIME, object_of, reference
from routes.api.schema import META, PAGE_PARAMETERS

FILTERS: Final = [
    OpenApiParameter("channel", str, description="Only messages to this channel: its name or id."),
    OpenApiParameter("status", str, enum=AlertDelivery.Status.values, description="Only messages in this state."),
    OpenApiParameter("event", str, enum=[*EVENTS, "test"], description="Only messages about this event."),
    *PAGE_PARAMETERS,
]
#: Fields that an answer has beside the ones that are written.
EXTRA: Final[dict[str, dict[str, Any]]] = {
    "AlertChannel": {"host": {**TEXT, "readOnly": True, "description": "Scheme and host of the URL."}},
    "AlertRule": {},
}


def components() -> dict[str, Any]:
    _, tree = models_json_schema([(AlertChannel, "validation"), (AlertRule, "validation")], ref_template=TEMPLATE)
    found: dict[str, Any] = tree["$defs"]
    for name, extra in EXTRA.items():
        base = found[name]
        found[f"{name}Patch"] = {**copy.deepcopy(base), "required": []}
        found[f"{name}Resource"] = {
            **copy.deepcopy(base),
            "properties": {**META, **base["properties"], **extra},
            "required": sorted({*META, *base["properties"], *extra}),
        }
    severity = {"enum": list(SEVERITIES)}
    alert = {
        "id": NUMBER,
        "rule": TEXT,
        "event": {"enum": list(EVENTS)},
        "severity": severity,
        "subject": TEXT,
        "provider": {**MAYBE_TEXT, "description": "Slug, where the event is about a provider."},
        "title": TEXT,
        "text": TEXT,
        "first_at": TIME,
        "last_at": TIME,
        "over_at": {**MAYBE_TIME, "description": "When the opposite happened, or the figure fell below its threshold."},
        "count": {**NUMBER, "description": "How often it has happened, told or only counted."},
    }
    found["Alert"] = object_of(alert)
    found["AlertDelivery"] = object_of(
        {
            "id": {**TEXT, "format": "uuid", "description": "Also the header `X-Signalbox-Delivery` of every attempt."},
            "channel": TEXT,
            "event": {"enum": [*EVENTS, "test"]},
            "title": TEXT,
            "severity": severity,
            "rule": MAYBE_TEXT,
            "alert": {"type": ["integer", "null"], "description": "Null for a test."},
            "status": {"enum": AlertDelivery.Status.values},
            "attempts": NUMBER,
            "http_status": {"type": ["integer", "null"], "description": "Of the last attempt."},
            "error": {**TEXT, "description": "Of the last attempt, or why it was not sent."},
            "created_at": TIME,
            "next_try_at": {**MAYBE_TIME, "description": "Null once it has ended."},
            "ended_at": MAYBE_TIME,
        }
    )
    switches = object_of({"total": NUMBER, "enabled": NUMBER})
    counts = ("pending", "sent_24h", "failed_24h", "suppressed_24h")
    found["AlertOverview"] = object_of(
        {
            "rules": switches,
            "channels": switches,
            "deliveries": object_of(dict.fromkeys(counts, NUMBER)),
            "providers_down": {"type": "array", "items": object_of({"provider": TEXT, "since": TIME})},
            "alerts": {"type": "array", "items": reference("Alert"), "description": "The last 20, newest first."},
        }
    )
    return found


def add_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(components())
    return result
