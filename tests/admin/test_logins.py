"""Logging in: one entry each for a login, a logout and a failure, nothing of what was typed, and no guessing."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.forms.models import model_to_dict
from django.test import Client, override_settings

from routes.models import AuditEntry
from routing_project.console import login_throttle
from tests.admin.conftest import PASSWORD, text
from tests.control.conftest import both_databases

__all__ = ["both_databases"]
pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(login_throttle, "time", found)
    cache.clear()
    return found


@pytest.fixture
def grace() -> User:
    return User.objects.create_user("grace", password=PASSWORD, is_staff=True)


def log_in(password: str = PASSWORD, name: str = "grace", ip: str = "192.0.2.7", client: Client | None = None) -> Any:
    return (client or Client()).post(
        LOGIN, {"username": name, "password": password}, REMOTE_ADDR=ip, headers={"x-request-id": "req-1"}
    )


def entries() -> list[tuple[str, str, str]]:
    return [(entry.action, entry.object_name, entry.actor_name) for entry in AuditEntry.objects.order_by("pk")]


def test_a_login_and_a_logout_leave_one_entry_each(grace: User) -> None:
    client = Client()
    assert log_in(client=client).status_code == 302
    assert client.post("/admin/logout/", REMOTE_ADDR="192.0.2.7").status_code == 200
    assert entries() == [("user.login", "grace", "grace"), ("user.logout", "grace", "grace")]
    entry = AuditEntry.objects.get(action="user.login")
    assert (entry.category, entry.client_ip, entry.request_id, entry.actor_id) == (
        "auth", "192.0.2.7", "req-1", str(grace.pk),
    )  # fmt: skip


def test_nobody_logging_out_leaves_none() -> None:
    Client().post("/admin/logout/")
    assert entries() == []


@pytest.mark.parametrize("state", [{}, {"is_active": False}, {"is_staff": False}])
def test_a_failed_login_leaves_one_entry_that_names_the_account_and_not_what_was_typed(
    grace: User, state: dict[str, bool]
) -> None:
    User.objects.filter(pk=grace.pk).update(**state)
    answer = log_in(password="wrong-canary-1" if not state else PASSWORD)
    assert answer.status_code == 200
    assert "do not go together" in text(answer)
    (entry,) = AuditEntry.objects.all()
    assert (entry.action, entry.category, entry.object_name, entry.object_id) == (
        "user.login_failed", "auth", "grace", str(grace.pk),
    )  # fmt: skip
    assert (entry.actor_kind, entry.actor_name, entry.client_ip, entry.request_id) == (
        "system", "not logged in", "192.0.2.7", "req-1",
    )  # fmt: skip
    assert "canary" not in json.dumps(model_to_dict(entry), default=str)


@pytest.mark.parametrize("typed", ["hunter2-my-password", "x" * 150, "gra\x00ce"])
def test_a_name_that_is_nobodys_is_not_kept(typed: str) -> None:
    log_in(name=typed)
    told = [json.dumps(model_to_dict(entry), default=str) for entry in AuditEntry.objects.all()]
    assert all(typed not in each for each in told)
    assert all(name == "(unknown)" for _, name, _ in entries())
    assert len(entries()) == ("\x00" not in typed), "what is no name at all is no attempt"


def test_half_a_form_is_no_attempt(grace: User) -> None:
    for data in ({"username": "grace"}, {"password": PASSWORD}, {}):
        assert Client().post(LOGIN, data).status_code == 200
    assert entries() == []


def test_after_five_wrong_passwords_the_right_one_has_to_wait_too(grace: User, clock: Clock) -> None:
    assert [log_in("wrong").status_code for _ in range(5)] == [200] * 5
    for password in ("wrong", PASSWORD, PASSWORD):
        answer = log_in(password)
        assert (answer.status_code, answer["Retry-After"]) == (429, "300")
        assert "Too many failed attempts. Try again in 5 minutes." in text(answer)
    clock.now += 255
    assert "Try again in 45 seconds." in text(log_in())
    clock.now += 46
    assert log_in().status_code == 302
    assert [action for action, _, _ in entries()] == [
        *["user.login_failed"] * 5, "user.login_throttled", "user.login",
    ]  # fmt: skip


def test_a_login_forgets_the_wrong_passwords_before_it(grace: User) -> None:
    for _ in range(3):
        for _ in range(4):
            assert log_in("wrong").status_code == 200
        assert log_in().status_code == 302


def test_one_address_may_not_try_one_password_on_everybody(grace: User) -> None:
    answers = [log_in("wrong", f"user{number}").status_code for number in range(25)]
    assert answers == [200] * 20 + [429] * 5
    assert log_in().status_code == 429, "nor log in, until it has waited"
    assert log_in(ip="192.0.2.8").status_code == 302
    actions = [action for action, _, _ in entries()]
    assert actions == ["user.login_failed"] * 20 + ["user.login_throttled", "user.login"]


def test_guessing_from_many_addresses_ends_too_and_locks_nobody_out_where_he_works(grace: User, clock: Clock) -> None:
    assert log_in(ip="192.0.2.7").status_code == 302
    answers = [log_in("wrong", ip=f"198.51.100.{number}").status_code for number in range(40)]
    assert answers == [200] * 30 + [429] * 10
    assert log_in(ip="198.51.100.200").status_code == 429
    assert log_in(ip="192.0.2.7").status_code == 302
    assert [action for action, _, _ in entries()].count("user.login_throttled") == 1
    clock.now += 901
    assert log_in(ip="198.51.100.200").status_code == 302


def test_the_addresses_of_one_ipv6_network_are_one(grace: User) -> None:
    for number in range(5):
        assert log_in("wrong", ip=f"2001:db8::{number}").status_code == 200
    assert log_in("wrong", ip="2001:db8::ffff").status_code == 429
    assert log_in("wrong", ip="2001:db8:0:1::1").status_code == 200


def test_a_site_with_very_many_ipv6_networks_has_to_wait_too(grace: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_throttle, "FROM_SITE", login_throttle.Bound(6, 300))
    assert log_in(ip="2001:db8:0:42::1").status_code == 302
    answers = [log_in("wrong", f"user{number}", ip=f"2001:db8:0:{number}::1").status_code for number in range(8)]
    assert answers == [200] * 6 + [429] * 2
    assert log_in(ip="2001:db8:0:9::1").status_code == 429
    assert log_in(ip="2001:db8:0:42::2").status_code == 302, "nobody is locked out where he works"
    assert log_in(ip="2001:db8:1:1::1").status_code == 302, "the site beside it"
    for number in range(8):
        assert log_in("wrong", f"user{number}", ip=f"198.51.100.{number}").status_code == 200, "IPv4 has no sites"


def test_what_strangers_can_add_to_the_log_is_bounded_wherever_they_come_from(
    grace: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_throttle, "RECORDED_OF_NOBODY", login_throttle.Bound(4, 300))
    for number in range(9):
        assert log_in("wrong", f"user{number}", ip=f"198.51.100.{number}").status_code == 200
    assert log_in("wrong").status_code == 200
    assert log_in().status_code == 302, "it keeps nobody from logging in"
    told = [(action, name) for action, name, _ in entries()]
    assert told == [
        *[("user.login_failed", "(unknown)")] * 4, ("user.login_throttled", "(unknown)"),
        ("user.login_failed", "grace"), ("user.login", "grace"),
    ]  # fmt: skip
    reason = AuditEntry.objects.get(action="user.login_throttled").reason
    assert reason == "very many attempts at names that are nobody's: no more of them are recorded for 300 s"
    clock.now += 301
    log_in("wrong", "user10", ip="198.51.100.10")
    assert entries()[-1][:2] == ("user.login_failed", "(unknown)")


def test_what_was_typed_as_a_name_cannot_be_guessed_from_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = "hunter2-my-password"
    kept: list[str] = []
    write = cache.set
    monkeypatch.setattr(cache, "set", lambda key, *rest: (kept.append(key), write(key, *rest)))
    log_in(name=typed, ip="192.0.2.7")
    digests = [sha256("\0".join(parts).encode()).hexdigest() for parts in ((typed,), ("192.0.2.7", typed))]
    assert len([key for key in kept if key.startswith("login:")]) >= 3
    assert all(digest not in key for digest in digests for key in kept)
    found = {login_throttle._key("name", typed)}
    assert found <= set(kept)
    with override_settings(SECRET_KEY="another"):
        assert login_throttle._key("name", typed) not in found


def test_how_the_name_is_written_makes_no_other_account_of_it(grace: User) -> None:
    for name in ("grace", "Grace", "GRACE", "gracE", "GraCe"):
        assert log_in("wrong", name).status_code == 200
    assert log_in().status_code == 429


def test_a_clock_that_is_set_back_makes_nobody_wait_for_long(grace: User, clock: Clock) -> None:
    for _ in range(6):
        log_in("wrong")
    clock.now -= 3600
    assert log_in().status_code == 302


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("both_databases")
def test_attempts_are_counted_on_both_databases(grace: User) -> None:
    assert [log_in("wrong").status_code for _ in range(6)] == [200] * 5 + [429]


def test_while_somebody_waits_nothing_is_written(grace: User, django_assert_num_queries: Any) -> None:
    for _ in range(6):
        log_in("wrong")
    with django_assert_num_queries(4):
        assert login_throttle.take("192.0.2.7", "grace").seconds == 300
