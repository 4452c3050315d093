"""The folder in which processes count: what the dead counted stays, once, and their files go."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from routing_project.console.metrics.counted import CountedCollector
from routing_project.env import Env
from routing_project.metrics import folder, reserved
from routing_project.metrics.catalogue import QUEUE_MESSAGES
from routing_project.metrics.folder import Busy, clear, fold, members, read
from routing_project.metrics.reserved import ReservedDict
from tests.gateways import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

#: A process that joins, counts, says so, and waits to be killed.
PROGRAM = """
import sys, time
from routing_project.env import get_env
from routing_project.metrics import catalogue, instruments
from routing_project.metrics.joining import join
join(get_env(), "worker")
for _ in range(5):
    instruments.messages("celery", "consumed").inc()
    instruments.histogram(catalogue.ROUTE_LATENCY).observe(0.3)
instruments.gauge(catalogue.SSE_CONNECTIONS).set(5)
print("counted", flush=True)
time.sleep(600)
"""


class Child:
    """What a process leaves in the folder and holds there, without the process."""

    def __init__(self, metrics: Path, number: int, ident: str = "") -> None:
        self.metrics = metrics
        self.ident = ident or f"9-{time.time_ns()}"
        self.lock = (metrics / f"{self.ident}.lock").open("w")
        self.lock.write("child")
        self.lock.flush()
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.count(number)

    def count(self, number: int, text: str = "help") -> None:
        for kind, family, name, labels, values in (
            ("counter", "message_queue_messages", "message_queue_messages_total", ["status"], ["consumed"]),
            ("histogram", "route_latency_seconds", "route_latency_seconds_bucket", ["le"], ["0.5"]),
            ("gauge_livesum", "sse_connections", "sse_connections", [], []),
        ):
            file = MmapedDict(str(self.metrics / f"{kind}_{self.ident}.db"))  # type: ignore[no-untyped-call]
            file.write_value(mmap_key(family, name, labels, values, text), float(number), 0.0)  # type: ignore[no-untyped-call]
            file.close()  # type: ignore[no-untyped-call]

    def add(self, name: str, names: list[str], values: list[str], number: float) -> None:
        """Count something else."""
        file = MmapedDict(str(self.metrics / f"counter_{self.ident}.db"))  # type: ignore[no-untyped-call]
        file.write_value(mmap_key(name.removesuffix("_total"), name, names, values, ""), number, 0.0)  # type: ignore[no-untyped-call]
        file.close()  # type: ignore[no-untyped-call]

    def kill(self) -> None:
        self.lock.close()


@contextlib.contextmanager
def child(metrics: Path, number: int) -> Iterator[Child]:
    """Dead at the end of the block."""
    running = Child(metrics, number)
    try:
        yield running
    finally:
        running.kill()


def dead(metrics: Path, number: int, ident: str = "") -> None:
    Child(metrics, number, ident).kill()


@pytest.fixture
def data(data_dir: Path) -> Path:
    Env(data_dir=data_dir).make_folders()
    return data_dir


@pytest.fixture
def metrics(data: Path) -> Path:
    return data / "metrics"


def consumed(metrics: Path) -> float:
    return sum(value for key, value in read(metrics).sums["counter"].items() if '"consumed"' in key)


def observed(metrics: Path) -> float:
    return sum(value for key, value in read(metrics).sums["histogram"].items() if "_bucket" in key)


def streams(metrics: Path) -> float:
    gauges = read(metrics).gauges.get("livesum", {})
    return sum(value for values in gauges.values() for value, _ in values)


def files(metrics: Path) -> list[str]:
    return sorted(path.name for path in metrics.iterdir() if path.name != ".lock")


def test_a_killed_process_is_read_as_prometheus_client_reads_it_and_then_put_to_the_dead(
    data: Path, metrics: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "SIGNALBOX_DATA_DIR": str(data)}, cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "counted\n"
    with child(metrics, 2):
        theirs: Counter[str] = Counter()
        for metric in MultiProcessCollector(None, str(metrics)).collect():  # type: ignore[no-untyped-call]
            for sample in metric.samples:
                theirs[sample.name] += sample.value
        assert theirs["message_queue_messages_total"] == consumed(metrics) == 7
        assert theirs["route_latency_seconds_count"] == observed(metrics) == 7
        assert streams(metrics) == theirs["sse_connections"] == 7
        assert {member.name: member.pid for member in members(metrics)} == {"worker": process.pid, "child": 9}
        process.kill()
        process.communicate()
        assert [member.name for member in members(metrics)] == ["child"]
        assert (consumed(metrics), observed(metrics), streams(metrics)) == (7, 7, 2)  # before it is put to the others
        assert fold(metrics) == 1
        assert (consumed(metrics), observed(metrics), streams(metrics)) == (7, 7, 2)


def test_counts_of_the_dead_stay_and_their_files_and_gauges_go(metrics: Path) -> None:
    with child(metrics, 2) as living:
        dead(metrics, 5)
        assert (consumed(metrics), streams(metrics)) == (7, 2)
        assert fold(metrics) == 1
        dead(metrics, 1)
        assert fold(metrics) == 1
        assert fold(metrics) == 0
        living.count(6)
        assert (consumed(metrics), observed(metrics), streams(metrics)) == (12, 12, 6)
    fold(metrics)
    assert files(metrics) == [folder.TOTALS_NAME]
    assert (consumed(metrics), streams(metrics)) == (12, 0)


def test_the_lag_of_a_loop_that_does_not_say_how_late_it_is_is_how_long_it_has_not(metrics: Path) -> None:
    now = time.time()
    with child(metrics, 1) as running:

        def say(process: str, lag: float, at: float) -> None:
            file = MmapedDict(str(metrics / f"gauge_livemostrecent_{running.ident}.db"))  # type: ignore[no-untyped-call]
            for name, value in (("loop_lag_seconds", lag), ("config_revision", 7.0)):
                file.write_value(mmap_key(name, name, ["process"], [process], ""), value, at)  # type: ignore[no-untyped-call]
            file.close()  # type: ignore[no-untyped-call]

        for process, lag, ago in (
            ("just in time", 0.25, 0.9),
            ("clock set back", 0.25, -3600),
            ("late", 0.25, 1.5),
            ("was late", 9.0, 1.5),
            ("hangs", 0.25, 61),
        ):
            say(process, lag, now - ago)
        found = {
            (sample.name, sample.labels["process"]): sample.value
            for metric in CountedCollector(metrics, None, now=lambda: now).collect()
            for sample in metric.samples
            if sample.labels.keys() == {"process"}
        }
    assert {
        process: pytest.approx(value) for (name, process), value in found.items() if name == "loop_lag_seconds"
    } == {
        "just in time": 0.25,
        "clock set back": 0.25,
        "late": 0.5,
        "was late": 9.0,
        "hangs": 60,
    }
    assert {value for (name, _), value in found.items() if name == "config_revision"} == {7.0}


def test_a_crowd_of_the_dead_is_one_file(metrics: Path) -> None:
    for number in range(60):
        dead(metrics, 1, f"9-{number}")
    assert consumed(metrics) == 60
    fold(metrics)
    assert consumed(metrics) == 60
    assert files(metrics) == [folder.TOTALS_NAME]


@pytest.mark.parametrize("step", range(1, 8))
def test_a_crash_between_any_two_steps_neither_doubles_nor_drops_a_count(
    metrics: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever puts together is killed before its ``step``-th change of the folder."""
    dead(metrics, 2)
    fold(metrics)
    dead(metrics, 3)
    dead(metrics, 4)
    left = step

    class Killed(BaseException):
        pass

    def counting(change: str) -> None:
        real = getattr(Path, change)

        def changed(self: Path, *given: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left <= 0:
                raise Killed
            return real(self, *given, **named)

        monkeypatch.setattr(Path, change, changed)

    for change in ("write_text", "rename", "unlink"):
        counting(change)
    with pytest.raises(Killed):
        fold(metrics)
    monkeypatch.undo()
    assert (consumed(metrics), observed(metrics)) == (9, 9)
    fold(metrics)
    assert (consumed(metrics), observed(metrics)) == (9, 9)
    dead(metrics, 1)
    fold(metrics)
    assert (consumed(metrics), observed(metrics)) == (10, 10)
    assert not [name for name in files(metrics) if name.endswith((".db", ".lock"))]


def test_whoever_reads_while_the_dead_are_put_together_sees_the_same_sum(metrics: Path) -> None:
    seen: list[float] = []
    over = threading.Event()
    for number in range(100):
        dead(metrics, 1, f"9-{number}")

    def look() -> None:
        while not over.wait(0.002):
            seen.append(consumed(metrics))

    reader = threading.Thread(target=look)
    reader.start()
    wait_until(lambda: len(seen) > 3)
    assert fold(metrics, seconds=30) == 100
    before = len(seen)
    wait_until(lambda: len(seen) > before + 3)
    over.set()
    reader.join()
    assert set(seen) == {100}


def test_a_process_id_that_is_used_again_is_another_process(metrics: Path) -> None:
    dead(metrics, 5, "9-1")
    again = Child(metrics, 3, "9-2")
    assert consumed(metrics) == 8
    assert fold(metrics) == 1
    assert [name for name in files(metrics) if "9-1" in name] == []
    assert consumed(metrics) == 8
    again.count(4)
    again.kill()
    assert fold(metrics) == 1
    assert consumed(metrics) == 9


def test_nobody_waits_for_somebody_who_never_lets_go(metrics: Path) -> None:
    dead(metrics, 1)
    with (metrics / folder.LOCK_NAME).open("w") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        with pytest.raises(Busy):
            fold(metrics)
        with pytest.raises(Busy):
            read(metrics, seconds=0.01)
    assert fold(metrics) == 1


def test_a_start_begins_from_zero_unless_somebody_is_at_work(metrics: Path) -> None:
    """Gateways of a ``serve`` that was killed drain while the next one starts: a sum that fell to what they counted
    would be a restart to Prometheus, with all of theirs counted at once."""
    with child(metrics, 4):
        dead(metrics, 5)
        fold(metrics)
        dead(metrics, 6)
        assert consumed(metrics) == 15
        clear(metrics)
        assert (consumed(metrics), observed(metrics), streams(metrics)) == (15, 15, 4)
    clear(metrics)
    assert consumed(metrics) == 0
    assert files(metrics) == []


def test_a_full_disk_leaves_the_counts_where_they_are(metrics: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead(metrics, 4)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            fold(metrics)
    assert consumed(metrics) == 4
    assert fold(metrics) == 1
    assert consumed(metrics) == 4


def test_a_command_leaves_nothing_in_the_folder(data: Path, metrics: Path) -> None:
    environment = {
        **os.environ,
        "SIGNALBOX_DATA_DIR": str(data),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "DJANGO_SETTINGS_MODULE": "routing_project.settings",
    }
    for name in ("DATABASE_URL", "REDIS_URL"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "config_schema"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert files(metrics) == []


def test_totals_are_plain_json_of_series_and_sums(metrics: Path) -> None:
    """What is kept survives a change of the library that wrote the files."""
    dead(metrics, 2)
    fold(metrics)
    document = json.loads((metrics / folder.TOTALS_NAME).read_bytes())
    assert document.keys() == {"of", "counter", "histogram"}
    assert sum(document["counter"].values()) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe{",
        b'{"of": [',
        b"[]",
        b'{"of": [], "counter": [1], "histogram": {}}',
        b'{"of": [], "counter": {}}',
    ],
)
def test_totals_that_are_damaged_are_set_aside_and_counting_goes_on(metrics: Path, content: bytes) -> None:
    dead(metrics, 5)
    fold(metrics)
    (metrics / folder.TOTALS_NAME).write_bytes(content)
    with child(metrics, 2):
        assert consumed(metrics) == 2
        dead(metrics, 3)
        assert fold(metrics) == 1
        assert (consumed(metrics), observed(metrics)) == (5, 5)
    assert (metrics / folder.DAMAGED_NAME).read_bytes() == content


@pytest.mark.parametrize("damage", [b"\xff", b"\x00"])
@pytest.mark.parametrize("at", [8, 12, 100, -16, 200])
def test_a_damaged_file_is_read_as_far_as_it_makes_sense(metrics: Path, at: int, damage: bytes) -> None:
    """Bytes of a disk that failed: lengths, names and values of series."""
    with child(metrics, 2):
        broken = Child(metrics, 3, "9-1")
        path = metrics / "counter_9-1.db"
        content = bytearray(path.read_bytes())
        used = int.from_bytes(content[:4], "little")
        at += used if at < 0 else 0  # the value of the last series
        content[at : at + 8] = damage * 8
        if at >= used:
            content[:4] = (at + 8).to_bytes(4, "little")
        path.write_bytes(content)
        assert consumed(metrics) in (2, 5)
        broken.kill()
        assert fold(metrics) == 1
        assert consumed(metrics) in (2, 5)
        assert observed(metrics) == 5


def test_a_family_whose_help_has_changed_is_the_same_family(metrics: Path) -> None:
    """Of an earlier release, dead or still at work."""
    old = Child(metrics, 0)
    old.count(3, "in the words of an earlier release")
    old.kill()
    dead(metrics, 0, "9-1")
    fold(metrics)
    (metrics / folder.TOTALS_NAME).write_text(
        (metrics / folder.TOTALS_NAME).read_text().replace('\\"\\"]', '\\"older\\"]')
    )
    with child(metrics, 2) as living:
        living.count(4, "in other words")
        living.count(2)
        counted = CountedCollector(metrics, None).collect()
        [queue] = [metric for metric in counted if metric.name == "message_queue_messages"]
        assert queue.documentation == QUEUE_MESSAGES.help
        found = [sample.value for sample in queue.samples if sample.labels == {"status": "consumed"}]
        assert found == [9]
        assert streams(metrics) == 6


def test_a_full_disk_costs_only_the_series_that_are_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Touching memory that the disk has no room for would kill the process."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    clock = 100.0
    monkeypatch.setattr(reserved, "monotonic", lambda: clock)
    path = tmp_path / "counter_9-1.db"
    counts = ReservedDict(str(path))
    assert path.stat().st_blocks * 512 >= path.stat().st_size  # no holes
    counts.write_value("known", 1.0, 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        keys = [f"{number} {'x' * 1000}" for number in range(100)]  # more than there is room for
        for key in keys:
            assert counts.read_value(key) == (0.0, 0.0)
            counts.write_value(key, 2.0, 0.0)
        counts.write_value("known", 2.0, 0.0)
        assert 0 < len(counts.elsewhere) < 100
        assert counts.read_value(keys[-1]) == (2.0, 0.0)
    clock = 102.0
    counts.write_value("known", 3.0, 0.0)  # what was counted elsewhere may never be counted again
    assert counts.elsewhere == {}
    assert dict(each[:2] for each in folder._values(path)) == {"known": 3.0, **dict.fromkeys(keys, 2.0)}
    counts.close()  # type: ignore[no-untyped-call]


def test_a_process_that_begins_on_a_full_disk_counts_for_itself_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, tries = 100.0, 0
    monkeypatch.setattr(reserved, "monotonic", lambda: clock)
    path = tmp_path / "counter_9-1.db"

    def full(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        counts = ReservedDict(str(path))
        for clock in (100.0, 100.1, 101.5, 101.6):
            for key in ("idle", "busy"):
                counts.read_value(key)
                counts.write_value(key, clock, 0.0)
        assert counts.elsewhere == {"idle": (101.6, 0.0), "busy": (101.6, 0.0)}
        assert tries == 2  # when it began, and a second later
    counts.write_value("busy", 102.0, 0.0)
    assert counts.elsewhere.keys() == {"idle", "busy"}  # the second is not over
    clock = 103.0
    counts.write_value("busy", 103.0, 0.0)
    assert counts.elsewhere == {}
    assert dict(each[:2] for each in folder._values(path)) == {"idle": 101.6, "busy": 103.0}
    counts.close()  # type: ignore[no-untyped-call]


def test_a_process_that_the_folder_does_not_take_says_so_and_works(data: Path) -> None:
    (data / "metrics").rmdir()
    (data / "metrics").write_text("no folder")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("time.sleep(600)", "")],
        env={**os.environ, "SIGNALBOX_DATA_DIR": str(data)}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "counted\n"), done.stderr
    assert "what worker counts is not in /metrics" in done.stderr
