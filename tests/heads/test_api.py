"""``/api/v1/heads/`` and ``/webhook/head-status``: shapes of the contract, who may what, and every refusal."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from django.db import OperationalError, connection
from django.test import Client
from jsonschema import Draft202012Validator

from health.models import Head
from routing_project.console import webhooks
from tests.control.api import Answer, Api
from tests.heads.conftest import committed, register, registration, silence

if TYPE_CHECKING:
    from routes.live import SharedLiveState
    from routing_project.env import Env

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("provider")]

SECRET = "a secret of at least a few letters"


@pytest.fixture
def api() -> Api:
    with committed():
        return Api("operate")


@cache
def schema() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((Path(__file__).parent.parent / "control" / "openapi.yaml").read_text())
    return document


def conforms(answer: Answer, method: str, path: str) -> None:
    """The answer is what the OpenAPI document says it is."""
    responses = schema()["paths"][f"/api/v1{path}"][method]["responses"]
    told = responses.get(str(answer.status), responses["default"])["content"]["application/json"]["schema"]
    problems = Draft202012Validator({**schema(), "told": told, "$ref": "#/told"}).iter_errors(answer.body)
    assert [problem.message for problem in problems] == []


def test_the_first_registration_is_201_and_every_other_200(api: Api) -> None:
    first = api.post("heads/", registration("gpu.7:a-eu", capacity=64))
    assert (first.status, first.body) == (
        201,
        {"head_id": "gpu.7:a-eu", "generation": 1, "ttl": 15, "status": "active", "approved": True},
    )
    conforms(first, "post", "/heads/")
    again = api.post("heads", registration("gpu.7:a-eu"))
    assert (again.status, again.body["generation"]) == (200, 2)
    conforms(again, "post", "/heads/")


def test_a_head_reports_is_read_is_listed_and_leaves(api: Api) -> None:
    with committed():
        api.post("heads/", registration("one", capacity=64))
        api.post("heads/", registration("two-eu", endpoint="http://10.99.0.1/v1"))
        told = api.patch("heads/one/status/", {"status": "draining", "load": 12, "generation": 1})
    assert (told.status, told.body["status"]) == (200, "draining")
    conforms(told, "patch", "/heads/{head_id}/status/")
    one = api.get("heads/one/")
    assert (one.body["status"], one.body["load"], one.body["approved"]) == ("draining", 12, True)
    conforms(one, "get", "/heads/{head_id}/")
    listed = api.get("heads/?count=exact")
    assert [head["head_id"] for head in listed.body["results"]] == ["one", "two-eu"]
    assert listed.body["count"] == 2
    conforms(listed, "get", "/heads/")
    page = api.get("heads/?limit=1")
    following = api.get(page.body["next"].partition("/api/v1/")[2])
    assert [head["region"] for head in following.body["results"]] == ["eu"]
    assert [head["head_id"] for head in api.get("heads/?approved=false").body["results"]] == ["two-eu"]
    assert api.get("heads/?provider=other").body["results"] == []
    approved = api.post("heads/two-eu/approve/")
    assert (approved.status, approved.body["approved"]) == (200, True)
    conforms(approved, "post", "/heads/{head_id}/approve/")
    assert api.delete("heads/one/?generation=7").error["code"] == "stale_generation"
    assert api.delete("heads/one").status == 204
    assert api.get("heads/one/").status == 404


def test_an_offline_head_says_so_whatever_it_reported(api: Api, host: SharedLiveState) -> None:
    silence(host, register())
    head = api.get("heads/one/").body
    assert (head["status"], head["liveness"], head["reported_status"]) == ("offline", "offline", "active")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("post", "heads/", {}, 400, "invalid"),
        ("post", "heads/", [], 400, "invalid"),
        ("post", "heads/", {"head_id": "x", "provider": "nobody", "endpoint": "http://10.20.0.1"}, 400, "invalid"),
        ("patch", "heads/one/status/", {"status": "asleep", "load": 1}, 400, "invalid"),
        ("patch", "heads/one/status/", {"status": "active", "load": 1, "generation": 1}, 409, "stale_generation"),
        ("patch", "heads/nobody/status/", {"status": "active", "load": 1}, 404, "head_not_found"),
        ("patch", "heads/a%00b/status/", {"status": "active", "load": 1}, 404, "head_not_found"),
        ("get", "heads/nobody/", None, 404, "head_not_found"),
        ("get", "heads/?approved=perhaps", None, 400, "invalid"),
        ("get", "heads/?provider=%00", None, 400, "invalid"),
        ("post", "heads/nobody/approve/", None, 404, "head_not_found"),
        ("delete", "heads/nobody/", None, 404, "head_not_found"),
        ("delete", "heads/one/?generation=many", None, 400, "invalid"),
        ("put", "heads/one/", {}, 405, "method_not_allowed"),
    ],
)
def test_refusals_have_one_shape(api: Api, method: str, path: str, body: Any, status: int, code: str) -> None:
    register()
    register()
    answer = api.call(method, path, body)
    assert (answer.status, answer.error["code"]) == (status, code)


def test_reading_needs_read_and_acting_operate() -> None:
    register()
    with committed():
        reader, router = Api("read"), Api("route")
    said = {"status": "active", "load": 1}
    assert reader.get("heads/").status == reader.get("heads/one/").status == 200
    for api, refused in ((reader, 403), (router, 403), (Api(), 401)):
        answers = [
            api.post("heads/", registration()),
            api.patch("heads/one/status/", said),
            api.post("heads/one/approve/"),
            api.delete("heads/one/"),
        ]
        assert [answer.status for answer in answers] == [refused] * 4
    assert router.get("heads/").status == 403
    assert Head.objects.get().generation == 1


def test_a_flood_is_429_with_retry_after(api: Api) -> None:
    register()
    answers = [api.patch("heads/one/status/", {"status": "active", "load": 1}) for _ in range(30)]
    refused = [answer for answer in answers if answer.status == 429]
    assert len(answers) - len(refused) >= 10
    assert refused
    assert {answer.error["code"] for answer in refused} == {"throttled"}
    assert refused[0].headers["Retry-After"] == "1"


def test_a_heartbeat_over_rest_costs_no_query_and_needs_no_database(api: Api) -> None:
    register()

    def refuse(*_: Any) -> Any:
        raise OperationalError("could not connect to server: Connection refused")

    with connection.execute_wrapper(refuse):
        assert api.patch("heads/one/status/", {"status": "active", "load": 3}).status == 200
        assert api.patch("heads/one/status/", {"status": "active", "load": 3, "generation": 9}).status == 409
        away = api.post("heads/", registration("two"))
        assert (away.status, away.error["code"]) == (503, "database_unavailable")
        unknown = api.patch("heads/two/status/", {"status": "active", "load": 3})
        assert (unknown.status, unknown.headers["Retry-After"]) == (503, "10")


def test_while_the_database_is_away_everything_else_says_so_in_the_shape_of_the_api(api: Api, secret: str) -> None:
    def refuse(*_: Any) -> Any:
        raise OperationalError('connection to server at "db.internal", user "signalbox" failed')

    with connection.execute_wrapper(refuse):
        answers = [api.get(path) for path in ("health/", "circuits/", "health/events/", "alerts/", "providers/")]
        answers.append(hook({"route_type": "inference"}, path="/webhook/routing-decision"))
    for answer in answers:
        assert (answer.status, answer.error["code"]) == (503, "database_unavailable")
        assert answer.headers["Retry-After"] == "2"
        assert "db.internal" not in str(answer.body)


def test_a_revoked_key_keeps_no_head_alive(api: Api) -> None:
    from routes import actions
    from routes.models import AccessKey
    from tests.heads.conftest import ADMIN

    register()
    key = AccessKey.objects.get(name="key with operate")
    with committed():
        actions.update_access_key(key, {"enabled": False}, actor=ADMIN)
    assert api.patch("heads/one/status/", {"status": "active", "load": 3}).status == 401


# -- webhooks ------------------------------------------------------------------------------------------------
@pytest.fixture
def secret(env: Env, monkeypatch: pytest.MonkeyPatch) -> str:
    from routing_project.env import get_env

    monkeypatch.setenv("SIGNALBOX_WEBHOOK_SECRET", SECRET)
    get_env.cache_clear()
    webhooks.seen.cache_clear()
    webhooks.calls.cache_clear()
    return SECRET


def hook(document: Any, *, at: float = 0.0, secret: str = SECRET, path: str = "/webhook/head-status") -> Answer:
    body, timestamp = json.dumps(document).encode(), str(int(time.time() + at))
    headers = {"X-Signalbox-Timestamp": timestamp, "X-Signalbox-Signature": webhooks.sign(secret, timestamp, body)}
    answer = Client().post(path, body, content_type="application/json", headers=headers)
    return Answer(answer.status_code, answer.json(), answer.headers)


@pytest.mark.usefixtures("secret")
def test_a_head_lives_by_signed_messages(host: SharedLiveState) -> None:
    with committed():
        made = hook({"action": "register", **registration()})
    assert (made.status, made.body["success"], made.body["generation"]) == (200, True, 1)
    beat = hook({"head_id": "one", "status": "draining", "load": 4, "generation": 1})
    assert (beat.status, beat.body["success"], beat.body["status"]) == (200, True, "draining")
    assert hook({"head_id": "nobody", "status": "active", "load": 4}).error["code"] == "head_not_found"
    assert hook({"head_id": "one", "status": "active", "load": 4, "generation": 9}).status == 409
    assert hook({"action": "approve", "head_id": "one"}).status == 400
    assert hook({"action": "deregister", "head_id": "one"}).body == {
        "success": True,
        "message": "deregistered",
        "head_id": "one",
    }
    assert Head.objects.count() == 0


@pytest.mark.usefixtures("secret")
def test_messages_that_are_not_signed_by_us_or_not_fresh_are_401() -> None:
    register()
    said = {"head_id": "one", "status": "active", "load": 4}
    assert hook(said, secret="another").status == 401
    assert hook(said, at=-301).status == 401
    assert hook(said).status == 200
    assert hook(said).status == 401  # seen before


def test_without_a_secret_webhooks_are_off() -> None:
    assert hook({"head_id": "one", "status": "active", "load": 4}).error["code"] == "webhooks_disabled"
