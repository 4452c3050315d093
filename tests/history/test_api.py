"""The history over HTTP: who may read it, what list, detail, failures and statistics look like, what is refused."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import zlib
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Group, User
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from history.api.export import ExportThrottle
from history.api.statistics import StatisticsThrottle
from history.ids import milliseconds, new_id
from history.models import RouteHistory
from history.render import moment
from history.rows import ROW_FIELDS
from routes.api.throttling import CallerThrottle
from routes.engine.explain import pack_decision
from routes.engine.local_live import LocalLiveState
from routes.engine.pipeline import decide
from routes.engine.snapshot import Snapshot
from routes.engine.types import RouteRequest
from routes.models import AccessKey, ConfigRevision
from tests import documents
from tests.history import rows, samples
from tests.history.rows import NOON, at, minutes

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

pytestmark = [
    pytest.mark.django_db(databases=["default", "pg"]),
    pytest.mark.usefixtures("as_default"),
]
LIST = "/api/v1/history/"


def key(*scopes: str) -> str:
    """A stored access key's value."""
    value = f"sbx_{'-'.join(scopes)}_{'x' * 32}"
    AccessKey.objects.create(
        name=f"key {scopes}",
        prefix=value[:12],
        last4=value[-4:],
        digest=sha256(value.encode()).hexdigest(),
        scopes=list(scopes),
    )
    return value


@pytest.fixture
def get(as_default: str) -> Callable[..., Any]:
    """GET as JSON with a key that may read; asserts the status."""
    client = Client(headers={"authorization": f"Bearer {key('read')}"})

    def fetch(path: str, expect: int = 200, /, **parameters: str) -> Any:
        answer = client.get(f"{path}?{urlencode(parameters)}" if parameters else path)
        assert answer.status_code == expect, answer.content
        return answer.json()

    return fetch


def now_id(number: int = 0, ago: timedelta = timedelta(minutes=1)) -> bytes:
    return at(timezone.now() - ago, number)


# -- who ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        LIST,
        *(f"{LIST}{name}/" for name in ("failures", "statistics", "export")),
        f"{LIST}{new_id()}/",
        f"{LIST}sessions/{new_id()}/",
        f"{LIST}sessions/?session_key=0",
    ],
    ids=["list", "failures", "statistics", "export", "detail", "session", "session-by-key"],
)
def test_reading_needs_the_scope_read(path: str) -> None:
    assert Client().get(path).status_code == 401
    assert Client(headers={"authorization": "Bearer sbx_wrong"}).get(path).status_code == 401
    assert Client(headers={"authorization": f"Bearer {key('route')}"}).get(path).status_code == 403
    allowed = 404 if "0" in path else 200
    assert Client(headers={"authorization": f"Bearer {key('operate')}"}).get(path).status_code == allowed


def test_a_viewer_may_read_in_the_browser_and_others_may_not() -> None:
    client = Client()
    user = User.objects.create_user("eve", password="irrelevant")
    client.force_login(user)
    assert client.get(LIST).status_code == 403
    user.groups.add(Group.objects.get_or_create(name="Viewer")[0])
    if not user.groups.get().permissions.exists():  # the second database of the tests gets no roles
        return
    client.force_login(user)
    assert client.get(LIST).status_code == 200


def test_nothing_can_be_written(get: Callable[..., Any]) -> None:
    client = Client(headers={"authorization": f"Bearer {key('admin')}"})
    (route,) = rows.store(samples.finished())
    for path in (LIST, f"{LIST}{route}/"):
        for method in ("post", "put", "patch", "delete"):
            assert getattr(client, method)(path).status_code == 405
    assert RouteHistory.objects.count() == 1


# -- list --------------------------------------------------------------------------------------------------


