"""How a process comes to count with all others: before anything else of it has a metric.

Long-lived processes join (gateways, console, worker, beat, shipper). Commands do not: what they count ends with them,
and they leave nothing behind.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from routing_project.env import use_metrics_folder
from routing_project.metrics import folder

if TYPE_CHECKING:
    from routing_project.env import Env

logger = logging.getLogger(__name__)

_joined: dict[int, str] = {}


def join(env: Env, name: str) -> None:
    """From now on this process counts in the installation's folder, as ``name``. Once in a process; in a child that it
    forks, its files are the child's own. Where the folder takes nobody (a full disk, a stray owner) the process is told
    so in the log and does its work: it counts for itself."""
    path = env.metrics_dir
    use_metrics_folder(env)  # prometheus-client looks at it when it is imported
    from prometheus_client import values

    from routing_project.metrics.reserved import ReservedDict

    def ident() -> str:
        pid = os.getpid()
        if pid not in _joined:
            _joined[pid] = folder.enter(path, name)
        return _joined[pid]

    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        values.MmapedDict = ReservedDict  # type: ignore[attr-defined]
        # Its way of saying what files are named after. Its own choice, the process id alone, may be another's soon.
        values.ValueClass = values.MultiProcessValue(ident)  # type: ignore[no-untyped-call]
    except OSError as error:
        logger.error("what %s counts is not in /metrics until it is started again: %s", name, error)
        values.ValueClass = values.MutexValue
