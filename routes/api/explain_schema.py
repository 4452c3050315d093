"""What ``POST explain/`` answers, as OpenAPI, with examples of what is sent. Data only."""

from __future__ import annotations

from typing import Any, Final

TEXT: Final = {"type": "string"}
MAYBE_TEXT: Final = {"type": ["string", "null"]}
WHOLE: Final = {"type": "integer"}
NUMBER: Final = {"type": "number"}
FLAG: Final = {"type": "boolean"}
UUID: Final = {"type": "string", "format": "uuid"}
SCORE: Final = {"type": ["number", "string", "null"]}

#: Sent to ``/api/v1/explain/``; also in docs/explain.md, where a test runs them.
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "a request": {
        "request": {
            "path": "/v1/chat/completions",
            "headers": {"x-route-region": "eu-west"},
            "body": {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]},
        }
    },
    "shares with a provider down": {
        "request": {
            "path": "/p/default/v1/chat/completions",
            "headers": {},
            "body": {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]},
        },
        "revision": "draft",
        "overrides": {"providers": {"alpha": "down"}, "at": "2026-11-20T23:30:00Z"},
        "draws": 1000,
    },
    "a recorded request": {"id": "0199c3a0-8c1e-7cc2-9b1e-0d4b6a2f9d10", "revision": "live"},
}


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties, **more}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def components() -> dict[str, Any]:
    """``Explanation`` and its parts."""
    target = {"target": UUID, "provider": TEXT, "endpoint": TEXT, "head_id": TEXT}
    ranked = _object(
        {
            "rank": WHOLE,
            **target,
            "model": TEXT,
            "tier": WHOLE,
            "weight": NUMBER,
            "code": TEXT,
            "score": SCORE,
            "reason": TEXT,
        }
    )
    excluded = _object({**target, "model": MAYBE_TEXT, "stage": TEXT, "code": TEXT, "value": SCORE, "reason": TEXT})
    clause = _object(
        {
            "fact": TEXT,
            "op": TEXT,
            "expected": {"description": "The condition's own value."},
            "actual": {"description": "What the request has; null = absent or not recorded."},
            "matched": {"type": ["boolean", "null"], "description": "null = the record does not say."},
            "sentence": TEXT,
        }
    )
    rule = _object(
        {
            "name": TEXT,
            "index": WHOLE,
            "enabled": FLAG,
            "matched": {"type": ["boolean", "null"]},
            "chosen": {**FLAG, "description": "The first that matched: the one that counts."},
            "note": {**TEXT, "description": "Why it was not asked."},
            "sentence": TEXT,
            "clauses": _list(clause),
        }
    )
    stage = _object({"stage": TEXT, "in": WHOLE, "out": WHOLE, "dropped": _list(excluded), "us": NUMBER})
    request = _object(
        {
            "path": TEXT,
            "operation": TEXT,
            "model": TEXT,
            "stream": FLAG,
            "session": MAYBE_TEXT,
            "key": MAYBE_TEXT,
            "profile": TEXT,
        }
    )
    pin = _object({"target": TEXT, "provider": MAYBE_TEXT, "model": MAYBE_TEXT, "honoured": FLAG, "kept": FLAG})
    recorded = _object(
        {
            "id": UUID,
            "created_at": {"type": "string", "format": "date-time"},
            "revision": WHOLE,
            "provider": MAYBE_TEXT,
            "model": MAYBE_TEXT,
            "same": {**FLAG, "description": "Whether the first choice is the recorded one."},
        },
        description="With `id`: what was decided at that time.",
    )
    explanation = _object(
        {
            "request": request,
            "status": {"enum": ["decided", "rejected"]},
            "error_code": MAYBE_TEXT,
            "provider": TEXT,
            "model": TEXT,
            "endpoint": TEXT,
            "head_id": TEXT,
            "region": MAYBE_TEXT,
            "profile": TEXT,
            "revision": {"anyOf": [WHOLE, {"const": "draft"}]},
            "source": {"enum": ["affinity", "smart_routing", "load_balancer", "pinned", "none"]},
            "strategy": TEXT,
            "strategy_used": TEXT,
            "replaced_strategy": MAYBE_TEXT,
            "variant": MAYBE_TEXT,
            "reason": TEXT,
            "degraded": FLAG,
            "matched_rule": MAYBE_TEXT,
            "matched_rule_index": WHOLE,
            "pin": {"anyOf": [pin, {"type": "null"}]},
            "requested_model": TEXT,
            "operation": TEXT,
            "evaluated_stages": _list(TEXT),
            "metadata": _object({"model": TEXT, "region": MAYBE_TEXT}),
            "ranking": _list(ranked),
            "excluded": _list(excluded),
            "trace": _list(stage),
            "rules": _list(rule),
            "weights": {"type": "object", "additionalProperties": NUMBER},
            "facts": {"type": "object"},
            "inputs": {"type": "object", "description": "Draws and counter values that were used."},
            "shares": {
                "type": "object",
                "additionalProperties": NUMBER,
                "description": "Part of the draws that each target led, by target id.",
            },
            "draws": WHOLE,
            "sentences": _list(TEXT),
            "undecidable": {**WHOLE, "description": "What the record does not tell and would be needed to know."},
        }
    )
    explanation["properties"]["recorded"] = recorded
    return {"Explanation": explanation}
