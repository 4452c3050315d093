"""Figures of a time range: counts, failure rate, percentiles, shares, statistics, and the failures report."""

from __future__ import annotations

import random
import re
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from history import failures, queries
from history.filters import from_parameters
from history.ids import new_id
from history.models import FAILURE_STATUSES
from history.queries import Distribution
from history.statistics import GROUPINGS, statistics
from history.timerange import TimeRange
from routes import ports
from tests.history import rows, samples
from tests.history.rows import NOON, at, minutes

pytestmark = pytest.mark.django_db(databases=["default", "pg"])
HOUR = TimeRange(NOON, NOON + timedelta(hours=1))


def a_busy_hour(alias: str) -> None:
    """100 routed (10 at acme-us, 4 of all recovered) with latencies 1…100 ms, 5 failed, 3 rejected, 2 cancelled."""
    records = []
    for n in range(100):
        values = {"latency_us": (n + 1) * 1000, "provider": "acme-us" if n % 10 == 0 else "acme-eu"}
        if n < 4:
            attempts = [samples.attempt(http_status=500, error_class="upstream_5xx"), samples.attempt()]
            values |= {"recovered": True, "attempts": attempts, "attempt_count": 2}
        records.append(samples.finished(at(NOON + minutes(n % 60), n), **values))
    records += [samples.failed(at(NOON + minutes(10), 1000 + n)) for n in range(5)]
    records += [
        samples.finished(
            at(NOON + minutes(20), 2000 + n),
            status="rejected",
            error_code="model_not_found",
            provider="",
            attempts=[],
            attempt_count=0,
            http_status=404,
        )
        for n in range(3)
    ]
    records += [
        samples.finished(at(NOON + minutes(30), 3000 + n), status="cancelled", error_code="cancelled") for n in range(2)
    ]
    rows.store(*records, alias=alias)
    rows.store(samples.failed(at(NOON + minutes(60))), samples.failed(at(NOON - minutes(1))), alias=alias)


def test_traffic_adds_up(alias: str) -> None:
    a_busy_hour(alias)
    traffic = queries.traffic(HOUR, alias)
    assert (traffic.requests, traffic.failures, traffic.recovered) == (110, 8, 4)
    assert traffic.failure_rate == pytest.approx(8 / 110)
    assert (traffic.p50_ms, traffic.p95_ms) == (50, 95)
    assert [(share.provider, share.requests) for share in traffic.shares] == [("acme-eu", 92), ("acme-us", 15)]
    assert sum(share.share for share in traffic.shares) == pytest.approx(1)


def test_how_long_websockets_were_open_is_no_latency(alias: str) -> None:
    a_busy_hour(alias)
    before = statistics(HOUR, None, alias=alias)["totals"]
    hours = samples.finished(at(NOON + minutes(40), 4000), http_status=101, latency_us=3_600_000_000)
    rows.store(hours, alias=alias)

    after = statistics(HOUR, None, alias=alias)["totals"]
    traffic = queries.traffic(HOUR, alias)

    assert (after["count"], after["latency_ms"]) == (before["count"] + 1, before["latency_ms"])
    assert (traffic.requests, traffic.p50_ms, traffic.p95_ms) == (111, 50, 95)


def test_nothing_is_not_an_error(alias: str) -> None:
    traffic = queries.traffic(HOUR, alias)
    assert traffic == (0, 0, 0, None, None, [])
    assert traffic.failure_rate == 0
    assert not queries.any_route(alias)
    assert statistics(HOUR, None, alias=alias)["totals"]["count"] == 0


