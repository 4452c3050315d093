"""Real processes: killed between commit and write, writing at once, and the console's thread that nobody waits for."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from routing_project.env import child_environment
from tests.gateways import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent
WRITER = """
import os, sys
import django
django.setup()
from routing_project import logs
logs.configure("tests")
from routes.actions import Actor
from routes.actions.audit import record
from routes.audit import delivery
name, many, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if how == "dies":
    delivery.look = lambda: os.kill(os.getpid(), 9)
for number in range(many):
    record(Actor.command("tests"), "x.y", category="admin", object_type="x", object_name=f"{name}-{number}")
if how == "verifies":
    from django.core.management import call_command
    call_command("verify_audit")
"""
CONSOLE = """
import sys
import django
django.setup()
from routing_project import logs
logs.configure("tests")
from routes.actions import Actor
from routes.actions.audit import record
from routes.audit import delivery
courier = delivery.start(every=0.05)
print("ready", flush=True)
for line in sys.stdin:
    record(Actor.command("tests"), "x.y", category="admin", object_type="x", object_name=line.strip())
    print("committed", flush=True)
courier.end()
"""


class Installation:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log" / "routing_audit.log"
        environment = child_environment(
            SIGNALBOX_DATA_DIR=str(folder), DJANGO_SETTINGS_MODULE="routing_project.settings", DATABASE_URL=""
        )
        environment.pop("REDIS_URL", None)
        self.environment = environment
        self.errors = folder / "stderr"
        self.manage("migrate", "--verbosity", "0")

    def start(self, code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *arguments]
        with self.errors.open("ab") as errors:
            return subprocess.Popen(command, cwd=ROOT, env=self.environment, text=True, stderr=errors, **options)

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def names(self) -> list[str]:
        if not self.log.exists():
            return []
        trees = [json.loads(line) for line in self.log.read_bytes().splitlines()]
        return [tree["object_name"] for tree in trees if "head" not in tree]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(tmp_path_factory.mktemp("audited"))


def test_killed_between_commit_and_write_the_next_process_writes_it(installation: Installation) -> None:
    child = installation.start(WRITER, "killed", "1", "dies")
    assert child.wait(60) == -signal.SIGKILL
    assert "killed-0" not in installation.names()
    after = installation.start(WRITER, "after", "1", "lives")
    assert after.wait(60) == 0, installation.errors.read_text()
    assert installation.names()[-2:] == ["killed-0", "after-0"]


def test_processes_that_write_at_once_leave_one_chain_and_each_line_once(installation: Installation) -> None:
    children = [installation.start(WRITER, f"p{number}", "15", "lives") for number in range(2)]
    for child in children:
        assert child.wait(120) == 0, installation.errors.read_text()
    # What one process may have left to another that was writing is there after the next look.
    last = installation.start(WRITER, "last", "1", "verifies", stdout=subprocess.PIPE)
    said, _ = last.communicate(timeout=60)
    assert "33 entries, chain intact" in said
    assert "33 entries and 1 heads, all as in the table" in said
    counted = Counter(installation.names())
    assert [counted[f"p{number}-{n}"] for number in range(2) for n in range(15)] == [1] * 30


@pytest.fixture
def console(installation: Installation) -> Iterator[subprocess.Popen[str]]:
    child = installation.start(CONSOLE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    yield child
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        assert pipe is not None
        pipe.close()


def test_a_long_lived_process_does_not_wait_for_a_sink_and_catches_up(
    installation: Installation, console: subprocess.Popen[str]
) -> None:
    """The file is locked by somebody who does not let go, as a disk that does not answer would do."""
    before = len(installation.names())
    with (installation.folder / ".audit_log.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in range(3):
            _say(console, f"held-{number}")
        assert len(installation.names()) == before, "committed, and not written"
    wait_until(lambda: len(installation.names()) == before + 3, 30)
    assert installation.names()[before:] == ["held-0", "held-1", "held-2"]
    # Another process commits and dies: the thread finds it by itself.
    child = installation.start(WRITER, "lost", "1", "dies")
    assert child.wait(60) == -signal.SIGKILL
    wait_until(lambda: "lost-0" in installation.names(), 30)


def test_what_a_process_committed_last_is_written_before_it_ends(
    installation: Installation, console: subprocess.Popen[str]
) -> None:
    _say(console, "at-the-end")
    assert console.stdin is not None
    console.stdin.close()
    assert console.wait(30) == 0
    assert "at-the-end" in installation.names()


def _say(console: subprocess.Popen[str], name: str) -> None:
    assert console.stdin is not None
    assert console.stdout is not None
    console.stdin.write(f"{name}\n")
    console.stdin.flush()
    assert console.stdout.readline().startswith("committed")
