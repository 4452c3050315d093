"""The file has every entry exactly once and in order, whatever happens to it and to whoever writes it."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from django.db.models import QuerySet
from structlog.testing import capture_logs

from routes.audit import delivery, file
from routes.audit.chain import NOTHING, hash_of
from routes.models import AuditEntry
from routes.tasks import deliver_audit
from routing_project.env import get_env
from tests.audit.conftest import entries, forget_place, lines, names, write
from tests.gateways import wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.django_db


def path() -> Path:
    return get_env().audit_log_path


def heads() -> list[dict[str, Any]]:
    return [line["head"] for line in lines() if "head" in line]


def test_a_line_is_the_entry_with_its_hash() -> None:
    entry = write("alpha", changes={"weight": [1, 3]}, reason="because")
    assert file.deliver() == 1
    (line,) = entries()
    assert line["hash"] == entry.hash == hash_of(line)
    assert (line["id"], line["object_name"], line["reason"]) == (1, "alpha", "because")
    assert line["changes"] == {"weight": [1, 3]}


def test_it_is_for_its_owner_and_group_and_its_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNALBOX_AUDIT_LOG", str(tmp_path / "some" / "where" / "audit.log"))
    get_env.cache_clear()
    umask = os.umask(0)
    try:
        write()
        file.deliver()
    finally:
        os.umask(umask)
    assert path() == tmp_path / "some" / "where" / "audit.log"
    assert stat.S_IMODE(path().stat().st_mode) == 0o640
    assert stat.S_IMODE(path().parent.stat().st_mode) == 0o750
    assert names() == ["alpha"]


def test_nothing_is_written_twice_and_nothing_left_out() -> None:
    assert file.deliver() == 0
    for name in ("a", "b", "c"):
        write(name)
    assert [file.deliver(), file.deliver()] == [3, 0]
    write("d")
    assert file.deliver() == 1
    assert names() == ["a", "b", "c", "d"]


def test_more_than_a_batch_is_written_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "BATCH", 3)
    for number in range(7):
        write(str(number))
    assert file.deliver() == 7
    assert names() == [str(number) for number in range(7)]
    for number in range(7, 13):  # whole batches
        write(str(number))
    assert [file.deliver(0.0), file.deliver(0.0), file.deliver(0.0)] == [3, 3, 0], "a command does not wait for it all"


def test_killed_between_the_line_and_the_place_no_line_is_doubled() -> None:
    write("a")
    file.deliver()
    place = file.place_path().read_bytes()
    write("b")
    file.deliver()
    file.place_path().write_bytes(place)
    write("c")
    assert file.deliver() == 1
    assert names() == ["a", "b", "c"]


@pytest.mark.parametrize("place", ["lost", "torn", "of before"])
def test_without_the_place_the_last_line_is_the_place(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "PIECE", 50)  # far less than a line
    for name in ("a", "b"):
        write(name, reason="a long reason " * 40)
    file.deliver()
    assert "head" in lines()[-1], "a head is no entry"
    if place == "lost":
        forget_place()
    elif place == "torn":
        file.place_path().write_text('{"id": 2, "ha')
    else:
        kept = json.loads(file.place_path().read_bytes())
        kept[str(path())] |= {"id": 1, "hash": entries()[0]["hash"], "at": None, "size": 0}
        file.place_path().write_text(json.dumps(kept))
    write("c")
    assert file.deliver() == 1
    assert names() == ["a", "b", "c"]


@pytest.mark.parametrize("piece", [40, 64 * 1024])
def test_a_torn_line_is_taken_back_and_written_anew(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "PIECE", piece)
    for name in ("a", "b"):
        write(name)
    file.deliver()
    write("c")
    with path().open("ab") as stream:
        stream.write(b'{"id":3,"at":"2026-11-20T14:0' * 5)
    with capture_logs() as told:
        assert file.deliver() == 1
    assert [line["event"] for line in told] == ["audit_line_repaired"]
    assert names() == ["a", "b", "c"]


def test_a_file_that_is_one_torn_line_begins_anew() -> None:
    path().parent.mkdir(parents=True)
    path().write_bytes(b'{"id":1,"at"')
    write("a")
    file.deliver()
    assert names() == ["a"]


def test_where_bytes_cannot_be_taken_back_a_torn_line_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file that may only be added to (chattr +a)."""

    def refused(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    write("a")
    file.deliver()
    write("b")
    with path().open("ab") as stream:
        stream.write(b'{"id":2,"at"')
    monkeypatch.setattr(os, "ftruncate", refused)
    assert file.deliver() == 1
    text = path().read_bytes().splitlines()
    assert text[-2] == b'{"id":2,"at"'
    assert json.loads(text[-1])["object_name"] == "b"


def test_a_disk_that_fills_up_in_the_middle_loses_and_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        write(name)
    usual, room = os.write, [700]

    def full(descriptor: int, content: Any) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken, room[0] = usual(descriptor, content[: room[0]]), 0
        return taken

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with capture_logs() as told:
            for room[0] in (700, 20, 20):
                with pytest.raises(OSError, match="No space left"):
                    file.deliver()
                assert path().stat().st_size == 0, "what does not fit is taken back at once"
    assert told == [], "nobody else's line is repaired"
    assert file.deliver() == 3
    assert names() == ["a", "b", "c"]


@pytest.mark.parametrize("how", ["moved", "moved and made anew", "copied and emptied"])
def test_after_a_rotation_it_goes_on_in_the_new_file(how: str) -> None:
    for name in ("a", "b"):
        write(name)
    file.deliver()
    older = path().with_suffix(".log.1")
    if how == "copied and emptied":
        older.write_bytes(path().read_bytes())
        os.truncate(path(), 0)
    else:
        path().rename(older)
        if how == "moved and made anew":
            path().touch(0o640)
    assert file.deliver() == 0
    assert (names(), [head["id"] for head in heads()]) == ([], [2]), "a new file says where it begins"
    write("c")
    file.deliver()
    assert names() == ["c"]
    assert older.read_bytes().count(b'"object_name"') == 2


def use(path: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNALBOX_AUDIT_LOG", str(path))
    get_env.cache_clear()


def deliver(name: str) -> None:
    write(name)
    file.deliver()


def test_another_path_goes_on_where_the_file_before_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver("a")
    before = path()
    use(tmp_path / "other.log", monkeypatch)
    with capture_logs() as told:
        deliver("b")
        deliver("c")
    assert names() == ["b", "c"]
    (line,) = told
    assert (line["event"], line["path"], line["before"]) == ("audit_file_elsewhere", str(path()), str(before))


@pytest.mark.parametrize("rotated", [False, True])
def test_what_a_command_writes_elsewhere_is_missing_nowhere(
    rotated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that does not have the setting of the others writes a file of its own beside theirs."""
    usual, other, found = path(), tmp_path / "other.log", list[str]()
    deliver("a")
    for name in ("b", "c"):
        use(other, monkeypatch)
        deliver(f"{name} by a command")
        use(usual, monkeypatch)
        if rotated:
            found += names()
            usual.unlink()
        deliver(name)
    assert found + names() == (["a", "b by a command", "b", "c by a command", "c"])
    use(other, monkeypatch)
    deliver("d")
    assert names() == ["b by a command", "b", "c by a command", "c", "d"]


def test_a_volume_that_was_away_gets_what_was_written_meanwhile(tmp_path: Path) -> None:
    """Another one stood in for it: there the file begins, here it goes on."""
    deliver("a")
    volume = path().parent.rename(tmp_path / "volume")
    for name in ("b", "c"):
        deliver(name)
    assert names() == ["b", "c"]
    path().parent.rename(tmp_path / "other")
    volume.rename(path().parent)
    with capture_logs() as told:
        deliver("d")
        deliver("e")
    assert names() == ["a", "b", "c", "d", "e"]
    (line,) = told
    assert line == {
        "event": "audit_file_was_behind",
        "log_level": "warning",
        "path": str(path()),
        "last_in_file": 1,
        "was_written_to": 3,
    }


def test_last_lines_that_were_removed_are_written_again() -> None:
    for name in ("a", "b", "c"):
        deliver(name)
    path().write_bytes(path().read_bytes().splitlines(keepends=True)[0])
    assert file.deliver() == 2
    assert names() == ["a", "b", "c"]


@pytest.mark.parametrize(
    "line",
    [
        {"id": 7, "hash": "y", "at": "9999-01-01T00:00:00.000000Z"},
        {"id": "7", "hash": "y", "at": "2026-11-30T00:00:00.000000Z"},
        {"id": [7], "hash": "y", "at": "2026-11-30T00:00:00.000000Z"},
    ],
)
def test_a_line_that_is_no_entry_of_ours_decides_nothing(line: dict[str, Any]) -> None:
    write("alpha")
    file.deliver()
    with path().open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    write("beta")
    assert delivery.deliver()["file"] == 1
    assert json.loads(path().read_bytes().splitlines()[-1])["object_name"] == "beta"


def test_a_line_nested_beyond_reason_decides_nothing() -> None:
    write("alpha")
    file.deliver()
    with path().open("a") as stream:
        stream.write("[" * 100_000 + "\n")
    write("beta")
    assert delivery.deliver()["file"] == 1


def test_a_table_that_ends_before_the_file_is_told_once_also_while_nothing_is_written() -> None:
    write("alpha")
    write("beta")
    file.deliver()
    AuditEntry.objects.filter(pk=2)._raw_delete("default")  # type: ignore[attr-defined]
    with capture_logs() as told:
        for _ in range(3):
            assert file.deliver() == 0
    assert [(line["event"], line["last_in_file"], line["goes_on_with"]) for line in told] == [
        ("audit_table_differs_from_file", 2, None)
    ]


def test_whatever_breaks_one_sink_the_next_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_seconds: float | None) -> int:
        raise TypeError("nobody expected this")

    monkeypatch.setitem(delivery.SINKS, "file", breaks)
    write("alpha")
    with capture_logs() as told:
        assert delivery.deliver() == {"channel": 1}
        monkeypatch.undo()
        delivery.deliver()
    assert [line["event"] for line in told] == ["audit_sink_down", "audit_sink_back"]


def test_what_is_committed_during_the_last_look_is_brought_by_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    looking, committed, looks = threading.Event(), threading.Event(), []

    def look() -> dict[str, int]:
        looks.append(committed.is_set())
        looking.set()
        assert committed.wait(20)
        return {}

    monkeypatch.setattr(delivery, "deliver", look)
    courier = delivery.Courier(None)
    courier.start()
    courier.wake()
    assert looking.wait(20)
    ending = threading.Thread(target=courier.end)
    ending.start()
    wait_until(lambda: courier._ended and courier._event.is_set(), what="its end has begun")
    committed.set()
    ending.join(20)
    assert looks == [False, True]


def test_threads_say_once_that_a_sink_is_down_and_once_that_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = threading.Barrier(4, timeout=20)

    def reached() -> int:
        together.wait()
        return 0

    monkeypatch.setitem(delivery.REACHED, "file", reached)
    with capture_logs() as told:
        threads = [threading.Thread(target=delivery._is_down, args=("file", OSError("full"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        monkeypatch.setitem(delivery.REACHED, "file", lambda: 3)
        threads = [threading.Thread(target=delivery._is_up, args=("file", 0)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [line["event"] for line in told] == ["audit_sink_down", "audit_sink_back"]
    assert told[1]["caught_up"] == 3


def test_a_relative_path_is_one_in_the_data_folder_whoever_writes_from_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("some/where.log", monkeypatch)
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        deliver(str(number))
    assert path() == get_env().data / "some" / "where.log"
    assert names() == ["0", "1"]


def test_once_an_hour_the_file_says_how_far_the_chain_is_also_when_nothing_happens() -> None:
    with time_machine.travel("2026-11-20T08:00:00Z", tick=False) as clock:
        deliver_audit()
        assert heads() == [{"id": 0, "hash": NOTHING, "at": "2026-11-20T08:00:00.000000Z"}]
        entry = write("a")
        for minutes, count in ((59, 1), (0.9, 1), (0.1, 2), (59, 2), (1, 3)):
            clock.shift(timedelta(minutes=minutes))
            deliver_audit()
            assert len(heads()) == count
        assert heads()[1:] == [
            {"id": 1, "hash": entry.hash, "at": "2026-11-20T09:00:00.000000Z"},
            {"id": 1, "hash": entry.hash, "at": "2026-11-20T10:00:00.000000Z"},
        ]
        clock.move_to(datetime.fromisoformat("2026-11-20T05:00:00Z"))
        deliver_audit()
        assert len(heads()) == 4, "a clock that was set back does not silence them"


def test_a_table_that_was_cut_repeats_nothing_and_what_comes_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with time_machine.travel("2026-11-20T08:00:00Z", tick=True) as clock:
        for name in ("a", "b", "c"):
            write(name)
        file.deliver()
        QuerySet(AuditEntry).filter(pk__gt=1).delete()
        assert file.deliver() == 0
        clock.shift(60)
        write("d")
        assert [file.deliver(), file.deliver()] == [1, 0]
    assert [(line["id"], line["object_name"]) for line in entries()] == [(1, "a"), (2, "b"), (3, "c"), (2, "d")]


def test_a_rewritten_table_does_not_come_over_the_file() -> None:
    for name in ("a", "b"):
        write(name)
    file.deliver()
    QuerySet(AuditEntry).filter(pk=2).update(hash="f" * 64)
    assert file.deliver() == 0
    assert names() == ["a", "b"]


def test_a_path_that_cannot_be_written_is_told_once_and_caught_up() -> None:
    path().mkdir(parents=True)  # a folder where the file should be
    write("a")
    with capture_logs() as told:
        for _ in range(3):
            assert "file" not in delivery.deliver()
        path().rmdir()
        assert delivery.deliver()["file"] == 1
        assert delivery.deliver()["file"] == 0
    assert [line["event"] for line in told if line.get("sink") == "file"] == ["audit_sink_down", "audit_sink_back"]
    assert names() == ["a"]


def test_told_is_how_many_were_caught_up_whoever_wrote_them() -> None:
    path().mkdir(parents=True)
    with capture_logs() as told:
        for name in ("a", "b"):
            write(name)
            delivery.deliver()
        path().rmdir()
        file.deliver()  # as another process
        assert delivery.deliver()["file"] == 0
    assert [line["caught_up"] for line in told if line["event"] == "audit_sink_back"] == [2]


def test_several_writers_at_once_write_each_entry_once(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> None:
    monkeypatch.setattr(file, "BATCH", 2)
    for number in range(20):
        write(str(number))
    path().unlink(missing_ok=True)
    file.place_path().unlink(missing_ok=True)
    written: list[int] = []

    def run() -> None:
        from django.db import connection

        written.append(file.deliver())
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(written) == 20
    assert names() == [str(number) for number in range(20)]


def test_a_command_does_not_wait_for_a_writer_that_is_at_it(transactional_db: None) -> None:
    write("a")
    with file._lock(None) as held:
        assert held
        assert file.deliver(0.05) == 0
    assert names() == ["a"], "on commit"
