"""What people do that probes must hear of: asking for one now, and changing a credential.

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
    from uuid import UUID

    from routes.models import AuditEntry

log = get_logger("health")


def probe_now(provider_id: UUID | str, target_id: UUID | str | None = None) -> int:
    """Have a provider's checks, or those that speak for one of its targets, asked within two seconds, whatever traffic
    says; how many there are (0: it is not probed). Results appear as any others do."""
    snapshot = live_snapshot()
    if snapshot is None:
        return 0
    provider, target = str(provider_id), None if target_id is None else str(target_id)
    return claims.ask_now(
        subject.id
        for subject in plan_of(snapshot).values()
        if subject.provider.id == provider and (target is None or any(each.id == target for each in subject.targets))
    )


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
