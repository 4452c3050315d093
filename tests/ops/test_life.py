"""``serve`` from its start to its end: nothing is lost between two runs, and nothing is left behind."""

from __future__ import annotations

import re
import shlex
import signal
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPException
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.gateways import wait_until
from tests.servers import FOLDER
from tests.stack import Stack, alive, document

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulators import Simulator

CHILDREN = {"redis", "gateway-1", "console", "worker", "beat", "shipper", "serve"}


def printed(stack: Stack, pattern: str) -> str:
    found = [match for line in stack.lines if (match := re.search(pattern, line))]
    assert len(found) == 1, "\n".join(stack.lines)
    return found[0].group(1)


@pytest.mark.thorough
def test_a_first_start_ends_in_a_curl_that_works_a_second_keeps_everything_and_signals_end_both(tmp_path: Path) -> None:
    with Stack(tmp_path, demo=True, SIGNALBOX_ADMIN_PASSWORD="") as stack:
        password = printed(stack, r"Password\s+(\S+)\s+\(shown once\)")
        key = printed(stack, r"Key\s+(sbx_\S+)\s+\(shown once\)")
        (line,) = [line for line in stack.lines if line.startswith("curl ")]
        done = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True)
        assert done.stdout.startswith("HTTP/1.1 200")
        route_id = re.search(r"x-route-id: (\S+)", done.stdout)
        assert route_id is not None
        assert stack.route(route_id[1])["status"] == "routed"
        revision = stack.revision()

        end_and_look(stack, signal.SIGTERM)
        stack.start()

        output = "\n".join(stack.lines)
        assert password not in output
        assert key not in output
        assert "create_access_key" in output
        assert stack.route(route_id[1])["id"] == route_id[1]
        assert stack.revision() == revision
        assert stack.request("GET", "/v1/models", key=key).status == 200
        end_and_look(stack, signal.SIGINT)


def end_and_look(stack: Stack, number: signal.Signals) -> None:
    """A signal ends every process. SIGTERM gives everybody the time they need; Ctrl+C is over in five seconds, whatever
    the machine is doing, and who is not ready by then is killed."""
    pids = stack.pids()
    assert set(pids) == CHILDREN | {"simulator"}
    assert stack.stop(number) == 0
    assert [name for name, pid in pids.items() if alive(pid)] == []
    if number == signal.SIGTERM:
        assert [line for line in stack.lines if "child killed" in line] == []


@pytest.mark.thorough
def test_two_installations_run_side_by_side_and_killing_serve_leaves_no_process_behind(tmp_path: Path) -> None:
    with Stack(tmp_path / "one", workers=2, demo=True) as one, Stack(tmp_path / "two") as two:
        assert one.chat().status == 200
        assert two.request("GET", "/v1/models").status != 401
        assert one.request("GET", "/v1/models", key=two.key).status == 401
        assert two.request("GET", "/v1/models", key=one.key).status != 200
        pids = one.pids()
        assert set(pids) == CHILDREN | {"gateway-2", "simulator"}
        assert not set(pids.values()) & set(two.pids().values())
        one.kill("serve")
        wait_until(lambda: not any(alive(pid) for pid in pids.values()), 10, "everything is gone")
        assert two.request("GET", "/v1/models").status != 401


@pytest.mark.thorough
def test_a_failed_start_says_why_in_one_line_and_leaves_nothing(tmp_path: Path, stack: Stack) -> None:
    other = Stack(tmp_path / "two", SIGNALBOX_PORT=str(stack.port))
    assert refusal(other) == f"127.0.0.1:{stack.port} is taken by another program; stop it or set SIGNALBOX_PORT."
    assert not other.pids()

    second = Stack(stack.folder)
    assert refusal(second).startswith(f"another serve (process {stack.pids()['serve']}) runs on ")

    public = Stack(tmp_path / "three", SIGNALBOX_HOST="0.0.0.0")
    assert "would show /metrics to everybody" in refusal(public)

    mistyped = Stack(tmp_path / "four", SIGNALBOX_WORKERS="many")
    assert refusal(mistyped).startswith("SIGNALBOX_WORKERS: ")


def refusal(stack: Stack) -> str:
    """The one line with which ``serve`` ends."""
    stack.start(wait=False)
    assert stack.wait_ended() == 1
    assert len(stack.lines) == 1, "\n".join(stack.lines)
    return stack.lines[0].removeprefix("signalbox: ")


@pytest.mark.faults
@pytest.mark.thorough
def test_on_sigterm_a_stream_is_finished_first_and_a_second_signal_ends_it_now(
    tmp_path: Path, simulator: Simulator
) -> None:
    acme = simulator.add("acme", output_tokens=20, tokens_per_second=10)
    with Stack(tmp_path / "data") as stack:
        stack.import_config(document(acme))
        with ThreadPoolExecutor() as threads:
            stream = threads.submit(stack.chat, stream=True)
            acme.wait_for(lambda requests: requests[-1:] and requests[-1].events_sent > 1)
            assert stack.stop(signal.SIGTERM) == 0
            assert stream.result().body.endswith(b"data: [DONE]\n\n")
        stack.start()
        acme.behave(output_tokens=10_000)
        acme.forget()
        pids = stack.pids()
        with ThreadPoolExecutor() as threads:
            stream = threads.submit(stack.chat, stream=True)
            acme.wait_for(lambda requests: requests[-1:] and requests[-1].events_sent > 1)
            assert stack.process is not None
            stack.process.terminate()
            wait_until(lambda: not alive(pids["beat"]))
            assert alive(pids["gateway-1"])
            stack.stop(signal.SIGTERM)
            assert [name for name, pid in pids.items() if alive(pid)] == []
            with pytest.raises((ConnectionError, HTTPException)):
                stream.result()


@pytest.mark.faults
@pytest.mark.thorough
def test_without_its_database_it_serves_what_was_published_and_tells_of_it_later(
    tmp_path: Path, simulator: Simulator, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE stack")
    folder = tmp_path / "socket"  # taken away and put back: a server that cannot be reached
    folder.symlink_to(FOLDER / "pg")
    acme = simulator.add("acme")
    with Stack(tmp_path / "data", DATABASE_URL=f"postgres://postgres@/stack?host={folder}") as stack:
        stack.import_config(document(acme))
        before = stack.chat()
        assert stack.route(before.headers["x-route-id"])["status"] == "routed"
        assert stack.stop() == 0
        folder.unlink()
        stack.start()
        answer = stack.chat()
        assert answer.status == 200
        folder.symlink_to(FOLDER / "pg")
        assert stack.route(answer.headers["x-route-id"])["status"] == "routed"


@pytest.mark.thorough
def test_a_locked_database_is_one_clear_line(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    with closing(sqlite3.connect(tmp_path / "signalbox.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "is locked by another program" in refusal(stack)
