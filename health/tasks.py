"""Periodic work that says whether the installation itself is well.

Tasks are named in ``routing_project.celery``; this module imports nothing of the control plane.
"""

from __future__ import annotations

from celery import shared_task

from routing_project.env import get_env

HEARTBEAT_FILE = "celery-heartbeat"


@shared_task(name="health.heartbeat")
def heartbeat() -> None:
    """Touch a file that the gateways look at: an old one means that beat or worker are away (``/readyz``: degraded)."""
    folder = get_env().socket_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / HEARTBEAT_FILE).touch()
