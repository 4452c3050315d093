"""Kinds of indexes of the history's tables. Imports Django only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.backends.ddl_references import Statement


class NewestIndex(models.Index):
    """For rows by a value that many share, newest first: ``fields`` are the value's and, last, the key.

    SQLite gets both. PostgreSQL gets the value alone: it then keeps one entry for all rows of a page of the index that
    share it, which takes 8 bytes a row where an entry with the key takes 80 to 100, and its partitions are in the order
    of time already. What it costs, sorting what is found of a day, ``history.search`` sees to.
    """

    def create_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, using: str = "", **given: Any
    ) -> Statement:
        if schema_editor.connection.vendor == "postgresql":
            narrow = models.Index(fields=self.fields[:-1], name=self.name, condition=self.condition)
            return narrow.create_sql(model, schema_editor, using, **given)
        return super().create_sql(model, schema_editor, using, **given)
