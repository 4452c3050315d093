"""Celery's worker as a process: ``python -m routing_project.worker``.

Four threads: the work is I/O, and threads stop in a fraction of a second where forked children take seconds. Probes
wait for providers in a thread of their own (``health.probes.runner``), so that none of these is held up.
"""

from __future__ import annotations

import os
import sys

from routing_project import logs
from routing_project.env import EnvError, get_env
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
    logs.start("worker")
    # Before Celery is loaded: that is what makes it look after Django's database connections.
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routing_project.settings")
    try:
        from routing_project.celery import app, configure_logging

        join(get_env(), "worker")
    except (EnvError, OSError) as error:
        logs.fatal("worker", str(error))
        return 1
    from celery.apps.worker import Worker

    configure_logging()
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
