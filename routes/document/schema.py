"""JSON Schema of the document, for editors and for checking examples. Free of Django."""

from __future__ import annotations

from typing import Any

from routes.document.condition import add_conditions
from routes.document.configuration import Document


def document_schema() -> dict[str, Any]:
    """Draft 2020-12. Exactly what the models accept, but for rules that look at several fields."""
    tree = Document.model_json_schema()
    add_conditions(tree["$defs"], "#/$defs/{model}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Signalbox configuration",
        **tree,
    }
