"""Column types of the history's tables. Imports Django only."""

from __future__ import annotations

from typing import Any

from django.db import models


class CompactJSONField(models.JSONField):
    """JSON that nobody searches, kept as the text it is.

    Only PostgreSQL differs: its ``jsonb`` spends twelve bytes on every small number and eight on every key, which made
    half of a row; ``json`` is the text, and cheaper to write. Values are objects or lists.
    """

    def db_type(self, connection: Any) -> str | None:
        return "json" if connection.vendor == "postgresql" else super().db_type(connection)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        # Django has jsonb arrive as text; json is parsed by the driver.
        return super().from_db_value(value, expression, connection) if isinstance(value, str) else value
