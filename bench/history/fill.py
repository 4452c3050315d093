"""Fill a database: records of every hour, put through the shipper's own rows and SQL, by several processes at once.

Each process takes whole days, so that what lies beside each other in a table came one after another, as in life.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bench.history import database, traffic, world

if TYPE_CHECKING:
    import argparse

    from bench.history.traffic import Hour

#: Rows of one transaction: about what a piece of the journal gives the shipper.
BATCH: Final = 1500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=7, help="the same seed and end make the same rows (default 7)")
    parser.add_argument("--end", help="ISO 8601 time of the last row (default: this hour's beginning)")
    parser.add_argument("--workers", type=int, default=2, help="processes; 1 for SQLite (default 2)")


def run(options: argparse.Namespace) -> int:
    from django.db import connection, connections

    end = datetime.fromisoformat(options.end) if options.end else datetime.now(UTC)
    end = end.replace(minute=0, second=0, microsecond=0)
    hours = traffic.hours(options.rows, options.days, int(end.timestamp() * 1000))
    partitions(end - timedelta(days=options.days), end)
    workers = options.workers if connection.vendor == "postgresql" else 1
    connections.close_all()
    days = [[hour for hour in hours if hour.number // 24 == day] for day in range(options.days)]
    begun = time.perf_counter()
    done = 0
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _prepare, (options.seed,)) as pool:
        for number in pool.imap(_day, days):
            done += number
            rate = done / (time.perf_counter() - begun)
            sys.stderr.write(f"\r{done:>12,} of {options.rows:,} rows, {rate:,.0f} rows/s ")
            sys.stderr.flush()
    sys.stderr.write("\n")
    begun = time.perf_counter()
    database.settle()
    sys.stderr.write(f"settled in {time.perf_counter() - begun:.0f} s\n")
    return 0


def partitions(start: datetime, end: datetime) -> None:
    """Make room for those days, where tables are partitioned."""
    try:
        from history import partitions
    except ImportError:
        return
    partitions.ensure(start, end)


_state: dict[str, Any] = {}


def _prepare(seed: int) -> None:
    """A worker: niced, because filling is never what is measured."""
    os.nice(10)
    import django

    django.setup()
    _state.update(seed=seed, world=world.build(seed))


def _day(hours: list[Hour]) -> int:
    from history.records import Finished
    from history.rows import Rows

    rows, done = Rows("failures"), 0
    for hour in hours:
        for record in traffic.records(_state["world"], _state["seed"], hour):
            if isinstance(record, Finished):
                rows.add_finished(record)
            else:
                rows.add_interrupted(record)
            if len(rows.routes) >= BATCH:
                done += _store(rows)
                rows = Rows("failures")
    return done + _store(rows)


def _store(rows: Any) -> int:
    from uuid import UUID

    from history.shipper.store import Batch, Store

    return Store(UUID(int=1), "failures").apply(Batch(rows)).inserted
