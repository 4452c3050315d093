"""Real processes, killed at random: what a client was answered has exactly one row, whatever died."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest

from history import status
from history.journal import JournalWriter, list_segments
from tests import servers
from tests.history import samples
from tests.history.conftest import BOTH, OwnDatabase

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [BOTH, pytest.mark.slow]


class Fleet:
    """Writer processes and a shipper, replaced as they are killed; remembers every id a client was answered."""

    def __init__(self, database: OwnDatabase, writers: int, segment_bytes: int, per_second: float) -> None:
        self.database = database
        self.command = ("-m", "tests.history.writer", str(database.data_dir / "journal"), str(segment_bytes))
        self.command += (str(per_second),)
        self.answered: list[str] = []
        self.writers = [self._start_writer() for _ in range(writers)]
        self.shipper = self._start_shipper()

    def _start_writer(self) -> subprocess.Popen[bytes]:
        process = self.database.spawn(*self.command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return process

    def _start_shipper(self) -> subprocess.Popen[bytes]:
        return self.database.spawn("-m", "history.shipper", stderr=subprocess.DEVNULL)

    def read(self) -> None:
        for process in self.writers:
            assert process.stdout is not None
            self.answered += (process.stdout.read() or b"").decode().split()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), True)
            lines = process.stdout.read().decode()
            self.answered += lines[: lines.rfind("\n") + 1].split()
            process.stdout.close()

    def kill_a_writer(self, chance: random.Random) -> None:
        place = chance.randrange(len(self.writers))
        self.read()
        self._end(self.writers[place])
        self.writers[place] = self._start_writer()

    def kill_the_shipper(self) -> None:
        self._end(self.shipper)
        self.shipper = self._start_shipper()

    def stop(self) -> None:
        for process in (*self.writers, self.shipper):
            self._end(process)


def survive(database: OwnDatabase, *, seconds: float, kills: int, per_second: float) -> None:
    chance = random.Random(20261120)
    fleet = Fleet(database, writers=2, segment_bytes=40_000, per_second=per_second)
    try:
        moments = sorted(chance.uniform(0.3, seconds) for _ in range(kills))
        begun = time.monotonic()
        for number, moment in enumerate(moments):
            while time.monotonic() - begun < moment:
                fleet.read()
                time.sleep(0.01)
            if number % 3 == 2:
                fleet.kill_the_shipper()
            else:
                fleet.kill_a_writer(chance)
    finally:
        fleet.stop()
    database.ship()
    rows = database.rows()
    assert len(fleet.answered) > 100
    assert len(set(fleet.answered)) == len(fleet.answered)
    lost = [identifier for identifier in fleet.answered if rows.get(identifier) != "routed"]
    assert lost == []
    # What was under way when its process died is there too, and says so.
    assert "interrupted" in rows.values()
    assert list_segments(database.data_dir / "journal") == []
    assert database.query("SELECT count(*) FROM history_journal_parked") == [(0,)]


@pytest.mark.faults
def test_no_answered_request_is_lost_or_doubled_by_many_kills(own_database: OwnDatabase) -> None:
    survive(own_database, seconds=5, kills=14, per_second=800)


def test_sigterm_ships_what_is_there_and_exits_cleanly(own_database: OwnDatabase) -> None:
    folder = own_database.data_dir / "journal"
    writer = JournalWriter(folder, 1 << 30)
    shipper = own_database.spawn("-m", "history.shipper", stderr=subprocess.DEVNULL)
    wait_until(lambda: status.read(folder) is not None)
    records = [samples.finished() for _ in range(2000)]
    for record in records:
        writer.append(record)
    shipper.send_signal(signal.SIGTERM)
    assert shipper.wait(timeout=60) == 0
    assert set(own_database.rows()) == {record.id.hex() for record in records}
    writer.close()


def test_a_second_shipper_stands_back_until_the_first_is_gone(own_database: OwnDatabase) -> None:
    folder = own_database.data_dir / "journal"
    first = own_database.spawn("-m", "history.shipper", stderr=subprocess.DEVNULL)
    wait_until(lambda: status.read(folder) is not None)
    second = own_database.spawn("-m", "history.shipper", stderr=subprocess.DEVNULL)
    writer = JournalWriter(folder, 1 << 30)
    writer.append(samples.finished())
    first.kill()
    first.wait()
    writer.append(samples.finished())
    wait_until(lambda: len(own_database.rows()) == 2)
    assert second.poll() is None
    second.terminate()
    assert second.wait(timeout=60) == 0
    writer.close()


@pytest.mark.faults
def test_what_was_written_while_the_database_was_away_arrives_when_it_is_back(own_database: OwnDatabase) -> None:
    own_database.query("SELECT 1")
    rename(own_database, away=True)
    folder = own_database.data_dir / "journal"
    shipper = own_database.spawn("-m", "history.shipper", stderr=subprocess.DEVNULL)
    writer = JournalWriter(folder, 1 << 30, segment_bytes=20_000)
    records = [samples.finished() for _ in range(300)]
    try:
        for record in records:
            writer.append(record)
        wait_until(lambda: (report := status.read(folder)) is not None and report.database == "down")
        assert shipper.poll() is None
        assert len(list_segments(folder)) > 5
        rename(own_database, away=False)
        wait_until(lambda: len(own_database.rows()) == 300)
        wait_until(lambda: (report := status.read(folder)) is not None and report.database == "up")
    finally:
        shipper.terminate()
        shipper.wait(timeout=60)
        writer.close()
    own_database.ship()
    assert set(own_database.rows()) == {record.id.hex() for record in records}


def rename(database: OwnDatabase, *, away: bool) -> None:
    """Take the tables away and bring them back: to the shipper the database does not answer as it should."""
    names = ("route_history", "gone") if away else ("gone", "route_history")
    statement = "ALTER TABLE {} RENAME TO {}".format(*names)
    if database.kind == "sqlite":
        with closing(sqlite3.connect(database.data_dir / "signalbox.sqlite3", timeout=10)) as connection:
            connection.execute(statement)
            connection.commit()
    else:
        with psycopg.connect(servers.postgres_url(database.name), autocommit=True) as pg:
            pg.execute(statement)  # type: ignore[arg-type,call-overload]


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
