"""The timeline: what happened to targets, providers and heads, written once and told to listeners after the commit.

``record`` is for whoever finds something out in the control plane; ``collect`` fetches what the gateways of this host
noted in its live state. Imports the models beside it and ``routes``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from health.models import Collected, HealthEvent
from routes.models import Provider, TargetOverride
from routes.snapshots import live_snapshot
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from routes.engine.live import Happening
    from routes.live import SharedLiveState

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


def collect(state: SharedLiveState) -> list[HealthEvent]:
    """Write what the gateways of this host noted since anybody collected last; any number of workers may do so at once.
    Two queries when nothing is new, else six."""
    host = state.file.host
    Collected.objects.get_or_create(host=host)
    with transaction.atomic():
        # Whoever else collects waits for this row, and finds the number moved on.
        row = Collected.objects.select_for_update().get(host=host)
        lines, lost = state.happenings(row.number)
        if lost:
            log.warning("happenings_lost", host=host, number=lost)
        if not lines:
            return []
        names, ahead = _Names(), time.time() - time.monotonic()
        in_order = sorted(lines, key=lambda line: (line.at, line.number))
        events = [_event(host, line, ahead, names) for line in in_order]
        HealthEvent.objects.bulk_create(events)
        row.number = lines[-1].number + 1
        row.save(update_fields=["number"])
        transaction.on_commit(partial(tell, events))
    return events


class _Names:
    """What ids are called now."""

    def __init__(self) -> None:
        snapshot = live_snapshot()
        self._targets = {
            target.id: target for profile in (snapshot.profile_list if snapshot else ()) for target in profile.targets
        }
        self.providers = {str(pk): slug for pk, slug in Provider.with_deleted.values_list("pk", "slug")}

    def target(self, target_id: str) -> tuple[str, str | None]:
        """(label, provider id)"""
        target = self._targets.get(target_id)
        if target is not None:
            return target.label, target.provider.id
        row = TargetOverride.objects.filter(pk=target_id).values_list("label", "provider_id").first()
        return (row[0], str(row[1])) if row else (target_id, None)  # it left the configuration a moment ago


def _event(host: str, line: Happening, ahead: float, names: _Names) -> HealthEvent:
    detail = _storable(dict(line.detail))
    at = line.at + ahead
    for outcome in detail.get("outcomes", ()):
        outcome["at"] = round(at - outcome.pop("ago"), 3)
        outcome["ok"] = outcome["error_class"] is None
    if "seconds" in detail:
        detail["until"] = round(at + detail.pop("seconds"), 3)
    target_id, provider_id, subject = None, None, line.about
    if line.kind == HealthEvent.Kind.CIRCUIT:
        target_id = line.about
        subject, provider_id = names.target(line.about)
    elif line.kind == HealthEvent.Kind.QUARANTINE:
        provider_id, target_id = line.about, detail.pop("target", None)
        subject = names.providers.get(line.about, line.about)
    elif line.kind == HealthEvent.Kind.BUDGET:
        subject = str(detail.get("key", line.about))
    return HealthEvent(
        at=datetime.fromtimestamp(at, UTC),
        kind=line.kind,
        provider_id=provider_id,
        provider=names.providers.get(provider_id or "", ""),
        target_id=target_id,
        subject=subject[:500],
        before=line.before,
        after=line.after,
        reason=line.reason,
        detail=detail,
        actor=line.actor[:200],
        origin=f"{host}:{line.number}",
    )


def _storable(value: Any) -> Any:
    """Without NUL, which no JSON column of PostgreSQL holds: a model is called what a client called it."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {key: _storable(inner) for key, inner in value.items()}
    return [_storable(inner) for inner in value] if isinstance(value, list) else value
