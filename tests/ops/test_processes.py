"""Children: restarted with backoff, accounted for, and never longer there than their parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from routing_project import children, processes
from routing_project.children import Child, describe, write_process_map
from tests.gateways import wait_until
from tests.stack import alive

if TYPE_CHECKING:
    from pathlib import Path

QUICK_END = [sys.executable, "-S", "-c", "raise SystemExit(3)"]
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


def child(command: list[str]) -> Child:
    return Child("child", command, dict(os.environ))


def end(each: Child) -> int:
    code = wait_until(lambda: (found := each.reap()) is not None and [found])
    return int(code[0])


def test_a_process_may_open_as_much_as_its_administrator_allows_and_its_children_too() -> None:
    code = (
        "import resource, subprocess, sys\n"
        "from routing_project import descriptors\n"
        "hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 2000)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))\n"
        "descriptors.raise_limit()\n"
        "child = 'import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))'\n"
        "print(hard, subprocess.run([sys.executable, '-S', '-c', child], capture_output=True, text=True).stdout)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    hard, _, limits = done.stdout.partition(" ")
    assert limits.strip() == f"({hard}, {hard})"


def test_backoff_doubles_to_its_limit_and_a_steady_life_starts_it_over(monkeypatch: pytest.MonkeyPatch) -> None:
    each = child(QUICK_END)
    waits = []
    for _ in range(9):
        each.start()
        assert end(each) == 3
        waits.append(round(each.due - time.monotonic(), 1))
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    monkeypatch.setattr(children, "STEADY_SECONDS", 0)
    each.start()
    end(each)
    assert each.failures == 1


def test_the_cpu_time_of_the_dead_is_kept() -> None:
    each = child([sys.executable, "-S", "-c", "sum(range(3_000_000))"])
    each.start()
    end(each)
    first = each.dead_cpu_seconds
    assert first > 0
    each.start()
    end(each)
    assert each.dead_cpu_seconds > first


def test_a_child_that_dies_takes_what_it_started_with_it() -> None:
    each = child(["/bin/sh", "-c", "sleep 600 & echo $! ; wait"])
    each.process = processes.spawn(each.command, stdout=subprocess.PIPE)
    assert each.process.stdout is not None
    with each.process.stdout as stream:
        grandchild = int(stream.readline())
    each.send(signal.SIGKILL)
    assert end(each) == -signal.SIGKILL
    wait_until(lambda: not alive(grandchild))


def test_a_child_ends_when_its_parent_is_killed() -> None:
    source = f"from routing_project.processes import spawn; p = spawn({SLEEP!r}); print(p.pid, flush=True); p.wait()"
    parent = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout as stream:
        pid = int(stream.readline())
    assert alive(pid)
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(pid))


def test_where_the_kernel_cannot_tie_them_a_keeper_ends_the_child_with_the_parent() -> None:
    told = [sys.executable, "-S", "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    source = f"from routing_project import processes; processes._libc = None; processes.spawn({told!r}).wait()"
    parent = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(pid))
    parent.stdout.close()


def test_a_keeper_forwards_signals_and_the_exit_code() -> None:
    script = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print(1, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-m", "routing_project.processes", "15", sys.executable, "-S", "-c", script]
    keeper = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    with keeper.stdout as stream:
        stream.readline()
        keeper.terminate()
        assert keeper.wait(10) == 7


def test_the_process_map_names_everybody(tmp_path: Path) -> None:
    each = child(SLEEP)
    each.start()
    write_process_map(tmp_path / "processes.json", [each])
    content = json.loads((tmp_path / "processes.json").read_bytes())
    assert each.process is not None
    assert content["child"] == {"pid": each.process.pid, "dead_cpu_seconds": 0.0, "restarts": 0}
    assert content["serve"] == {"pid": os.getpid(), "dead_cpu_seconds": 0.0}
    each.kill()
    end(each)


def test_the_process_map_says_how_often_a_child_was_started_again(tmp_path: Path) -> None:
    each = child(QUICK_END)

    def told() -> tuple[bool, int]:
        write_process_map(tmp_path / "processes.json", [each])
        entry = json.loads((tmp_path / "processes.json").read_bytes())["child"]
        return entry["pid"] is not None, entry["restarts"]

    assert told() == (False, 0)
    for restarts in range(3):
        each.start()
        assert told() == (True, restarts)
        end(each)
        assert told() == (False, restarts), "it is counted when it is started again"


@pytest.mark.parametrize(("code", "words"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "SIGKILL")])
def test_an_end_is_told_in_words(code: int, words: str) -> None:
    assert describe(code) == words
