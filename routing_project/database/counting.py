"""What every statement and connection of an engine goes through to be counted. Labels are aliases and engines of the
settings, and the classes of errors."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

from django_prometheus.db import (
    connection_errors_total,
    connections_total,
    errors_total,
    execute_many_total,
    execute_total,
    query_duration_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class CountedConnections:
    """Beside a ``DatabaseWrapper``."""

    alias: str
    vendor: str

    def get_new_connection(self, *given: Any, **named: Any) -> Any:
        connections_total.labels(self.alias, self.vendor).inc()
        try:
            return super().get_new_connection(*given, **named)  # type: ignore[misc]
        except Exception:
            connection_errors_total.labels(self.alias, self.vendor).inc()
            raise


@cache
def counted(cursor: type[Any], alias: str, vendor: str) -> type[Any]:
    """``cursor`` with its statements counted; the same class for the same three."""
    statements, in_bulk = execute_total.labels(alias, vendor), execute_many_total.labels(alias, vendor)
    seconds = query_duration_seconds.labels(alias, vendor)

    def timed(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            return call(*given, **named)
        except Exception as error:
            errors_total.labels(alias, vendor, type(error).__name__).inc()
            raise
        finally:
            seconds.observe(time.perf_counter() - begun)

    class CountedCursor(cursor):  # type: ignore[misc]
        def execute(self, *given: Any, **named: Any) -> Any:
            statements.inc()
            return timed(super().execute, *given, **named)

        def executemany(self, query: Any, rows: Iterable[Any], *given: Any, **named: Any) -> Any:
            rows = rows if isinstance(rows, list | tuple) else list(rows)
            statements.inc(len(rows))
            in_bulk.inc(len(rows))
            return timed(super().executemany, query, rows, *given, **named)

    return CountedCursor
