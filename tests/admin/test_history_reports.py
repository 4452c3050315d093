"""The failed-routes report and the statistics in the console: figures that lead to exactly the requests they count."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from history.ids import new_id
from history.models import RouteHistory
from history.rollups import plan, work
from history.rollups.periods import DAY, HOUR
from history.statistics import GROUPINGS
from history.timerange import TimeRange
from routes.models import AccessKey
from tests.admin.conftest import list_of, page_of, person, text
from tests.admin.test_pages import MOST_QUERIES
from tests.history import rows, samples

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site

LIST = list_of(RouteHistory)
FAILURES, STATISTICS = f"{LIST}failures/", f"{LIST}statistics/"
REFUSED: dict[str, Any] = {"status": "rejected", "provider": "", "model": "", "attempts": [], "attempt_count": 0}
SAVED = [
    samples.attempt(provider="alpha", http_status=503, error_class="upstream_5xx"),
    samples.attempt(provider="beta"),
]


def listed(client: Client, address: str) -> int:
    return len(client.get(address).context["lines"])


def some_of_each() -> None:
    """Ten requests: six failures of five causes, one saved by failover, one answered, one left, one undecided."""
    rows.store(
        samples.finished(profile="chat", rule="long context"),
        samples.finished(attempts=SAVED, attempt_count=2, recovered=True, provider="beta"),
        samples.failed(provider="alpha", error_code="auth_failed"),
        samples.failed(provider="alpha", error_code="auth_failed", profile="chat"),
        samples.failed(provider="alpha", error_code=None),
        samples.finished(**REFUSED, error_code="rate_limited", strategy=""),
        samples.failed(provider="beta", error_code="timeout_idle", status="timeout"),
        samples.started(provider="beta"),
        samples.finished(status="cancelled", error_code="cancelled"),
        samples.decided(),
    )


def test_failures_are_grouped_by_cause_in_words_with_what_to_do(viewer: Client, site: Site) -> None:
    some_of_each()
    page = viewer.get(FAILURES)
    causes = {cause.told: cause for cause in page.context["causes"]}
    assert next(iter(causes)) == "alpha refused our credential"
    assert set(causes) == {
        "alpha refused our credential",
        "alpha failed for a reason that was not reported",
        "beta went silent in the middle of its answer",
        "beta could not be asked because of an error of ours",
        "The request went beyond a limit of its access key, or every target was rate-limited",
    }
    worst = causes["alpha refused our credential"]
    assert (worst.failed, worst.share) == (2, 2 / 6)
    assert worst.see == (page_of(site.alpha), "Provider alpha")
    assert len(worst.samples) == 2
    assert "Check the credential of the provider" in text(page)
    keys = causes["The request went beyond a limit of its access key, or every target was rate-limited"]
    assert keys.see is not None
    assert keys.see.url == list_of(AccessKey)
    for cause in causes.values():
        assert listed(viewer, cause.routes_url) == cause.failed, cause.told
    assert len(page.context["lines"]) == 6
    assert "6 failed routes" in text(page)
    assert "1 more saved by failover" in text(page)


@pytest.mark.django_db
def test_the_report_keeps_its_filters_and_exports_exactly_its_rows(viewer: Client) -> None:
    some_of_each()
    for query in ("", "?include_recovered=1", "?provider=alpha&include_recovered=1&range=7d", "?status=timeout"):
        page = viewer.get(FAILURES + query)
        asked = {name: values[0] for name, values in parse_qs(urlsplit(page.context["export"].csv).query).items()}
        assert (asked.pop("format"), asked.pop("bom")) == ("csv", "1")
        answer = viewer.get("/api/v1/history/", asked).json()
        shown = [str(line.route.id) for line in page.context["lines"]]
        assert shown
        assert [row["id"] for row in answer["results"]] == shown, query
    page = viewer.get(f"{FAILURES}?include_recovered=1")
    saved = next(cause for cause in page.context["causes"] if cause.group.recovered)
    assert (saved.told, saved.failed, saved.group.recovered) == ("alpha failed with a server error", 0, 1)


@pytest.mark.django_db
def test_a_time_without_failures_is_good_news(viewer: Client) -> None:
    rows.store(samples.finished())
    assert "No failed route" in text(viewer.get(FAILURES))
    assert "was answered by a provider" in text(viewer.get(FAILURES))
    assert "No failed route matches" in text(viewer.get(f"{FAILURES}?provider=alpha"))


@pytest.mark.django_db
def test_every_row_of_the_statistics_leads_to_the_requests_it_counts(viewer: Client) -> None:
    now = timezone.now()
    some_of_each()
    rows.store(*(samples.finished(rows.at(now - timedelta(hours=hours))) for hours in (1, 2, 30, 60)))
    for by in GROUPINGS:
        page = viewer.get(f"{STATISTICS}?range=7d&group_by={by}&profile__ne=nobody")
        figures = page.context["rows"]
        counts = [row.figures["count"] for row in figures]
        assert sum(counts) == page.context["totals"]["count"] == 14, by
        assert [listed(viewer, row.url) for row in figures] == counts, by
        order = counts if by not in ("hour", "day") else [row.name for row in figures]
        assert order == sorted(order, reverse=True), by


@pytest.mark.django_db
def test_statistics_name_what_they_are_split_by(viewer: Client) -> None:
    some_of_each()
    page = viewer.get(STATISTICS)
    assert [row.name for row in page.context["rows"]] == ["acme-eu", "alpha", "beta", "No provider was asked"]
    page = viewer.get(f"{STATISTICS}?group_by=error_code")
    assert "refused our credential" in text(page)
    assert "No error" in text(page)
    # Filters that no time bounds are answered for the last day, and that is said.
    page = viewer.get(f"{STATISTICS}?range=all")
    assert page.context["notes"] != []
    assert page.context["totals"]["count"] == 10


@pytest.mark.django_db
def test_nobody_without_a_role_sees_any_of_it() -> None:
    (route,) = rows.store(samples.failed())
    stranger = person(None)
    for address in (LIST, f"{LIST}?part=count&count=exact", FAILURES, STATISTICS, f"{LIST}{route}/change/"):
        assert stranger.get(address).status_code == 403, address
    assert stranger.get(f"{LIST}{new_id()}/change/").status_code == 403


def test_pages_need_few_queries_however_many_rows_and_causes_there_are(viewer: Client, site: Site) -> None:
    some_of_each()
    (route,) = rows.store(samples.failed(session_key="s"))
    addresses = [LIST, f"{LIST}?count=exact", FAILURES, f"{FAILURES}?include_recovered=1", STATISTICS]
    addresses.append(f"{LIST}{route}/change/")

    def counts() -> list[int]:
        found = []
        for address in addresses:
            viewer.get(address)  # what a process keeps after its first look
            with CaptureQueriesContext(connection) as captured:
                assert viewer.get(address).status_code == 200
            found.append(len(captured))
        return found

    before = counts()
    for provider in [site.alpha, site.beta, site.gamma]:
        for code in ("dns", "tls", "rate_limited", "upstream_5xx"):
            rows.store(*(samples.failed(provider=provider.slug, error_code=code, session_key="s") for _ in range(4)))
    assert counts() == before
    assert max(before) <= MOST_QUERIES, dict(zip(addresses, before, strict=True))


def test_reports_of_days_hours_and_rows_need_few_queries_too(
    viewer: Client, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "WORTHWHILE", 1)
    now = timezone.now()
    moments = [now - timedelta(minutes=30 * number) for number in range(150)]
    rows.store(*(samples.failed(rows.at(moment, number)) for number, moment in enumerate(moments)))
    work.run("default", now)
    sums = plan.make(TimeRange.last(hours=168), "default").sums
    assert sums[DAY]
    assert sums[HOUR]
    for address in (f"{FAILURES}?include_recovered=1&range=7d", f"{STATISTICS}?group_by=provider&range=7d"):
        viewer.get(address)
        with CaptureQueriesContext(connection) as captured:
            assert "150" in text(viewer.get(address))
        assert len(captured) <= MOST_QUERIES, address
