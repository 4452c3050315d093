"""The history in the console: filters in the address, pages that stay put, one request told in words."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import UUID

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from history import failures, search, status
from history.admin import figures
from history.admin.asked import Asked
from history.admin.words import LABELS, chips
from history.errors import RangeTooLarge
from history.filters import FIELDS, SESSION
from history.ids import new_id
from history.journal import JournalWriter
from history.models import RouteHistory
from routes.engine import explain, pipeline
from routes.engine.local_live import LocalLiveState
from routes.engine.snapshot import Snapshot
from routes.engine.types import RouteRequest
from routes.models import ConfigRevision
from routing_project.env import get_env
from tests.admin.conftest import list_of, page_of, text
from tests.history import rows, samples

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.conftest import Site

LIST = list_of(RouteHistory)
NO_RULE = {"not": {"field": "rule", "op": "startswith", "value": ""}}


def ids(response: Any) -> list[Any]:
    return [line.route.id for line in response.context["lines"]]


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
        assert ids(viewer.get(f"{LIST}?status=failures&status__in=rejected,routed")) == [rejected]
        tree = json.dumps({"any": [{"field": "profile", "value": "chat"}, {"field": "http_status", "value": 500}]})
        assert ids(viewer.get(LIST, {"filter": tree})) == [bad, good]

    def test_what_is_shown_is_told_in_chips_that_can_each_be_taken_away(self, viewer: Client) -> None:
        rows.store(samples.finished())
        tree = {"any": [{"field": "http_status", "op": "gt", "value": 499}, NO_RULE]}
        page = viewer.get(
            LIST, {"range": "7d", "status": "failures", "latency_ms__gt": "2000", "filter": json.dumps(tree)}
        )
        assert [chip.words for chip in page.context["chips"]] == [
            "Last 7 days",
            "Any failure",
            "Latency above 2.00\u00a0s",
            "HTTP status above 499 or Rule is missing",
        ]
        left = [viewer.get(LIST + chip.without).context["chips"] for chip in page.context["chips"]]
        # Without its chip the time is the usual one; the others are gone.
        assert [len(chips) for chips in left] == [4, 3, 3, 3]
        assert left[0][0].words == "Last 24 hours"
        assert viewer.get(LIST + page.context["cleared"]).context["chips"] == [("Last 24 hours", "", "")]
        # What no form offers is kept when the form is sent.
        assert ("filter", json.dumps(tree)) in page.context["form"].kept

    def test_time_is_part_of_the_filters(self, viewer: Client) -> None:
        now = timezone.now()
        (old,) = rows.store(samples.finished(rows.at(now - timedelta(days=3))))
        (new,) = rows.store(samples.finished(rows.at(now - timedelta(minutes=5))))
        assert ids(viewer.get(LIST)) == [new]
        assert ids(viewer.get(f"{LIST}?range=7d")) == [new, old]
        day = (now - timedelta(days=3)).date().isoformat()
        after = (now - timedelta(days=1)).date().isoformat()
        assert ids(viewer.get(f"{LIST}?from={day}&to={after}")) == [old]

    def test_moments_may_name_a_zone_and_may_be_copied_from_the_page(self, viewer: Client) -> None:
        moment = datetime(2026, 11, 20, 3, 12, tzinfo=UTC)
        (route,) = rows.store(samples.finished(rows.at(moment)))
        assert ids(viewer.get(LIST, {"from": "2026-11-20 04:12 +01:00", "to": "2026-11-20 03:12:01 UTC"})) == [route]
        page = viewer.get(LIST, {"range": "between", "from": "2026-11-20 04:12:01 +01:00", "to": "2026-11-21"})
        assert ids(page) == []
        assert page.context["chips"][0].words == "From 2026-11-20 03:12:01 UTC to 2026-11-21 00:00:00 UTC"
        # A form sends its moments along although a range was chosen instead.
        assert ids(viewer.get(LIST, {"range": "1h", "from": "2026-11-20"})) == []

    def test_pages_neither_repeat_nor_miss_a_row_while_new_ones_arrive(self, viewer: Client) -> None:
        stored = rows.store(*(samples.finished(new_id().bytes) for _ in range(120)))
        response, seen = viewer.get(LIST), []
        seen += ids(response)
        while response.context["pager"].after:
            rows.store(samples.finished(new_id().bytes))
            response = viewer.get(LIST + response.context["pager"].after.url)
            seen += ids(response)
        assert seen == stored[::-1]
        back = viewer.get(LIST + response.context["pager"].before.url)
        assert ids(back) == stored[::-1][50:100]
        assert ids(viewer.get(LIST + back.context["pager"].first.url))[0] > stored[-1]

    def test_the_slowest_come_first_when_asked_and_the_order_stays_from_page_to_page(self, viewer: Client) -> None:
        stored = rows.store(*(samples.finished(new_id().bytes, latency_us=n * 1000) for n in range(60)))
        page = viewer.get(f"{LIST}?order=-latency_ms")
        assert ids(page) == stored[:9:-1]
        assert page.context["pager"].after.word == "Faster"
        assert ids(viewer.get(LIST + page.context["pager"].after.url)) == stored[9::-1]
        assert ids(viewer.get(f"{LIST}?order=created_at&limit=2")) == stored[:2]

    def test_it_counts_only_when_asked(self, viewer: Client) -> None:
        rows.store(*(samples.finished(new_id().bytes) for _ in range(60)), samples.failed())
        with CaptureQueriesContext(connection) as queries:
            page = viewer.get(f"{LIST}?status=routed")
        assert not [query["sql"] for query in queries if "COUNT(" in query["sql"] and "route_history" in query["sql"]]
        assert "About 60 requests" in text(viewer.get(LIST + page.context["count_url"]))
        assert "Exactly 60 requests" in text(viewer.get(LIST + page.context["count_exact_url"]))
        # The export menu asks for the words alone.
        assert text(viewer.get(LIST + page.context["export"].count_url)) == "About 60 requests"

    def test_what_it_does_not_understand_is_named_and_left_out_and_the_rest_holds(self, viewer: Client) -> None:
        kept, _ = rows.store(samples.finished(profile="chat"), samples.finished(profile="other"))
        for query, why in (
            ("status=asleep", "must be one of routed"),
            ("colour=red", "there is no field"),
            ("from=yesterday", "must be an ISO 8601 time"),
            ("from=2026-11-21&to=2026-11-20", "is after"),
            ("range=forever", "must be one of 15m"),
            ("order=colour", "must be one of -created_at"),
            ("cursor=%25%25", "is damaged"),
            ("limit=201", "must be a number from 1 to 200"),
            ("latency_ms__gt=soon", "must be a whole number"),
            ("filter={", "is not valid JSON"),
            ("message=%00", "must be text"),
        ):
            response = viewer.get(f"{LIST}?profile=chat&{query}")
            assert response.status_code == 200, query
            (problem,) = response.context["problems"]
            assert problem.name == query.partition("=")[0]
            assert why in problem.message
            assert why in text(response)
            assert ids(response) == [kept], query
        # A cursor of another order is one more that does not fit.
        rows.store(*(samples.finished(new_id().bytes) for _ in range(60)))
        cursor = parse_qs(viewer.get(LIST).context["pager"].after.url[1:])["cursor"][0]
        (problem,) = viewer.get(LIST, {"order": "created_at", "cursor": cursor}).context["problems"]
        assert problem.name == "cursor"

    def test_a_search_that_stopped_early_says_how_far_it_came_and_goes_on(
        self, viewer: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored = rows.store(*(samples.finished(new_id().bytes) for _ in range(5)), *[samples.finished(model="rare")])
        monkeypatch.setattr(search, "SCAN_SECONDS", -1)
        monkeypatch.setattr(search, "SCAN_ROWS", 2)
        page = viewer.get(f"{LIST}?model=rare")
        assert ids(page) == [stored[-1]]
        assert "Searched back to " in page.context["pager"].searched
        page = viewer.get(LIST + page.context["pager"].after.url)
        assert ids(page) == []
        assert "Nothing found so far" in text(page)
        (action,) = page.context["instead"].actions
        assert action.word == "Go on searching"
        assert viewer.get(LIST + action.url).status_code == 200

    @pytest.mark.parametrize("place", ["", "failures/", "statistics/"])
    def test_what_takes_too_long_or_a_database_that_is_away_is_told_politely(
        self, viewer: Client, monkeypatch: pytest.MonkeyPatch, place: str
    ) -> None:
        def fails(error: Exception) -> Any:
            raise error

        for error, title in ((RangeTooLarge(), "This takes too long"), (OperationalError(), "did not answer")):
            for module, name in ((search, "search"), (failures, "report"), (figures, "statistics")):
                monkeypatch.setattr(module, name, lambda *_, error=error, **__: fails(error))
            page = viewer.get(f"{LIST}{place}?range=7d&profile=chat")
            assert page.status_code == 200
            assert title in text(page)
            assert all("profile=chat" in action.url for action in page.context["instead"].actions)

    def test_empty_pages_say_what_to_do(self, viewer: Client) -> None:
        assert "No request yet" in text(viewer.get(LIST))
        rows.store(samples.finished(rows.at(timezone.now() - timedelta(days=2))))
        page = viewer.get(LIST)
        assert [action.word for action in page.context["instead"].actions] == ["Last 7 days", "Last 30 days"]
        assert len(ids(viewer.get(LIST + page.context["instead"].actions[0].url))) == 1
        page = viewer.get(f"{LIST}?range=30d&provider=nobody")
        assert page.context["instead"].actions[-1].word == "Without the filters"
        assert len(ids(viewer.get(LIST + page.context["instead"].actions[-1].url))) == 1

    def test_the_live_page_gets_the_filters_it_knows(self, viewer: Client) -> None:
        page = viewer.get(f"{LIST}?profile=chat&status=failures&model__in=a,b&latency_ms__gt=9&range=7d")
        assert page.context["live_url"] == "/admin/live/?profile=chat&status=failures&model__in=a%2Cb"
        assert viewer.get(f"{LIST}?profile__ne=chat").context["live_url"] == "/admin/live/"


def test_every_filter_of_the_api_works_and_has_words() -> None:
    assert LABELS.keys() == {*FIELDS, SESSION}
    for name, field in FIELDS.items():
        for operator in field.operators:
            value = {"status": "failed", "route_type": "session", "recovered": "1", "degraded": "0"}.get(name, "7")
            value = str(new_id()) if name.endswith("id") else value
            parameter = name if operator == "eq" else f"{name}__{operator}"
            asked = Asked.read({parameter: value}, timezone.now())
            assert asked.problems == []
            assert LABELS[name].lower() in chips(asked)[1].words.lower()


def test_the_export_has_the_filters_as_the_api_names_them_and_the_bounds_of_the_page(viewer: Client) -> None:
    route, _ = rows.store(samples.failed(profile="chat"), samples.finished(profile="chat"))
    page = viewer.get(f"{LIST}?status=failures&profile=chat&range=1h")
    address = urlsplit(page.context["export"].csv)
    assert address.path == "/api/v1/history/export/"
    asked = parse_qs(address.query)
    assert (asked.pop("format"), asked.pop("bom")) == (["csv"], ["1"])
    # The list of the API takes the same.
    answer = viewer.get("/api/v1/history/", {name: values[0] for name, values in asked.items()}).json()
    assert [row["id"] for row in answer["results"]] == [str(route)]
    assert {"from", "to"} < asked.keys()


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
    assert page_of(site.beta) in page
    assert f"/api/v1/history/{route}" in page
    assert viewer.get(f"/api/v1/history/{route}").json()["id"] == str(route)


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
class TestMissing:
    def test_ids_that_nobody_has_are_not_found(self, viewer: Client) -> None:
        long_ago = UUID(bytes=rows.at(timezone.now() - timedelta(days=400)))
        yesterday = UUID(bytes=rows.at(timezone.now() - timedelta(days=1)))
        to_come = UUID(bytes=rows.at(timezone.now() + timedelta(days=1)))
        for identifier, words in (
            ("nonsense", "no id of a request"),
            ("0197a100-0000-4000-8000-0000000000cc", "no id of a request"),
            (long_ago, "History keeps requests for 30 days"),
            (yesterday, "no request with this id"),
            (to_come, "from the future"),
        ):
            response = detail(viewer, identifier)
            assert response.status_code == 404
            assert words in text(response), words
            assert "Try again" not in text(response)

    def test_one_that_just_began_is_not_stored_yet(self, viewer: Client) -> None:
        identifier = new_id()
        response = detail(viewer, identifier)
        assert response.status_code == 404
        assert "Not stored yet" in text(response)
        assert "within two seconds" in text(response)
        assert "Try again" in text(response)
        rows.store(samples.finished(identifier.bytes))
        assert detail(viewer, identifier).status_code == 200

    def test_while_the_shipper_cannot_store_it_says_so(self, viewer: Client) -> None:
        folder = get_env().journal_dir
        folder.mkdir(parents=True)
        an_hour_old = UUID(bytes=rows.at(timezone.now() - timedelta(hours=1)))
        status.write(folder, status.ShipperStatus(database="down"))
        assert "cannot reach the database" in text(detail(viewer, an_hour_old))
        status.write(folder, status.ShipperStatus())
        assert "no request with this id" in text(detail(viewer, an_hour_old))
        (folder / status.FILE_NAME).unlink()
        with closing(JournalWriter(folder, 1 << 20)) as journal:
            assert journal.append(samples.started())
            assert "The shipper, which stores what gateways record, does not run" in text(detail(viewer, an_hour_old))


def test_a_request_leads_to_those_of_its_session_before_and_after_it(viewer: Client) -> None:
    session = {"session_key": "conversation-17"}
    first, other, second, third = rows.store(
        samples.finished(**session), samples.finished(session_key="other"), *(samples.finished(**session) for _ in "12")
    )
    page = detail(viewer, second)
    assert (page.context["before"].id, page.context["after"].id) == (first, third)
    assert detail(viewer, first).context["before"] is None
    assert detail(viewer, other).context["after"] is None
    row = viewer.get(LIST).context["lines"][0]
    assert ids(viewer.get(row.session)) == [third, second, first]


#: Groupings whose keys come from outside.
NAMED = ("profile", "provider", "model", "strategy", "rule", "error_code")
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
            strategy=HOSTILE[:32],
            rule=HOSTILE,
            attempts=[samples.attempt(error_class="upstream_5xx", message=HOSTILE, model=HOSTILE, endpoint=HOSTILE)],
            attempt_count=1,
        )
    )
    chosen = urlencode({"provider": HOSTILE, "model": HOSTILE, "message__contains": HOSTILE, HOSTILE: HOSTILE})
    tree = urlencode({"filter": json.dumps({"not": {"field": "rule", "value": HOSTILE}}), "range": HOSTILE})
    addresses = ["/admin/", f"{LIST}{route}/change/", *(f"{LIST}statistics/?group_by={name}" for name in NAMED)]
    for page in ("", "failures/", "statistics/"):
        addresses += [f"{LIST}{page}", f"{LIST}{page}?{chosen}", f"{LIST}{page}?{tree}"]
    for address in addresses:
        page = text(viewer.get(address))
        assert "<script>alert" not in page, address
        assert "<img src=x" not in page, address
        assert "&lt;script&gt;" in page, address
