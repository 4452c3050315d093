"""Celery's beat as a process: ``python -m routing_project.beat``. Never loads Django.

The schedule is static and missed ticks are not made up for, so it is kept in memory; Celery's default would keep
a file of last runs that nothing reads.
"""

from __future__ import annotations

import sys

from celery.apps.beat import Beat
from celery.beat import Scheduler

from routing_project import logs
from routing_project.env import EnvError, get_env
from routing_project.metrics.joining import join


class MemoryScheduler(Scheduler):  # type: ignore[misc]  # Celery has no types
    """The configured schedule, without the file."""

    def setup_schedule(self) -> None:
        self.merge_inplace(self.app.conf.beat_schedule)


def main() -> int:
    """Tick until told to stop."""
    logs.start("beat")
    try:
        from routing_project.celery import app, configure_logging

        join(get_env(), "beat")
    except (EnvError, OSError) as error:
        logs.fatal("beat", str(error))
        return 1
    configure_logging()
    Beat(app=app, scheduler_cls=MemoryScheduler, pidfile=None, quiet=True).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
