"""What the condition editor is told: the engine's vocabulary for its choices, and what a tree means or why it cannot.

The editor knows no fact by name and parses nothing: both come from here, so that there is one vocabulary and one
parser.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from routes.document import DocumentError
from routes.document.tree import check_tree
from routes.engine import conditions
from routes.engine.facts import CATALOGUE, OPERATORS, FactSpec

#: What a new clause begins with.
FIRST = {"fact": "tokens", "op": "gte", "value": 32000}

#: Headings of the list of facts, by kind.
HEADINGS = (
    ("Request", ("string",)),
    ("Size and share", ("number",)),
    ("What it holds", ("flag",)),
    ("Its text", ("text",)),
    ("Tags", ("set",)),
    ("Where and when", ("network", "time")),
    ("How the rule’s targets are doing", ("partition",)),
)


class FactGroup(NamedTuple):
    heading: str
    facts: list[tuple[str, str]]  # name and label


class Checked(NamedTuple):
    """A tree as the server reads it: a sentence, or the errors with their places."""

    sentence: str
    errors: list[tuple[str, str]]


def label_of(fact: FactSpec) -> str:
    """A fact in a list. What a flag's label says is already an answer, so its name stands for it."""
    if fact.kind == "flag":
        return fact.name.replace("_", " ")
    return f"{fact.label} …" if fact.parameter else fact.label


def fact_groups() -> list[FactGroup]:
    """The facts to choose from, under their headings."""
    return [
        FactGroup(heading, [(fact.name, label_of(fact)) for fact in CATALOGUE if fact.kind in kinds])
        for heading, kinds in HEADINGS
    ]


def vocabulary() -> str:
    """Facts and operators as JSON, for the editor."""
    facts = [
        {
            "name": fact.name,
            "prefix": fact.prefix if fact.parameter else "",
            "parameter": fact.parameter,
            "kind": fact.kind,
            "ops": fact.ops,
            "label": label_of(fact).removesuffix(" …"),
            "description": fact.description,
            "unit": fact.unit,
            "example": fact.example,
            "choices": fact.choices,
            "maximum": fact.maximum,
            "samples": {op: fact.sample(op) for op in fact.ops},
        }
        for fact in CATALOGUE
    ]
    operators = {name: {"operand": op.operand, "label": op.label} for name, op in OPERATORS.items()}
    return json.dumps({"facts": facts, "operators": operators}, ensure_ascii=False, separators=(",", ":"))


class Reference(NamedTuple):
    """A fact in the table for those who write JSON."""

    name: str
    ops: str
    description: str
    example: str


def reference() -> list[Reference]:
    return [
        Reference(
            fact.name,
            ", ".join(fact.ops),
            fact.description,
            json.dumps({"fact": _example_name(fact), "op": op, "value": fact.sample(op)}, ensure_ascii=False),
        )
        for fact in CATALOGUE
        for op in [_usual(fact)]
    ]


def _example_name(fact: FactSpec) -> str:
    return fact.prefix + ("x-team" if fact.parameter == "name" else "user_id") if fact.parameter else fact.name


def _usual(fact: FactSpec) -> str:
    return "gte" if fact.kind == "number" else fact.ops[0]


def check(text: str) -> Checked:
    """The tree that ``text`` holds, in words, or what is wrong with it."""
    try:
        tree: Any = json.loads(text)
        check_tree(tree)
        return Checked(conditions.parse(tree, "when").describe(), [])
    except conditions.ConditionError as error:
        return Checked("", error.errors)
    except DocumentError as error:
        return Checked("", [("when", message) for _, message in error.errors])
    except RecursionError:
        return Checked("", [("when", "is nested too deeply")])
    except ValueError as error:
        return Checked("", [("when", f"is not JSON: {error}")])
