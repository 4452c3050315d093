"""The JSON schema of conditions, made from the catalogue. What it cannot say (expressions, zones) ``parse`` checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.engine.conditions.parse import MAX_CLAUSES
from routes.engine.conditions.values import MAX_LIST, MAX_NUMBER, MAX_STRING
from routes.engine.conditions.window import DAYS
from routes.engine.facts.catalogue import CATALOGUE, OPERATORS

if TYPE_CHECKING:
    from routes.engine.facts.catalogue import FactSpec

_CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"


def json_schema(ref: str = "#/$defs/Condition") -> dict[str, Any]:
    """The schema of a condition; ``ref`` is where the document that holds it puts it."""
    this = {"$ref": ref}
    return {
        "title": "Condition",
        "description": "When a rule applies: all, any or not of conditions, or a clause on one fact.",
        "anyOf": [
            _object(all={"type": "array", "items": this, "maxItems": MAX_CLAUSES}),
            _object(any={"type": "array", "items": this, "minItems": 1, "maxItems": MAX_CLAUSES}),
            _object({"not": this}),
            *(_clause(spec, op) for spec in CATALOGUE for op in spec.ops),
        ],
    }


def _object(properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    members = {**(properties or {}), **more}
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _clause(spec: FactSpec, op: str) -> dict[str, Any]:
    fact: dict[str, Any] = {"const": spec.name}
    if spec.parameter is not None:
        fact = {"type": "string", "pattern": f"^{spec.prefix.rstrip('.')}\\..+"}
    clause = _object(fact=fact, op={"const": op}, value=_value(spec, op))
    clause["description"] = spec.description
    return clause


def _value(spec: FactSpec, op: str) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string", "maxLength": MAX_STRING}
    # Scenarios have aliases, so their choices are left to the parser.
    whole: dict[str, Any] = {"enum": list(spec.choices)} if spec.choices and spec.name != "scenario" else text
    number: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": spec.maximum or MAX_NUMBER}
    match OPERATORS[op].operand:
        case "string":
            return whole if op in ("eq", "ne") else text
        case "strings":
            return _list(whole)
        case "flag":
            return {"type": "boolean"}
        case "number":
            return number
        case "pair":
            return {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
        case "networks":
            return {"anyOf": [text, _list(text)]}
        case "window":
            return _window()
    return text


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": MAX_LIST}


def _window() -> dict[str, Any]:
    days = {"type": "array", "items": {"enum": list(DAYS)}, "minItems": 1}
    window = _object(
        start={"type": "string", "pattern": _CLOCK},
        end={"type": "string", "pattern": f"{_CLOCK}|^24:00$"},
        timezone={"type": "string", "default": "UTC"},
        days=days,
        outside={"type": "boolean", "default": False},
    )
    window["required"] = ["start", "end"]
    return window
