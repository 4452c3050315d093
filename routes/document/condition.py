"""A rule's condition in the configuration document. Free of Django.

The engine (``routes.engine.conditions``) judges conditions and brings them into canonical form; here is only how
they sit in the document: the place of an error, the JSON Schema, the sentence of a stored tree.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from routes.document.errors import refused
from routes.document.tree import check_tree
from routes.engine import conditions


def _condition(value: Any) -> Any:
    """The canonical tree. Raises with the place of every error inside the tree."""
    check_tree(value)
    try:
        return conditions.parse(value, "when").tree
    except conditions.ConditionError as error:
        raise refused(*((path.removeprefix("when").removeprefix("."), text) for path, text in error.errors)) from None


#: Name of the schema's definition; ``add_conditions`` puts it there.
COMPONENT = "Condition"
When = Annotated[
    Any,
    BeforeValidator(_condition),
    WithJsonSchema({"type": "object", "description": "The condition."}),
]


def add_conditions(definitions: dict[str, Any], template: str) -> None:
    """Give the ``Rule`` among ``definitions`` the schema of conditions. ``template``: how references are written."""
    reference = template.format(model=COMPONENT)
    definitions[COMPONENT] = conditions.json_schema(reference)
    definitions["Rule"]["properties"]["when"] = {"$ref": reference}


def sentence(tree: Any) -> str:
    """The condition in words; one that this release cannot read as it is written."""
    try:
        return conditions.parse(tree, "when").describe()
    except conditions.ConditionError:
        return json.dumps(tree, ensure_ascii=False)
