"""Settings of PostgreSQL's for some statements."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: For statements that join ranges of ids. PostgreSQL takes any range of UUIDs for one row, and would join two of them
#: row by row: an hour of 7,000 rows took 5 s instead of 0.1.
MANY_ROWS: Final[Mapping[str, str]] = {"enable_nestloop": "off"}


@contextmanager
def settings(alias: str, values: Mapping[str, str]) -> Iterator[None]:
    """Within a transaction, on PostgreSQL alone. One statement there and one back, or a rollback."""
    if connections[alias].vendor != "postgresql":
        yield
        return
    with connections[alias].cursor() as cursor:
        before = _set(cursor, values)
        yield
        _set(cursor, before)


@contextmanager
def transaction_with(alias: str, values: Mapping[str, str]) -> Iterator[None]:
    """On PostgreSQL: a transaction with these settings; they end with it, or with this part of the one under way."""
    if connections[alias].in_atomic_block:
        with transaction.atomic(using=alias), settings(alias, values):
            yield
        return
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        _set(cursor, values)
        yield


def _set(cursor: Any, values: Mapping[str, str]) -> dict[str, str]:
    """Until the transaction ends. What they were before."""
    asked = ["current_setting(%s), set_config(%s, %s, true)"] * len(values)
    cursor.execute(
        "SELECT " + ", ".join(asked), [part for name, value in values.items() for part in (name, name, value)]
    )
    return dict(zip(values, cursor.fetchone()[::2], strict=True))
