"""How a process comes to count with all others: before anything else of it has a metric.

Long-lived processes join (gateways, console, worker, beat, shipper). Commands do not: what they count ends with them,
and they leave nothing behind.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from routing_project.env import use_metrics_folder
from routing_project.metrics import folder

if TYPE_CHECKING:
    from routing_project.env import Env

_joined: dict[int, str] = {}


def join(env: Env, name: str) -> None:
    """From now on this process counts in the installation's folder, as ``name``. Once in a process; in a child that it
    forks, its files are the child's own."""
    path = env.metrics_dir
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    use_metrics_folder(env)  # prometheus-client looks at it when it is imported
    from prometheus_client import values

    def ident() -> str:
        pid = os.getpid()
        if pid not in _joined:
            _joined[pid] = folder.enter(path, name)
        return _joined[pid]

    # Its way of saying what files are named after. Its own choice, the process id alone, may be somebody else's soon.
    values.ValueClass = values.MultiProcessValue(ident)  # type: ignore[no-untyped-call]
