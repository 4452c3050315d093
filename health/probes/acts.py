"""What people do that probes must hear of: changing a credential.

A new credential is a new beginning: who was unhealthy because the old one was refused is asked at once, and believed at
once, as quarantines are lifted at once. Imports what reading a plan takes, and nothing that asks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError
from django.utils import timezone

from health.models import Check
from health.probes import claims, results
from health.probes.plan import plan_of
from health.probes.questions import OF_THE_CREDENTIAL
from routes import live
from routes.snapshots import live_snapshot
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from routes.models import AuditEntry

log = get_logger("health")


def hear(entry: AuditEntry, **_: Any) -> None:
    """Receiver of ``routes.events.acted``."""
    if entry.object_type == "provider" and "credential" in (entry.changes or {}):
        try:
            credential_changed(entry.object_id)
        except DatabaseError as error:  # it is asked again in time, and the act itself is done
            log.warning("credential_change_not_heard", provider=entry.object_name, error=repr(error))


def credential_changed(provider_id: str) -> None:
    snapshot = live_snapshot()
    plan = plan_of(snapshot) if snapshot is not None else {}
    refused = Check.objects.filter(provider_id=provider_id, error_class__in=OF_THE_CREDENTIAL)
    now, clock = timezone.now(), time.monotonic()
    for row in refused.exclude(observed=Check.Observed.UNKNOWN).select_related("provider"):
        subject = plan.get(str(row.pk))
        targets = subject.targets if subject is not None else ()
        results.forget(row, targets, "credential_changed", live.current(), now, clock)
    claims.ask_now(map(str, refused.values_list("pk", flat=True)))
