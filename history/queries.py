"""Figures over a time range for pages and reports: counts, failure rate, percentiles, shares. Reads rows, mostly.

Each function is one or two queries over one stretch of the primary key, aggregated in the database; latencies come
back as counts per millisecond, so percentiles are exact and no row is fetched. Plain functions without permissions:
callers check those. Costs grow with the rows of the range (about 0.2 s per 100,000 on SQLite).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.models import Count, Func, IntegerField, Max, Q, Sum

from history.models import FAILURE_STATUSES, SWITCHING_PROTOCOLS, RouteAttempt, RouteHistory, RouteStatus
from history.rollups import reading
from history.rollups.buckets import nearest_rank
from history.rollups.plan import make
from history.timerange import TimeRange
from routes.ports import ProviderTraffic, RuleTraffic, Tally

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from django.db.models.expressions import CombinedExpression

DEFAULT_ALIAS: Final = "default"
FAILURES: Final = frozenset(FAILURE_STATUSES)
OPENINGS_READ: Final = 1000


class EpochSeconds(Func):
    """A time column as whole Unix seconds, computed by the database itself on both of them."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="CAST(strftime('%%%%s', %(expressions)s) AS INTEGER)")

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="FLOOR(EXTRACT(EPOCH FROM %(expressions)s))::bigint")


class Distribution:
    """Counted values, for percentiles by nearest rank; exact, because nothing was put into buckets."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = defaultdict(int)
        self.size = 0

    def add(self, value: int | None, count: int) -> None:
        if value is not None:
            self._counts[value] += count
            self.size += count

    def percentiles(self, *wanted: float) -> list[int | None]:
        """The values at the wanted shares (0.95 = 95 of 100 are no larger); None without values."""
        ordered = sorted(self._counts)
        return nearest_rank(ordered, map(self._counts.__getitem__, ordered), *wanted)


class Share(NamedTuple):
    provider: str
    requests: int
    share: float  # of the requests that reached a provider


class Traffic(NamedTuple):
    """How a stretch of time went. ``failures`` are failed, timed out, rejected and interrupted requests."""

    requests: int
    failures: int
    recovered: int
    p50_ms: int | None
    p95_ms: int | None
    shares: list[Share]

    @property
    def failure_rate(self) -> float:
        return self.failures / self.requests if self.requests else 0.0


#: Code of a request that was refused because nothing was left to try.
NO_TARGET: Final = "no_target_available"


class Minute(NamedTuple):
    at: int  # Unix seconds, start of the bucket
    requests: int
    failures: int


def rows_of(span: TimeRange, alias: str) -> Any:
    """The rows of a range, in no order."""
    return RouteHistory.objects.using(alias).filter(span.q()).order_by()


def traffic(span: TimeRange, alias: str = DEFAULT_ALIAS) -> Traffic:
    """The figures of a range. Percentiles are over requests that were answered by a provider, without WebSockets."""
    columns = ("provider", "status", "recovered", "latency_ms", "http_status")
    groups = rows_of(span, alias).values_list(*columns).annotate(n=Count("id"))
    latency = Distribution()
    providers: dict[str, int] = defaultdict(int)
    requests = failures = recovered = 0
    for provider, status, was_recovered, latency_ms, http_status, count in groups:
        requests += count
        failures += count if status in FAILURES else 0
        recovered += count if was_recovered else 0
        if status == RouteStatus.ROUTED and http_status != SWITCHING_PROTOCOLS:
            latency.add(latency_ms, count)
        if provider:
            providers[provider] += count
    reached = sum(providers.values())
    shares = [Share(slug, count, count / reached) for slug, count in sorted(providers.items(), key=_most_first)]
    p50, p95 = latency.percentiles(0.5, 0.95)
    return Traffic(requests, failures, recovered, p50, p95, shares)


def _most_first(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def last_hour(now: datetime | None = None, alias: str = DEFAULT_ALIAS) -> Traffic:
    return traffic(TimeRange.last(hours=1, now=now), alias)


def any_route(alias: str = DEFAULT_ALIAS) -> bool:
    """Whether anything was ever recorded."""
    return RouteHistory.objects.using(alias).exists()


def last_failures(now: datetime | None = None, limit: int = 10, alias: str = DEFAULT_ALIAS) -> list[RouteHistory]:
    """The newest failures of the last 24 hours."""
    rows = rows_of(TimeRange.last(now=now), alias).filter(failure_condition()).order_by("-id")
    return list(rows.defer("routing_decision", "source_info", "target_info")[:limit])


def failure_condition() -> Q:
    """Failed, timed out, rejected, interrupted; written so that the partial index is used."""
    return ~Q(status=RouteStatus.ROUTED) & Q(status__in=FAILURE_STATUSES)


def per_bucket(span: TimeRange, seconds: int = 60, alias: str = DEFAULT_ALIAS) -> list[Minute]:
    """Requests and failures per ``seconds``, oldest first; buckets without requests are left out."""
    rows = rows_of(span, alias).annotate(bucket=bucket(seconds)).values_list("bucket")
    groups = rows.annotate(n=Count("id"), bad=Count("id", filter=failure_condition())).order_by("bucket")
    return [Minute(int(at), requests, failures) for at, requests, failures in groups]


def bucket(seconds: int) -> CombinedExpression:
    """Start of the stretch of ``seconds`` a row was created in, in Unix seconds."""
    return EpochSeconds("created_at") - EpochSeconds("created_at") % seconds


def provider_traffic(alias: str = DEFAULT_ALIAS) -> Mapping[str, ProviderTraffic]:
    """What ``routes.ports`` asks for: attempts and answers of the last hour per provider. Two queries.

    A failed attempt has a row of its own even when another provider then saved the request; an answer is told by
    the route.
    """
    span = TimeRange.last(hours=1)
    rows = rows_of(span, alias).filter(status=RouteStatus.ROUTED).exclude(provider="")
    attempts = RouteAttempt.objects.using(alias).filter(span.q(), error_class__isnull=False).order_by()
    answered = dict(rows.values_list("provider").annotate(n=Count("id")))
    failed = dict(attempts.values_list("provider").annotate(n=Count("id")))
    return {
        provider: ProviderTraffic(answered.get(provider, 0) + failed.get(provider, 0), answered.get(provider, 0))
        for provider in {*answered, *failed}
    }


def rule_traffic(alias: str = DEFAULT_ALIAS) -> Mapping[tuple[str, str], RuleTraffic]:
    """What ``routes.ports`` asks for: matches of the last 24 hours by (profile, rule). Sums answer for whole hours, the
    index ``history_rule`` for the rest. Two queries."""
    plan = make(TimeRange.last(), alias)
    matched = Q(rule__isnull=False)
    found: dict[tuple[str, str], RuleTraffic] = {}
    sums = reading.sums(plan, frozenset(("profile", "rule")), matched, alias)
    parts = [
        *(each.values_list("profile", "rule").annotate(n=Sum("requests"), last=Max("last_at")) for each in sums),
        reading.rows(plan, matched, alias)
        .values_list("profile", "rule")
        .annotate(n=Count("id"), last=Max("created_at")),
    ]
    for profile, rule, count, latest in reading.together(parts):
        before = found.get((profile, rule), RuleTraffic(0, latest))
        found[profile, rule] = RuleTraffic(before.matched + count, max(before.last, latest))
    return found


def spent(access_key: UUID, since: datetime, alias: str = DEFAULT_ALIAS) -> int:
    """What ``routes.ports`` asks for: what a key has spent since then, in millionths of a dollar. One query over
    the key's rows of that time that have a cost, answered by the index ``history_spent`` alone."""
    rows = rows_of(TimeRange(since), alias).filter(access_key_id=access_key, cost_micro_usd__isnull=False)
    return int(rows.aggregate(sum=Sum("cost_micro_usd"))["sum"] or 0)


