"""Pages while rows arrive: following ``next`` meets every row that was there at the beginning once, whatever comes in.

Rows come in as the shipper inserts them, five times a second, from a process of its own; some of each batch are older
than rows that are there already, because hosts' clocks differ and the shipper takes turns.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import argparse
    from multiprocessing.synchronize import Event

BATCHES_A_SECOND: Final = 5
#: How far back the times of arriving rows reach.
LATE_MS: Final = 3000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=int, default=500, help="rows a second that arrive (default 500)")
    parser.add_argument("--pages", type=int, default=400, help="pages of 50 to walk through (default 400)")


def run(options: argparse.Namespace) -> int:
    from django.db import connections

    from history.models import RouteHistory

    there = set(RouteHistory.objects.order_by("-id").values_list("id", flat=True)[: options.pages * 50])
    connections.close_all()
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    arriving = context.Process(target=_arrive, args=(options.rate, stop))
    arriving.start()
    try:
        time.sleep(2)
        kept = [walk(order, there) for order in ("-created_at", "created_at")]
    finally:
        stop.set()
        arriving.join()
    return 0 if all(kept) else 1


def walk(order: str, there: set[Any]) -> bool:
    """Follow ``next`` through the time of the rows that were there; whether each of them came exactly once."""
    from history.filters import NOTHING
    from history.ids import time_of
    from history.models import RouteHistory
    from history.search import search
    from history.timerange import TimeRange

    begun, arrived = time.perf_counter(), RouteHistory.objects.count()
    span = TimeRange(time_of(min(there)))
    seen: list[Any] = []
    cursor: str | None = None
    pages = 0
    while True:
        page = search(NOTHING, span, order=order, cursor=cursor)
        seen += [row.id for row in page.rows]
        pages, cursor = pages + 1, page.next
        if cursor is None or (order == "created_at" and seen[-1] > max(there)):
            break
    seconds = time.perf_counter() - begun
    arrived = RouteHistory.objects.count() - arrived
    missed, twice = len(there - set(seen)), len(seen) - len(set(seen))
    sys.stdout.write(
        f"order={order}: {pages} pages in {seconds:.1f} s while {arrived / seconds:,.0f} rows/s arrived: "
        f"{missed} missed, {twice} twice\n"
    )
    return missed == twice == 0


def _arrive(rate: int, stop: Event) -> None:
    import random

    import django

    django.setup()
    from uuid import UUID

    from history.rows import Rows
    from history.shipper.store import Batch, Store
    from tests.history import samples

    store, chance = Store(UUID(int=1), "failures"), random.Random(5)
    while not stop.wait(1 / BATCHES_A_SECOND):
        rows = Rows("failures")
        for _ in range(rate // BATCHES_A_SECOND):
            at_ms = int(time.time() * 1000) - int(chance.random() * LATE_MS)
            rows.add_finished(samples.finished(at_ms.to_bytes(6, "big") + b"\x70\x00\x80" + chance.randbytes(7)))
        store.apply(Batch(rows))
