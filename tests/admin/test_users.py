"""Users and roles: every change is on record, and a password never is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Group, User
from django.forms.models import model_to_dict

from routes.models import AuditEntry
from tests.admin.conftest import person

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db

SECRET = "correct horse battery"


def last_entry() -> AuditEntry:
    entry = AuditEntry.objects.first()
    assert entry is not None
    return entry


def test_a_new_user_is_on_record_without_the_password(admin: Client) -> None:
    role = Group.objects.get(name="Operator")
    answer = admin.post(
        "/admin/auth/user/add/",
        {"username": "grace", "usable_password": "true", "password1": SECRET, "password2": SECRET, "groups": [role.pk]},
    )
    assert answer.status_code == 302
    entry = last_entry()
    assert (entry.action, entry.object_name, entry.actor_name) == ("user.created", "grace", "admin")
    assert entry.changes["groups"] == [None, ["Operator"]]
    assert entry.changes["password"] == "changed"
    assert SECRET not in json.dumps(model_to_dict(entry), default=str)


def test_another_role_and_a_new_password_are_on_record(admin: Client) -> None:
    person("Viewer", "grace")
    user = User.objects.get(username="grace")
    operator = Group.objects.get(name="Operator")
    page = f"/admin/auth/user/{user.pk}/"
    answer = admin.post(f"{page}change/", {"username": "grace", "is_active": "on", "groups": [operator.pk]})
    assert answer.status_code == 302
    assert (last_entry().action, last_entry().changes) == ("user.updated", {"groups": [["Viewer"], ["Operator"]]})
    answer = admin.post(f"{page}password/", {"usable_password": "true", "password1": SECRET, "password2": SECRET})
    assert answer.status_code == 302
    assert (last_entry().action, last_entry().changes) == ("user.updated", {"password": "changed"})


def test_a_deleted_user_is_on_record(admin: Client) -> None:
    person("Viewer", "grace")
    user = User.objects.get(username="grace")
    assert admin.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"}).status_code == 302
    assert (last_entry().action, last_entry().object_id) == ("user.deleted", str(user.pk))
    assert not User.objects.filter(username="grace").exists()


def test_a_change_that_is_refused_leaves_no_entry(admin: Client) -> None:
    person("Viewer", "grace")
    user = User.objects.get(username="grace")
    before = AuditEntry.objects.count()
    assert admin.post(f"/admin/auth/user/{user.pk}/change/", {"username": ""}).status_code == 200
    assert AuditEntry.objects.count() == before