def tally(start: datetime, end: datetime, alias: str = DEFAULT_ALIAS) -> Tally:
    """What ``routes.ports`` asks for: requests, failovers and refusals for want of a target. One query over the rows of
    that time; decisions that others carry out are no requests of ours."""
    rows = rows_of(TimeRange(start, end), alias).exclude(status=RouteStatus.DECIDED)
    found = rows.aggregate(
        requests=Count("id"),
        failed_over=Count("id", filter=Q(attempt_count__gt=1)),
        no_target=Count("id", filter=Q(error_code=NO_TARGET)),
    )
    return Tally(**found)


class Opening(NamedTuple):
    """A circuit that opened in a range of time."""

    provider: str
    model: str
    times: int
    last: datetime


def circuit_openings(span: TimeRange, alias: str = DEFAULT_ALIAS) -> list[Opening]:
    """Whose circuits opened, most often first; of the newest thousand such attempts. One query."""
    attempts = RouteAttempt.objects.using(alias).filter(span.q()).exclude(transitions=[]).order_by("-id")
    counts: dict[tuple[str, str], int] = defaultdict(int)
    last: dict[tuple[str, str], datetime] = {}
    for provider, model, at, transitions in attempts.values_list("provider", "model", "started_at", "transitions")[
        :1000
    ]:
        for _before, after, _reason in transitions:
            if after == "open":
                counts[provider, model] += 1
                last.setdefault((provider, model), at)
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    return [Opening(*name, counts[name], last[name]) for name in ordered]
