"""``serve`` from its start to its end: nothing is lost between two runs, and nothing is left behind."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.gateways import wait_until
from tests.stack import Stack, alive

if TYPE_CHECKING:
    from pathlib import Path

CHILDREN = {"redis", "gateway-1", "console", "worker", "beat", "shipper", "serve"}


def printed(stack: Stack, pattern: str) -> str:
    found = [match for line in stack.lines if (match := re.search(pattern, line))]
    assert len(found) == 1, "\n".join(stack.lines)
    return found[0].group(1)


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
    """A signal ends every process, and nobody had to be killed."""
    pids = stack.pids()
    assert set(pids) == CHILDREN | {"simulator"}
    assert stack.stop(number) == 0
    assert [name for name, pid in pids.items() if alive(pid)] == []
    assert [line for line in stack.lines if "child killed" in line] == []


@pytest.mark.slow
def test_killing_serve_leaves_no_process_behind(tmp_path: Path) -> None:
    with Stack(tmp_path, workers=2, demo=True) as stack:
        pids = stack.pids()
        assert set(pids) == CHILDREN | {"gateway-2", "simulator"}
        stack.kill("serve")
        wait_until(lambda: not any(alive(pid) for pid in pids.values()), 10, "everything is gone")


@pytest.mark.slow
def test_two_installations_run_side_by_side(tmp_path: Path) -> None:
    with Stack(tmp_path / "one", demo=True) as one, Stack(tmp_path / "two", demo=True) as two:
        assert one.chat().status == 200
        assert two.chat().status == 200
        assert one.request("GET", "/v1/models", key=two.key).status == 401
        assert not set(one.pids().values()) & set(two.pids().values())
        assert one.stop(signal.SIGINT) == 0
        assert two.chat().status == 200


@pytest.mark.slow
def test_a_failed_start_says_why_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with Stack(tmp_path / "one") as running:
        other = Stack(tmp_path / "two", SIGNALBOX_PORT=str(running.port))
        assert refusal(other) == f"127.0.0.1:{running.port} is taken by another program; stop it or set SIGNALBOX_PORT."
        assert not other.pids()

        second = Stack(tmp_path / "one")
        assert refusal(second).startswith(f"another serve (process {running.pids()['serve']}) runs on ")

        public = Stack(tmp_path / "three", SIGNALBOX_HOST="0.0.0.0")
        assert "would show /metrics to everybody" in refusal(public)

        mistyped = Stack(tmp_path / "four", SIGNALBOX_WORKERS="many")
        assert refusal(mistyped).startswith("SIGNALBOX_WORKERS: ")


def refusal(stack: Stack) -> str:
    """The one line with which ``serve`` ends."""
    stack.start(wait=False)
    assert stack.process is not None
    assert stack.process.wait(30) == 1
    stack.kill_all()
    assert len(stack.lines) == 1, "\n".join(stack.lines)
    return stack.lines[0].removeprefix("signalbox: ")
