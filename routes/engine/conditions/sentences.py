"""Conditions in plain words: what one asks for, and what it found. Text only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from routes.engine.conditions.nodes import Clause, Group, Not
from routes.engine.conditions.values import mean
from routes.engine.conditions.window import Window
from routes.engine.facts.catalogue import OPERATORS
from routes.engine.facts.recorded import UNKNOWN

if TYPE_CHECKING:
    from routes.engine.conditions.nodes import Node

#: Longer strings are cut in sentences and reports: a report says why, it is no copy of the request.
SHOWN: Final = 80
#: Entries of a list that are named.
NAMED: Final = 5

_PLAIN = re.compile(r"[^\s,()“”]+")


def describe(node: Node) -> str:
    """``tokens ≥ 32 000 and model starts with gpt-4``."""
    if isinstance(node, Clause):
        return clause(node)
    if isinstance(node, Not):
        return f"not ({describe(node.child)})"
    if not node.children:
        return "always"
    words = [
        f"({describe(child)})" if isinstance(child, Group) and len(child.children) > 1 else describe(child)
        for child in node.children
    ]
    return (" and " if node.every else " or ").join(words)


def clause(node: Clause) -> str:
    """One clause as a part of a sentence."""
    spec, value = node.spec, node.value
    match spec.kind:
        case "flag":
            return spec.yes if value else spec.no
        case "set":
            return _of_set(node)
        case "time":
            assert isinstance(node.test, Window)
            return f"{spec.label} is {node.test.describe()}"
        case "partition":
            number = f"{OPERATORS[node.op].words} {figure(value)} {spec.unit}"
            return f"some target's {spec.label} {number}" if node.op == "lte" else f"the targets' {spec.label} {number}"
    label = spec.label if spec.parameter is None else f"{spec.label} {shown(node.parameter)}"
    if node.op == "exists":
        return f"{label} is {'present' if value else 'absent'}"
    return f"{label} {OPERATORS[node.op].words} {_value(value, node.op)}"


def _of_set(node: Clause) -> str:
    label = node.spec.label
    if node.op == "exists":
        return f"there are {label}" if node.value else f"there are no {label}"
    return f"{label} include {'' if node.op == 'eq' else 'one of '}{_value(node.value, node.op)}"


def _value(value: Any, op: str) -> str:
    if op == "between":
        return f"{figure(value[0])} and {figure(value[1])}"
    if isinstance(value, list):
        more = f" and {len(value) - NAMED} more" if len(value) > NAMED else ""
        return ", ".join(shown(entry) for entry in value[:NAMED]) + more
    return shown(value) if isinstance(value, str) else figure(value)


def cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def shown(text: str) -> str:
    """A string inside a sentence; in quotes where its ends would not be seen."""
    text = cut(text)
    return text if _PLAIN.fullmatch(text) else f"“{text}”"


def figure(number: float) -> str:
    """``32 000``, ``12.5``."""
    return f"{number:,.2f}".rstrip("0").rstrip(".").replace(",", " ")


def actual(node: Clause, value: Any) -> Any:
    """A fact's value for a report, as JSON."""
    if value is UNKNOWN or value is None:
        return None
    match node.spec.kind:
        case "set":
            return sorted(value)
        case "time":
            assert isinstance(node.test, Window)
            return node.test.local(value)
        case "partition":
            return [round(entry, 2) for entry in value]
    return cut(value) if isinstance(value, str) else value


def verdict(node: Clause, value: Any, held: bool | None) -> str:
    """``does not hold: tokens ≥ 32 000 (it is 120)``."""
    if held is None:
        return f"cannot be told: {clause(node)} (not recorded)"
    words = "holds" if held else "does not hold"
    return f"{words}: {clause(node)}{_found(node, value)}"


def _found(node: Clause, value: Any) -> str:
    if value is UNKNOWN:
        return " (as recorded)"
    kind = node.spec.kind
    if value is None:
        return " (there is none)"
    if kind == "flag" or node.op == "exists":
        return ""
    if kind == "partition":
        if not value:
            return " (no samples)"
        number = min(value) if node.op == "lte" else mean(value)
        return f" ({'the lowest' if node.op == 'lte' else 'the mean'} is {figure(number)} {node.spec.unit})"
    if kind == "set":
        return f" (they are {_value(sorted(value), 'in')})" if value else " (there are none)"
    if kind == "number":
        return f" (it is {figure(value)})"
    return f" (it is {shown(actual(node, value))})"
