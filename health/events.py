"""The timeline: what happened to targets, providers and heads, written once and told to listeners after the commit.

``record`` is for whoever finds something out in the control plane; ``collect`` fetches what the gateways of this host
noted in its live state. Imports the models beside it and ``routes``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from health.models import HealthEvent
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

log = get_logger("health")

#: Sent with ``events`` (a list of HealthEvent) after they are committed. Receivers are told, not asked.
happened = Signal()


def record(
    kind: str,
    *,
    subject: str,
    before: str,
    after: str,
    reason: str,
    actor: str,
    provider: str = "",
    provider_id: UUID | str | None = None,
    target_id: UUID | str | None = None,
    detail: Mapping[str, Any] | None = None,
    at: datetime | None = None,
) -> HealthEvent:
    """Write one event, in the transaction that is open. ``detail`` as ``HealthEvent.detail`` says."""
    event = HealthEvent(
        at=at or timezone.now(),
        kind=kind,
        provider_id=provider_id,
        provider=provider,
        target_id=target_id,
        subject=subject[:500],
        before=before,
        after=after,
        reason=reason,
        detail=dict(detail or {}),
        actor=actor[:200],
    )
    event.save(force_insert=True)
    transaction.on_commit(partial(tell, [event]))
    return event


def tell(events: Sequence[HealthEvent]) -> None:
    """Tell listeners; one that fails harms nobody."""
    for receiver, outcome in happened.send_robust(sender=HealthEvent, events=events):
        if isinstance(outcome, Exception):
            log.error("listener_failed", receiver=str(receiver), error=repr(outcome))
