"""The journal keeps every whole record through kills, full disks and damage, and says exactly what it dropped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from history import journal
from history.journal import HEADER_SIZE, JournalWriter, SegmentName, frame, is_owned, list_segments, read_chunk
from history.records import Finished, Record, decode
from tests.history import samples

if TYPE_CHECKING:
    from pathlib import Path


MIB = 1024 * 1024
ANY_TEXT = st.text(max_size=40)
FINISHED = st.builds(
    samples.finished,
    status=st.sampled_from(["routed", "failed", "rejected"]),
    requested_model=ANY_TEXT,
    message=ANY_TEXT,
    user_agent=ANY_TEXT,
    session_key=st.none() | ANY_TEXT,
    latency_us=st.integers(0, 2**62),
)
RECORDS = st.lists(FINISHED | st.builds(samples.started, requested_model=ANY_TEXT), max_size=30)


def read_all(folder: Path) -> list[Record]:
    return [
        decode(payload) for name in list_segments(folder) for payload in journal.read_segment(folder / name.file_name)
    ]


def only_segment(folder: Path) -> Path:
    (name,) = list_segments(folder)
    return folder / name.file_name


def chunk_of(path: Path, offset: int = 0, *, owned: bool) -> journal.Chunk:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_chunk(descriptor, offset, owned=owned)
    finally:
        os.close(descriptor)


# -- what goes in comes out --------------------------------------------------------------------------


@given(records=RECORDS, segment_bytes=st.integers(200, 5000))
@settings(max_examples=60, deadline=None)
def test_records_come_back_in_order_over_any_number_of_segments(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], segment_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    writer = JournalWriter(folder, MIB, segment_bytes=segment_bytes)
    assert all(writer.append(record) for record in records)
    writer.close()
    assert read_all(folder) == records
    assert (writer.appended, writer.dropped) == (len(records), 0)


@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12), data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_cut_at_any_byte_costs_only_the_record_it_cuts(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    payloads = [os.urandom(size) for size in sizes]
    whole = b"".join(map(frame, payloads))
    cut = data.draw(st.integers(0, len(whole)))
    path = tmp_path_factory.mktemp("journal") / "cut"
    path.write_bytes(whole[:cut])
    expected, end = [], 0
    for payload in payloads:
        if end + HEADER_SIZE + len(payload) > cut:
            break
        end += HEADER_SIZE + len(payload)
        expected.append(payload)

    alive = chunk_of(path, owned=True)
    assert [bytes(payload) for _, payload in alive.frames] == expected
    assert (alive.end, alive.torn) == (end, 0)  # a living writer may still complete it: wait there
    assert list(journal.read_segment(path)) == expected
    rest = chunk_of(path, end, owned=False)
    assert (rest.end, rest.torn) == (cut, int(cut > end))


@given(
    before=st.integers(0, 5),
    after=st.integers(0, 5),
    damage=st.binary(min_size=1, max_size=200) | st.just(journal.MARKER) | st.just(journal.MARKER * 5),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damage_in_the_middle_costs_nothing_behind_it(
    tmp_path_factory: pytest.TempPathFactory, before: int, after: int, damage: bytes
) -> None:
    payloads = [os.urandom(50) for _ in range(before + after)]
    frames = [frame(payload) for payload in payloads]
    path = tmp_path_factory.mktemp("journal") / "damaged"
    path.write_bytes(b"".join(frames[:before]) + damage + b"".join(frames[before:]))
    assert list(journal.read_segment(path)) == payloads


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "flipped"
    content = bytearray(frame(b"first") + frame(b"second") + frame(b"third"))
    content[HEADER_SIZE + len(b"first") + HEADER_SIZE + 2] ^= 1
    path.write_bytes(content)
    assert list(journal.read_segment(path)) == [b"first", b"third"]


def test_text_no_encoding_holds_and_numbers_no_column_holds_are_kept_as_near_as_possible(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, MIB)
    record = samples.finished(requested_model="gpt\ud800", input_tokens=10**30)
    assert writer.append(record)
    (kept,) = read_all(tmp_path)
    assert isinstance(kept, Finished)
    assert (kept.id, kept.requested_model, kept.input_tokens) == (record.id, "gpt?", 2**63 - 1)


def test_records_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, 64 * MIB, segment_bytes=20_000)

    def work() -> None:
        for _ in range(300):
            writer.append(samples.finished())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({record.id for record in read_all(tmp_path)}) == 1200


# -- who owns a segment --------------------------------------------------------------------------------


def owned(folder: Path) -> list[bool]:
    found = []
    for name in list_segments(folder):
        descriptor = os.open(folder / name.file_name, os.O_RDONLY)
        found.append(is_owned(descriptor))
        os.close(descriptor)
    return found


def test_only_the_newest_segment_of_a_writer_is_owned_and_none_after_close(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, MIB, segment_bytes=2000)
    for _ in range(12):
        writer.append(samples.finished())
    states = owned(tmp_path)
    assert len(states) > 2
    assert states == [False] * (len(states) - 1) + [True]
    writer.close()
    assert not any(owned(tmp_path))


def test_a_writer_that_rotates_has_its_next_segment_in_place_before_it_gives_up_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(tmp_path, MIB, segment_bytes=2000)
    seen = []
    let_go = JournalWriter._let_go

    def look_then_let_go(self: JournalWriter) -> None:
        seen.append(owned(tmp_path))
        let_go(self)

    monkeypatch.setattr(JournalWriter, "_let_go", look_then_let_go)
    for _ in range(12):
        writer.append(samples.finished())
    assert len(seen) > 2
    assert all(states[-2:] == [True, True] for states in seen[1:])


def test_a_name_is_never_used_twice_by_one_process(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, MIB)
    for _ in range(3):
        writer.append(samples.finished())
        writer.close()
    names = list_segments(tmp_path)
    assert len({name.birth for name in names}) == 3
    assert {name.pid for name in names} == {os.getpid()}
    assert [SegmentName.parse(name.file_name) for name in names] == names


def test_a_forked_child_neither_keeps_the_parents_lock_nor_writes_into_its_segment(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, MIB)
    writer.append(samples.finished(message="parent"))
    ready, say_ready = os.pipe()
    leave, say_leave = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(say_leave)
        writer.append(samples.finished(message="child"))
        os.write(say_ready, b"x")
        os.read(leave, 1)  # live on until the parent has looked
        os._exit(0)
    os.close(leave)
    try:
        os.read(ready, 1)
        writer.close()
        assert dict(zip([name.pid for name in list_segments(tmp_path)], owned(tmp_path), strict=True)) == {
            os.getpid(): False,
            child: True,
        }
    finally:
        os.close(say_leave)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(say_ready)
    assert sorted(record.message for record in read_all(tmp_path) if isinstance(record, Finished)) == [
        "child",
        "parent",
    ]


def test_sigkill_frees_the_segment_and_keeps_every_record_that_was_appended(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.history.writer", str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        answered = [process.stdout.readline().strip() for _ in range(200)]
        assert owned(tmp_path)[-1]
        process.kill()
        answered += process.stdout.read().split()
    assert not any(owned(tmp_path))
    kept = {record.id.hex() for record in read_all(tmp_path) if isinstance(record, Finished)}
    assert set(answered) <= kept


# -- when there is no room -----------------------------------------------------------------------------


@pytest.mark.faults
def test_a_full_journal_drops_the_newest_and_counts_each_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "RETRY_SECONDS", 0.0)
    writer = JournalWriter(tmp_path, 20_000, segment_bytes=4_000)
    kept = [writer.append(samples.finished()) for _ in range(200)]
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 12_000 < total <= 20_000
    assert kept.index(False) == writer.appended == len(read_all(tmp_path))
    assert writer.dropped_by_reason == {"journal_full": 200 - writer.appended, "disk": 0, "oversize": 0}

    only_first = list_segments(tmp_path)[0]
    (tmp_path / only_first.file_name).unlink()  # the shipper caught up
    assert writer.append(samples.finished())


@pytest.mark.faults
def test_a_full_journal_keeps_the_ends_of_what_it_began_and_nothing_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "RETRY_SECONDS", 0.0)
    writer = JournalWriter(tmp_path, 40_000, segment_bytes=4_000)
    begun = [samples.route() for _ in range(400)]
    announced = [writer.append(samples.started(route)) for route in begun]
    assert 10 < announced.count(True) < 390
    assert writer.dropped == 0  # nothing is lost yet: an end tells all that its beginning told
    running = [route for route, kept in zip(begun, announced, strict=True) if kept][-6:]
    ended = [writer.append(samples.finished(route), owed=route in running) for route in begun]

    records = read_all(tmp_path)
    assert {record.id for record in records if isinstance(record, Finished)} == set(running)
    assert ended.count(True) == 6
    assert writer.dropped_by_reason == {"journal_full": 394, "disk": 0, "oversize": 0}


def test_what_is_owed_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "RETRY_SECONDS", 0.0)
    writer = JournalWriter(tmp_path, 20_000, segment_bytes=4_000)
    kept = [writer.append(samples.finished(), owed=True) for _ in range(200)]
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert total <= 20_000 + 2 * 4_000
    assert writer.dropped == kept.count(False) > 100


def test_together_writers_stay_below_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "RETRY_SECONDS", 0.0)
    writers = [JournalWriter(tmp_path, 100_000, segment_bytes=8_000) for _ in range(4)]
    for _ in range(100):
        for writer in writers:
            writer.append(samples.finished())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 100_000
    assert sum(writer.appended + writer.dropped for writer in writers) == 400
    assert len(read_all(tmp_path)) == sum(writer.appended for writer in writers) > 100


def test_a_record_larger_than_a_frame_may_be_is_dropped_and_counted(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, 64 * MIB)
    assert not writer.append(samples.finished(message="x" * (journal.MAX_PAYLOAD + 1)))
    assert writer.append(samples.finished())
    assert writer.dropped_by_reason["oversize"] == 1
    assert len(read_all(tmp_path)) == 1


FULL_DISK = """
import resource, sys
from pathlib import Path
from history.journal import JournalWriter
from tests.history import samples

