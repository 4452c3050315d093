"""The words that every part of the OpenAPI document is written in. Imports nothing of the project."""

from __future__ import annotations

from typing import Any, Final

#: Where a component is referred to.
TEMPLATE: Final = "#/components/schemas/{model}"

TEXT: Final = {"type": "string"}
MAYBE_TEXT: Final = {"type": ["string", "null"]}
NUMBER: Final = {"type": "integer"}
MAYBE_NUMBER: Final = {"type": ["integer", "null"]}
FIGURE: Final = {"type": "number"}
MAYBE_FIGURE: Final = {"type": ["number", "null"]}
FLAG: Final = {"type": "boolean"}
UUID: Final = {"type": "string", "format": "uuid"}
MAYBE_UUID: Final = {"type": ["string", "null"], "format": "uuid"}
TIME: Final = {"type": "string", "format": "date-time"}
MAYBE_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
LINK: Final = {"type": ["string", "null"], "format": "uri"}


def reference(name: str) -> dict[str, Any]:
    return {"$ref": TEMPLATE.format(model=name)}


def json_body(name: str, example: Any = None, *, required: bool = True) -> dict[str, Any]:
    """A request body in JSON; ``required`` False: it may be left out."""
    schema = reference(name)
    if example is not None:
        schema["examples"] = [example]
    return {"application/json": schema if required else {**schema, "default": {}}}


def object_of(properties: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object that always has ``properties``, and may have the optional ones."""
    return {"type": "object", "required": list(properties), "properties": {**properties, **(optional or {})}}