def test_a_row_has_the_fields_of_the_contract(get: Callable[..., Any]) -> None:
    record = samples.finished(session_key="chat-1")
    (route,) = rows.store(record)
    (row,) = get(LIST)["results"]
    assert list(row) == list(ROW_FIELDS)
    assert row["id"] == str(route)
    stamp = milliseconds(route)
    assert row["created_at"] == moment(
        timezone.datetime.fromtimestamp(stamp / 1000, tz=timezone.get_current_timezone())
    )
    expected = {
        "status": "routed",
        "latency_ms": 123,
        "selection_us": 15,
        "provider": "acme-eu",
        "access_key": "app",
        "input_tokens": 12,
        "cached_tokens": None,
        "session_key": "chat-1",
        "rule": None,
        "recovered": False,
        "revision": 7,
    }
    assert {name: row[name] for name in expected} == expected


def test_both_spellings_of_the_address_work(get: Callable[..., Any]) -> None:
    (route,) = rows.store(samples.finished())
    assert get("/api/v1/history") == get("/api/v1/history/")
    assert get(f"/api/v1/history/{route}")["id"] == get(f"/api/v1/history/{route}/")["id"] == str(route)
    assert get("/api/v1/history/failures")["results"] == []


def test_following_next_gives_every_row_once_while_rows_arrive(get: Callable[..., Any]) -> None:
    stored = rows.store(*(samples.finished(now_id(n, timedelta(minutes=30))) for n in range(25)))
    seen: list[str] = []
    url: str | None = f"{LIST}?limit=10&profile=default"
    sizes = []
    while url:
        page = get(url)
        sizes.append(len(page["results"]))
        seen += [row["id"] for row in page["results"]]
        url = page["next"]
        rows.store(samples.finished(now_id(len(seen), timedelta(minutes=1))))  # traffic goes on
    assert sizes == [10, 10, 5]
    assert seen == [str(route) for route in reversed(stored)]


def test_previous_leads_back_and_the_first_page_has_none(get: Callable[..., Any]) -> None:
    rows.store(*(samples.finished(now_id(n)) for n in range(6)))
    first = get(LIST, limit="3")
    assert first["previous"] is None
    second = get(first["next"])
    assert second["next"] is None
    back = get(second["previous"])
    assert back["results"] == first["results"]


def test_filters_times_order_and_count(get: Callable[..., Any]) -> None:
    records = [samples.finished(at(NOON + minutes(n), n), latency_us=(50 - n) * 1000) for n in range(4)]
    plain = rows.store(*records, samples.failed(at(NOON + minutes(9)), profile="batch"))
    day = {"from": "2026-11-20T00:00:00Z", "to": "2026-11-21T00:00:00Z"}

    def ids(**parameters: str) -> list[UUID]:
        found = get(LIST, **{**day, **parameters})["results"]
        return [plain[[str(p) for p in plain].index(row["id"])] for row in found]

    assert ids() == plain[::-1]
    assert ids(order="created_at") == plain
    assert ids(order="latency_ms", status="routed") == plain[3::-1]
    assert ids(status="failed") == ids(profile="batch") == ids(status__ne="routed") == [plain[4]]
    assert ids(**{"from": "2026-11-20T12:01:00Z", "to": "2026-11-20T12:03:00Z"}) == [plain[2], plain[1]]
    assert get(LIST, **day, count="exact", limit="2")["count"] == 5
    assert get(LIST, **day, count="estimate", status="failed")["count"] == 1
    assert "count" not in get(LIST)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"format": "xlsx"}, "format"),
        ({"provider__in": ""}, "provider__in"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "٣"}, "limit"),
        ({"order": "provider"}, "order"),
        ({"from": "soon"}, "from"),
        ({"from": "2026-11-21", "to": "2026-11-20"}, "from"),
        ({"cursor": "abc"}, "cursor"),
        ({"colour": "blue"}, "colour"),
        ({"status": "fine"}, "status"),
        ({"count": "roughly"}, "count"),
        ({"filter": "{"}, "filter"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    get: Callable[..., Any], parameters: dict[str, str], field: str
) -> None:
    error = get(LIST, 400, **parameters)["error"]
    assert error["code"] == "invalid"
    assert list(error["fields"]) == [field]
    assert field in error["message"]