def test_requests_per_minute_count_every_request_once(alias: str) -> None:
    a_busy_hour(alias)
    buckets = queries.per_bucket(HOUR, 60, alias)
    by_minute = {(bucket.at - int(NOON.timestamp())) // 60: bucket for bucket in buckets}
    assert sum(bucket.requests for bucket in buckets) == 110
    assert (by_minute[10].requests, by_minute[10].failures) == (7, 5)
    assert (by_minute[59].requests, by_minute[59].failures) == (1, 0)
    assert [bucket.at for bucket in queries.per_bucket(HOUR, 3600, alias)] == [int(NOON.timestamp())]


def test_the_control_plane_learns_the_traffic_of_each_provider() -> None:
    rows.store(*(samples.finished(new_id().bytes) for _ in range(3)), samples.failed(new_id().bytes))
    assert ports.provider_traffic() == {
        "acme-eu": ports.ProviderTraffic(requests=4, answered=3),
        "acme-us": ports.ProviderTraffic(requests=1, answered=0),
    }


def test_a_provider_that_another_one_stood_in_for_has_its_failure_counted() -> None:
    attempts = [samples.attempt(error_class="upstream_5xx", http_status=503), samples.attempt(provider="acme-us")]
    rows.store(samples.finished(provider="acme-us", attempts=attempts, attempt_count=2, recovered=True))
    traffic = ports.provider_traffic()
    assert traffic["acme-eu"].success_share == 0
    assert traffic["acme-us"].success_share == 1


def test_percentiles_are_those_of_the_sorted_values() -> None:
    chance = random.Random(5)
    for _ in range(50):
        values = [chance.randrange(40) for _ in range(chance.randrange(1, 60))]
        counted = Distribution()
        for value in values:
            counted.add(value, 1)
        ordered = sorted(values)
        for share in (0.5, 0.95, 0.99, 1.0):
            rank = next(n for n in range(1, len(ordered) + 1) if n >= share * len(ordered) - 1e-9)
            assert counted.percentiles(share) == [ordered[rank - 1]]


def test_statistics_agree_with_counting_by_hand(alias: str) -> None:
    a_busy_hour(alias)
    whole = statistics(HOUR, "provider", alias=alias)
    totals = whole["totals"]
    assert {name: totals[name] for name in ("count", "routed", "failed", "rejected", "cancelled", "recovered")} == {
        "count": 110,
        "routed": 100,
        "failed": 5,
        "rejected": 3,
        "cancelled": 2,
        "recovered": 4,
    }
    assert totals["failure_rate"] == pytest.approx(8 / 110)
    assert (totals["input_tokens"], totals["cost_usd"]) == (110 * 12, pytest.approx(110 * 370 / 1e6))
    groups = {group["key"]: group for group in whole["groups"]}
    assert set(groups) == {"", "acme-eu", "acme-us"}
    assert sum(group["count"] for group in groups.values()) == 110
    assert sum(group["share"] for group in groups.values()) == pytest.approx(1)
    assert groups["acme-us"]["failed"] == 5
    assert groups["acme-us"]["latency_ms"]["p50"] == 71


def test_what_a_key_has_spent_is_the_sum_of_its_own_costs_since_then(alias: str) -> None:
    key, other = UUID(int=1), UUID(int=2)
    rows.store(
        samples.finished(at(NOON - minutes(1)), key_id=key.bytes, cost_micro_usd=1),
        samples.finished(at(NOON), key_id=key.bytes, cost_micro_usd=20),
        samples.finished(at(NOON + minutes(1)), key_id=key.bytes, cost_micro_usd=300),
        samples.finished(at(NOON + minutes(2)), key_id=key.bytes, cost_micro_usd=None),
        samples.finished(at(NOON + minutes(3)), key_id=other.bytes, cost_micro_usd=4000),
        alias=alias,
    )
    assert queries.spent(key, NOON, alias) == 320
    assert queries.spent(other, NOON + minutes(4), alias) == 0


def test_what_a_key_has_spent_is_answered_by_its_index(alias: str) -> None:
    """Other keys' requests are not looked at, nor any row of the table itself (on PostgreSQL once it is vacuumed)."""
    keys = [UUID(int=number) for number in range(1, 51)]
    rows.store(
        *(samples.finished(at(NOON + minutes(n), n), key_id=keys[n % 50].bytes, cost_micro_usd=1) for n in range(2000)),
        alias=alias,
    )
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE route_history")
    with CaptureQueriesContext(connection) as captured:
        assert queries.spent(keys[7], NOON, alias) == 40
    (query,) = captured
    with connection.cursor() as cursor:
        cursor.execute(("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + query["sql"])
        plan = " ".join(str(row) for row in cursor.fetchall())
    if connection.vendor == "sqlite":
        assert "USING COVERING INDEX history_spent (access_key_id=? AND id>?)" in plan
    else:
        # A partition's part of history_spent is called by its columns.
        assert re.search(
            "(Index Only Scan using|Bitmap Index Scan on) route_history_default_access_key_id_id_cost", plan
        )


@pytest.mark.parametrize("group_by", GROUPINGS)
def test_groups_of_every_kind_add_up_to_the_total(alias: str, group_by: str) -> None:
    a_busy_hour(alias)
    found = statistics(HOUR, group_by, alias=alias)
    assert sum(group["count"] for group in found["groups"]) == found["totals"]["count"] == 110
    assert sum(sum(group[s] for s in FAILURE_STATUSES) for group in found["groups"]) == 8


# -- failures ------------------------------------------------------------------------------------------------


def test_failures_are_grouped_by_cause_and_provider(alias: str) -> None:
    a_busy_hour(alias)
    report = failures.report(HOUR, alias=alias)
    assert (report.total, report.recovered) == (8, 4)
    assert [(g.error_code, g.provider, g.count, g.recovered) for g in report.groups] == [
        ("connect_refused", "acme-us", 5, 0),
        ("model_not_found", "", 3, 0),
    ]
    refused = report.groups[0]
    assert refused.first_seen == refused.last_seen == NOON + minutes(10)
    assert len(refused.sample_ids) == 5
    assert {row.status for row in report.page.rows} == {"failed", "rejected"}


def test_what_failover_saved_is_listed_under_what_it_was_saved_from(alias: str) -> None:
    a_busy_hour(alias)
    report = failures.report(HOUR, include_recovered=True, alias=alias)
    assert (report.total, report.recovered) == (8, 4)
    saved = next(group for group in report.groups if group.error_code == "upstream_5xx")
    assert (saved.provider, saved.count, saved.recovered) == ("acme-eu", 4, 4)
    assert (saved.first_seen, saved.last_seen) == (NOON, NOON + minutes(3))
    assert len(report.page.rows) == 12
    assert set(saved.sample_ids) <= {row.id for row in report.page.rows}


def test_the_failures_of_one_provider_only(alias: str) -> None:
    a_busy_hour(alias)
    report = failures.report(HOUR, from_parameters({"provider": "acme-us"}), alias=alias)
    assert (report.total, [group.provider for group in report.groups]) == (5, ["acme-us"])


def test_samples_are_the_newest_and_few(alias: str) -> None:
    identifiers = rows.store(*(samples.failed(at(NOON, n)) for n in range(9)), alias=alias)
    (group,) = failures.report(HOUR, alias=alias).groups
    assert group.sample_ids == identifiers[:-6:-1]
