"""Celery tasks of the control plane. Run by the worker; routing goes on without them."""

from __future__ import annotations

from typing import Any

from celery import shared_task, signals

from routes import host, publish
from routes.actions.actor import Actor
from routes.actions.admin_states import expire_admin_states
from routes.actions.circuits import release_circuits
from routes.audit import delivery

#: A look at what the audit log's sinks have not had takes no longer, and goes on with the next one.
AUDIT_SECONDS = 4.0


@shared_task(name="routes.reconcile", ignore_result=True)
def reconcile() -> None:
    """Every ten seconds: end admin states and holds on circuits whose time has passed, then write whatever copy of
    revision and overlay is missing or older: a flushed Redis, a wiped folder, a delivery that failed."""
    expire_admin_states(actor=Actor.system("reconcile"))
    release_circuits(actor=Actor.system("reconcile"))
    publish.deliver()


@shared_task(name="routes.seed_spent", ignore_result=True)
def seed_spent() -> None:
    """Every ten seconds, almost always without a query: money that keys with a budget have spent before the host's
    live state knew of them. Until then a key whose state was lost may spend its budget again."""
    host.seed_spent()


@shared_task(name="routes.audit", ignore_result=True)
def deliver_audit() -> None:
    """Every five seconds: bring the audit log's file and channel what nobody could bring on commit: a process was
    killed just then, a disk was full, Redis was away."""
    delivery.deliver(AUDIT_SECONDS)


@signals.worker_ready.connect
def _deliver_beside_tasks(**_options: Any) -> None:
    """Entries that tasks leave are brought by a thread, so that no task waits for a sink."""
    delivery.start(every=None)
