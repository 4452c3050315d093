"""Reading the timeline: the events of a target, of a provider, of all. Writing is ``health.events``' business."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils.dateparse import parse_datetime

from health.models import HealthEvent
from routes.engine.provider import head_key

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from health.report import TargetHealth

Kind = HealthEvent.Kind


def of_target(found: TargetHealth) -> QuerySet[HealthEvent]:
    """What happened to a target: to itself, to the endpoint it shares with others (checks, the head), and to its
    provider as a whole (admin states, quarantines of the credential)."""
    endpoint = head_key(found.provider_id, found.head.head_id if found.head else "")
    of_provider = Q(provider_id=found.provider_id)
    return HealthEvent.objects.filter(
        Q(target_id=found.id)
        | Q(target_id=endpoint, kind__in=(Kind.OBSERVED, Kind.HEAD))
        | of_provider & Q(kind=Kind.ADMIN, target_id=None)
        | of_provider & Q(kind=Kind.QUARANTINE) & (Q(detail__model=None) | Q(detail__model__isnull=True))
    )


def moment_of(text: str) -> datetime | None:
    """A time as people write it, in UTC, which it is too where it names no zone; None for anything else, also for one
    that no database takes in its own zone or holds in ours."""
    try:
        found = parse_datetime(text)
        if found is None:
            return None
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
