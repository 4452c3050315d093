"""Celery tasks of the control plane. Run by the worker; routing goes on without them."""

from __future__ import annotations

from celery import shared_task

from routes import publish
from routes.actions.actor import Actor
from routes.actions.admin_states import expire_admin_states


@shared_task(name="routes.reconcile", ignore_result=True)
def reconcile() -> None:
    """Every ten seconds: end admin states whose time has passed, then write whatever copy of revision and overlay
    is missing or older: a flushed Redis, a wiped folder, a delivery that failed."""
    expire_admin_states(actor=Actor.system("reconcile"))
    publish.deliver()
