"""Accounts from the command line: for whoever owns the machine, by the same rules, and no password in the arguments."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from routes.models import AuditEntry
from tests.control.api import Api

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db
SECRET = "correct horse battery"


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_superuser_is_made_and_gets_another_password(pipe: Callable[[str], None]) -> None:
    pipe(f"{SECRET}\n")
    call_command("createsuperuser", "boss", email="boss@example.com")
    user = User.objects.get()
    assert (user.is_superuser, user.email, user.check_password(SECRET)) == (True, "boss@example.com", True)
    client = Client()
    client.force_login(user)
    pipe("another long one\r\n")
    call_command("changepassword", "boss")
    user.refresh_from_db()
    assert user.check_password("another long one")
    assert Api(client=client).get("users/").status == 401
    told = AuditEntry.objects.order_by("pk")
    assert [(entry.action, entry.actor_kind) for entry in told if entry.object_type == "user"] == [
        ("user.created", "command"), ("user.updated", "command"),
    ]  # fmt: skip


def test_scripts_that_were_written_for_djangos_command_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", SECRET)
    monkeypatch.setenv("DJANGO_SUPERUSER_EMAIL", "chief@example.com")
    call_command("createsuperuser", "--noinput", "--username", "chief")
    monkeypatch.setenv("DJANGO_SUPERUSER_USERNAME", "second")
    call_command("createsuperuser", "--no-input", "--email", "second@example.com")
    made = User.objects.order_by("pk")
    assert [(user.username, user.email, user.is_superuser) for user in made] == [
        ("chief", "chief@example.com", True),
        ("second", "second@example.com", True),
    ]
    assert all(user.check_password(SECRET) for user in made)


@pytest.mark.parametrize(
    ("command", "typed", "said"),
    [
        (["createsuperuser"], f"{SECRET}\n", "username: required"),
        (["createsuperuser", "--noinput", "--username", "boss"], f"{SECRET}\n", "set DJANGO_SUPERUSER_PASSWORD"),
        (["createsuperuser", "boss"], "short\n", "password: This password is too short."),
        (["createsuperuser", "two words"], f"{SECRET}\n", "username: must be letters"),
        (["createsuperuser", "boss"], "", "password: "),
        (["changepassword", "nobody"], f"{SECRET}\n", "there is no user 'nobody'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_changed(
    command: list[str], typed: str, said: str, pipe: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(typed)
    with pytest.raises(SystemExit) as ended:
        call_command(*command)
    assert ended.value.code == 1
    assert said in capsys.readouterr().err
    assert not User.objects.exists()
    assert not AuditEntry.objects.exists()
