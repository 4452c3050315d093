"""Retention: what is old is removed hourly, a few thousand rows at a time, so that no delete holds a lock for long.

Results of probes go after 24 hours (the sums of their hours stay 7 days, as do hourly p95s). The timeline is kept as
long as the history (``SIGNALBOX_HISTORY_DAYS``, whole days in UTC), and so are sets of heads, but never less than a row
that may name them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.utils import timezone

from health.models import Check, CheckHour, HealthEvent, ProbeResult, TargetHour
from health.probes import claims
from routes import ports
from routes.models import HeadSet
from routing_project.env import get_env

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

RESULT_HOURS: Final = 24
HOUR_DAYS: Final = 7
#: A decision names the heads that its gateway knew of, which may have heard late of newer ones.
LATE: Final = timedelta(days=1)
CHUNK: Final = 2000


def remove_old(now: datetime | None = None) -> dict[str, int]:
    """How many rows went, by table."""
    now = now or timezone.now()
    hours, days = now - timedelta(days=HOUR_DAYS), kept_since(now)
    old: dict[str, QuerySet[Any]] = {
        "results": ProbeResult.objects.filter(at__lt=now - timedelta(hours=RESULT_HOURS)),
        "check_hours": CheckHour.objects.filter(hour__lt=hours),
        "target_hours": TargetHour.objects.filter(hour__lt=hours),
        "events": HealthEvent.objects.filter(at__lt=days),
        "head_sets": _replaced_before(min(days, ports.oldest_route() or days) - LATE),
        # What they spent of the day's cap is forgotten no sooner than the day.
        "checks": Check.objects.filter(next_probe_at=claims.NEVER, results=None, hours=None),
    }
    return {name: _remove(rows) for name, rows in old.items()}


def kept_since(now: datetime) -> datetime:
    """The beginning of the first day that is kept, as history keeps it."""
    return (now - timedelta(days=get_env().history_days)).replace(hour=0, minute=0, second=0, microsecond=0)


def _replaced_before(moment: datetime) -> QuerySet[HeadSet]:
    """Sets that were in force before, but for the one that was in force then."""
    last = HeadSet.objects.filter(used_at__lt=moment).order_by("-used_at").first()
    return HeadSet.objects.none() if last is None else HeadSet.objects.filter(used_at__lt=last.used_at)


def _remove(rows: QuerySet[Any]) -> int:
    removed = 0
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:CHUNK]):
        rows.model.objects.filter(pk__in=keys).delete()
        removed += len(keys)
    return removed
