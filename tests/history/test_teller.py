"""The live feed hears of every route once, as soon as it is in the journal, and whatever the database does."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import redis
from django.db import connections

from history import render, status
from history.journal import JournalWriter, frame, list_segments
from history.models import RouteHistory
from history.rows import finished_row, interrupted_row
from history.shipper import teller as teller_module
from history.shipper.folder import JournalFolder
from history.shipper.shipper import Shipper
from history.shipper.store import Store
from history.shipper.teller import Teller
from routing_project.feed.names import key_of
from tests.gateways import wait_until
from tests.history import samples
from tests.history.conftest import BOTH, NODE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from history.records import Record


class Heard(list[dict[str, Any]]):
    """In the place of the feed."""

    def __call__(self, feed: str, events: Sequence[Mapping[str, Any]]) -> None:
        assert feed == "routes"
        self.extend(dict(event) for event in events)

    @property
    def ids(self) -> list[bytes]:
        return [UUID(event["id"]).bytes for event in self]


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def teller(journal_dir: Path, heard: Heard) -> Iterator[Teller]:
    made = Teller(journal_dir, heard)
    yield made
    made.stop()


def write(writer: JournalWriter, *records: Record) -> None:
    for record in records:
        assert writer.append(record)


# -- what is told --------------------------------------------------------------------------------------
KINDS = {
    "routed": samples.finished(session_key="talk-1", rule="a rule", degraded=True, cached_tokens=4),
    "failed": samples.failed(),
    "decided": samples.decided(),
    "hostile": samples.finished(
        profile="x" * 500, requested_model="a\x00b", message="m" * 5000, input_tokens=2**40, http_status=None
    ),
    "without a key": samples.finished(key_id=None, key_name="", profile_id=None, endpoint_id=None, status="rejected"),
}


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_what_watchers_get_is_the_row_that_the_api_lists(
    alias: str, writer: JournalWriter, shipper: Shipper, kind: str
) -> None:
    record = KINDS[kind]
    write(writer, record)
    while shipper.round():
        pass
    assert finished_row(record) == render.row(RouteHistory.objects.using(alias).get(id=UUID(bytes=record.id)))


@BOTH
def test_a_request_whose_process_died_is_told_once_the_shipper_knows(
    alias: str, journal_dir: Path, heard: Heard, teller: Teller
) -> None:
    writer = JournalWriter(journal_dir, 1 << 30)
    begun = samples.started(session_key="talk-2")
    write(writer, begun)
    folder = JournalFolder(journal_dir)
    shipper = Shipper(folder, Store(NODE, "failures", alias), teller=teller)
    while shipper.round():
        pass
    teller.tell()
    assert heard == []
    writer.close()
    while shipper.round():
        pass
    shipper.round()
    folder.close()
    stored = RouteHistory.objects.using(alias).get(id=UUID(bytes=begun.id))
    assert heard == [interrupted_row(begun)] == [render.row(stored)]


def test_a_request_that_only_began_is_not_told(writer: JournalWriter, heard: Heard, teller: Teller) -> None:
    write(writer, samples.started())
    teller.tell()
    assert heard == []


def test_a_reported_outcome_tells_the_decision_again_and_only_once(
    writer: JournalWriter, heard: Heard, teller: Teller
) -> None:
    decision = samples.decided(model="m1")
    write(writer, decision)
    teller.tell()
    write(writer, samples.update(decision.id, metrics=[("x", 1.0, "")]))
    for _ in range(2):
        write(writer, samples.update(decision.id, status="routed", latency_us=840_000, output_tokens=7))
    teller.tell()
    assert [event["status"] for event in heard] == ["decided", "routed"]
    assert (heard[0]["latency_ms"], heard[1]["latency_ms"], heard[1]["output_tokens"]) == (None, 840, 7)
    assert heard[1]["model"] == "m1"


# -- once ------------------------------------------------------------------------------------------------
def test_each_record_is_told_once_however_often_one_looks(writer: JournalWriter, heard: Heard, teller: Teller) -> None:
    records = [samples.finished() for _ in range(3)]
    write(writer, *records[:2])
    assert teller.tell() == 2
    assert teller.tell() == 0
    write(writer, records[2])
    assert teller.tell() == 1
    assert heard.ids == [record.id for record in records]


def test_a_restart_repeats_nothing_and_skips_nothing(
    journal_dir: Path, writer: JournalWriter, heard: Heard, teller: Teller
) -> None:
    first, second = samples.finished(), samples.finished()
    write(writer, first)
    teller.stop()
    write(writer, second)
    again = Teller(journal_dir, heard)
    again.stop()
    assert heard.ids == [first.id, second.id]


def test_what_is_removed_before_anybody_looked_is_told_first(
    journal_dir: Path, heard: Heard, teller: Teller, folder: JournalFolder, stub_store: Store
) -> None:
    writer = JournalWriter(journal_dir, 1 << 30)
    record = samples.finished()
    write(writer, record)
    writer.close()
    shipper = Shipper(folder, stub_store, teller=teller)
    while shipper.round():
        pass
    assert list_segments(journal_dir) == []
    assert heard.ids == [record.id]
    assert teller.tell() == 0


def test_who_removes_a_segment_waits_for_no_other_to_be_told(journal_dir: Path, heard: Heard) -> None:
    """A backlog that nobody was told of may be long, and shipping must not wait for all of it."""
    one, other = (JournalWriter(journal_dir, 1 << 30) for _ in range(2))
    records = [samples.finished(profile=name) for name in ("one", "other", "one")]
    write(one, records[0])
    write(other, records[1])
    reached, go_on = threading.Event(), threading.Event()

    def publish(feed: str, events: Sequence[Mapping[str, Any]]) -> None:
        if any(event["profile"] == "other" for event in events):
            reached.set()
            go_on.wait(10)
        heard(feed, events)

    teller = Teller(journal_dir, publish)
    telling = threading.Thread(target=teller.tell)
    telling.start()
    assert reached.wait(10)
    write(one, records[2])
    one.close()
    teller.finish(min(list_segments(journal_dir)))
    assert telling.is_alive()
    assert heard.ids == [records[0].id, records[2].id]
    go_on.set()
    telling.join()
    teller.stop()
    assert heard.ids == [records[0].id, records[2].id, records[1].id]
    other.close()


def test_an_outcome_is_told_after_its_decision_although_that_is_being_finished(
    journal_dir: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (JournalWriter(journal_dir, 1 << 30) for _ in range(2))
    decided = samples.decided()
    write(one, samples.finished())
    size = max(entry.stat().st_size for entry in journal_dir.iterdir())
    monkeypatch.setattr(teller_module, "PIECE_BYTES", size)  # so that the decision is in the next
    write(one, decided)
    write(other, samples.update(decided.id, status="failed"))
    one.close()
    reached, go_on = threading.Event(), threading.Event()

    def publish(feed: str, events: Sequence[Mapping[str, Any]]) -> None:
        if events:
            reached.set()
            go_on.wait(10)
        heard(feed, events)

    teller = Teller(journal_dir, publish)
    finishing = threading.Thread(target=teller.finish, args=[min(list_segments(journal_dir))])
    finishing.start()
    assert reached.wait(10)
    telling = threading.Thread(target=teller.tell)
    telling.start()
    telling.join(0.3)  # it waits
    go_on.set()
    finishing.join()
    telling.join()
    teller.stop()
    assert [event["status"] for event in heard] == ["routed", "decided", "failed"]
    other.close()


def test_a_segment_that_was_finished_is_not_told_again_while_it_waits_to_be_removed(
    journal_dir: Path, heard: Heard, teller: Teller
) -> None:
    writer = JournalWriter(journal_dir, 1 << 30)
    write(writer, samples.finished())
    writer.close()
    (name,) = list_segments(journal_dir)
    teller.finish(name)
    assert (len(heard), teller.tell()) == (1, 0)
    again = Teller(journal_dir, heard)
    again.stop()
    assert len(heard) == 1
    (journal_dir / name.file_name).unlink()
    assert teller.tell() == 0
    assert (journal_dir / "told.json").read_bytes() == b"{}"


@pytest.fixture
def folder(journal_dir: Path) -> Iterator[JournalFolder]:
    made = JournalFolder(journal_dir)
    yield made
    made.close()


@pytest.fixture
def stub_store(db: None) -> Store:
    return Store(NODE, "failures", "default")


def test_segments_of_several_writers_are_told_and_damage_holds_nothing_up(
    journal_dir: Path, heard: Heard, teller: Teller
) -> None:
    one, other = (JournalWriter(journal_dir, 1 << 30) for _ in range(2))
    records = [samples.finished() for _ in range(4)]
    write(one, *records[:2])
    write(other, records[2])
    one.close()
    [torn, _] = list_segments(journal_dir)
    with (journal_dir / torn.file_name).open("ab") as stream:
        stream.write(b"SBJ\x01half a frame")
    teller.tell()
    write(other, records[3])
    teller.tell()
    teller.finish(torn)
    assert sorted(heard.ids) == sorted(record.id for record in records)
    other.close()


def test_what_nobody_understands_is_passed_over(
    journal_dir: Path, writer: JournalWriter, heard: Heard, teller: Teller
) -> None:
    first, second = samples.finished(), samples.finished()
    write(writer, first)
    [segment] = list_segments(journal_dir)
    with (journal_dir / segment.file_name).open("ab") as stream:
        stream.write(frame(b"\xc1 not a record"))
    write(writer, second)
    teller.tell()
    assert heard.ids == [first.id, second.id]


# -- the process -----------------------------------------------------------------------------------------
@contextmanager
def shipping(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-m", "history.shipper"], env=environment) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.mark.faults
@pytest.mark.django_db(transaction=True)
def test_the_feed_goes_on_while_the_database_is_away_and_repeats_nothing_when_it_is_back(
    data_dir: Path, redis_url: str
) -> None:
    template = connections["default"].settings_dict["NAME"]
    environment = {**os.environ, "SIGNALBOX_DATA_DIR": str(data_dir), "REDIS_URL": redis_url}
    environment.pop("DJANGO_SETTINGS_MODULE")
    writer = JournalWriter(data_dir / "journal", 1 << 30)
    records = [samples.finished() for _ in range(30)]
    with redis.Redis.from_url(redis_url) as client, shipping(environment):

        def down() -> bool:
            report = status.read(data_dir / "journal")
            return report is not None and report.database == "down"

        write(writer, *records[:10])
        wait_until(down, 20, "the shipper has no tables to ship into")
        write(writer, *records[10:])
        wait_until(lambda: client.xlen(key_of("routes")) == 30, 20, "all of it was told")
        with (
            closing(sqlite3.connect(template)) as source,
            closing(sqlite3.connect(data_dir / "signalbox.sqlite3")) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=WAL")

            def shipped() -> bool:
                return bool(target.execute("SELECT count(*) FROM route_history").fetchone()[0] == 30)

            wait_until(shipped, 20, "all of it is in the database")
        assert client.xlen(key_of("routes")) == 30
    report = status.read(data_dir / "journal")
    assert report is not None
    assert (report.told, report.untold, report.shipped, report.database) == (30, 0, 30, "up")
    writer.close()
