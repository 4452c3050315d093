"""Users and roles in the console: the same actions as over REST, refusals at their fields, a password nowhere."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.forms.models import model_to_dict
from django.test import Client

from routes import actions
from routes.actions import Actor
from routes.models import AuditEntry
from tests.admin.conftest import ADA, PASSWORD, filled, person, text

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db

SECRET = "correct horse battery"
LIST = "/admin/auth/user/"


@pytest.fixture(autouse=True)
def entries_before(request: pytest.FixtureRequest) -> Iterator[None]:
    cache.clear()
    yield
    told = [json.dumps(model_to_dict(entry), default=str) for entry in AuditEntry.objects.all()]
    assert all(SECRET not in each for each in told)


def changes() -> list[tuple[str, str, Any]]:
    """What is on record."""
    found = AuditEntry.objects.order_by("pk")
    return [(entry.action, entry.object_name, entry.changes) for entry in found]


def grace(role: str = "Viewer") -> tuple[User, str]:
    """(somebody, the address of her page)."""
    person(role, "grace")
    user = User.objects.get(username="grace")
    return user, f"{LIST}{user.pk}/"


def test_a_new_user_is_on_record_without_the_password(admin: Client) -> None:
    answer = admin.post(
        f"{LIST}add/", {"username": "grace", "password": SECRET, "again": SECRET, "roles": ["Operator"]}
    )
    assert answer.status_code == 302
    ((action, name, told),) = changes()
    assert (action, name) == ("user.created", "grace")
    assert (told["roles"], told["password"]) == ([None, ["Operator"]], "changed")
    user = User.objects.get(username="grace")
    assert user.check_password(SECRET)
    assert (user.is_staff, user.is_active) == (True, True)


def test_no_report_of_an_error_shows_a_password_that_was_sent(admin: Client) -> None:
    _, page = grace()
    stranger = Client()
    for client, address in (
        (admin, f"{LIST}add/"),
        (admin, f"{page}password/"),
        (admin, "/admin/password_change/"),
        (stranger, "/admin/login/"),
    ):
        request = client.post(address, {}).wsgi_request
        assert getattr(request, "sensitive_post_parameters", None) == "__ALL__", address


def test_another_role_and_a_new_password_are_on_record(admin: Client) -> None:
    user, page = grace()
    form = admin.get(f"{page}change/")
    assert admin.post(f"{page}change/", filled(form, roles=["Operator"])).status_code == 302
    assert admin.post(f"{page}password/", {"password": SECRET, "again": SECRET}).status_code == 302
    assert changes() == [
        ("user.updated", "grace", {"roles": [["Viewer"], ["Operator"]]}),
        ("user.updated", "grace", {"password": "changed"}),
    ]
    user.refresh_from_db()
    assert user.check_password(SECRET)


def test_a_deleted_user_is_on_record(admin: Client) -> None:
    user, page = grace()
    assert "Delete grace" in text(asked := admin.get(f"{page}delete/"))
    assert admin.post(f"{page}delete/", {"version": asked.context["version"]}).status_code == 302
    assert [change[:2] for change in changes()] == [("user.deleted", "grace")]
    assert not User.objects.filter(pk=user.pk).exists()


def test_whom_somebody_has_changed_meanwhile_is_not_deleted(admin: Client) -> None:
    user, page = grace()
    seen = admin.get(f"{page}delete/").context["version"]
    actions.update_user(user, {"roles": ["Admin"]}, actor=ADA)
    for version in (seen, "abc", "²", "9" * 5000, ""):
        answer = admin.post(f"{page}delete/", {"version": version}, follow=True)
        assert "was changed by somebody else" in text(answer)
    assert User.objects.filter(pk=user.pk).exists()
    assert [change[0] for change in changes()] == ["user.updated"]


def test_saving_what_is_there_leaves_no_entry(admin: Client) -> None:
    _, page = grace()
    assert admin.post(f"{page}change/", filled(admin.get(f"{page}change/"))).status_code == 302
    assert changes() == []


def test_what_is_refused_stands_at_its_field_and_leaves_no_entry(admin: Client) -> None:
    _, page = grace()
    whole = {"username": "linus", "password": SECRET, "again": SECRET}
    for data, field in (
        ({"password": "short", "again": "short"}, "password"),
        ({"again": "something else"}, "again"),
        ({"username": "two words"}, "username"),
        ({"username": "GRACE"}, "username"),
        ({"email": "nobody"}, "email"),
        ({"roles": ["Nobody"]}, "roles"),
    ):
        answer = admin.post(f"{LIST}add/", {**whole, **data})
        assert (answer.status_code, list(answer.context["form"].errors)) == (200, [field])
        assert SECRET not in text(answer)
    assert admin.post(f"{page}change/", {"username": ""}).status_code == 200
    assert admin.post(f"{page}password/", {"password": "short", "again": "short"}).status_code == 200
    assert changes() == []


def test_what_somebody_did_is_not_what_a_key_of_that_name_did(admin: Client) -> None:
    _, page = grace()
    for kind in ("user", "key"):
        actions.create_access_key({"name": f"by {kind}"}, actor=Actor(kind, "grace", "1", ADA.scopes))
    link = re.search(r'href="([^"]+)">What grace did<', text(admin.get(f"{page}change/")))
    assert link is not None
    listed = text(admin.get(html.unescape(link[1])))
    assert "by user" in listed
    assert "by key" not in listed


def test_a_stale_form_shows_both_and_changes_nothing(admin: Client) -> None:
    user, page = grace()
    form = filled(admin.get(f"{page}change/"), first_name="Grace")
    actions.update_user(user, {"first_name": "Amazing"}, actor=ADA)
    for password in (PASSWORD, "wrong"):
        Client().post("/admin/login/", {"username": "grace", "password": password})
    assert [change[0] for change in changes()] == ["user.updated", "user.login", "user.login_failed"]
    answer = admin.post(f"{page}change/", form)
    assert answer.status_code == 409
    assert "ada saved it" in text(answer), "and not whoever logged in as her"
    assert "Amazing" in text(answer)
    user.refresh_from_db()
    assert user.first_name == "Amazing"
    form["version"] = answer.context["current_version"]
    assert admin.post(f"{page}change/", form).status_code == 302


def test_the_last_admin_is_told_what_to_do_first(admin: Client) -> None:
    own = User.objects.get(username="admin")
    page = f"{LIST}{own.pk}/"
    for data in ({"roles": ["Operator"]}, {"is_active": None}):
        answer = admin.post(f"{page}change/", filled(admin.get(f"{page}change/"), **data))
        assert "give another user the role Admin first" in text(answer)
    asked = admin.get(f"{page}delete/")
    answer = admin.post(f"{page}delete/", {"version": asked.context["version"]}, follow=True)
    assert "this is your own account: another admin can delete it" in text(answer)
    assert User.objects.filter(pk=own.pk).exists()
    assert changes() == []


def test_a_superusers_page_can_be_read_by_an_admin_and_not_changed(admin: Client) -> None:
    root = User.objects.create_superuser("root", password=PASSWORD)
    page = f"{LIST}{root.pk}/"
    shown = text(admin.get(f"{page}change/"))
    assert "Only a superuser may change a superuser." in shown
    assert ">Save<" not in shown
    for address in ("change/", "password/", "delete/"):
        assert admin.post(f"{page}{address}", {"password": SECRET, "again": SECRET}).status_code == 403
    assert changes() == []


@pytest.mark.parametrize("role", ["Viewer", "Operator", None])
def test_who_is_no_admin_sees_neither_users_nor_roles(role: str | None) -> None:
    client = person(role)
    user, page = User.objects.get(), f"{LIST}{User.objects.get().pk}/"
    for address in (LIST, f"{LIST}add/", f"{page}change/", f"{page}delete/", f"{page}password/", "/admin/auth/group/"):
        assert client.get(address).status_code == 403, address
        assert client.post(address, {"username": "x", "password": SECRET, "again": SECRET}).status_code == 403, address
    assert list(User.objects.all()) == [user]
    assert changes() == []


def test_people_change_their_own_password_and_only_this_session_stays() -> None:
    here, there = person("Viewer"), Client()
    user = User.objects.get()
    there.force_login(user)
    page = "/admin/password_change/"
    answer = here.post(page, {"old": "wrong", "password": SECRET, "again": SECRET})
    assert list(answer.context["form"].errors) == ["old"]
    answer = here.post(page, {"old": PASSWORD, "password": "short", "again": "short"})
    assert list(answer.context["form"].errors) == ["password"]
    assert here.post(page, {"old": PASSWORD, "password": SECRET, "again": SECRET}).status_code == 302
    assert changes() == [("user.password_failed", "viewer", {}), ("user.password", "viewer", {"password": "changed"})]
    assert here.get("/admin/").status_code == 200
    assert there.get("/admin/").status_code == 302
    user.refresh_from_db()
    assert user.check_password(SECRET)


def test_an_open_session_is_no_place_to_guess_its_password() -> None:
    client, page = person("Viewer"), "/admin/password_change/"
    wrong = {"old": "wrong", "password": SECRET, "again": SECRET}
    assert [client.post(page, wrong).status_code for _ in range(6)] == [200] * 5 + [429]
    answer = client.post(page, {**wrong, "old": PASSWORD})
    assert (answer.status_code, "Try again in 5 minutes" in text(answer)) == (429, True)
    assert [change[0] for change in changes()] == ["user.password_failed"] * 5 + ["user.login_throttled"]
    for entry in AuditEntry.objects.all():
        assert (entry.category, entry.object_name, entry.actor_kind, entry.actor_name, entry.client_ip) == (
            "auth", "viewer", "user", "viewer", "127.0.0.1",
        )  # fmt: skip
    reasons = list(AuditEntry.objects.order_by("pk").values_list("reason", flat=True))
    assert reasons == ["wrong present password"] * 5 + ["on Change password: no more attempts for 300 s"]
    listed = text(client.get("/admin/routes/auditentry/"))
    assert listed.count("Failed to change the password of user viewer") == 5
    assert listed.count("Has to wait before another attempt at the password of user viewer") == 1


def test_failing_to_change_ones_password_pushes_no_change_off_the_front_page() -> None:
    client = person("Viewer")
    actions.create_user({"username": "grace", "password": SECRET}, actor=ADA)
    client.post("/admin/password_change/", {"old": "wrong", "password": SECRET, "again": SECRET})
    assert AuditEntry.objects.latest("pk").action == "user.password_failed"
    assert [line.sentence for line in client.get("/admin/").context["recent_changes"]] == ["Created user grace"]


def test_the_roles_page_says_what_each_may_do_and_who_has_it(admin: Client) -> None:
    grace("Operator")
    own = Group.objects.create(name="Old hands")
    page = text(admin.get("/admin/auth/group/"))
    assert page.index("Viewer</h2>") < page.index("Operator</h2>") < page.index("Admin</h2>")
    assert "drain and disable providers" in page
    assert ">grace</a>" in page
    viewer = Group.objects.get(name="Viewer")
    for address, status in (("add/", 403), (f"{viewer.pk}/change/", 302), (f"{viewer.pk}/delete/", 404)):
        assert admin.post(f"/admin/auth/group/{address}").status_code == status
    user = User.objects.get(username="grace")
    user.groups.add(own)
    assert "user grace" in text(admin.post(f"/admin/auth/group/{own.pk}/delete/"))
    user.groups.remove(own)
    assert admin.post(f"/admin/auth/group/{own.pk}/delete/").status_code == 302
    assert [change[:2] for change in changes()] == [("role.deleted", "Old hands")]
