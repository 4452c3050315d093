"""How alerting is at the moment, for API and page: what is set up, what has fired, how deliveries go. Reads only."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Q
from django.utils import timezone

from health.models import Alert, AlertChannel, AlertDelivery, AlertRule, ProviderOutage

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import Model

LAST = 20


def overview(now: datetime | None = None) -> dict[str, Any]:
    """Five small queries."""
    day = (now or timezone.now()) - timedelta(hours=24)
    sums = AlertDelivery.objects.filter(Q(created_at__gte=day) | Q(status=AlertDelivery.Status.PENDING)).aggregate(
        pending=Count("pk", filter=Q(status=AlertDelivery.Status.PENDING)),
        **{
            f"{status}_24h": Count("pk", filter=Q(status=status, created_at__gte=day))
            for status in AlertDelivery.Status.values
            if status != AlertDelivery.Status.PENDING
        },
    )
    return {
        "rules": _switches(AlertRule),
        "channels": _switches(AlertChannel),
        "deliveries": sums,
        "providers_down": [
            {"provider": row.provider, "since": row.since.isoformat()} for row in ProviderOutage.objects.all()
        ],
        "alerts": [alert_tree(row) for row in Alert.objects.all()[:LAST]],
    }


def _switches(model: type[Model]) -> dict[str, int]:
    return model._default_manager.aggregate(total=Count("pk"), enabled=Count("pk", filter=Q(enabled=True)))


def alert_tree(row: Alert) -> dict[str, Any]:
    return {
        "id": row.pk,
        "rule": row.rule_name,
        "event": row.kind,
        "severity": row.severity,
        "subject": row.subject,
        "provider": row.provider or None,
        "title": row.title,
        "text": row.text,
        "first_at": row.first_at.isoformat(),
        "last_at": row.last_at.isoformat(),
        "over_at": row.over_at.isoformat() if row.over_at else None,
        "count": row.count,
    }


def delivery_tree(row: AlertDelivery) -> dict[str, Any]:
    """A message and what became of it. ``next_try_at`` of one that a worker has claimed is when the claim ends."""
    return {
        "id": str(row.pk),
        "channel": row.channel_name,
        "event": row.event,
        "title": row.message["title"],
        "severity": row.message["severity"],
        "rule": row.message["rule"],
        "alert": row.alert_id,
        "status": row.status,
        "attempts": row.attempts,
        "http_status": row.http_status,
        "error": row.error,
        "created_at": row.created_at.isoformat(),
        "next_try_at": row.next_try_at.isoformat() if row.next_try_at else None,
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
    }
