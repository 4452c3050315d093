"""The file behind the live state: made, checked, replaced, given up; clocks that start anew; locks."""

from __future__ import annotations

import errno
import os
import struct
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from routes import live
from routes.engine.circuit import OWNERS
from routes.engine.local_live import LocalLiveState
from routes.engine.tables.layout import Layout
from routes.engine.tables.memory import TARGETS
from routes.engine.types import Outcome
from routes.live import SharedLiveState, current, open_host_state
from routes.live.locks import FileLocks
from routing_project.env import get_env
from tests.live.hosts import NOW, Process, attempt, revision, targets

if TYPE_CHECKING:
    from pathlib import Path

REVISION = revision()
A, B, C = targets(REVISION).values()
PROFILE = REVISION.profiles["default"].id
KEY = b"k" * 16
TABLES = 16384


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "live.state"


def used(path: Path) -> None:
    """Leave a file behind that somebody has worked with."""
    with closing(SharedLiveState(path, "before")) as live:
        live.published(REVISION)
        for _ in range(5):
            attempt(live, A, "failure")
        live.set_pin(KEY, A.id, NOW, 60.0, profile_id=PROFILE)
        live.quarantine(B, None, 60.0, "auth_failed", NOW)
        assert live.circuit(A, NOW).state == "open"


