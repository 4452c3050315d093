"""Conditions of smart rules: a typed JSON tree, checked with paths, compiled to closures, able to say why. Pure.

``{all: […]}``, ``{any: […]}``, ``{not: …}``, leaf ``{fact, op, value}``; ``CATALOGUE`` lists facts and their operators.
"""

from routes.engine.conditions.condition import Condition
from routes.engine.conditions.errors import ConditionError
from routes.engine.conditions.nodes import Clause, Partition
from routes.engine.conditions.parse import fact_named, parse
from routes.engine.conditions.schema import json_schema
from routes.engine.facts.catalogue import CATALOGUE, OPERATORS, FactSpec, Operator

__all__ = [
    "CATALOGUE",
    "OPERATORS",
    "Clause",
    "Condition",
    "ConditionError",
    "FactSpec",
    "Operator",
    "Partition",
    "fact_named",
    "json_schema",
    "parse",
]
