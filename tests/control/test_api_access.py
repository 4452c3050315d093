"""Who may call what: scopes of keys, roles of people, CSRF, and the errors for everybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client
from rest_framework.settings import api_settings
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from routes import actions, live
from routes.api.throttling import CallerThrottle
from routes.engine.local_live import LocalLiveState
from routes.models import Provider
from tests.control.api import Api
from tests.control.conftest import actor
from tests.control.samples import profile, provider, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.control.api import Answer

pytestmark = pytest.mark.django_db

READ, OPERATE, ADMIN = "read", "operate", "admin"
#: method, path, body, the scope it needs, the status it then has
CALLS: list[tuple[str, str, Any, str, int]] = [
    ("get", "providers/", None, READ, 200),
    ("get", "providers/alpha/", None, READ, 200),
    ("post", "providers/", provider("beta"), ADMIN, 201),
    ("patch", "providers/alpha/", {"name": "x"}, ADMIN, 200),
    ("delete", "providers/alpha/", None, ADMIN, 204),
    ("get", "profiles/", None, READ, 200),
    ("post", "profiles/", {"slug": "p", "name": "P", "targets": []}, ADMIN, 201),
    ("patch", "profiles/default/", {"name": "x"}, ADMIN, 200),
    ("delete", "profiles/default/", None, ADMIN, 204),
    ("get", "rules/", None, READ, 200),
    ("get", "rules/long/?profile=default", None, READ, 200),
    ("post", "rules/", {"profile": "default", **rule("new")}, ADMIN, 201),
    ("patch", "rules/long/?profile=default", {"enabled": False}, ADMIN, 200),
    ("delete", "rules/long/?profile=default", None, ADMIN, 204),
    ("get", "affinity/", None, READ, 200),
    ("delete", "affinity/?profile=default", None, OPERATE, 200),
    ("get", "access-keys/", None, READ, 200),
    ("post", "access-keys/", {"name": "k"}, ADMIN, 201),
    ("patch", "access-keys/spare/", {"enabled": False}, ADMIN, 200),
    ("delete", "access-keys/spare/", None, ADMIN, 204),
    ("get", "users/", None, READ, 200),
    ("get", "users/linus/", None, READ, 200),
    ("post", "users/", {"username": "new", "password": "correct horse battery"}, ADMIN, 201),
    ("patch", "users/linus/", {"roles": ["Viewer"]}, ADMIN, 200),
    ("delete", "users/linus/", None, ADMIN, 204),
    ("get", "roles/", None, READ, 200),
    ("get", "policy/", None, READ, 200),
    ("patch", "policy/", {}, ADMIN, 200),
    ("get", "prices/", None, READ, 200),
    ("patch", "prices/", {"prices": {}}, ADMIN, 200),
    ("get", "revisions/", None, READ, 200),
    ("get", "revisions/1/", None, READ, 200),
    ("get", "revisions/1/diff/", None, READ, 200),
    ("post", "revisions/", {}, ADMIN, 201),
    ("post", "revisions/1/rollback/", {}, ADMIN, 201),
    ("post", "health/alpha/state/", {"state": "draining"}, OPERATE, 200),
]
HELD = {"route": set(), READ: {READ}, OPERATE: {READ, OPERATE}, ADMIN: {READ, OPERATE, ADMIN}}
ROLES = {"Viewer": READ, "Operator": OPERATE, "Admin": ADMIN}


@pytest.fixture(autouse=True)
def configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    state = LocalLiveState()
    monkeypatch.setattr(live, "current", lambda: state)
    root = actor("admin")
    actions.create_provider(provider(), actor=root)
    actions.create_profile(profile("default", rules=[rule("long")]), actor=root)
    actions.create_access_key({"name": "spare", "scopes": ["read"]}, actor=root)
    User.objects.create_user("linus")
    actions.publish(actor=root)


def every_call(api: Api) -> Iterator[tuple[str, Answer, str, int]]:
    """Each of them with what it is, its answer, and the scope and status it has; none changes anything for the next."""
    for method, path, body, needs, status in CALLS:
        with transaction.atomic():
            yield f"{method} {path}", api.call(method, path, body), needs, status
            transaction.set_rollback(True)


@pytest.mark.parametrize("scope", ["route", READ, OPERATE, ADMIN])
def test_a_key_may_do_what_its_scope_says_and_nothing_else(scope: str) -> None:
    for call, answer, needs, status in every_call(Api(scope)):
        if needs in HELD[scope]:
            assert answer.status == status, call
        else:
            assert (answer.status, answer.error["code"]) == (403, "permission_denied"), call
            assert needs in answer.error["message"], call


def test_nobody_gets_anything_without_a_key_or_session() -> None:
    for call, answer, _needs, _status in every_call(Api()):
        assert (answer.status, answer.error["code"]) == (401, "unauthenticated"), call
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), call


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_the_scope_of_the_same_rank(role: str) -> None:
    user = User.objects.create_user("grace")
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    for call, answer, needs, status in every_call(Api(client=client)):
        assert answer.status == (status if needs in HELD[ROLES[role]] else 403), call


def test_a_person_without_a_role_may_do_nothing_and_a_superuser_everything() -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody"))
    assert Api(client=client).get("providers/").status == 403
    client.force_login(User.objects.create_superuser("root"))
    assert Api(client=client).post("providers/", provider("beta")).status == 201


def test_a_person_who_was_deactivated_is_out_at_once() -> None:
    user = User.objects.create_superuser("root")
    client = Client()
    client.force_login(user)
    User.objects.update(is_active=False)
    assert Api(client=client).get("providers/").status == 401


def test_a_change_by_session_needs_the_csrf_token_and_a_key_does_not() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    answer = Api(client=client).post("providers/", provider("beta"))
    assert (answer.status, answer.error["code"]) == (403, "permission_denied")
    assert not Provider.objects.filter(slug="beta").exists()
    assert Api(client=client).get("providers/").status == 200
    keyed = Api("admin", client=Client(enforce_csrf_checks=True))
    assert keyed.post("providers/", provider("beta")).status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sbx_" + "0" * 40},
        {"authorization": "Bearer "},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer é"},
        {"authorization": "nonsense"},
    ],
)
def test_a_key_we_do_not_know_is_401(headers: dict[str, str]) -> None:
    assert Api().get("providers/", **headers).error["code"] == "unauthenticated"


def test_two_different_credentials_in_one_request_are_401() -> None:
    api = Api("read")
    assert api.get("providers/", x_api_key="sbx_" + "1" * 40).status == 401
    same = api.headers["authorization"].removeprefix("Bearer ")
    assert api.get("providers/", x_api_key=same).status == 200


def test_a_session_does_not_rescue_a_wrong_key() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    assert Api(client=client).get("providers/", authorization="Bearer sbx_" + "0" * 40).status == 401


def test_a_view_that_names_no_permission_answers_nobody() -> None:
    class Forgotten(APIView):
        def get(self, request: Any) -> Any:
            raise AssertionError("reached")

    request = APIRequestFactory().get("/")
    request.user = User.objects.create_superuser("root")
    response = Forgotten.as_view()(request)
    assert response.status_code in (401, 403)
    assert [each.__name__ for each in api_settings.DEFAULT_PERMISSION_CLASSES] == ["DenyAll"]


def test_too_many_calls_are_429_with_retry_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallerThrottle, "get_rate", lambda self: "2/min")
    api, other = Api("read"), Api("operate")
    assert [api.get("policy/").status for _ in range(3)] == [200, 200, 429]
    answer = api.get("policy/")
    assert answer.error["code"] == "throttled"
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert other.get("policy/").status == 200, "one caller's calls are not another's"


def test_the_three_roles_are_there_after_migrate_and_each_includes_the_one_before() -> None:
    held = {role: set(Group.objects.get(name=role).permissions.values_list("codename", flat=True)) for role in ROLES}
    assert held["Viewer"] < held["Operator"] < held["Admin"]
    assert {"view_provider", "view_configrevision", "view_auditentry", "control_read"} <= held["Viewer"]
    assert not any(codename.startswith(("add_", "change_", "delete_")) for codename in held["Operator"])
    assert {"change_provider", "add_accesskey", "control_admin", "change_user"} <= held["Admin"]
    assert not {"change_auditentry", "delete_auditentry", "change_configrevision"} & held["Admin"]