def test_a_parameter_that_is_given_twice_is_refused_by_name(get: Callable[..., Any]) -> None:
    for path in (LIST, f"{LIST}failures/", f"{LIST}statistics/", f"{LIST}export/"):
        for parameter in ("status=failed", "from=2026-11-20"):
            error = get(f"{path}?{parameter}&{parameter}", 400)["error"]
            assert error["fields"] == {parameter.partition("=")[0]: ["is given 2 times"]}
    assert get(f"{LIST}{new_id()}/?colour=blue", 400)["error"]["fields"] == {"colour": ["there is no such parameter"]}


# -- lines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LIST, "/api/v1/history/failures/"])
def test_a_page_is_answered_as_lines_if_that_is_asked_for(path: str) -> None:
    reader = Client(headers={"authorization": f"Bearer {key('read')}"})
    stored = rows.store(*(samples.failed(now_id(n), session_key="=1+1") for n in range(3)))
    newest = [str(route) for route in reversed(stored)]
    for ask in ({"headers": {"accept": "text/csv"}}, {"query_params": {"format": "csv"}}):
        answer = reader.get(path, **ask)
        assert answer["Content-Type"] == "text/csv; charset=utf-8"
        told = list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))
        assert [row["id"] for row in told] == newest
        assert {row["session_key"] for row in told} == {"'=1+1"}
    answer = reader.get(f"{path}?limit=2", headers={"accept": "application/x-ndjson"})
    assert answer["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert [json.loads(line)["id"] for line in answer.content.splitlines()] == newest[:2]
    (link,) = re.findall(r'^<([^>]+)>; rel="next"$', answer["Link"])
    last = reader.get(link, headers={"accept": "application/x-ndjson"})
    assert [json.loads(line)["id"] for line in last.content.splitlines()] == newest[2:]
    assert re.findall(r'rel="(\w+)"', last["Link"]) == ["prev"]


def test_an_error_is_json_whatever_was_asked_for_and_an_empty_page_has_its_type() -> None:
    reader = Client(headers={"authorization": f"Bearer {key('read')}"})
    for accept in ("text/csv", "application/x-ndjson"):
        assert reader.get(LIST, {"limit": "0"}, headers={"accept": accept}).json()["error"]["code"] == "invalid"
        assert Client().get(LIST, headers={"accept": accept}).json()["error"]["code"] == "unauthenticated"
        empty = reader.get(LIST, headers={"accept": accept})
        assert (empty.status_code, empty["Content-Type"]) == (200, f"{accept}; charset=utf-8")
    assert reader.get(LIST, headers={"accept": "image/png"}).status_code == 406
    assert (
        reader.get(f"{LIST}export/", headers={"accept": "application/json"}).json()["error"]["code"] == "not_acceptable"
    )


# -- detail ------------------------------------------------------------------------------------------------


def published(strategy: str = "round_robin") -> Snapshot:
    """A kept revision with three providers; ``acme-eu`` is number one."""
    document = documents.document(
        [documents.provider(slug) for slug in ("acme-eu", "acme-us", "spare")], number=7, strategy=strategy
    )
    compiled = json.dumps(document).encode()
    ConfigRevision.objects.create(
        number=7, author="ada", created_at=NOON, document_text="{}", compiled_zlib=zlib.compress(compiled)
    )
    return Snapshot.from_document(document)


def decided(snapshot: Snapshot, live: LocalLiveState) -> dict[str, Any]:
    request = RouteRequest(str(new_id()), "chat", "gpt-4o")
    decision = decide(snapshot, snapshot.profiles["default"], request, live, 0.0, random.Random(1))
    return json.loads(json.dumps(pack_decision(decision)))  # as it comes back from the database


def test_the_detail_tells_the_whole_story_of_a_request_that_failover_saved(get: Callable[..., Any]) -> None:
    snapshot = published()
    live = LocalLiveState(random.Random(1))
    stamp = milliseconds(identifier := new_id().bytes)
    attempts = [
        samples.attempt(
            http_status=503,
            error_class="upstream_5xx",
            started_ms=stamp + 1,
            transitions=[("closed", "open", "consecutive_failures")],
        ),
        samples.attempt(provider="acme-us", started_ms=stamp + 200),
    ]
    record = samples.finished(
        identifier,
        provider="acme-us",
        attempts=attempts,
        attempt_count=2,
        recovered=True,
        strategy="round_robin",
        decision=decided(snapshot, live),
    )
    (route,) = rows.store(record)
    detail = get(f"{LIST}{route}/")
    assert [(a["ordinal"], a["provider"], a["http_status"], a["error_class"]) for a in detail["attempts"]] == [
        (1, "acme-eu", 503, "upstream_5xx"),
        (2, "acme-us", 200, None),
    ]
    decision = detail["routing_decision"]
    assert [line["provider"] for line in decision["ranking"]] == ["acme-eu", "acme-us", "spare"]
    assert decision["strategy"] == "round_robin"
    stages = [stage["stage"] for stage in decision["stages"]]
    assert stages == ["admission", "health", "smart_routing", "affinity", "load_balancer"]
    assert [metric["metric_name"] for metric in detail["metrics"]] == [
        "selection_time",
        "backend_response_time",
        "request_latency",
    ]
    assert detail["source_info"]["client_ip"] == "127.0.0.1"
    assert (detail["target_info"]["provider"], detail["target_info"]["region"]) == ("acme-us", "eu-west")
    story = " ".join(detail["explanation"])
    assert "strategy round_robin chose acme-eu" in story
    assert "Attempt 1: acme-eu / acme-gpt-4o failed with a server error (503)" in story
    assert "opened its circuit" in story
    assert "Attempt 2: acme-us" in story
    assert story.endswith("The client was answered with status 200 after 123 ms, thanks to failover.")


def test_an_error_that_was_handed_on_is_named_by_its_only_attempt(get: Callable[..., Any]) -> None:
    attempts = [samples.attempt(http_status=400, error_class="content_filter")]
    record = samples.finished(now_id(), http_status=400, error_code="content_filter", attempts=attempts)
    (route,) = rows.store(record)

    (attempt,) = get(f"{LIST}{route}/")["attempts"]

    assert (attempt["http_status"], attempt["error_class"]) == (400, "content_filter")


def test_a_request_that_succeeded_at_once_shows_its_only_attempt(get: Callable[..., Any]) -> None:
    record = samples.finished(now_id())
    record.attempts[0].started_ms = milliseconds(record.id) + 2
    (route,) = rows.store(record)
    detail = get(f"{LIST}{route}/")
    (attempt,) = detail["attempts"]
    assert {name: attempt[name] for name in ("ordinal", "provider", "model", "http_status", "error_class")} == {
        "ordinal": 1,
        "provider": "acme-eu",
        "model": "acme-gpt-4o",
        "http_status": 200,
        "error_class": None,
    }
    assert (attempt["ttfb_ms"], attempt["latency_ms"], attempt["bytes"]) == (90, 120, 812)
    assert attempt["endpoint"] == "https://eu.acme.example/v1"
    offset = milliseconds(record.id) + 2
    assert attempt["started_at"].endswith(f"{offset % 1000:03d}Z")
    values = {metric["metric_name"]: metric["metric_value"] for metric in detail["metrics"]}
    assert values == {"selection_time": 0.015, "backend_response_time": 120, "request_latency": 123}
    assert "attempt" not in detail["target_info"]


def test_the_detail_of_a_websocket_says_what_went_through_and_who_closed_it(get: Callable[..., Any]) -> None:
    (route,) = rows.store(
        samples.finished(
            http_status=101,
            route_type="service",
            message="closed by the client with 1000",
            metrics=[("messages_to_client", 3.0, "messages")],
        )
    )
    detail = get(f"{LIST}{route}/")
    assert detail["route_type"] == "service"
    assert detail["metrics"][-1]["metric_name"] == "messages_to_client"
    assert (detail["metrics"][-1]["metric_value"], detail["metrics"][-1]["metric_unit"]) == (3.0, "messages")
    assert detail["explanation"][-1].startswith("The WebSocket ended after ")
    assert detail["explanation"][-1].endswith(": closed by the client with 1000.")


def test_a_revision_that_is_gone_leaves_the_facts_and_says_what_cannot_be_told(get: Callable[..., Any]) -> None:
    snapshot = published()
    packed = decided(snapshot, LocalLiveState(random.Random(1)))
    (route,) = rows.store(samples.failed(decision=packed, revision=3))
    detail = get(f"{LIST}{route}/")
    assert detail["routing_decision"]["packed"] == packed
    assert "revision 3 is not kept any more" in detail["explanation"][0]
    assert "Attempt 1" in detail["explanation"][1]


def test_a_decision_that_cannot_be_read_does_not_break_the_page(get: Callable[..., Any]) -> None:
    published()
    (route,) = rows.store(samples.finished(decision={"v": 99, "p": 12}))
    assert get(f"{LIST}{route}/")["routing_decision"]["packed"] == {"v": 99, "p": 12}


def test_interrupted_and_rejected_requests_say_so(get: Callable[..., Any]) -> None:
    cut, refused = rows.store(
        samples.started(),
        samples.finished(
            status="rejected",
            http_status=404,
            error_code="model_not_found",
            message="model 'gpt-9' is served by no target.",
            attempts=[],
            attempt_count=0,
            provider="",
        ),
    )
    detail = get(f"{LIST}{cut}/")
    assert (detail["status"], len(detail["attempts"])) == ("interrupted", detail["attempt_count"])
    assert "ended before the answer did" in detail["explanation"][-1]
    detail = get(f"{LIST}{refused}/")
    assert detail["attempts"] == []
    assert detail["explanation"] == ["The request was rejected with status 404: model 'gpt-9' is served by no target."]


def test_a_route_that_does_not_exist_is_not_found(get: Callable[..., Any]) -> None:
    for path in (f"{LIST}{new_id()}/", f"{LIST}{'-' * 36}/"):
        assert get(path, 404)["error"]["code"] in {"route_not_found", "not_found"}


# -- failures ----------------------------------------------------------------------------------------------


def test_the_failures_report(get: Callable[..., Any]) -> None:
    saved = [samples.attempt(http_status=500, error_class="upstream_5xx"), samples.attempt()]
    records = [
        *(samples.failed(now_id(n)) for n in range(3)),
        samples.finished(now_id(5), recovered=True, attempts=saved, attempt_count=2),
        samples.finished(now_id(6)),
        samples.failed(at(timezone.now() - timedelta(days=2))),
    ]
    stored = rows.store(*records)
    report = get("/api/v1/history/failures/")
    assert set(report) == {"from", "to", "total", "recovered", "groups", "results", "next", "previous"}
    assert (report["total"], report["recovered"], report["to"]) == (3, 1, None)
    (group,) = report["groups"]
    assert (group["error_code"], group["provider"], group["count"]) == ("connect_refused", "acme-us", 3)
    assert group["sample_ids"] == [str(route) for route in stored[2::-1]]
    assert [row["id"] for row in report["results"]] == group["sample_ids"]

    wider = get("/api/v1/history/failures/", include_recovered="1", limit="2")
    assert {(g["error_code"], g["count"], g["recovered"]) for g in wider["groups"]} == {
        ("connect_refused", 3, 0),
        ("upstream_5xx", 1, 1),
    }
    assert len(wider["results"]) == 2
    assert len(get(wider["next"])["results"]) == 2
    old = {"from": moment(timezone.now() - timedelta(days=3)), "to": moment(timezone.now() - timedelta(days=1))}
    assert get("/api/v1/history/failures/", **old)["total"] == 1
    assert get("/api/v1/history/failures/", 400, include_recovered="perhaps")["error"]["code"] == "invalid"


# -- statistics --------------------------------------------------------------------------------------------


def test_statistics_of_the_last_24_hours_as_a_whole_and_by_group(get: Callable[..., Any]) -> None:
    rows.store(
        *(samples.finished(now_id(n)) for n in range(3)),
        samples.failed(now_id(4)),
        samples.failed(at(timezone.now() - timedelta(days=2))),
    )
    whole = get(f"{LIST}statistics/")
    assert (whole["group_by"], whole["groups"], whole["to"]) == (None, [], None)
    assert whole["from"].endswith("Z")
    assert (whole["totals"]["count"], whole["totals"]["failed"], whole["totals"]["failure_rate"]) == (4, 1, 0.25)
    told = get(f"{LIST}statistics/", group_by="provider")
    assert [(group["key"], group["count"], group["share"]) for group in told["groups"]] == [
        ("acme-eu", 3, 0.75),
        ("acme-us", 1, 0.25),
    ]
    assert told["totals"] == whole["totals"]
    assert get(f"{LIST}statistics/", status="failed")["totals"]["count"] == 1


def test_hours_and_days_are_told_by_the_moment_they_begin_at(get: Callable[..., Any]) -> None:
    rows.store(*(samples.finished(at(NOON + minutes(30 * n), n)) for n in range(4)))
    day = {"from": "2026-11-20T00:00:00Z", "to": "2026-11-21"}
    told = get(f"{LIST}statistics/", **day, group_by="hour")
    assert (told["from"], told["to"]) == ("2026-11-20T00:00:00.000Z", "2026-11-21T00:00:00.000Z")
    assert [(group["key"], group["count"]) for group in told["groups"]] == [
        ("2026-11-20T12:00:00.000Z", 2),
        ("2026-11-20T13:00:00.000Z", 2),
    ]
    (group,) = get(f"{LIST}statistics/", **day, group_by="day")["groups"]
    assert (group["key"], group["count"]) == ("2026-11-20T00:00:00.000Z", 4)
    (group,) = get(f"{LIST}statistics/", **day, group_by="rule")["groups"]
    assert group["key"] is None


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"group_by": "colour"}, "group_by"), ({"limit": "5"}, "limit"), ({"from": "x"}, "from"), ({"x": "y"}, "x")],
)
def test_statistics_refuse_what_they_do_not_understand(
    get: Callable[..., Any], parameters: dict[str, str], field: str
) -> None:
    assert list(get(f"{LIST}statistics/", 400, **parameters)["error"]["fields"]) == [field]


