"""What the kernel says of a process and of its sockets. Linux only, like everything that reads /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.gateways import Gateways

_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


def resident_mb(gateway: Gateways) -> float:
    """Resident memory of all its processes."""
    return sum(int(Path(f"/proc/{each.pid}/statm").read_text().split()[1]) * _PAGE_MB for each in gateway.processes)


def descriptors(gateway: Gateways) -> int:
    """Open files and sockets of all its processes."""
    return sum(len(list(Path(f"/proc/{each.pid}/fd").iterdir())) for each in gateway.processes)


def in_kernel(port: int) -> int:
    """Bytes that the kernel holds in sockets with this port at either end: written and not yet read."""
    queued = 0
    wanted = f"{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues = line.split()[:5]
        if wanted in (local.partition(":")[2], remote.partition(":")[2]):
            sent, _, received = queues.partition(":")
            queued += int(sent, 16) + int(received, 16)
    return queued
