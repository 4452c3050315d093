"""Histograms as columns, and the aggregates that SQLite lacks. Needs Django, but no tables.

What a histogram is, ``buckets`` says. The functions of SQLite are registered on every connection that Django opens.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Aggregate, Field, TextField

from history.rollups import buckets

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

#: Ids that a sum of failures keeps as examples.
SAMPLES: Final = 5


class HistogramField(Field):  # type: ignore[type-arg] # generic for type checkers only
    """Counts of times by bucket. Written by SQL alone; read as the count of each bucket."""

    description = "Counts by bucket"

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "numeric" if connection.vendor == "postgresql" else "blob"

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        if compiler.connection.vendor == "postgresql":
            sql = f"numeric_send({sql})"
        return sql, params

    def from_db_value(self, value: Any, _expression: Any, connection: Any) -> list[int] | None:
        if value is None:
            return None
        return (buckets.from_numeric if connection.vendor == "postgresql" else buckets.from_bytes)(bytes(value))


class HistogramSum(Aggregate):
    """The sum of histograms."""

    function = "SUM"
    output_field = HistogramField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, function="histogram_sum", **extra)


class Joined(Aggregate):
    """Lists of ids as one list, in no order."""

    output_field = TextField()

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="string_agg(%(expressions)s, ',')", **extra)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="group_concat(%(expressions)s, ',')", **extra)


# -- functions of SQLite -------------------------------------------------------------------------------
class _Histogram:
    """``histogram(value)``"""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def step(self, value: int | None) -> None:
        if value is not None:
            self.counts[buckets.bucket(value)] += 1

    def finalize(self) -> bytes | None:
        return buckets.pack(buckets.to_number(self.counts)) if self.counts else None


class _HistogramSum:
    """``histogram_sum(histogram)``"""

    def __init__(self) -> None:
        self.number = 0

    def step(self, stored: bytes | None) -> None:
        if stored is not None:
            self.number += buckets.unpack(stored)

    def finalize(self) -> bytes | None:
        return buckets.pack(self.number) if self.number else None


class _NewestIds:
    """``newest_ids(list)``: the last few of ids, or of lists of them."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def step(self, ids: str | None) -> None:
        if ids:
            self.found = heapq.nlargest(SAMPLES, [*self.found, *ids.split(",")])

    def finalize(self) -> str:
        return ",".join(self.found)


def register_functions(connection: Any, **_: Any) -> None:
    """Receives ``connection_created``."""
    if connection.vendor == "sqlite":
        connection.connection.create_aggregate("histogram", 1, _Histogram)
        connection.connection.create_aggregate("histogram_sum", 1, _HistogramSum)
        connection.connection.create_aggregate("newest_ids", 1, _NewestIds)
