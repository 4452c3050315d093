"""Values of the configuration as people say them, for pages that show two of them side by side (conflict, audit log).

A value is told by its shape and, where that is not enough, by the field it belongs to. Sentences about a change are
``routes.diff``'s.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from routes.diff import summary
from routes.document.condition import sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOTHING: tuple[Any, ...] = (None, "", [], {})

MODES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "threshold": lambda numbers: f"after {numbers['failures']} failures in a row",
    "success_rate": lambda numbers: f"below a success rate of {numbers['min'] * 100:g} %",
    "latency": lambda numbers: f"above {numbers['ms']:g} ms at {numbers['percentile']}",
}


def said(field: str, value: Any) -> str:
    """``value`` of ``field`` (a path of the document) in words; "" for nothing."""
    leaf = field.rpartition(".")[2]
    if value in NOTHING:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return value
    if leaf == "when":
        return sentence(value)
    if isinstance(value, dict):
        return _object(value)
    if isinstance(value, list):
        return ", ".join(_item(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _object(value: dict[str, Any]) -> str:
    if "when" in value and "targets" in value:
        return summary(value)
    if len(value) == 1 and (mode := MODES.get(next(iter(value)))):
        try:
            return mode(*value.values())
        except (LookupError, TypeError):
            pass  # of another release
    return ", ".join(f"{name} {said(name, inner) or 'none'}" for name, inner in value.items())


def _item(item: Any) -> str:
    """One entry of a list: a target by name, weight and tier; a variant by its share; a rule in a sentence."""
    if not isinstance(item, dict):
        return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
    if "provider" in item:
        name = " / ".join(filter(None, (item["provider"], item.get("model"))))
        numbers = [] if item.get("weight") is None else [f"weight {item['weight']:g}"]
        numbers += [f"tier {item['tier']}"] if item.get("tier") else []
        return f"{name} ({', '.join(numbers)})" if numbers else name
    if "share" in item and "targets" in item:
        return f"{item.get('name')} {item['share']:g} ({', '.join(item['targets'])})"
    return _object(item)
