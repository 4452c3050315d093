"""People over REST: who may make whom, what an answer shows, and an installation always keeps an admin."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.hashers import get_hasher
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import connection, connections, transaction
from django.forms.models import model_to_dict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routes import actions
from routes.actions import Actor, users
from routes.actions.errors import ActionError, Conflict, Forbidden, Invalid, StaleVersion
from routes.models import AuditEntry
from routes.scopes import SCOPES
from routing_project.console.sockets.access import Refused, identify
from tests.control.api import Api
from tests.control.conftest import actor, both_databases
from tests.control.test_document import json_values

__all__ = ["both_databases"]
pytestmark = pytest.mark.django_db

SECRET = "correct horse battery"
COMMAND = Actor.command("tests")


def person(name: str, *roles: str, **fields: Any) -> User:
    tree = {"username": name, "password": SECRET, "roles": list(roles), **fields}
    return actions.create_user(tree, actor=COMMAND)


def as_user(user: User) -> Actor:
    return Actor("user", user.username, str(user.pk), frozenset(SCOPES))


def session_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def entries() -> list[tuple[str, str, Any]]:
    found = AuditEntry.objects.filter(object_type="user").order_by("pk")
    return [(entry.action, entry.object_name, entry.changes) for entry in found]


def test_a_user_is_made_changed_and_deleted_and_each_is_on_record_once() -> None:
    api = Api("admin")
    made = api.post(
        "users/", {"username": "grace", "password": SECRET, "email": "grace@example.com", "roles": ["Operator"]}
    )
    assert made.status == 201
    assert "password" not in made.body
    assert (made.body["username"], made.body["roles"], made.body["is_active"]) == ("grace", ["Operator"], True)
    assert made.headers["ETag"] == f'"{made.body["version"]}"'
    user = User.objects.get(username="grace")
    assert user.check_password(SECRET)
    assert user.is_staff, "who has an account may log in"
    changed = api.patch("users/grace/", {"roles": ["Viewer"], "first_name": "Grace"})
    assert (changed.status, changed.body["roles"], changed.body["id"]) == (200, ["Viewer"], made.body["id"])
    assert api.patch(f"users/{user.pk}/", {"password": "another long one"}).status == 200
    assert api.delete("users/grace/").status == 204
    assert api.get("users/grace/").status == 404
    created, updated, password, deleted = entries()
    assert created[:2] == ("user.created", "grace")
    assert (created[2]["roles"], created[2]["password"]) == ([None, ["Operator"]], "changed")
    assert updated == ("user.updated", "grace", {"roles": [["Operator"], ["Viewer"]], "first_name": "changed"})
    assert password == ("user.updated", "grace", {"password": "changed"})
    assert deleted[:2] == ("user.deleted", "grace")
    told = json.dumps([model_to_dict(entry) for entry in AuditEntry.objects.all()], default=str)
    assert SECRET not in told
    assert user.password not in told
    assert "grace@example.com" not in told, "viewers read it, and nothing is ever taken out of it"


def test_what_was_read_may_be_sent_back_whole_and_changes_nothing() -> None:
    api = Api("admin")
    person("grace", "Viewer")
    read = api.get("users/grace/").body
    before = AuditEntry.objects.count()
    User.objects.update(last_login="2026-11-20T08:00:00Z")
    answer = api.patch("users/grace/", read)
    assert (answer.status, answer.body["version"]) == (200, read["version"]), "a login is no change"
    assert AuditEntry.objects.count() == before


def test_a_stale_version_is_412_whatever_was_changed_meanwhile() -> None:
    api = Api("admin")
    user = person("grace", "Viewer")
    tag = api.get("users/grace/").headers["ETag"]
    for changes in ({"roles": ["Operator"]}, {"password": "another long one"}, {"last_name": "Hopper"}):
        actions.update_user(user, changes, actor=COMMAND)
        for answer in (
            api.patch("users/grace/", {"email": "g@example.com"}, if_match=tag),
            api.delete("users/grace/", if_match=tag),
        ):
            assert (answer.status, answer.error["code"]) == (412, "stale_version")
        tag = api.get("users/grace/").headers["ETag"]
    assert api.patch("users/grace/", {"email": "g@example.com"}, if_match=tag).status == 200
    with pytest.raises(StaleVersion):
        actions.update_user(user, {"email": ""}, actor=COMMAND, version=int(tag.strip('"')))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"password": "short"}, "password"),
        ({"password": "password123"}, "password"),
        ({"password": None, "username": "x"}, "password"),
        ({"username": ""}, "username"),
        ({"username": "two words"}, "username"),
        ({"username": "ﷺ"}, "username"),
        ({"username": 7}, "username"),
        ({"email": "nobody"}, "email"),
        ({"first_name": "x" * 151}, "first_name"),
        ({"roles": ["Nobody"]}, "roles[0]"),
        ({"roles": ["Viewer", "Viewer"]}, "roles"),
        ({"roles": "Viewer"}, "roles"),
        ({"is_active": "yes"}, "is_active"),
        ({"is_staff": False}, "is_staff"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(changes: dict[str, Any], field: str) -> None:
    answer = Api("admin").post("users/", {"username": "grace", "password": SECRET, **changes})
    assert (answer.status, list(answer.error["fields"])) == (400, [field])
    assert not User.objects.exists()
    assert entries() == []


def test_what_no_database_or_hash_could_take_is_refused_by_name() -> None:
    wrong = {"password": "\ud800" * 12, "username": "a\x00", "email": "a@b\x00.c", "last_name": "\x00"}
    for field, value in wrong.items():
        with pytest.raises(Invalid) as refused:
            person(**{"name": "grace", field: value} if field != "username" else {"name": value})
        assert list(refused.value.fields) == [field]


def test_a_name_is_taken_in_whatever_case() -> None:
    person("grace")
    person("ada")
    api = Api("admin")
    for answer in (
        api.post("users/", {"username": "Grace", "password": SECRET}),
        api.patch("users/ada/", {"username": "GRACE"}),
    ):
        assert (answer.status, answer.error["fields"]) == (409, {"username": ["is taken"]})
    assert api.patch("users/grace/", {"username": "Grace"}).status == 200


def test_personal_details_are_for_admins_and_for_oneself() -> None:
    grace = person("grace", "Viewer", email="grace@example.com", first_name="Grace")
    person("ada", "Viewer", email="ada@example.com")
    own = Api(client=session_of(grace))
    assert own.get("users/grace/").body["email"] == "grace@example.com"
    rows = {row["username"]: row for row in Api("read").get("users/").body["results"]}
    assert {name: row["roles"] for name, row in rows.items()} == {"ada": ["Viewer"], "grace": ["Viewer"]}
    for row in (*rows.values(), own.get("users/ada/").body):
        assert [row[name] for name in ("email", "first_name", "last_name", "last_login")] == [None] * 4
    assert Api("admin").get("users/ada/").body["email"] == "ada@example.com"


def test_nobody_but_a_superuser_makes_or_touches_one() -> None:
    chief, plain = person("chief", is_superuser=True), person("plain", "Admin")
    before = entries()
    for api in (Api("admin"), Api(client=session_of(plain))):
        for answer in (
            api.post("users/", {"username": "eve", "password": SECRET, "is_superuser": True}),
            api.patch("users/plain/", {"is_superuser": True}),
            api.patch("users/chief/", {"password": "mine from now on"}),
            api.patch("users/chief/", {"is_superuser": False}),
            api.patch("users/chief/", {"is_active": False}),
            api.delete("users/chief/"),
        ):
            assert (answer.status, answer.error["code"]) == (403, "permission_denied")
    assert entries() == before
    boss = Api(client=session_of(chief))
    assert boss.patch("users/plain/", {"is_superuser": True}).status == 200
    assert Api(client=session_of(plain)).patch("users/chief/", {"first_name": "R"}).status == 200


def test_the_last_admin_who_can_log_in_stays_one() -> None:
    ada = person("ada", "Admin")
    gone = person("gone", "Admin", is_active=False)
    locked = person("locked", is_superuser=True)
    locked.set_unusable_password()
    locked.save()
    before = entries()
    api = Api("admin")
    for answer in (
        api.patch("users/ada/", {"roles": ["Operator"]}),
        api.patch("users/ada/", {"is_active": False}),
        api.delete("users/ada/"),
    ):
        assert answer.status == 409
        assert "give another user the role Admin first" in answer.error["message"]
    assert entries() == before
    assert User.objects.get(pk=ada.pk).groups.get().name == "Admin"
    assert api.patch(f"users/{gone.pk}/", {"is_active": True}).status == 200
    assert api.patch("users/ada/", {"roles": ["Operator"]}).status == 200
    assert api.delete("users/gone/").status == 409


def test_nobody_deletes_his_own_account() -> None:
    person("chief", is_superuser=True)
    ada = person("ada", "Admin")
    answer = Api(client=session_of(ada)).delete("users/ada/")
    assert (answer.status, answer.error["code"]) == (409, "conflict")
    assert User.objects.filter(pk=ada.pk).exists()


def test_a_new_password_or_the_end_of_an_account_ends_the_sessions() -> None:
    for change in ({"password": "another long one"}, {"is_active": False}):
        grace, other = person("grace", "Viewer"), person("other", "Viewer")
        mine, others = Api(client=session_of(grace)), Api(client=session_of(other))
        assert mine.get("users/").status == 200
        cookie = f"sessionid={mine.client.cookies['sessionid'].value}"
        headers = {"host": "testserver", "origin": "http://testserver", "cookie": cookie}
        handshake = {
            "type": "websocket",
            "path": "/ws/live",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        assert identify(handshake, frozenset({"read"})).name == "grace"
        actions.update_user(grace, change, actor=COMMAND)
        with pytest.raises(Refused) as refused:  # what is open is looked up like this every second
            identify(handshake, frozenset({"read"}))
        assert refused.value.status == 401
        assert mine.get("users/").status == 401
        assert others.get("users/").status == 200
        for user in (grace, other):
            actions.delete_user(user, actor=COMMAND)


def test_an_account_that_is_switched_on_again_does_not_bring_its_old_sessions_back(
    django_capture_on_commit_callbacks: Any,
) -> None:
    grace, other = person("grace", "Viewer"), person("other", "Viewer")
    others = Api(client=session_of(other))
    for ended in ({"is_active": False}, {"is_active": True}):  # also when the process died before it came to it
        client = session_of(grace)
        if ended["is_active"]:
            User.objects.filter(pk=grace.pk).update(is_active=False)
        with django_capture_on_commit_callbacks(execute=True):
            actions.update_user(grace, ended, actor=COMMAND)
            assert Session.objects.count() == 2, "reading all sessions is not for when everybody waits"
        assert Session.objects.count() == 1
        actions.update_user(grace, {"is_active": True}, actor=COMMAND)
        assert Api(client=client).get("users/").status == 401
        assert others.get("users/").status == 200


@pytest.mark.parametrize("name", ["Ada Lovelace", "Grace"])
def test_an_account_from_before_the_rules_can_be_changed_without_another_name(name: str) -> None:
    old = Group.objects.create(name="O" * 70)
    user = User.objects.create_user(name, email="no address", is_staff=True)
    user.groups.add(old)
    User.objects.create_user("grace")
    api, address = Api("admin"), f"users/{user.pk}/"
    whole = api.get(address).body
    for changes in (
        {"roles": ["Viewer", old.name]},
        {"password": "another long one"},
        {**whole, "first_name": "A"},
        {"is_active": False},
    ):
        answer = api.patch(address, {key: value for key, value in changes.items() if key != "version"})
        assert answer.status == 200, answer.body
    actions.change_own_password(user, "one more long one", actor=as_user(user))
    user.refresh_from_db()
    assert (user.username, user.first_name, user.is_active) == (name, "A", False)
    assert user.check_password("one more long one")
    assert api.patch(address, {"username": "GRACE"}).status == 409
    assert api.patch(address, {"username": "a b"}).status == 400
    assert api.patch(address, {"email": "no address either"}).status == 400
    assert api.patch(address, {"username": "ada"}).status == 200


def test_no_password_is_hashed_while_everybody_waits_for_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    depths: list[int] = []
    hasher = type(get_hasher())
    encode = hasher.encode

    def watched(self: Any, password: str, salt: str) -> str:
        depths.append(len(connection.savepoint_ids))
        return str(encode(self, password, salt))

    monkeypatch.setattr(hasher, "encode", watched)
    outside = len(connection.savepoint_ids)
    actions.first_admin("root", SECRET, actor=COMMAND)
    grace = person("grace")
    actions.update_user(grace, {"password": "another long one"}, actor=COMMAND)
    actions.change_own_password(grace, "one more long one", actor=as_user(grace))
    assert depths == [outside] * 4
    assert User.objects.get(pk=grace.pk).check_password("one more long one")


def test_a_password_of_ones_own_is_changed_by_oneself_only() -> None:
    grace, ada = person("grace"), person("ada", "Admin")
    with pytest.raises(Forbidden):
        actions.change_own_password(grace, SECRET, actor=as_user(ada))
    with pytest.raises(ActionError) as refused:
        actions.change_own_password(grace, "short", actor=as_user(grace))
    assert list(refused.value.fields) == ["password"]
    actions.change_own_password(grace, "another long one", actor=as_user(grace))
    assert entries()[-1] == ("user.password", "grace", {"password": "changed"})
    assert User.objects.get(pk=grace.pk).check_password("another long one")


def test_roles_are_told_with_their_scopes_and_how_many_have_them() -> None:
    Group.objects.create(name="Old hands")
    person("grace", "Operator", "Old hands")
    answer = Api("read").get("roles/")
    assert [(role["name"], role["scopes"], role["users"]) for role in answer.body["results"]] == [
        ("Viewer", ["read"], 0),
        ("Operator", ["read", "operate"], 1),
        ("Admin", ["read", "operate", "admin"], 0),
        ("Old hands", [], 1),
    ]


def test_only_a_group_that_nobody_has_and_that_is_no_role_of_ours_can_be_removed() -> None:
    old = Group.objects.create(name="Old hands")
    person("grace", "Old hands")
    with pytest.raises(Conflict) as refused:
        actions.delete_role(old, actor=actor("admin"))
    assert refused.value.fields == {"used_by": ["user grace"]}
    with pytest.raises(Conflict):
        actions.delete_role(Group.objects.get(name="Viewer"), actor=actor("admin"))
    actions.update_user(User.objects.get(), {"roles": []}, actor=COMMAND)
    actions.delete_role(old, actor=actor("admin"))
    assert AuditEntry.objects.latest("pk").action == "role.deleted"
    assert Group.objects.count() == 3


def test_a_page_of_users_costs_the_same_queries_however_many_there_are() -> None:
    api = Api("read")

    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert api.get("users/").status == 200
        return len(captured)

    person("grace", "Viewer")
    cost()
    before = cost()
    for number in range(20):
        person(f"user{number}", "Operator")
    assert cost() == before
    first = api.get("users/?limit=20&count=exact").body
    assert (len(first["results"]), first["count"]) == (20, 21)
    assert [row["username"] for row in api.get(first["next"].partition("/api/v1/")[2]).body["results"]] == ["user9"]


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_the_rules_hold_on_both_databases() -> None:
    ada, chief = person("ada", "Admin"), person("chief", is_superuser=True)
    assert set(users.admins()) == {ada, chief}
    actions.delete_user(chief, actor=COMMAND)
    with pytest.raises(Conflict), transaction.atomic():
        actions.update_user(ada, {"is_active": False}, actor=COMMAND)
    with pytest.raises(Conflict), transaction.atomic():
        person("ADA")
    assert connections["default"].vendor in ("sqlite", "postgresql")


ACCOUNT: dict[str, Any] = {"username": "new", "password": SECRET, "roles": ["Viewer"]}


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(value=json_values, field=st.sampled_from([*ACCOUNT, "email", "first_name", "is_active", "is_superuser", "x"]))
def test_any_json_in_any_field_is_taken_or_a_400_that_names_it(value: Any, field: str) -> None:
    with transaction.atomic():
        person("grace", "Viewer")
        api = Api("admin")
        bodies = [("post", "users/", {**ACCOUNT, field: value}), ("patch", "users/grace/", {field: value})]
        for method, path, body in bodies:
            answer = api.call(method, path, body)
            if answer.status == 400:
                assert answer.error["code"] == "parse_error" or answer.error["fields"], (path, body)
            else:
                assert answer.status in (200, 201, 403, 409), (path, body)
        transaction.set_rollback(True)
