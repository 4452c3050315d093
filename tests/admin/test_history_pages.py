"""The history in the console: filters in the address, pages that stay put, one request told in words."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from history.ids import new_id
from history.models import RouteHistory
from routes.engine import explain, pipeline
from routes.engine.local_live import LocalLiveState
from routes.engine.snapshot import Snapshot
from routes.engine.types import RouteRequest
from routes.models import ConfigRevision
from tests.admin.conftest import list_of, page_of, text
from tests.history import rows, samples

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site

LIST = list_of(RouteHistory)


def ids(response: Any) -> list[Any]:
    return [row.id for row in response.context["rows"]]


def detail(client: Client, identifier: Any) -> Any:
    return client.get(f"{LIST}{identifier}/change/")


@pytest.mark.django_db
class TestList:
    def test_filters_are_in_the_address(self, viewer: Client) -> None:
        good, bad, rejected = rows.store(
            samples.finished(profile="chat"),
            samples.failed(profile="chat"),
            samples.finished(
                status="rejected", error_code="model_not_found", provider="", attempts=[], attempt_count=0
            ),
        )
        assert set(ids(viewer.get(LIST))) == {good, bad, rejected}
        assert ids(viewer.get(f"{LIST}?status=failures")) == [rejected, bad]
        assert ids(viewer.get(f"{LIST}?status=routed&profile=chat")) == [good]
        assert ids(viewer.get(f"{LIST}?provider=acme-us")) == [bad]
        assert ids(viewer.get(f"{LIST}?error_code=model_not_found")) == [rejected]

    def test_time_is_part_of_the_filters(self, viewer: Client) -> None:
        now = timezone.now()
        (old,) = rows.store(samples.finished(rows.at(now - timedelta(days=3))))
        (new,) = rows.store(samples.finished(rows.at(now - timedelta(minutes=5))))
        assert ids(viewer.get(LIST)) == [new]
        assert ids(viewer.get(f"{LIST}?range=7d")) == [new, old]
        day = (now - timedelta(days=3)).date().isoformat()
        after = (now - timedelta(days=1)).date().isoformat()
        assert ids(viewer.get(f"{LIST}?from={day}&to={after}")) == [old]

    def test_pages_neither_repeat_nor_miss_a_row_while_new_ones_arrive(self, viewer: Client) -> None:
        stored = rows.store(*(samples.finished(new_id().bytes) for _ in range(120)))
        response, seen = viewer.get(LIST), []
        seen += ids(response)
        while response.context["older"]:
            rows.store(samples.finished(new_id().bytes))
            response = viewer.get(LIST + response.context["older"])
            seen += ids(response)
        assert seen == stored[::-1]

    def test_it_never_counts(self, viewer: Client) -> None:
        rows.store(*(samples.finished(new_id().bytes) for _ in range(60)))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            viewer.get(f"{LIST}?status=routed")
        assert not [query["sql"] for query in queries if "COUNT(" in query["sql"] and "route_history" in query["sql"]]

    def test_an_address_it_does_not_understand_is_told_not_guessed(self, viewer: Client) -> None:
        rows.store(samples.finished())
        for query in ("status=asleep", "colour=red", "from=yesterday", "cursor=%25%25", "latency_ms__gt=soon"):
            response = viewer.get(f"{LIST}?{query}")
            assert response.status_code == 200
            assert "This address is not understood" in text(response), query
            assert ids(response) == []


def test_a_request_is_told_in_words_with_every_attempt_and_target(viewer: Client, site: Site) -> None:
    revision = ConfigRevision.objects.get()
    snapshot = Snapshot.from_document(revision.compiled)
    live = LocalLiveState()
    profile = snapshot.profiles["default"]
    alpha, beta, gamma = profile.targets
    live.set_admin_states({gamma.provider.id: ("draining", None)}, 0.0, 0.0)
    request = RouteRequest("r", "chat", "gpt-4o")
    decision = pipeline.decide(snapshot, profile, request, live, 0.0, FixedDraw())
    assert decision.full_ranking()[0].target is alpha
    identifier = rows.at(timezone.now())
    attempts = [
        samples.attempt(
            provider="alpha",
            model="alpha-4o",
            target=alpha.id,
            http_status=503,
            error_class="upstream_5xx",
            transitions=[("closed", "open", "consecutive_failures")],
        ),
        samples.attempt(provider="beta", model="beta-4o", target=beta.id),
    ]
    (route,) = rows.store(
        samples.finished(
            identifier,
            attempts=attempts,
            attempt_count=2,
            recovered=True,
            provider="beta",
            model="beta-4o",
            revision=revision.number,
            decision=explain.pack_decision(decision),
            cost_micro_usd=4430,
            input_tokens=1234,
        )
    )
    page = text(detail(viewer, route))
    for words in (
        "Profile default has 3 targets; strategy weighted chose alpha / alpha-4o",
        "gamma was left out at admission: draining",
        "Attempt 1: alpha / alpha-4o",
        "failed with a server error (503)",
        "This opened its circuit: too many failures in a row.",
        "Attempt 2: beta / beta-4o",
        "thanks to failover",
        "3 targets in, 2 left",
        "$0.00443",
        "1 234",
        "UTC",
        "Recovered",
    ):
        assert words in page, words
    assert page_of(site.default) in page


class FixedDraw:
    """A random source that always draws the same."""

    def random(self) -> float:
        return 0.1


def test_a_request_whose_revision_is_gone_is_told_from_its_row(viewer: Client) -> None:
    (route,) = rows.store(samples.failed(decision={"v": 1, "p": 0, "o": "chat", "m": "x", "t": []}, revision=77))
    page = text(detail(viewer, route))
    assert "revision 77 is not kept any more" in page
    assert "The request failed with status 502" in page


@pytest.mark.django_db
def test_unknown_and_malformed_ids_are_not_found(viewer: Client) -> None:
    assert detail(viewer, new_id()).status_code == 404
    assert detail(viewer, "nonsense").status_code == 404


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def test_text_from_outside_stays_text_on_every_page(viewer: Client, site: Site) -> None:
    (route,) = rows.store(
        samples.failed(
            requested_model=HOSTILE,
            model=HOSTILE,
            provider=HOSTILE[:100],
            message=HOSTILE,
            error_code=HOSTILE[:60],
            user_agent=HOSTILE,
            path=f"/v1/{HOSTILE}",
            key_name=HOSTILE,
            session_key=HOSTILE,
            profile=HOSTILE[:100],
            attempts=[samples.attempt(error_class="upstream_5xx", message=HOSTILE, model=HOSTILE, endpoint=HOSTILE)],
            attempt_count=1,
        )
    )
    for address in ("/admin/", LIST, f"{LIST}?provider={HOSTILE}&requested_model={HOSTILE}", f"{LIST}{route}/change/"):
        page = text(viewer.get(address))
        assert "<script>alert" not in page, address
        assert "<img src=x" not in page, address
        assert "&lt;script&gt;" in page, address
