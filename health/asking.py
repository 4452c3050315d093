"""Probing now: the checks of a provider are put first in line, and whoever asked waits a moment for the answers.

Workers do the asking (``health.probes``), so that there is one way of probing; without a worker the wish stays, and the
answer says so. Must not import ``history``, nor anything of HTTP.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from django.utils import timezone

from health.models import Check
from health.probes import claims
from health.probes.plan import plan_of
from routes import host
from routes.actions import audit
from routes.actions.errors import Conflict
from routes.snapshots import live_snapshot
from routing_project.env import get_env

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from health.probes.plan import Subject
    from routes.actions.actor import Actor
    from routes.engine.snapshot import Snapshot
    from routes.models import Provider

#: How long somebody waits for the answers, and how often it is looked for them.
PATIENCE_SECONDS: Final = 6.0
LOOK_SECONDS: Final = 0.2
#: A worker that has not been heard of for so long is away.
SILENT_SECONDS: Final = 20.0
NEVER_CHECKED: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Asked(NamedTuple):
    """``done``: all checks have been made since they were asked for."""

    done: bool
    message: str
    checks: Sequence[Check]


def ask(provider: Provider, *, actor: Actor, reason: str = "") -> Asked:
    """Audited. Raises Forbidden, and Conflict where there is nothing to ask. A dozen queries, and one each time it
    looks."""
    actor.require("operate")
    snapshot = live_snapshot()
    plan = plan_of(snapshot) if snapshot is not None else {}
    subjects = {ident: subject for ident, subject in plan.items() if subject.provider.id == str(provider.pk)}
    if snapshot is None or not subjects:
        raise Conflict(f"provider '{provider.slug}' has no probes: they are off, or it is not in the live revision")
    began = timezone.now()
    claims.agree(plan, began)
    rows = Check.objects.filter(pk__in=subjects).order_by("label")
    with audit.in_turn():
        claims.ask_now(subjects)
        audit.record(
            actor,
            "provider.probed",
            category="routing",
            object_type="provider",
            object_id=provider.pk,
            object_name=provider.slug,
            reason=reason,
        )
    silent = _silence()
    if silent is not None:
        return Asked(False, f"No worker is at work ({silent}); the checks are made as soon as one is back.", list(rows))
    away = _offline(snapshot, subjects)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        checks = list(rows.all())
        left = [each for each in checks if str(each.pk) not in away and (each.checked_at or NEVER_CHECKED) < began]
        if not left:
            return Asked(True, "Checked. Heads that are offline are not asked." if away else "Checked.", checks)
        if time.monotonic() >= deadline:
            return Asked(False, "The checks are first in line, and not all of them are made yet.", checks)
        time.sleep(LOOK_SECONDS)


def _offline(snapshot: Snapshot, subjects: Mapping[str, Subject]) -> set[str]:
    """The checks of heads that are offline: nobody asks them."""
    now = time.monotonic()
    state = host.told(snapshot, now)
    if state is None:
        return set()
    heads = {ident: subject.endpoint.head_key for ident, subject in subjects.items()}
    return {ident for ident, head_key in heads.items() if head_key and not state.head_state(head_key, now).online}


def _silence() -> str | None:
    """Since when nothing has been heard of Celery on this host; None = it is there."""
    try:
        age = time.time() - get_env().heartbeat_path.stat().st_mtime
    except OSError:
        return "none has been heard of yet"
    return f"no heartbeat for {age:.0f} s" if age > SILENT_SECONDS else None
