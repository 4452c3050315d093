"""SQLite, counted. Django looks for ``DatabaseWrapper`` here."""

from __future__ import annotations

from typing import Any

from django.db.backends.sqlite3 import base

from routing_project.database.counting import CountedConnections, counted


class DatabaseWrapper(CountedConnections, base.DatabaseWrapper):
    def create_cursor(self, name: str | None = None) -> Any:
        assert self.connection is not None
        return self.connection.cursor(factory=counted(base.SQLiteCursorWrapper, self.alias, self.vendor))
