"""PostgreSQL, counted. Django looks for ``DatabaseWrapper`` here. Cursors on the server, which read what an iterator
asks for in pieces, are psycopg's own and not counted."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base

from routing_project.database.counting import CountedConnections, counted


class DatabaseWrapper(CountedConnections, base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super().get_connection_params()
        parameters["cursor_factory"] = counted(parameters["cursor_factory"], self.alias, self.vendor)
        return parameters
