"""Periodic work on the history. Tasks are named in ``routing_project.celery``; they take no arguments and leave no
results."""

from __future__ import annotations

from celery import shared_task

from history import upkeep
from history.rollups import work


@shared_task(name="history.upkeep", ignore_result=True)
def tend_tables() -> None:
    """Every ten minutes."""
    upkeep.run()


@shared_task(name="history.rollups", ignore_result=True)
def sum_up() -> None:
    """Every minute: sum up the hours that are over and changed since (``history.rollups``)."""
    work.run()
