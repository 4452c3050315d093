"""Pages stay put while rows arrive: nothing twice, and nothing missed that was there when the walk began."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connections

from history import search as search_module
from history.filters import from_parameters
from history.search import search
from history.timerange import TimeRange
from tests.history import rows, samples
from tests.history.conftest import BOTH
from tests.history.rows import NOON, at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

pytestmark = BOTH
THERE = 400
BATCH = 50


class Traffic(threading.Thread):
    """Inserts a batch of rows after another, as a shipper does: newest ones, and a few of a host that is late."""

    def __init__(self, alias: str) -> None:
        super().__init__(daemon=True)
        self.alias = alias
        self.arrived = threading.Semaphore(0)
        self.ending = threading.Event()
        self.batches = 0

    def run(self) -> None:
        while not self.ending.is_set():
            new = NOON + timedelta(seconds=self.batches)
            late = NOON - timedelta(milliseconds=7 * self.batches % 4000)
            rows.store(
                *(samples.finished(at(new, n)) for n in range(BATCH - 2)),
                *(samples.finished(at(late, 5000 + self.batches * 2 + n)) for n in range(2)),
                alias=self.alias,
            )
            self.batches += 1
            self.arrived.release()
        connections[self.alias].close()


@pytest.fixture
def traffic(alias: str) -> Iterator[Traffic]:
    running = Traffic(alias)
    yield running
    running.ending.set()
    running.join()


@pytest.mark.parametrize(
    ("order", "filtered"),
    [("-created_at", {}), ("created_at", {}), ("-created_at", {"requested_model": "gpt-4o"})],
    ids=["newest-first", "oldest-first", "scanned"],
)
def test_a_walk_while_rows_arrive_meets_every_row_that_was_there_once(
    alias: str, traffic: Traffic, order: str, filtered: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "SCAN_ROWS", 60)
    there = rows.store(
        *(samples.finished(at(NOON - timedelta(milliseconds=10 * n), n)) for n in range(THERE)), alias=alias
    )
    span = TimeRange(NOON - timedelta(hours=1), None)
    traffic.start()
    seen: list[UUID] = []
    cursor = None
    missing = set(there)
    while missing:
        traffic.arrived.acquire()  # at least a batch has come since the last page
        page = search(from_parameters(filtered), span, order=order, limit=37, cursor=cursor, alias=alias)
        seen += [row.id for row in page.rows]
        missing -= set(seen)
        cursor = page.next
        if cursor is None:
            break
    assert not missing
    assert len(seen) == len(set(seen))
    assert traffic.batches >= THERE // 37
