"""Chosen filters in plain words, as chips that can be taken away: also those that no form offers, and whole trees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from history.admin.asked import DEFAULT_RANGE, FAILURES, RANGES, TIME
from history.models import RouteStatus
from routing_project.console.templatetags.console import count, micro_usd, microseconds, milliseconds, utc_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from history.admin.asked import Asked

#: Of every field of ``history.filters``.
LABELS: Final = {
    "id": "Route id",
    "route_id": "Profile id",
    "endpoint_id": "Target id",
    "session_id": "Session id",
    "session_key": "Session",
    "session": "Session",
    "profile": "Profile",
    "provider": "Provider",
    "access_key": "Access key",
    "error_code": "Error",
    "status": "Status",
    "route_type": "Kind",
    "model": "Model sent",
    "requested_model": "Model asked for",
    "strategy": "Strategy",
    "source": "Chosen by",
    "rule": "Rule",
    "message": "Message",
    "recovered": "Recovered by failover",
    "degraded": "Degraded",
    "http_status": "HTTP status",
    "latency_ms": "Latency",
    "selection_us": "Choosing the target",
    "ttfb_ms": "First content",
    "attempt_count": "Attempts",
    "input_tokens": "Input tokens",
    "output_tokens": "Output tokens",
    "cached_tokens": "Cached tokens",
    "cost_micro_usd": "Cost",
    "revision": "Revision",
}
_OPERATORS: Final = {
    "eq": "is",
    "ne": "is not",
    "in": "is one of",
    "contains": "contains",
    "startswith": "begins with",
    "gt": "above",
    "lt": "below",
}
_UNITS: Final[dict[str, Callable[[int], str]]] = {
    "latency_ms": milliseconds,
    "ttfb_ms": milliseconds,
    "selection_us": microseconds,
    "cost_micro_usd": micro_usd,
    "input_tokens": count,
    "output_tokens": count,
    "cached_tokens": count,
}
#: Longer ones are cut on the chip; its title has them in full.
SHOWN: Final = 160


class Chip(NamedTuple):
    words: str
    title: str  # in full, where the words were cut
    without: str  # the address without it; "" = there is always one


def chips(asked: Asked) -> list[Chip]:
    """The time first, then the filters in the order of the address."""
    default = asked.range == DEFAULT_RANGE
    found = [Chip(time_words(asked), "", "" if default else asked.link(without=TIME))]
    for name, value in asked.conditions.items():
        words = of_parameter(name, value)
        cut = len(words) > SHOWN
        found.append(Chip(f"{words[:SHOWN]}…" if cut else words, words if cut else "", asked.link(without=[name])))
    return found


def time_words(asked: Asked) -> str:
    if asked.range in RANGES:
        return RANGES[asked.range][0]
    start, end = asked.span
    return " ".join(
        f"{word} {utc_words(at)}"
        for word, at in (("From", start), ("to" if start else "Before", end))
        if at is not None
    )


def of_parameter(name: str, value: str) -> str:
    """A parameter that ``history.filters`` understands."""
    if name == "filter":
        return _tree(json.loads(value))
    if name == "status" and value == FAILURES:
        return "Any failure"
    field, _, operator = name.partition("__")
    return _condition(field, operator or "eq", value.split(",") if operator == "in" else value)


def _tree(tree: dict[str, Any], *, inside: bool = False) -> str:
    if "field" in tree:
        return _condition(tree["field"], tree.get("op", "eq"), tree["value"])
    ((kind, parts),) = tree.items()
    if kind == "not":
        if parts.get("op") == "startswith" and parts.get("value") == "":
            return f"{_label(parts['field'])} is missing"
        return f"not ({_tree(parts)})"
    words = (" and " if kind == "all" else " or ").join(_tree(part, inside=True) for part in parts)
    return f"({words})" if inside and len(parts) > 1 else words


def _condition(field: str, operator: str, value: Any) -> str:
    if field in ("recovered", "degraded"):
        positive = (str(value).lower() in ("1", "true")) == (operator == "eq")
        return _label(field) if positive else f"Not {_label(field)[:1].lower()}{_label(field)[1:]}"
    values = value if isinstance(value, list) else [value]
    said = ", ".join(_value(field, operator, each) for each in values)
    return f"{_label(field)} {_OPERATORS[operator]} {said}"


def _value(field: str, operator: str, value: Any) -> str:
    text = str(value)
    if field == "status":
        return RouteStatus(text).label
    if field in _UNITS:
        return _UNITS[field](int(text))
    if text == "":
        return "none"
    return f"“{text}”" if operator in ("contains", "startswith") else text


def _label(field: str) -> str:
    return LABELS.get(field, field)
