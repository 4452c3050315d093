"""OpenAPI of the decisions API: components from the models that validate, and what is answered."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from routes.api.openapi import MAYBE_TEXT, TEMPLATE, TEXT, UUID, object_of
from routing_project.console.decisions.documents import DecisionRequest, OutcomeReport

LIST_OF_TEXT: Final = {"type": "array", "items": TEXT}
SCORE: Final = {"type": ["number", "string", "null"]}

REQUEST_EXAMPLE: Final = {
    "profile": "default",
    "route_type": "session",
    "model": "gpt-4o",
    "session": "conversation-17",
    "region": "eu-west",
    "requirements": {"model_size": "70b", "capabilities": ["vision"]},
}
OUTCOME_EXAMPLE: Final = {
    "status": "routed",
    "latency_ms": 840,
    "ttfb_ms": 120,
    "http_status": 200,
    "output_tokens": 310,
}


def components() -> dict[str, Any]:
    _, tree = models_json_schema(
        [(DecisionRequest, "validation"), (OutcomeReport, "validation")], ref_template=TEMPLATE
    )
    found: dict[str, Any] = tree["$defs"]
    place = {"target": UUID, "provider": TEXT, "model": TEXT, "endpoint": TEXT, "head_id": TEXT, "score": SCORE}
    out = {"target": UUID, "provider": TEXT, "stage": TEXT, "code": TEXT, "reason": TEXT}
    found["Decision"] = object_of(
        {
            "id": UUID,
            "status": {"enum": ["decided", "rejected"]},
            "head_id": TEXT,
            "endpoint": TEXT,
            "provider": TEXT,
            "model": TEXT,
            "region": MAYBE_TEXT,
            "strategy_used": TEXT,
            "source": TEXT,
            "reason": TEXT,
            "evaluated_stages": LIST_OF_TEXT,
            "matched_rule": MAYBE_TEXT,
            "matched_rule_index": {"type": "integer"},
            "degraded": {"type": "boolean"},
            "revision": {"type": "integer"},
            "metadata": object_of({"model": TEXT, "region": MAYBE_TEXT}),
            "ranking": {"type": "array", "items": object_of({**place, "reason": TEXT})},
            "excluded": {"type": "array", "items": object_of(out)},
        }
    )
    found["DecisionOutcome"] = object_of({"id": UUID, "status": TEXT})
    return found


def add_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook."""
    result.setdefault("components", {}).setdefault("schemas", {}).update(components())
    return result
