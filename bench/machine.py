"""The machine: which core a process runs on, how much CPU it has used, and what to print about it all.

CPU times come from /proc and pinning from the scheduler, so both are Linux only; elsewhere the columns stay empty.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("uvicorn", "uvloop", "httptools", "aiohttp", "orjson", "msgspec")
LINUX = sys.platform == "linux"


def cores() -> tuple[int | None, int | None]:
    """The core of what is measured, and the core of load and upstream; None where pinning is impossible.

    With one core only, both are that core, and every figure suffers alike.
    """
    if not LINUX:
        return None, None
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Processes started in here run on that core: a child inherits the affinity, and its threads too."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pids: Iterable[int]) -> float | None:
    """CPU time of these processes and their children so far, user and system, in steps of 10 ms; None off Linux."""
    if not LINUX:
        return None
    ticks = 0
    for pid in {each for one in pids for each in family(one)}:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mb(pids: Iterable[int]) -> float | None:
    """Resident memory of these processes and their children, MiB; None off Linux."""
    if not LINUX:
        return None
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for one in pids for each in family(one))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def busy(seconds: float) -> float | None:
    """The share of all cores in use over the next seconds; None off Linux."""
    if not LINUX:
        return None

    def times() -> tuple[int, int]:
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    all_before, idle_before = times()
    time.sleep(seconds)
    all_after, idle_after = times()
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)


def facts() -> dict[str, Any]:
    """What a reader needs to judge the numbers."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "pinned": LINUX,
        "busy_before": busy(2.0),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "nginx": _first_line("nginx", "-v"),
        "wrk": _first_line("wrk", "-v"),
    }


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "--short=10", "HEAD") or "unknown"
    measured = ("routes", "history", "routing_project", "bench", "simulator", "requirements")
    return commit + (" with local changes" if git("status", "--porcelain", "--", *measured) else "")


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _first_line(program: str, flag: str) -> str | None:
    if shutil.which(program) is None:
        return None
    ended = subprocess.run([program, flag], capture_output=True, text=True, check=False)
    return (ended.stdout or ended.stderr).splitlines()[0].strip()
