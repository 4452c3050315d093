"""Celery's worker as a process: ``python -m routing_project.worker``.

Four threads: the work is I/O, and threads stop in a fraction of a second where forked children take seconds. Probes
wait for providers in a thread of their own (``health.probes.runner``), so that none of these is held up.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routing_project.settings")

# After the settings are named: that is what makes Celery look after Django's database connections.
from celery.apps.worker import Worker

from routing_project.celery import app, configure_logging
from routing_project.env import get_env
from routing_project.metrics.joining import join

TASK_MODULES = (
    "routes.tasks",
    "history.tasks",
    "health.tasks",
    "health.alerts.tasks",
    "routing_project.console.tasks",
)


def main() -> int:
    """Work until told to stop; running tasks are finished first."""
    configure_logging("worker")
    join(get_env(), "worker")
    app.conf.imports = TASK_MODULES
    worker = Worker(
        app=app,
        pool_cls="threads",
        concurrency=4,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
        loglevel="INFO",
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
