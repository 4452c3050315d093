"""Providers, profiles, keys, policy and prices over REST: the contract's statuses, versions and shapes."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from routes import actions
from routes.models import AccessKey, Profile, Provider
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import CREDENTIAL, LONG, access_key, document, profile, provider, rule

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Api:
    if "both_databases" in request.fixturenames:
        request.getfixturevalue("both_databases")  # the key goes where the test looks
    return Api("admin")


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_a_provider_lives_through_post_get_patch_and_delete(api: Api) -> None:
    made = api.post("providers/", provider(credential={"value": CREDENTIAL}, circuit={"failure_threshold": 2}))
    assert made.status == 201
    assert made.headers["ETag"] == '"1"'
    assert made.body["credential"] == {"keep": True}
    assert made.body["credential_last4"] == CREDENTIAL[-4:]
    assert made.body["circuit"]["slow_start"] == 30
    assert {"id", "version", "created_at", "updated_at"} <= set(made.body)
    for key in ("alpha", made.body["id"]):
        read = api.get(f"providers/{key}/")
        assert (read.status, read.body) == (200, made.body)
    changed = api.patch("providers/alpha/", {"circuit": {"slow_start": 0}}, if_match='"1"')
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    assert (changed.body["circuit"]["failure_threshold"], changed.body["circuit"]["slow_start"]) == (2, 0)
    gone = api.delete("providers/alpha/", if_match='"2"')
    assert (gone.status, gone.body) == (204, None)
    assert api.get("providers/alpha/").status == 404


def test_limits_are_read_whole_and_patched_one_by_one(api: Api) -> None:
    api.post("providers/", provider())
    made = api.post("profiles/", profile("p", "alpha", limits={"concurrency": 8}, accounting="off"))
    assert (made.status, made.body["limits"]) == (201, {"concurrency": 8, "queue_ms": 0})
    changed = api.patch("profiles/p/", {"limits": {"queue_ms": 100}, "failover": {"non_idempotent": True}})
    assert changed.body["limits"] == {"concurrency": 8, "queue_ms": 100}
    assert changed.body["failover"]["non_idempotent"] is True
    assert changed.body["failover"]["max_attempts"] == 3
    made = api.post("access-keys/", access_key(limits={"rpm": 60}))
    assert (made.status, made.body["limits"]["rpm"], made.body["limits"]["usd_month"]) == (201, 60, 0)
    changed = api.patch("access-keys/app/", {"limits": {"usd_month": 12.5}})
    assert (changed.body["limits"]["rpm"], changed.body["limits"]["usd_month"]) == (60, 12.5)
    wrong = api.patch("access-keys/app/", {"limits": {"tpm": "many", "rph": 1}})
    assert (wrong.status, set(wrong.error["fields"])) == (400, {"limits.tpm", "limits.rph"})


def test_a_generic_provider_and_context_windows_come_back_as_they_were_sent(api: Api) -> None:
    sent = provider(wire="generic", context={"m": 8192, "a": 4096}, stream_usage=False)
    made = api.post("providers/", sent)
    assert (made.status, made.body["wire"], made.body["auth"]) == (201, "generic", "bearer")
    assert (made.body["context"], made.body["stream_usage"]) == ({"a": 4096, "m": 8192}, False)
    changed = api.patch("providers/alpha/", {"context": {"b": 1}})
    assert changed.body["context"] == {"b": 1}


@pytest.mark.parametrize("method", ["patch", "delete"])
def test_another_version_in_if_match_is_412_and_nothing_happens(api: Api, method: str) -> None:
    api.post("providers/", provider())
    api.patch("providers/alpha/", {"name": "Second"})
    data = {"name": "Lost"} if method == "patch" else None
    for tag in ('"1"', '"nonsense"', "1, 7"):
        answer = api.call(method, "providers/alpha/", data, if_match=tag)
        assert answer.status == 412
        assert answer.error["code"] == "stale_version"
    assert Provider.objects.get().name == "Second"
    for tag in ('W/"2"', '"1", "2"', "*"):
        assert api.patch("providers/alpha/", {"name": "Second"}, if_match=tag).status == 200


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_what_was_read_may_be_sent_back_whole(api: Api) -> None:
    actions.import_configuration(document(), actor=actor("admin"), merge=True)
    for path in ("providers/alpha/", "profiles/default/", "access-keys/app/", "policy/", "prices/"):
        read = api.get(path)
        again = api.patch(path, read.body, if_match=read.headers["ETag"])
        assert (again.status, again.body) == (200, read.body), path


def test_read_only_fields_are_refused_by_name_when_they_differ(api: Api) -> None:
    api.post("providers/", provider())
    answer = api.patch("providers/alpha/", {"version": 9, "admin_state": {"state": "disabled"}})
    assert answer.status == 400
    assert set(answer.error["fields"]) == {"version", "admin_state"}


def test_validation_errors_name_the_path(api: Api) -> None:
    answer = api.post("providers/", provider(base_url="ftp://x", colour=1, circuit={"window": 0}))
    assert answer.status == 400
    assert answer.error["code"] == "invalid"
    assert set(answer.error["fields"]) == {"base_url", "colour", "circuit.window"}
    wrong = rule("r", when={"all": [LONG, {"fact": "tokens", "op": "gte", "value": "many"}]})
    answer = api.post("profiles/", profile("p", "nowhere", rules=[rule("q"), wrong]))
    assert set(answer.error["fields"]) == {"rules[1].when.all[1].value"}
    answer = api.post("profiles/", profile("p", "nowhere"))
    assert answer.error["fields"] == {"targets[0].provider": ["there is no provider 'nowhere'"]}


def test_a_taken_name_is_409(api: Api) -> None:
    assert api.post("providers/", provider()).status == 201
    answer = api.post("providers/", provider())
    assert (answer.status, answer.error["code"]) == (409, "conflict")
    assert Provider.objects.count() == 1


def test_deleting_what_is_needed_is_409_with_used_by(api: Api) -> None:
    actions.import_configuration(document(), actor=actor("admin"), merge=True)
    answer = api.delete("providers/beta/")
    assert answer.status == 409
    assert answer.error["used_by"] == ["profile default", "profile fast"]
    answer = api.delete("profiles/default/")
    assert "access key app" in answer.error["used_by"]
    assert Provider.objects.count() == Profile.objects.count() == 2


def test_a_new_keys_value_is_answered_once(api: Api) -> None:
    made = api.post("access-keys/", {"name": "app"})
    assert made.status == 201
    value = made.body.pop("value")
    assert value.startswith("sbx_")
    read = api.get("access-keys/app/")
    assert read.body == made.body
    assert "value" not in read.body
    assert value not in str(api.get("access-keys/").body)
    assert api.post("access-keys/", access_key("chosen")).body["value"] == access_key()["value"]


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_revoking_and_disabling_a_key_shuts_it_out_of_the_api_at_once(api: Api) -> None:
    reader = Api("read")
    assert reader.get("providers/").status == 200
    assert api.patch("access-keys/key with read/", {"enabled": False}).status == 200
    assert reader.get("providers/").status == 401
    api.patch("access-keys/key with read/", {"enabled": True, "expires": "2020-01-01T00:00:00Z"})
    assert reader.get("providers/").status == 401
    api.patch("access-keys/key with read/", {"expires": None})
    assert reader.get("providers/").status == 200
    api.delete("access-keys/key with read/")
    assert reader.get("providers/").status == 401
    assert not AccessKey.objects.filter(name="key with read").exists()


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_policy_and_prices_are_read_and_changed_with_versions(api: Api) -> None:
    policy = api.get("policy/")
    assert policy.body["default_strategy"] == "failover"
    assert api.patch("policy/", {"default_strategy": "weighted"}, if_match=policy.headers["ETag"]).status == 200
    assert api.patch("policy/", {"default_strategy": "single"}, if_match=policy.headers["ETag"]).status == 412
    wanted = {
        "enable_geo_routing": False,
        "enable_predictive": False,
        "region_priority": ["eu-west", "us"],
        "prediction_window": 7.5,
        "load_growth_factor": 1.25,
        "capacity_threshold": 90,
        "geo": {"*": "us", "de": "eu-west"},
    }
    changed = api.patch("policy/", wanted).body
    assert {name: changed[name] for name in wanted} == {**wanted, "geo": {"*": "us", "DE": "eu-west"}}
    assert changed["enable_load_balancing"] is True
    assert api.patch("policy/", {"capacity_threshold": 0, "geo": {"Germany": "eu"}}).error["fields"].keys() == {
        "capacity_threshold",
        "geo.Germany",
    }
    prices = api.patch("prices/", {"prices": {"m": {"input": 1.5}}})
    assert prices.body["prices"] == {"m": {"input": 1.5, "output": 0, "cached": None}}
    assert api.patch("prices/", {"prices": []}).status == 400
    assert api.patch("prices/", {"m": {}}).error["fields"]["m"] == ["unknown field"]


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_lists_come_in_cursor_pages_without_a_count_unless_asked(api: Api) -> None:
    for index in range(7):
        api.post("providers/", provider(f"p{index}"))
    seen: list[str] = []
    path: str | None = "providers/?limit=3"
    while path:
        page = api.get(path)
        assert set(page.body) == {"results", "next", "previous"}
        seen += [row["slug"] for row in page.body["results"]]
        path = page.body["next"].partition("/api/v1/")[2] if page.body["next"] else None
    assert seen == [f"p{index}" for index in range(7)]
    assert api.get("providers/?count=exact&limit=1").body["count"] == 7
    for wrong in ("limit=0", "limit=1001", "limit=x", "count=maybe", "cursor=%00%ff"):
        answer = api.get(f"providers/?{wrong}")
        assert answer.status in (400, 404), wrong
        assert answer.error


def test_a_list_costs_the_same_queries_however_long_it_is(api: Api) -> None:
    actions.import_configuration(document(), actor=actor("admin"), merge=True)
    paths = ("providers/", "profiles/", "access-keys/", "revisions/")
    counts = []
    for size in (0, 20):
        entries = [profile(f"q{index}", "alpha", "beta") for index in range(size)]
        keys = [access_key(f"k{index}", value=f"sbx_{index:040d}") for index in range(size)]
        more = {"profiles": entries, "providers": [provider(f"p{index}") for index in range(size)], "access_keys": keys}
        actions.import_configuration(more, actor=actor("admin"), merge=True, publish_now=True)
        api.get("providers/")
        found = []
        for path in paths:
            with CaptureQueriesContext(connection) as queries:
                assert api.get(path).status == 200
            found.append(len(queries))
        counts.append(found)
    assert counts[0] == counts[1]


@pytest.mark.parametrize("path", ["providers", "profiles", "access-keys", "revisions", "policy", "prices"])
def test_every_address_works_with_and_without_a_trailing_slash(api: Api, path: str) -> None:
    assert api.get(path).status == api.get(f"{path}/").status == 200


def test_a_post_without_a_slash_is_not_redirected(api: Api) -> None:
    assert api.post("providers", provider()).status == 201
    assert api.patch("providers/alpha", {"name": "x"}).status == 200
    assert api.delete("providers/alpha").status == 204


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "parse_error"),
        (b'{"slug": "a", "slug": "b"}', "parse_error"),
        (b'{"name": "\\u0000"}', "parse_error"),
        (b'{"name": "\\ud800"}', "parse_error"),
        (b'{"weight": NaN}', "parse_error"),
        (b"\xff", "parse_error"),
        (b"[" * 3000, "parse_error"),
        (b"[]", "invalid"),
        (b'"x"', "invalid"),
        (b"", "invalid"),
    ],
)
def test_a_body_that_is_no_json_object_is_400_in_our_shape(api: Api, body: bytes, code: str) -> None:
    response = api.client.post("/api/v1/providers/", data=body, content_type="application/json", headers=api.headers)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == code


def test_a_body_too_large_is_413_and_another_type_415(api: Api) -> None:
    response = api.client.post(
        "/api/v1/providers/", data=b" " * (5 << 20), content_type="application/json", headers=api.headers
    )
    assert response.status_code == 413
    assert response.json()["error"]["message"]
    response = api.client.post("/api/v1/providers/", data={"slug": "a"}, headers=api.headers)
    assert response.status_code == 415


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
@pytest.mark.parametrize("key", ["nothing", "%00", "..", "a" * 300, "00000000-0000-0000-0000-000000000000", "é"])
@pytest.mark.parametrize("collection", ["providers", "profiles", "access-keys", "revisions"])
def test_what_does_not_exist_is_404(api: Api, collection: str, key: str) -> None:
    answer = api.get(f"{collection}/{key}/")
    assert (answer.status, answer.error["code"]) == (404, "not_found")


def test_methods_an_address_does_not_have_are_405(api: Api) -> None:
    for method, path in (("put", "providers/"), ("post", "policy/"), ("delete", "prices/"), ("options", "providers/")):
        answer = api.call(method, path, {})
        assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")


def test_an_unknown_address_is_404_in_our_shape() -> None:
    answer = Api().get("no/such/thing")
    assert (answer.status, answer.error["code"]) == (404, "not_found")


def test_an_operator_key_drains_a_provider(api: Api) -> None:
    api.post("providers/", provider())
    operator = Api("operate")
    answer = operator.post("health/alpha/state/", {"state": "draining", "reason": "disk", "until": "2099-01-01"})
    assert answer.status == 200
    assert (answer.body["provider"], answer.body["state"], answer.body["reason"]) == ("alpha", "draining", "disk")
    assert api.get("providers/alpha/").body["admin_state"]["state"] == "draining"
    answer = operator.post("health/alpha/state", {"state": "disabled", "target": "x"})
    assert answer.error["fields"] == {"target": ["must be the id of a target"]}
    assert operator.post("health/nobody/state/", {"state": "active"}).status == 404
    assert operator.post("health/alpha/state/", {"state": "asleep"}).status == 400


@pytest.mark.django_db
def test_a_post_to_no_address_is_told_so_in_json_whoever_sends_it() -> None:
    """Django's own refusal of a POST without CSRF token is a page."""
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/api/v1/nothing/", data={}, content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
