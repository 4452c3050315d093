"""Celery's application and its static schedule; ``worker`` and ``beat`` beside this module run it.

Whoever only sends tasks, the beat too, never loads Django: tasks are named here by string. ``serve`` runs the
beat as a process of its own: one embedded in a worker outlives a killed worker, and then two of them tick.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any
from urllib.parse import parse_qs, urlsplit

from celery import Celery, signals
from celery.schedules import crontab

from routing_project import task_requests
from routing_project.env import get_env
from routing_project.metrics.instruments import bring_dropped_lines, messages

# Every entry expires before its successor is due: after an outage there is no burst of stale work.
SCHEDULE: dict[str, dict[str, Any]] = {
    "heartbeat": {"task": "health.heartbeat", "schedule": 5.0, "options": {"expires": 5}},
    "probes": {"task": "health.tick", "schedule": 2.0, "options": {"expires": 2}},
    "circuits": {"task": "health.circuits", "schedule": 5.0, "options": {"expires": 5}},
    "upkeep": {"task": "health.upkeep", "schedule": crontab(minute=23), "options": {"expires": 3600}},
    "history-upkeep": {"task": "history.upkeep", "schedule": 600.0, "options": {"expires": 600}},
    "heads": {"task": "health.heads", "schedule": 2.0, "options": {"expires": 2}},
    "forget_heads": {"task": "health.forget_heads", "schedule": 600.0, "options": {"expires": 600}},
    "reconcile": {"task": "routes.reconcile", "schedule": 10.0, "options": {"expires": 10}},
    "audit": {"task": "routes.audit", "schedule": 5.0, "options": {"expires": 5}},
    "spent": {"task": "routes.seed_spent", "schedule": 10.0, "options": {"expires": 10}},
    "rollups": {"task": "history.rollups", "schedule": 60.0, "options": {"expires": 60}},
    "alerts-deliver": {"task": "health.alerts_deliver", "schedule": 5.0, "options": {"expires": 5}},
    "alerts-watch": {"task": "health.alerts_watch", "schedule": 60.0, "options": {"expires": 60}},
    "alerts-prune": {
        "task": "health.alerts_prune",
        "schedule": crontab(hour=3, minute=41),
        "options": {"expires": 3600},
    },
    "sessions": {
        "task": "console.clear_sessions",
        "schedule": crontab(hour=3, minute=17),
        "options": {"expires": 3600},
    },
}


def broker_url(redis_url: str) -> str:
    """redis-py's URL in Celery's spelling, which differs for Unix sockets."""
    if not redis_url.startswith("unix://"):
        return redis_url
    parts = urlsplit(redis_url)
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.path}?virtual_host={database}"


app = Celery("signalbox")
app.conf.update(
    broker_url=broker_url(get_env().effective_redis_url),
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # One installation's queue is not another's, also when they share a Redis database with other programs.
    broker_transport_options={"global_keyprefix": "signalbox:celery:"},
    beat_schedule=SCHEDULE,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=1,
    timezone="UTC",
)


task_requests.connect()


# -- what becomes of tasks, in /metrics: of those that were published, some were run, failed ones too, some expired
@signals.after_task_publish.connect
def _published(**_told: Any) -> None:
    messages("celery", "published").inc()
    bring_dropped_lines()


@signals.task_postrun.connect
def _consumed(**_told: Any) -> None:
    messages("celery", "consumed").inc()
    bring_dropped_lines()


@signals.task_failure.connect
def _failed(**_told: Any) -> None:
    messages("celery", "failed").inc()


@signals.task_revoked.connect
def _dropped(**_told: Any) -> None:
    messages("celery", "dropped").inc()


def configure_logging() -> None:
    """Leave our format alone; a line for each tick of the schedule would be noise."""
    # A connected receiver is what makes Celery leave logging alone.
    signals.setup_logging.connect(_leave_logging_alone)
    for name in ("celery.app.trace", "celery.worker.request", "celery.worker.strategy", "celery.beat", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Celery discourages root for the sake of pickle, which it is not allowed to read here.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")


def _leave_logging_alone(**_options: Any) -> None:
    """Says nothing, on purpose."""
