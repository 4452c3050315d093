"""Celery's beat as a process: ``python -m routing_project.beat``. Never loads Django.

The schedule is static and missed ticks are not made up for, so it is kept in memory; Celery's default would keep
a file of last runs that nothing reads.
"""

from __future__ import annotations

from celery.apps.beat import Beat
from celery.beat import Scheduler

from routing_project.celery import app, configure_logging
from routing_project.env import get_env
from routing_project.metrics.joining import join


class MemoryScheduler(Scheduler):  # type: ignore[misc]  # Celery has no types
    """The configured schedule, without the file."""

    def setup_schedule(self) -> None:
        self.merge_inplace(self.app.conf.beat_schedule)


def main() -> None:
    """Tick until told to stop."""
    configure_logging("beat")
    join(get_env(), "beat")
    Beat(app=app, scheduler_cls=MemoryScheduler, pidfile=None, quiet=True).run()


if __name__ == "__main__":
    main()
