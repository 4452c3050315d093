"""Periodic work: whether the installation itself is well, and whether its providers are.

Tasks are named in ``routing_project.celery``; what they do is in the modules they import. They take no arguments and
leave no results.
"""

from __future__ import annotations

from celery import shared_task

from health import circuits, upkeep
from health.heads import actions, liveness
from health.probes import tick
from routes.actions.actor import Actor
from routing_project.env import get_env


@shared_task(name="health.heartbeat")
def heartbeat() -> None:
    """Touch a file that the gateways look at: an old one means that beat or worker are away (``/readyz``: degraded)."""
    path = get_env().heartbeat_path
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch()


@shared_task(name="health.tick", ignore_result=True)
def probe_what_is_due() -> None:
    """Every two seconds. Ends before the probes do: see ``health.probes.runner``."""
    tick.tick()


@shared_task(name="health.circuits", ignore_result=True)
def tend_circuits() -> None:
    """Every five seconds."""
    circuits.tend()


@shared_task(name="health.upkeep", ignore_result=True)
def remove_old() -> None:
    """Every hour."""
    upkeep.remove_old()


@shared_task(name="health.heads", ignore_result=True)
def heads() -> None:
    """Every two seconds: tell, once for each, which heads came and went by the host's live state."""
    liveness.notice_all()


@shared_task(name="health.forget_heads", ignore_result=True)
def forget_heads() -> None:
    """Every ten minutes: remove heads that have been offline for seven days."""
    actions.forget_gone(actor=Actor.system("heads"))
