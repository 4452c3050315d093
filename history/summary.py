"""A few true numbers about the last hour, for the console's front page and its provider list.

Each function is one or two grouped queries over the id range of the hour; nothing is sampled or cached. Percentiles
are exact to the millisecond: they come from the counts per latency, which are few however many requests there were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Count
from django.utils import timezone

from history.ids import first_id
from history.models import FAILURE_STATUSES, RouteAttempt, RouteHistory, RouteStatus
from routes.ports import ProviderTraffic

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class ProviderShare(NamedTuple):
    provider: str
    requests: int
    share: float  # of the requests that any provider answered


@dataclass(frozen=True, slots=True)
class Hour:
    """Requests of the last hour; those still to be reported (``decided``) are not among them."""

    requests: int = 0
    failures: int = 0
    recovered: int = 0
    p50_ms: int | None = None
    p95_ms: int | None = None
    shares: list[ProviderShare] = field(default_factory=list)

    @property
    def failure_rate(self) -> float:
        return self.failures / self.requests if self.requests else 0.0


def last_hour(now: datetime | None = None) -> Hour:
    """Two queries. Latency is of all requests that have one, whatever came of them."""
    rows = RouteHistory.objects.order_by().filter(id__gte=first_id((now or timezone.now()) - HOUR))
    rows = rows.exclude(status=RouteStatus.DECIDED)
    requests = failures = recovered = 0
    answered: dict[str, int] = {}
    for status, saved, provider, count in rows.values_list("status", "recovered", "provider").annotate(n=Count("id")):
        requests += count
        failures += count if status in FAILURE_STATUSES else 0
        recovered += count if saved else 0
        if status == RouteStatus.ROUTED:
            answered[provider] = answered.get(provider, 0) + count
    if not requests:
        return Hour()
    total = sum(answered.values())
    shares = [ProviderShare(name, count, count / total) for name, count in answered.items()]
    latencies = list(
        rows.filter(latency_ms__isnull=False).values_list("latency_ms").annotate(n=Count("id")).order_by("latency_ms")
    )
    return Hour(
        requests,
        failures,
        recovered,
        percentile(latencies, 0.50),
        percentile(latencies, 0.95),
        sorted(shares, key=lambda share: (-share.requests, share.provider)),
    )


def percentile(counts: Sequence[tuple[int, int]], fraction: float) -> int | None:
    """The nearest-rank percentile of ``(value, how often)`` in rising order of value; None without any."""
    total = sum(count for _value, count in counts)
    rank, seen = fraction * total, 0
    for value, count in counts:
        seen += count
        if seen >= rank:
            return value
    return None


def any_route() -> bool:
    """Whether anything was ever recorded."""
    return RouteHistory.objects.order_by().exists()


def last_failures(now: datetime, limit: int) -> list[RouteHistory]:
    """The newest failures of the last 24 hours, without their packed decisions. One query."""
    rows = RouteHistory.objects.filter(id__gte=first_id(now - DAY)).exclude(status=RouteStatus.ROUTED)
    rows = rows.filter(status__in=FAILURE_STATUSES).defer("routing_decision", "source_info", "target_info")
    return list(rows.order_by("-id")[:limit])


def provider_traffic() -> dict[str, ProviderTraffic]:
    """Per provider: attempts of the last hour and how many were answered. Two queries.

    An answer is told by the route's own row; a failed attempt has a row of its own, because a route that needed
    a second one or failed keeps them all.
    """
    since = first_id(timezone.now() - HOUR)
    answered = dict(
        RouteHistory.objects.order_by()
        .filter(id__gte=since, status=RouteStatus.ROUTED)
        .values_list("provider")
        .annotate(n=Count("id"))
    )
    failed = dict(
        RouteAttempt.objects.order_by()
        .filter(id__gte=since, error_class__isnull=False)
        .values_list("provider")
        .annotate(n=Count("id"))
    )
    return {
        name: ProviderTraffic(answered.get(name, 0) + failed.get(name, 0), answered.get(name, 0))
        for name in {*answered, *failed}
        if name
    }
