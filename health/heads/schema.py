"""OpenAPI of heads: components from the models that validate, and what is answered."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter
from pydantic.json_schema import models_json_schema

from health.heads.documents import HeadRegistration, HeadStatus
from routes.api.openapi import MAYBE_FIGURE, MAYBE_TEXT, NUMBER, TEMPLATE, TEXT, TIME, object_of, reference
from routes.api.schema import PAGE_PARAMETERS

LIVE_STATUS: Final = {"enum": ["active", "draining", "offline"]}

#: Said for the view whose own class recognises the same keys as everywhere.
AUTH: Final[Any] = [{"accessKey": []}, {"session": []}]
HEAD_ID: Final = OpenApiParameter("head_id", str, OpenApiParameter.PATH, description="The id it registered under.")
GENERATION: Final = OpenApiParameter(
    "generation", int, description="Only if this is still the current generation; another one gives 409."
)
LIST_PARAMETERS: Final = [
    OpenApiParameter("provider", str, description="Only heads of this provider: its slug."),
    OpenApiParameter("approved", bool, description="Only heads that are, or are not, approved."),
    *PAGE_PARAMETERS,
]
REGISTRATION_EXAMPLE: Final = {
    "head_id": "vllm-7-eu-west",
    "provider": "own-gpus",
    "endpoint": "http://10.20.0.7:8000/v1",
    "model_type": "llama-3.3-70b",
    "version": "0.11.2",
    "capacity": 64,
    "metadata": {"max_model_size": "70b", "capabilities": ["tools"]},
}
STATUS_EXAMPLE: Final = {"status": "active", "load": 12, "generation": 3}


def components() -> dict[str, Any]:
    _, tree = models_json_schema([(HeadRegistration, "validation"), (HeadStatus, "validation")], ref_template=TEMPLATE)
    found: dict[str, Any] = tree["$defs"]
    found["HeadAnswer"] = object_of(
        {
            "head_id": TEXT,
            "generation": NUMBER,
            "ttl": {"type": "number", "description": "Seconds within which it must be heard of again."},
            "status": LIVE_STATUS,
            "approved": {"type": "boolean", "description": "False: takes no traffic before somebody approves it."},
        }
    )
    report = object_of({"at": TIME, "load": {"type": "number"}})
    found["Head"] = object_of(
        {
            "head_id": TEXT,
            "provider": TEXT,
            "endpoint": TEXT,
            "region": MAYBE_TEXT,
            "model_type": TEXT,
            "version": TEXT,
            "capacity": {**MAYBE_FIGURE, "description": "Requests at once; null = not known, 100 = load in percent."},
            "metadata": {"type": "object", "additionalProperties": True},
            "generation": NUMBER,
            "approved": {"type": "boolean"},
            "liveness": {"enum": ["online", "offline"]},
            "reported_status": {"enum": ["active", "draining"]},
            "status": {**LIVE_STATUS, "description": "`offline` when it is not online, else what it reported."},
            "load": {**MAYBE_FIGURE, "description": "As last reported."},
            "load_history": {"type": "array", "items": report, "description": "The last 10 reports, oldest first."},
            "last_seen": TIME,
            "registered_at": TIME,
        }
    )
    link = {"type": ["string", "null"], "format": "uri"}
    page = {"results": {"type": "array", "items": reference("Head")}, "next": link, "previous": link}
    found["HeadPage"] = object_of(page)
    found["HeadPage"]["properties"]["count"] = {**NUMBER, "description": "With `count=exact` or `count=estimate`."}
    return found


def add_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(components())
    return result