def damaged(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


DAMAGES: dict[str, tuple[int, bytes]] = {
    "it is not a live state": (0, b"something"),
    "it was written by another release": (8, struct.pack("<I", 99)),
    "its content makes no sense": (TABLES + 8 * TARGETS, struct.pack("<d", float("nan"))),
    "its content makes no sense: too many": (TABLES + 8 * TARGETS, struct.pack("<d", 1e9)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_be_used_is_replaced_with_a_line_in_the_log(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    used(path)
    damaged(path, *DAMAGES[damage])
    with closing(SharedLiveState(path, "after")) as live:
        assert damage.split(":")[0] in caplog.text
        assert live.circuit(A, NOW).state == "closed"
        assert live.pin(KEY, NOW) is None
        assert live.rotate("x") == 0
    with closing(SharedLiveState(path, "again")) as live:
        assert live.rotate("x") == 0
    assert len(caplog.records) == 1


@pytest.mark.parametrize("cell", ["state", "nan"])
def test_a_record_that_makes_no_sense_replaces_the_file(path: Path, cell: str, caplog: Any) -> None:
    used(path)
    with closing(SharedLiveState(path, "breaks it")) as live:
        cells = live._records.of(A.id).circuit.cells
        cells[0 if cell == "state" else 2] = 7.0 if cell == "state" else float("nan")
        del cells
    with closing(SharedLiveState(path, "after")) as live:
        assert "makes no sense" in caplog.text
        assert live.circuit(A, NOW).state == "closed"


@pytest.mark.parametrize("size", [0, 100, 100_000_000])
def test_a_file_of_another_size_is_replaced(path: Path, size: int, caplog: pytest.LogCaptureFixture) -> None:
    used(path)
    os.truncate(path, size)
    with closing(SharedLiveState(path, "after")) as live:
        assert "its size is another one" in caplog.text
        assert live.circuit(A, NOW).state == "closed"


def test_whoever_still_uses_a_file_that_is_replaced_goes_on_with_it(path: Path) -> None:
    small = Layout(targets=8, providers=8, quarantined=8, pin_sets=8, input_sets=8, counter_sets=8)
    with closing(SharedLiveState(path, "old release", small)) as old:
        assert old.rotate("x") == 0
        with closing(SharedLiveState(path, "new release")) as new:
            assert new.rotate("x") == 0
            assert old.rotate("x") == 1
            assert {each.name for each in new.file.attached()} == {"new release"}


def test_what_was_never_used_takes_no_room_on_the_disk(path: Path) -> None:
    used(path)
    status = path.stat()
    assert status.st_size > 50_000_000
    assert status.st_blocks * 512 < 1_000_000
    assert oct(status.st_mode)[-3:] == "600"


def test_after_a_reboot_times_keep_their_distance_to_the_wall_clock(path: Path) -> None:
    """The machine was up for 5,000 s and is down for 20 s."""

    def state(boot: bytes, now: float, wall: float) -> SharedLiveState:
        found = SharedLiveState(path, "gateway", clock=lambda: now, wall=lambda: wall, boot=boot)
        found.published(REVISION)
        return found

    with closing(state(b"1" * 16, 5000.0, 1e9)) as before:
        for _ in range(5):
            attempt(before, A, "failure", 5000.0)
        for _ in range(3):
            attempt(before, B, now=5000.0)
        before.set_pin(KEY, A.id, 5000.0, 60.0, profile_id=PROFILE)
        before.remember_input(KEY, 77, 5000.0)
        before.quarantine(B, None, 100.0, "auth_failed", 5000.0)
        before.auth_failure(C, "auth_failed", 5000.0)
        before.hear_head(B.id, 3.0, False, 1e12, 4990.0)
        until = before.circuit(A, 5000.0).until - 5000.0
        ewma = before.stats(B.id).ewma_s(False, 5000.0)
    with closing(state(b"2" * 16, 7.0, 1e9 + 20.0)) as after:
        assert after.circuit(A, 7.0).until - 7.0 == pytest.approx(until - 20.0)
        pin = after.pin(KEY, 7.0)
        assert pin is not None
        assert pin.pinned_at == pytest.approx(-13.0)
        assert pin.expires == pytest.approx(47.0)
        assert after.last_input(KEY, 7.0) == 77
        assert after.last_input(KEY, 3600.0) is None
        quarantine = after.quarantined_until(B, "x", 7.0)
        assert quarantine is not None
        assert quarantine.until == pytest.approx(87.0)
        assert after.auth_failure(C, "auth_failed", 7.0) is None, "when it was refused last is forgotten"
        stats = after.stats(B.id)
        assert stats.mean_latency_s(False, 7.0)[1] == 3
        assert stats.mean_latency_s(False, 3594.0) == (None, 0)
        assert stats.requests_in(60.0, 7.0) == 0
        assert ewma is not None
        decayed = stats.ewma_s(False, 7.0)
        assert decayed is not None
        assert decayed < ewma
        (report,) = stats.loads(-100.0)
        assert report.at == pytest.approx(-23.0)
    with closing(state(b"2" * 16, 8.0, 1e9 + 5000.0)) as same:
        assert same.circuit(A, 8.0).until - 8.0 == pytest.approx(until - 21.0), "the wall clock alone moves nothing"


@pytest.mark.faults
def test_a_full_disk_is_said_once_and_costs_only_what_is_new(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with closing(SharedLiveState(path, "one")) as one, closing(SharedLiveState(path, "two")) as two:
        attempt(one, A)
        monkeypatch.setattr(os, "posix_fallocate", full)
        one.published(REVISION)
        assert "No space left on device; this process remembers new targets by itself" in caplog.text
        assert len(caplog.records) == 1
        for to in (A, B):
            attempt(two, to)
        assert one.stats(A.id).mean_latency_s(False, NOW)[1] == 2
        assert one.stats(B.id).mean_latency_s(False, NOW)[1] == 0


def test_new_targets_pins_and_turns_on_a_full_disk_are_this_processs_alone(path: Path) -> None:
    with closing(SharedLiveState(path, "one")) as one, closing(SharedLiveState(path, "two")) as two:
        for live in (one, two):
            live._memory.reserve = lambda offset, length: False
        for _ in range(5):
            attempt(one, A, "failure")
        assert (one.circuit(A, NOW).state, two.circuit(A, NOW).state) == ("open", "closed")
        assert list(one.suspects(NOW)) == [A.id]
        one.set_pin(KEY, A.id, NOW, 60.0, profile_id=PROFILE)
        assert one.pin(KEY, NOW) is None
        assert [one.rotate("x"), one.rotate("x"), two.rotate("x")] == [0, 1, 0]
        assert one.peek().rotate("x") == 2
        one.quarantine(A, None, 60.0, "auth_failed", NOW)
        assert one.quarantined_until(A, "x", NOW) is None


def test_a_path_that_cannot_be_used_leaves_private_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = open_host_state(tmp_path / "missing" / "live.state", "gateway")
    assert isinstance(live, LocalLiveState)
    assert "keeps its live state to itself" in caplog.text


def test_a_making_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "live.state"
    path.mkdir()
    assert isinstance(open_host_state(path, "gateway"), LocalLiveState)
    path.rmdir()
    (tmp_path / "live.state").symlink_to(tmp_path)
    assert isinstance(open_host_state(path, "gateway"), LocalLiveState)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_more_processes_than_there_are_slots_keep_to_themselves(path: Path) -> None:
    with closing(SharedLiveState(path, "first")) as first:
        for owner in range(OWNERS):
            first.file._slots.take(owner)
        assert isinstance(open_host_state(path, "one too many"), LocalLiveState)


def test_a_lock_outlives_the_closing_of_another_descriptor_of_its_file(path: Path) -> None:
    path.write_bytes(b"")
    mine, other = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    try:
        held, tried = FileLocks(mine, 0), FileLocks(other, 0)
        assert held.take(3)
        os.close(os.open(path, os.O_RDWR))  # drops all POSIX locks of the process
        assert not tried.take(3), "and two descriptions of one process exclude each other"
        assert tried.take(4)
        held.give_back(3)
        assert tried.take(3)
    finally:
        os.close(mine)
        os.close(other)


def test_a_lock_that_fails_leaves_the_mutex_free() -> None:
    locks = FileLocks(1_000_000, 0)  # nobody has so many open
    for _ in range(2):
        with pytest.raises(OSError, match="Bad file descriptor"):
            locks.acquire(locks.handle(0))
    with pytest.raises(OSError, match="Bad file descriptor"):
        locks.take(0)
    assert not locks.mutex.locked()


def test_an_attempt_that_ends_after_its_process_has_left_is_not_counted(path: Path) -> None:
    with closing(SharedLiveState(path, "stays")) as other:
        live = SharedLiveState(path, "leaves")
        live.published(REVISION)
        claim = live.claim(A, NOW)
        assert claim is not None
        assert other.stats(A.id).in_flight == 1
        live.close()
        assert live.settle(claim, A, Outcome("failure"), NOW) == []
        live.release(claim, NOW)
        assert other.stats(A.id).in_flight == 0
        assert other.stats(A.id).consecutive_failures == 0


def test_leaving_twice_is_leaving_once(path: Path) -> None:
    live = SharedLiveState(path, "gateway")
    live.close()
    live.close()
    live.file.stop_leading()


def test_the_console_opens_the_hosts_state_once_and_a_child_opens_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_opened", None)
    get_env().make_folders()
    mine = current()
    assert isinstance(mine, SharedLiveState)
    assert current() is mine
    assert mine.file.path == get_env().live_path

    def child() -> Any:
        theirs = current()
        assert isinstance(theirs, SharedLiveState)
        return [theirs is mine, theirs.file.owner, theirs.rotate("a pool of this test")]

    turn = mine.rotate("a pool of this test")
    same, owner, following = Process(child).result()
    assert not same
    assert owner != mine.file.owner
    assert following == turn + 1
