"""Celery tasks of alerts, named in ``routing_project.celery``. Arguments would cross the broker, so there are none."""

from __future__ import annotations

import threading

from celery import shared_task

from health.alerts import delivery, matching, outages, rates

_delivering = threading.Lock()


@shared_task(name="health.alerts_deliver", ignore_result=True)
def deliver() -> None:
    """Every five seconds, and when something was queued: send what is due. One at a time in a worker, so that slow
    receivers never take all of its threads."""
    if not _delivering.acquire(blocking=False):
        return
    try:
        delivery.deliver()
    finally:
        _delivering.release()


@shared_task(name="health.alerts_watch", ignore_result=True)
def watch() -> None:
    """Every minute: measured events, providers that are down or up, and what was only counted until now."""
    rates.look()
    outages.look()
    matching.tell_counted()


@shared_task(name="health.alerts_prune", ignore_result=True)
def prune() -> None:
    """Once a day: remove from the log what is older than the history is kept."""
    delivery.prune()
