"""System checks of what is stored, the periodic task, and the built-in prices."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from django.core.checks import run_checks
from django.utils import timezone

from routes import actions, host, tasks
from routes.engine.limits import KeyLimits, KeyUsage
from routes.models import AccessKey, Profile, Provider
from routes.pricing import builtin_prices
from routing_project.celery import SCHEDULE
from routing_project.env import get_env
from tests.control.samples import document, provider
from tests.history import rows, samples

if TYPE_CHECKING:
    from routes.actions import Actor
    from routes.live import SharedLiveState
    from routing_project.env import Env

pytestmark = pytest.mark.django_db


def ids() -> list[str | None]:
    return [message.id for message in run_checks(databases=["default"]) if str(message.id).startswith("routes.")]


def test_a_sound_configuration_has_nothing_to_say(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin)
    assert ids() == []


def test_a_credential_that_does_not_open_is_named_with_a_hint(admin: Actor) -> None:
    actions.create_provider(provider(credential={"value": "sk-0123456789"}), actor=admin)
    Provider.objects.update(credential=b"sbx1 damaged beyond repair and long enough")
    (message,) = (each for each in run_checks(databases=["default"]) if each.id == "routes.W001")
    assert "alpha" in message.msg
    assert message.hint


def test_a_draft_that_cannot_be_published_is_named(admin: Actor) -> None:
    actions.import_configuration(document(), actor=admin)
    Profile.objects.filter(slug="fast").update(strategy="from_the_future")
    assert ids() == ["routes.W002"]


@pytest.mark.parametrize(
    ("url", "network", "ceiling", "warned"),
    [
        ("http://127.0.0.1:9/v1", "public", None, True),
        ("http://localhost:9/v1", "private", None, True),
        ("http://127.0.0.1:9/v1", "loopback", None, False),
        ("http://10.1.2.3/v1", "public", None, True),
        ("http://10.1.2.3/v1", "private", None, False),
        ("https://api.example/v1", "private", "public", True),
        ("https://api.example/v1", "public", "public", False),
    ],
)
def test_an_address_that_connects_will_refuse_is_warned_of(
    admin: Actor, monkeypatch: pytest.MonkeyPatch, url: str, network: str, ceiling: str | None, warned: bool
) -> None:
    if ceiling:
        monkeypatch.setenv("SIGNALBOX_UPSTREAM_NETWORKS", ceiling)
        get_env.cache_clear()
    actions.create_provider(provider(base_url=url, network=network), actor=admin)
    assert ids() == (["routes.W003"] if warned else [])


def test_the_reconciling_task_is_scheduled_under_its_name_and_writes_what_is_missing(admin: Actor, env: Env) -> None:
    assert tasks.reconcile.name == SCHEDULE["reconcile"]["task"]
    actions.publish(actor=admin)
    row = actions.create_provider(provider(), actor=admin)
    actions.set_admin_state(row, "disabled", actor=admin, until=timezone.now() + timedelta(hours=1))
    Provider.objects.update(admin_until=timezone.now() - timedelta(seconds=1))
    assert not env.revision_path.exists()
    tasks.reconcile()
    assert env.revision_path.exists()
    assert env.overlay_path.exists()
    assert Provider.objects.get().admin_state == "active"


def test_a_live_state_that_is_new_learns_from_history_what_budgets_have_spent(
    admin: Actor, gateway: SharedLiveState
) -> None:
    assert tasks.seed_spent.name == SCHEDULE["spent"]["task"]
    key = actions.create_access_key({"name": "app"}, actor=admin).key
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    AccessKey.objects.update(created_at=day - timedelta(days=70))
    for number, begun in enumerate((day - timedelta(days=40), day, day)):
        rows.store(
            samples.finished(rows.at(begun, number), key_id=key.pk.bytes, cost_micro_usd=100),
            samples.finished(rows.at(begun, number + 10), key_id=UUID(int=5).bytes, cost_micro_usd=7000),
        )
    limits = {str(key.pk): KeyLimits(month=1000), str(UUID(int=7)): KeyLimits(rpm=5)}
    gateway.set_key_limits(limits, time.monotonic(), time.time())
    assert host.key_usage(str(key.pk)).money == (0, 0, 0)
    assert host.seed_spent() == 3
    assert host.key_usage(str(key.pk)).money == (200, 200, 200)
    assert gateway.key_usage(str(key.pk), time.monotonic(), time.time()).money == (200, 200, 200)
    assert host.seed_spent() == 0, "history was asked; nobody asks again"


def test_without_a_live_state_there_is_nothing_to_learn(env: Env) -> None:
    tasks.seed_spent()
    assert host.key_usage(str(UUID(int=7))) == KeyUsage(0, 0, 0, (0, 0, 0))
    assert not env.live_path.exists()


def test_built_in_prices_are_plain_numbers_of_known_models() -> None:
    table = builtin_prices(datetime(2026, 6, 1, tzinfo=UTC))
    assert len(table) > 1000
    assert table["gpt-4o"] == {"input": 2.5, "output": 10.0, "cached": 1.25}
    assert all(set(price) <= {"input", "output", "cached"} for price in table.values())
    assert all(isinstance(figure, float) and figure >= 0 for price in table.values() for figure in price.values())
    assert list(table) == sorted(table)
