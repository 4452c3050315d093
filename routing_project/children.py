"""One supervised child process: how it is started, reaped, restarted with backoff, and accounted for.

Also writes the map of running processes that ``/metrics`` reads (name, pid, CPU of dead predecessors, how many there
were). Knows nothing about which children there are: that is ``supervise``. Must not import Django.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from routing_project.logs import get_logger
from routing_project.processes import group_kill, spawn

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable
    from pathlib import Path

BACKOFF_FIRST = 0.1
BACKOFF_MAX = 10.0
STEADY_SECONDS = 10.0  # a child that lived this long starts its backoff over

log = get_logger(__name__)


@dataclass
class Child:
    """A child's recipe and its present process. Moments are of ``time.monotonic``."""

    name: str
    command: list[str]
    environment: dict[str, str]
    pass_fds: tuple[int, ...] = ()
    death_signal: int = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0  # when to start it next
    failures: int = 0  # short lives in a row
    starts: int = 0
    killed: bool = False
    dead_cpu_seconds: float = 0.0

    @property
    def running(self) -> bool:
        return self.process is not None

    @property
    def restarts(self) -> int:
        """Whatever it ended of: none is ended in order to be replaced."""
        return max(0, self.starts - 1)

    def start(self) -> None:
        """Exec the child. From the main thread only (see ``processes.tie_to_parent``)."""
        self.process = spawn(self.command, death_signal=self.death_signal, env=self.environment, pass_fds=self.pass_fds)
        self.started = time.monotonic()
        self.starts += 1
        if self.restarts:
            log.info("child restarted", child=self.name, pid=self.process.pid, failures=self.failures)

    def send(self, number: int) -> None:
        """Signal the child alone; what it started itself is its own affair."""
        if self.process is not None:
            # Not Popen.send_signal: it may reap the child, and the resources it used would be lost.
            os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End the child and everything in its session, now."""
        if self.process is not None:
            self.killed = True
            group_kill(self.process)

    def reap(self) -> int | None:
        """Exit code if it ended since the last look; plans the restart. Never blocks."""
        if self.process is None:
            return None
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        self.process.returncode = code
        group_kill(self.process)  # strays of its session must not live on beside its successor
        self.process = None
        self.dead_cpu_seconds += usage.ru_utime + usage.ru_stime
        now = time.monotonic()
        self.failures = 1 if now - self.started >= STEADY_SECONDS else self.failures + 1
        self.due = now + min(BACKOFF_FIRST * 2 ** (self.failures - 1), BACKOFF_MAX)
        return code


def describe(code: int) -> str:
    """An exit code in words: ``exit code 1``, ``SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def write_process_map(path: Path, children: Iterable[Child]) -> None:
    """``{name: {"pid", "dead_cpu_seconds", "restarts"}}`` of the children, for the metrics of other processes; and of
    serve, which nobody here starts again."""
    content: dict[str, dict[str, float | None]] = {
        child.name: {
            "pid": child.process.pid if child.process else None,
            "dead_cpu_seconds": child.dead_cpu_seconds,
            "restarts": child.restarts,
        }
        for child in children
    }
    content["serve"] = {"pid": os.getpid(), "dead_cpu_seconds": 0.0}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)
