"""CPU and memory of every process, out of ``/proc``, and how often it had to be started again.

Under ``serve``, which knows its children and what the CPU of dead ones came to, so that a child that is replaced never
lets the sum fall. Without it: of the processes that count in the folder, each with its own time; nobody starts them
again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from routing_project.metrics import folder
from routing_project.metrics.catalogue import PROCESS_CPU, PROCESS_MEMORY, PROCESS_RESTARTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from routing_project.env import Env


class Entry(NamedTuple):
    pid: int | None  # None: it is being started again
    dead_cpu_seconds: float
    restarts: int | None = None  # None: nobody starts it again, or nobody says so


class ProcessCollector(Collector):
    def __init__(self, env: Env) -> None:
        self._map = env.socket_dir / "processes.json"
        self._folder = env.metrics_dir

    def collect(self) -> Iterable[Metric]:
        cpu = CounterMetricFamily(PROCESS_CPU.name, PROCESS_CPU.help, labels=PROCESS_CPU.labels)
        memory = GaugeMetricFamily(PROCESS_MEMORY.name, PROCESS_MEMORY.help, labels=PROCESS_MEMORY.labels)
        restarts = CounterMetricFamily(PROCESS_RESTARTS.name, PROCESS_RESTARTS.help, labels=PROCESS_RESTARTS.labels)
        for name, entry in self._processes().items():
            usage = None if entry.pid is None else _usage(entry.pid)
            if entry.pid is None or usage is not None or not _has_proc():
                cpu.add_metric([name], entry.dead_cpu_seconds + (usage[0] if usage else 0.0))
            # Else it ended since the map was read: without its own time the sum would fall, and seem to begin anew.
            if usage:
                memory.add_metric([name], usage[1])
            if entry.restarts is not None:
                restarts.add_metric([name], entry.restarts)
        return [cpu, memory, restarts]

    def _processes(self) -> dict[str, Entry]:
        try:
            document = json.loads(self._map.read_bytes())
            told = {  # the serve of an earlier release tells no restarts
                name: Entry(each["pid"], each["dead_cpu_seconds"], each.get("restarts"))
                for name, each in document.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or another's shape
            told = {}
        # A file that does not know us was left behind by a serve that was killed: its pids are anybody's.
        if any(entry.pid == os.getpid() for entry in told.values()):
            return told
        alone = {member.name: Entry(member.pid, 0.0) for member in folder.members(self._folder)}
        return alone or {"console": Entry(os.getpid(), 0.0)}


def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _usage(pid: int) -> tuple[float, int] | None:
    """CPU seconds and resident bytes; None where there is no ``/proc``, or the process has gone."""
    try:
        # The second field is the program's name and may hold spaces: count from behind its parenthesis.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
