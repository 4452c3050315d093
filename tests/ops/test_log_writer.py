"""Nobody waits for whoever reads the lines: they are written by a thread, bounded, and what is dropped is counted."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from routing_project.log_writer import LineWriter
from tests.gateways import ROOT, Gateways

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = 4096


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """As small as there are, to be full soon."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SMALL)
    try:
        yield reader, writer
    finally:
        for end in (reader, writer):
            with suppress(OSError):
                os.close(end)


def fill(writer: int) -> int:
    """Until nothing more fits; how many bytes that took."""
    os.set_blocking(writer, False)
    written = 0
    try:
        while True:
            written += os.write(writer, b"\n" * SMALL)
    except BlockingIOError:
        os.set_blocking(writer, True)
        return written


def read_all(reader: int, until: bytes) -> bytes:
    found = b""
    while until not in found:
        piece = os.read(reader, 65536)
        assert piece, found
        found += piece
    return found


def missing(number: int) -> str:
    return f"missing {number}"


def test_lines_are_written_in_order_and_all_of_them_before_the_end() -> None:
    with pipe() as (reader, writer):
        lines = LineWriter(writer, missing)
        told = [f"line {number}" for number in range(100)]
        for line in told:
            lines.put(line)
        lines.close()
        assert read_all(reader, b"line 99\n").decode().splitlines() == told
        assert lines.dropped == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_beyond_a_bound_lines_are_dropped_and_one_says_how_many_once_they_are_read_again(blocking: bool) -> None:
    with pipe() as (reader, writer):
        fill(writer)
        os.set_blocking(writer, blocking)
        lines = LineWriter(writer, missing, limit=10 * len("line 00\n"))
        for number in range(30):
            lines.put(f"line {number:02}")
        assert lines.dropped == 20
        found = read_all(reader, b"missing 20\n").decode().split()
        assert found == [*" ".join(f"line {number:02}" for number in range(10)).split(), "missing", "20"]
        lines.put("after")
        lines.close()
        assert read_all(reader, b"after\n") == b"after\n"
        assert lines.dropped == 20


def test_a_reader_that_is_gone_costs_the_lines_and_nothing_else() -> None:
    with pipe() as (reader, writer):
        os.close(reader)
        lines = LineWriter(writer, missing)
        for _ in range(100):
            lines.put("line")
        lines.close()
        assert lines.dropped == 100


def test_the_end_does_not_wait_for_a_reader_that_takes_nothing() -> None:
    with pipe() as (_, writer):
        fill(writer)
        lines = LineWriter(writer, missing)
        lines.put("line")
        lines.close(patience=0.05)  # returns
        os.set_blocking(writer, False)


def test_a_disk_that_was_full_leaves_no_half_line_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    script = (
        "import resource, signal, sys; from routing_project.log_writer import LineWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))\n"
        "lines = LineWriter(1, lambda number: f'missing {number}')\n"
        "lines.put('a' * 15); lines.put('b' * 15)\n"
        "while not lines.dropped: pass\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "lines.put('c' * 15); lines.close()\n"
    )
    subprocess.run([sys.executable, "-c", script], stdout=descriptor, cwd=ROOT, check=True)
    os.close(descriptor)
    assert path.read_text().split("\n") == ["a" * 15, "bbbb", "c" * 15, "missing 1", ""]


# -- in a gateway ------------------------------------------------------------------------------------------


def test_a_gateway_whose_lines_nobody_reads_answers_every_request_and_stops_cleanly(data_dir: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SMALL)
    full = fill(writer)
    gateways = Gateways(data_dir, stderr=writer)
    try:
        gateways.start()
        os.close(writer)
        # Each is a line: there is no console to relay it to.
        answers = [gateways.request("GET", "/admin/", headers={"X-Request-Id": f"r-{n}"}) for n in range(100)]
        assert [answer.status for answer in answers] == [503] * 100
        assert [answer.headers["x-request-id"] for answer in answers] == [f"r-{n}" for n in range(100)]
        told = read_all(reader, b"r-99")[full:].decode()
        assert [f"request_id=r-{n} " in told or f"request_id=r-{n}\n" in told for n in range(99)] == [True] * 99
        gateways.request("GET", "/admin/")
        assert gateways.kill(number=signal.SIGTERM) == 0
    finally:
        gateways.stop()
        os.close(reader)


def test_a_gateway_that_nobody_reads_any_more_goes_on(data_dir: Path) -> None:
    reader, writer = os.pipe()
    gateways = Gateways(data_dir, stderr=writer)
    try:
        os.close(reader)
        gateways.start()
        os.close(writer)
        assert [gateways.get("/admin/").status for _ in range(20)] == [503] * 20
        assert gateways.kill(number=signal.SIGTERM) == 0
    finally:
        gateways.stop()


# -- from the first line on --------------------------------------------------------------------------------
PROCESSES = {
    "serve": ["manage.py", "serve"],
    "gateway-1": ["-m", "routes.gateway", "--fd", "0"],
    "console": ["-m", "routing_project.console.server"],
    "worker": ["-m", "routing_project.worker"],
    "beat": ["-m", "routing_project.beat"],
    "shipper": ["-m", "history.shipper"],
    "manage": ["manage.py", "migrate"],
}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_that_cannot_start_says_so_in_one_line_of_json_where_that_is_set(name: str, data_dir: Path) -> None:
    told = json.loads(refused(name, data_dir, "json"))
    assert (told["level"], told["process"]) == ("critical", name)
    assert told["event"].startswith("SIGNALBOX_WORKERS: ")


def test_and_else_in_one_for_people(data_dir: Path) -> None:
    assert refused("gateway-1", data_dir, "console").startswith("gateway-1: SIGNALBOX_WORKERS: ")


def refused(name: str, data_dir: Path, log_format: str) -> str:
    environment = {
        **os.environ,
        "SIGNALBOX_DATA_DIR": str(data_dir),
        "SIGNALBOX_WORKERS": "many",
        "SIGNALBOX_LOG_FORMAT": log_format,
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, *PROCESSES[name]],
        env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line
