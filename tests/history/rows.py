"""Rows put straight into the database, for tests of what reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from history import ids
from history.records import Finished, Payload
from history.rows import Rows
from history.shipper.store import Batch, Store
from tests.history import samples

if TYPE_CHECKING:
    from history.records import Record

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def at(moment: datetime, number: int = 0) -> bytes:
    """An id minted at ``moment``; ``number`` tells ids of one moment apart and orders them."""
    base = ids.first_id(moment).int | (7 << 76) | (2 << 62)
    return UUID(int=base | number).bytes


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def store(*records: Record, alias: str = "default", policy: Any = "failures") -> list[UUID]:
    """Insert the rows of records as the shipper does; their ids."""
    rows = Rows(policy)
    for record in records:
        if isinstance(record, Finished):
            rows.add_finished(record)
        elif isinstance(record, Payload):
            rows.add_payload(record)
        else:
            rows.add_interrupted(record)  # type: ignore[arg-type]
    Store(UUID(int=1), policy, alias).apply(Batch(rows))
    return [UUID(bytes=record.id) for record in records]


def many(count: int, start: datetime = NOON, step: timedelta = timedelta(seconds=1), **values: Any) -> list[UUID]:
    """``count`` routed requests, one every ``step``."""
    return store(*(samples.finished(at(start + n * step, n), **values) for n in range(count)))