# -- throttling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("throttle", "path"), [(StatisticsThrottle, f"{LIST}statistics/"), (ExportThrottle, f"{LIST}export/")]
)
def test_what_costs_more_may_be_asked_less_often_by_each_caller(
    throttle: type[CallerThrottle], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "get_rate", lambda self: "2/min")
    one, other = (Client(headers={"authorization": f"Bearer {key(scope)}"}) for scope in ("read", "operate"))
    assert [one.get(path).status_code for _ in range(3)] == [200, 200, 429]
    refused = one.get(path)
    assert refused.json()["error"]["code"] == "throttled"
    assert 1 <= int(refused["Retry-After"]) <= 61
    assert one.get(LIST).status_code == 200, "the list is not what was asked for too often"
    assert other.get(path).status_code == 200, "one caller's calls are not another's"


def test_statistics_and_exports_are_slowed_more_than_other_calls() -> None:
    allowed = {}
    for throttle in (CallerThrottle, StatisticsThrottle, ExportThrottle):
        number, seconds = throttle().parse_rate(throttle().get_rate())
        allowed[throttle] = number / seconds
    assert allowed[ExportThrottle] < allowed[StatisticsThrottle] < allowed[CallerThrottle]


# -- cost --------------------------------------------------------------------------------------------------


def test_a_page_costs_the_same_few_queries_whatever_its_size(get: Callable[..., Any]) -> None:
    rows.store(*(samples.failed(now_id(n)) for n in range(60)))

    def queries(path: str, **parameters: str) -> int:
        with CaptureQueriesContext(connections["default"]) as captured:
            get(path, **parameters)
        return len(captured)

    queries(LIST)
    assert queries(LIST, limit="5") == queries(LIST, limit="60") <= 15
    few = queries("/api/v1/history/failures/", include_recovered="1", limit="5")
    assert few == queries("/api/v1/history/failures/", include_recovered="1", limit="60") <= 22