writer = JournalWriter(Path(sys.argv[1]), 1 << 30)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # the write that crosses it is short, the next fails
full = [writer.append(samples.finished(message="full")) for _ in range(50)]
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert all(writer.append(samples.finished(message="again")) for _ in range(10))
assert full.count(False) == writer.dropped_by_reason["disk"] == writer.dropped
print(full.count(True))
"""


@pytest.mark.faults
def test_a_short_write_on_a_full_disk_leaves_no_half_record_and_the_next_ones_are_kept(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=False, timeout=30
    )
    assert result.returncode == 0, result.stderr
    messages = [record.message for record in read_all(tmp_path) if isinstance(record, Finished)]
    before = int(result.stdout)
    assert 0 < before < 50
    assert messages == ["full"] * before + ["again"] * 10
    chunk = chunk_of(only_segment(tmp_path), owned=True)
    assert chunk.end == only_segment(tmp_path).stat().st_size  # not a byte of the refused ones is left


def test_a_folder_that_cannot_be_written_costs_records_not_requests(tmp_path: Path) -> None:
    obstacle = tmp_path / "journal"
    obstacle.write_text("a file where the folder should be")
    writer = JournalWriter(obstacle, MIB)
    assert not writer.append(samples.finished())
    assert not writer.append(samples.finished())
    assert writer.dropped_by_reason["disk"] == 2


def test_the_journal_of_a_killed_process_is_not_reserved_for_it(tmp_path: Path) -> None:
    """Only living writers' newest segments count as full; a dead one's will never grow."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    (tmp_path / SegmentName(1, process.pid, 0).file_name).write_bytes(frame(b"x"))
    alive = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        writer = JournalWriter(tmp_path, 10_000, segment_bytes=8_000)
        assert writer.append(samples.finished())
        writer.close()
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / SegmentName(1, alive.pid, 0).file_name).write_bytes(frame(b"x"))
        assert not writer.append(samples.finished())
    finally:
        alive.send_signal(signal.SIGKILL)
        alive.wait()
