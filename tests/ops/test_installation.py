"""Setting up: what is missing is made, what is there stays, and the demo comes and goes as a whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import CommandError, call_command

from routes.actions import users
from routes.actions.actor import Actor
from routes.actions.errors import ActionError
from routes.actions.profiles import create_profile
from routes.actions.providers import create_provider
from routes.models import AccessKey, AuditEntry, ConfigRevision, Profile, Provider
from routing_project import announce, celery, checks
from routing_project.console import demo, installation
from routing_project.console.management.commands import setup
from routing_project.env import Env, get_env

if TYPE_CHECKING:
    from collections.abc import Iterator

ACTOR = Actor.command("tests")


@pytest.fixture
def env() -> Iterator[Env]:
    """The data folder that the settings under test name."""
    found = get_env()
    found.make_folders()
    yield found
    announce.demo_path(found).unlink(missing_ok=True)


@pytest.mark.django_db
def test_the_first_admin_gets_a_password_once_and_keeps_it() -> None:
    env = Env(admin_user="root")
    name, password = installation.first_admin(env)
    assert (name, len(password or "")) == ("root", 16)
    assert installation.first_admin(env) == ("root", None)
    user = get_user_model().objects.get()
    assert user.check_password(password or "")
    assert user.is_superuser


@pytest.mark.django_db
def test_of_two_hosts_that_start_at_once_one_makes_the_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one looked before there was any, and comes to the lock afterwards."""
    looks = [User.objects.none()]
    admins = users.admins
    _, password = installation.first_admin(Env())
    monkeypatch.setattr(users, "admins", lambda: looks.pop() if looks else admins())
    assert installation.first_admin(Env()) == ("admin", None)
    assert looks == []
    assert User.objects.get().check_password(password or "")
    assert AuditEntry.objects.filter(object_type="user").count() == 1


@pytest.mark.django_db
def test_a_first_admin_is_called_as_any_user_may_be_and_one_that_is_there_already_as_he_is(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "get_env", lambda: env.model_copy(update={"admin_user": "Ada Lovelace"}))
    monkeypatch.setattr(setup.logs, "start_command", lambda *_: None)
    monkeypatch.setattr(installation, "collect_static", lambda: False)
    with pytest.raises(CommandError, match="SIGNALBOX_ADMIN_USER: must be letters"):
        call_command("setup")
    assert not User.objects.exists()
    User.objects.create_user("Ada Lovelace", is_active=False)
    assert installation.first_admin(Env(admin_user="Ada Lovelace"))[0] == "Ada Lovelace"
    assert users.admins().get().username == "Ada Lovelace"


@pytest.mark.django_db
def test_a_given_password_is_used_and_not_repeated() -> None:
    assert installation.first_admin(Env(admin_password="chosen by hand")) == ("admin", None)
    assert get_user_model().objects.get().check_password("chosen by hand")


@pytest.mark.django_db
def test_migrate_has_nothing_to_do_twice() -> None:
    assert installation.migrate() is False


@pytest.mark.django_db(transaction=True)
def test_the_demo_is_loaded_on_an_empty_database_only_and_removed_as_a_whole(env: Env) -> None:
    assert demo.wanted()
    told = demo.create(env, ACTOR)
    assert not demo.wanted()
    assert ConfigRevision.objects.count() == 1
    key = AccessKey.objects.get()
    assert set(key.scopes) == {"route", "read"}
    file = json.loads(announce.demo_path(env).read_bytes())
    assert {each["name"] for each in file["providers"]} == set(Provider.objects.values_list("slug", flat=True))
    assert told["access_key"] not in announce.demo_path(env).read_text()
    ports = [file["control_port"], *(each["port"] for each in file["providers"])]
    assert len(set(ports)) == 4

    assert demo.remove(env, ACTOR) is True
    assert not announce.demo_path(env).exists()
    assert not Provider.objects.exists()
    assert not Profile.objects.exists()
    assert not AccessKey.objects.exists()
    assert ConfigRevision.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_removing_the_demo_leaves_what_people_added_and_does_not_publish_it_for_them(env: Env) -> None:
    demo.create(env, ACTOR)
    own = {"slug": "own", "name": "Own", "wire": "openai", "base_url": "https://llm.example/v1"}
    create_provider(own, actor=ACTOR)
    targets = [{"provider": "demo-north"}, {"provider": "own"}]
    create_profile({"slug": "mine", "name": "Mine", "targets": targets}, actor=ACTOR)
    AccessKey.objects.update(name="renamed")
    with pytest.raises(ActionError, match="renamed"):  # it would lead to a profile that is gone
        demo.remove(env, ACTOR)
    assert announce.demo_path(env).exists()
    AccessKey.objects.update(profile="mine")
    assert demo.remove(env, ACTOR) is False
    assert AccessKey.objects.filter(name="renamed").exists()
    assert list(Profile.objects.values_list("slug", "targets__provider__slug")) == [("mine", "own")]
    assert ConfigRevision.objects.count() == 1


def test_the_announcement_shows_secrets_once_and_a_curl_line_of_its_own(env: Env) -> None:
    report: dict[str, Any] = {"admin_user": "admin", "admin_password": "pass", "access_key": "sbx_k", "model": "m"}
    first = announce.text(env, report).splitlines()
    assert sum("pass" in line for line in first) == 1
    (curl,) = [line for line in first if line.startswith("curl ")]
    assert "Bearer sbx_k" in curl
    later = announce.text(env, {"admin_user": "admin", "admin_password": None})
    assert "changepassword admin" in later
    assert "create_access_key NAME" in later


def test_the_announcement_says_that_prompts_are_stored_only_when_they_are() -> None:
    assert "prompts" not in announce.text(Env(), {})
    all_of_them = announce.text(Env(history_payloads="all", payload_days=2), {})
    assert "prompts and answers of every request are stored for 2 days" in all_of_them
    assert "of requests that fail are stored for 7 days" in announce.text(Env(history_payloads="failures"), {})


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:8000"), ("0.0.0.0", "127.0.0.1:8000"), ("::", "[::1]:8000"), ("box", "box:8000")],
)
def test_the_address_told_is_one_that_can_be_opened(host: str, address: str) -> None:
    assert announce.address(Env(host=host)) == address


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://cache.example:6379/2", "redis://cache.example:6379/2"),
        ("unix:///data/run/redis.sock?db=0", "redis+socket:///data/run/redis.sock?virtual_host=0"),
        ("unix:///data/run/redis.sock", "redis+socket:///data/run/redis.sock?virtual_host=0"),
    ],
)
def test_celery_is_told_the_same_redis_in_its_own_spelling(url: str, broker: str) -> None:
    assert celery.broker_url(url) == broker


def test_scheduled_work_expires_before_its_successor_is_due() -> None:
    for name, entry in celery.SCHEDULE.items():
        if isinstance(entry["schedule"], float):
            assert entry["options"]["expires"] <= entry["schedule"], name


def test_every_scheduled_task_exists() -> None:
    from importlib import import_module

    from routing_project.worker import TASK_MODULES

    for module in TASK_MODULES:
        import_module(module)
    assert {entry["task"] for entry in celery.SCHEDULE.values()} <= set(celery.app.tasks)


def test_a_misconfiguration_is_a_system_check_with_an_id_and_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "get_env", lambda: Env(host="0.0.0.0", encryption_keys_value=("short",)))
    messages = {message.id: message for message in run_checks(tags=["signalbox"])}
    assert {"signalbox.E002", "signalbox.E003", "signalbox.E004", "signalbox.W002"} <= set(messages)
    assert all(message.hint for message in messages.values())
