"""Rules over REST: lists in order, one rule, places, versions, and what they matched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from history.ids import first_id
from history.models import RouteHistory, RouteStatus
from history.queries import rule_traffic
from routes import actions
from routes.models import Profile, Rule
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import LONG, profile, provider, rule

pytestmark = pytest.mark.django_db(databases=["default", "pg"])


@pytest.fixture
def api() -> Api:
    tree = {
        "providers": [provider("alpha"), provider("beta")],
        "profiles": [
            profile("default", "alpha", rules=[rule("b", "beta"), rule("a", "alpha")]),
            profile("a-profile", "alpha", rules=[rule(name) for name in "zyx"]),
            profile("a", "alpha", rules=[rule("only")]),
        ],
    }
    actions.import_configuration(tree, actor=actor("admin"), publish_now=True)
    return Api("admin")


def names(answer: Any) -> list[str]:
    assert answer.status == 200
    return [row["name"] for row in answer.body["results"]]


@pytest.mark.usefixtures("both_databases")
def test_rules_come_in_the_order_in_which_they_are_asked_page_by_page(api: Api) -> None:
    everything = names(api.get("rules/"))
    assert everything in (["only", *"zyx", *"ba"], [*"zyx", "only", *"ba"]), "profile by profile, by their slugs"
    seen: list[str] = []
    path: str | None = "rules/?limit=2"
    while path:
        page = api.get(path)
        seen += names(page)
        path = page.body["next"].partition("/api/v1/")[2] if page.body["next"] else None
    assert seen == everything
    assert names(api.get("rules/?profile=default")) == ["b", "a"]
    assert names(api.get(f"rules/?profile={Profile.objects.get(slug='a-profile').pk}")) == ["z", "y", "x"]
    assert names(api.get("rules/?profile=nowhere")) == names(api.get("rules/?profile=%00")) == []


@pytest.mark.usefixtures("both_databases")
def test_a_rule_is_made_read_changed_moved_and_deleted(api: Api) -> None:
    answer = api.post("rules/", {"profile": "default", "position": 1, **rule("new", ("beta", 4), description="d")})
    assert answer.status == 201
    shown = answer.body
    assert (shown["profile"], shown["position"], shown["version"]) == ("default", 1, 1)
    assert shown["targets"] == [{"provider": "beta", "model": None, "weight": 4, "tier": 0}]
    assert (shown["sentence"], shown["matched_24h"], shown["last_matched"]) == ("tokens ≥ 32 000", 0, None)
    path = f"rules/{shown['id']}/"
    assert api.get(path).body == shown
    assert api.get("rules/new/?profile=default").body == shown
    assert answer.headers["ETag"] == api.get(path).headers["ETag"] == '"1"'
    changed = api.patch(path, {"enabled": False, "position": 0}, if_match='"1"')
    assert (changed.status, changed.body["version"], changed.body["position"]) == (200, 2, 0)
    assert names(api.get("rules/?profile=default")) == ["new", "b", "a"]
    assert api.patch(path, {"enabled": True}, if_match='"1"').status == 412
    again = api.patch(path, changed.body, if_match=changed.headers["ETag"])
    assert (again.status, again.body) == (200, changed.body), "what was read may be sent back whole"
    assert api.delete(path, if_match='"1"').status == 412
    assert api.delete(path).status == 204
    assert api.get(path).status == 404
    assert [entry["name"] for entry in api.get("profiles/default/").body["rules"]] == ["b", "a"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (rule("r"), "profile"),
        ({"profile": "nowhere", **rule("r")}, "profile"),
        ({"profile": 3, **rule("r")}, "profile"),
        ({"profile": "default", "position": -1, **rule("r")}, "position"),
        ({"profile": "default", "name": "r", "targets": []}, "when"),
        (
            {"profile": "default", **rule("r", when={"any": [LONG, {"fact": "x", "op": "is", "value": 1}]})},
            "when.any[1].fact",
        ),
        ({"profile": "default", **rule("r", "alpha", "gone")}, "targets[1].provider"),
        ({"profile": "default", "sentence": "x", **rule("r")}, "sentence"),
    ],
)
def test_a_wrong_rule_is_400_with_the_path(api: Api, body: dict[str, Any], path: str) -> None:
    answer = api.post("rules/", body)
    assert (answer.status, list(answer.error["fields"])) == (400, [path])


def test_a_taken_name_is_409_and_read_only_fields_are_refused(api: Api) -> None:
    assert api.post("rules/", {"profile": "default", **rule("a")}).status == 409
    path = f"rules/{Rule.objects.get(name='only').pk}/"
    answer = api.patch(path, {"profile": "default", "sentence": "x", "matched_24h": 7, "position": None})
    assert set(answer.error["fields"]) == {"profile", "sentence", "matched_24h"}
    assert list(api.patch(path, {"position": None}).error["fields"]) == ["position"]


@pytest.mark.parametrize("key", ["only", "%00", "00000000-0000-0000-0000-000000000000", "é", "x/?profile=%00"])
def test_a_rule_that_is_not_there_is_404(api: Api, key: str) -> None:
    assert api.get(f"rules/{key}/" if "?" not in key else f"rules/{key}").status == 404


def test_the_list_costs_the_same_queries_however_long_it_is(api: Api) -> None:
    counts = []
    for size in (0, 8):
        for number in range(size):
            body = {"profile": "default", **rule(f"r{number}", "alpha", "beta")}
            assert api.post("rules/", body).status == 201
        with CaptureQueriesContext(connection) as queries:
            api.get("rules/")
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_publishing_tells_what_is_probably_not_meant(api: Api) -> None:
    findings = api.post("revisions/", {}).body["findings"]
    assert {finding["code"] for finding in findings} == {"rule_without_targets", "rule_unreachable"}
    assert {"profiles[default].rules[a]", "profiles[a-profile].rules[y]"} <= {finding["path"] for finding in findings}


# -- what rules matched ------------------------------------------------------------------------------------------
NOW = datetime.now(UTC)


def route(number: int, hours_ago: float, name: str | None, slug: str) -> RouteHistory:
    at = NOW - timedelta(hours=hours_ago)
    id_ = UUID(int=first_id(at).int + number)
    return RouteHistory(id=id_, created_at=at, profile=slug, rule=name, status=RouteStatus.ROUTED)


@pytest.mark.usefixtures("both_databases")
def test_matches_of_the_last_day_are_counted_by_profile_and_rule_in_two_queries(api: Api) -> None:
    rows = [(1, "b", "default"), (3, "b", "default"), (25, "b", "default"), (2, "b", "other"), (1, None, "default")]
    RouteHistory.objects.bulk_create(route(number, *row) for number, row in enumerate(rows))
    with CaptureQueriesContext(connections["default"]) as queries:
        traffic = rule_traffic()
    assert len(queries) == 2  # which hours are summed up, and the rows of the others
    assert {key: found.matched for key, found in traffic.items()} == {("default", "b"): 2, ("other", "b"): 1}
    shown = {row["name"]: row for row in api.get("rules/?profile=default").body["results"]}
    assert (shown["b"]["matched_24h"], shown["a"]["matched_24h"]) == (2, 0)
    assert datetime.fromisoformat(shown["b"]["last_matched"]) == NOW - timedelta(hours=1)
    assert shown["a"]["last_matched"] is None


def test_counting_matches_reads_nothing_but_its_index() -> None:
    with CaptureQueriesContext(connection) as queries:
        rule_traffic()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {queries[-1]['sql']}")
        plan = " ".join(str(row) for row in cursor.fetchall())
    assert "COVERING INDEX history_rule" in plan
