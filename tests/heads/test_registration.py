"""Registering, approving and removing heads: who they are, whether they may take traffic, who wrote it down."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from health.heads import actions
from health.heads.documents import HeadRegistration, suggested_region
from health.heads.errors import HeadMissing, OldGeneration, TooManyHeads
from health.heads.known import known
from health.models import Head, HealthEvent
from routes import actions as routes_actions
from routes import ports
from routes.actions.errors import Forbidden, Invalid
from routes.api.resources import parse_tree
from routes.models import AuditEntry, Provider
from tests.control import samples
from tests.control.conftest import actor
from tests.heads.conftest import ADMIN, OPERATOR, committed, key_of, register, registration, silence

if TYPE_CHECKING:
    from routes.live import SharedLiveState

pytestmark = pytest.mark.django_db


def events() -> list[tuple[str, str, str]]:
    return list(HealthEvent.objects.order_by("id").values_list("before", "after", "reason"))


def audited() -> list[str]:
    return list(AuditEntry.objects.filter(category="head").order_by("id").values_list("action", flat=True))


@pytest.mark.usefixtures("provider")
def test_a_head_is_known_by_its_id_and_every_registration_is_a_new_generation() -> None:
    first, again = register("one"), register("one", capacity=8)
    assert (first.pk, again.generation, again.capacity) == (again.pk, 2, 8)
    assert Head.objects.count() == 1
    assert known().heads["one"].generation == 2
    assert audited() == ["head.registered", "head.registered"]


@pytest.mark.usefixtures("provider")
def test_a_registration_is_the_first_heartbeat(host: SharedLiveState) -> None:
    state = host.head_state(key_of(register()), time.monotonic())
    assert (state.online, state.draining, state.load) == (True, False, None)


@pytest.mark.parametrize(
    ("head_id", "region"),
    [
        ("gpu-7-eu", "eu"),
        ("vllm-EU-West", "eu-west"),
        ("h1-us-east-1", "us-east-1"),
        ("h-ap-southeast2", "ap-southeast2"),
        ("a-eu-de", "de"),
        ("gpu-7", None),
        ("eu", None),
        ("gpu-eu-1", None),
        ("node.eu", None),
    ],
)
def test_a_region_is_suggested_by_the_end_of_the_id(head_id: str, region: str | None) -> None:
    assert suggested_region(head_id) == region


@pytest.mark.usefixtures("provider")
def test_a_region_that_is_given_wins() -> None:
    assert register("gpu-7-eu").region == "eu"
    assert register("gpu-8-eu", region="moon").region == "moon"
    assert register("plain").region is None


# -- approval --------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize(
    ("endpoint", "approved"),
    [
        ("http://10.20.0.7:8000/v1", True),
        ("http://10.21.0.7:8000/v1", False),
        ("http://169030.example:80/v1", False),
        ("http://ten-twenty.example/v1", False),
        ("https://203.0.113.9/v1", False),
    ],
)
def test_only_an_address_inside_the_head_networks_needs_no_approval(endpoint: str, approved: bool) -> None:
    assert register(endpoint=endpoint).approved is approved
    assert [entry["approved"] for entry in ports.heads()] == [approved]
    assert ("waiting", "approved", "inside_head_networks") in events() or not approved


def test_head_networks_of_a_draft_approve_nobody(provider: Provider) -> None:
    routes_actions.update_provider(provider, {"head_networks": ["10.0.0.0/8"]}, actor=ADMIN)
    assert register(endpoint="http://10.21.0.7/v1").approved is False
    routes_actions.publish(actor=ADMIN)
    assert register(endpoint="http://10.21.0.7/v1").approved is True


@pytest.mark.usefixtures("provider")
def test_an_operator_approves_and_a_changed_endpoint_outside_waits_again() -> None:
    outside = "http://10.99.0.1:8000/v1"
    register(endpoint=outside)
    with committed():
        assert actions.approve("one", actor=OPERATOR).approved_by == "ada"
    assert known().heads["one"].approved
    assert actions.approve("one", actor=OPERATOR).approved
    assert audited() == ["head.registered", "head.approved"]
    same = register(endpoint=outside, version="2")
    assert (same.approved, same.approved_by) == (True, "ada")
    assert register(endpoint="http://10.99.0.2:8000/v1").approved is False
    assert register(endpoint="http://10.20.0.1:8000/v1").approved is True


@pytest.mark.usefixtures("provider")
def test_another_providers_credential_needs_another_approval(host: SharedLiveState) -> None:
    routes_actions.create_provider(samples.provider("other", network="private"), actor=ADMIN)
    outside = "http://10.99.0.1:8000/v1"
    before = register(endpoint=outside)
    actions.approve("one", actor=OPERATOR)
    moved = register(endpoint=outside, provider="other")
    assert moved.approved is False
    now = time.monotonic()
    assert [host.head_state(key, now).online for key in (key_of(before), key_of(moved))] == [False, True]


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"endpoint": "http://169.254.169.254/v1"}, "endpoint"),
        ({"endpoint": "ftp://10.20.0.1/"}, "endpoint"),
        ({"endpoint": "http://127.0.0.1:9000/v1"}, "endpoint"),  # the provider's network is private
        ({"provider": "nobody"}, "provider"),
        ({"head_id": "-x"}, "head_id"),
        ({"head_id": "a/b"}, "head_id"),
        ({"head_id": "a" * 201}, "head_id"),
        ({"capacity": -1}, "capacity"),
        ({"metadata": {"capabilities": ["a", "a"]}}, "metadata.capabilities"),
        ({"metadata": {"notes": "x" * 9000}}, "metadata"),
        ({"metadata": {"load": float("inf")}}, "metadata"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_registration_that_cannot_work_is_refused_with_its_field(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        actions.register(parse_tree(HeadRegistration, registration() | fields), actor=OPERATOR)
    assert path in refused.value.fields
    assert Head.objects.count() == 0


@pytest.mark.usefixtures("provider")
def test_there_is_a_most_of_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "MAX_HEADS", 2)
    register("one")
    register("two")
    with pytest.raises(TooManyHeads):
        register("three")
    assert register("two").generation == 2


@pytest.mark.usefixtures("provider")
def test_who_may_not_operate_registers_nothing() -> None:
    wanted = HeadRegistration.model_validate(registration())
    register("one")
    for act in (
        lambda: actions.register(wanted, actor=actor("read")),
        lambda: actions.approve("one", actor=actor("route")),
        lambda: actions.deregister("one", actor=actor()),
    ):
        with pytest.raises(Forbidden):
            act()


# -- leaving ---------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("provider")
def test_a_head_that_leaves_is_gone_from_every_process(host: SharedLiveState) -> None:
    row = register()
    with committed():
        actions.deregister("one", actor=OPERATOR)
    assert known().heads == {}
    assert not host.head_state(key_of(row), time.monotonic()).online
    assert events()[-1] == ("online", "deregistered", "deregistered")
    with pytest.raises(HeadMissing):
        actions.deregister("one", actor=OPERATOR)


@pytest.mark.usefixtures("provider")
def test_a_process_that_ends_late_does_not_take_its_successor_with_it() -> None:
    register()
    register()
    with pytest.raises(OldGeneration):
        actions.deregister("one", actor=OPERATOR, generation=1)
    actions.deregister("one", actor=OPERATOR, generation=2)
    assert Head.objects.count() == 0


@pytest.mark.usefixtures("provider")
def test_heads_offline_for_seven_days_are_removed(host: SharedLiveState) -> None:
    gone, there = register("gone"), register("there")
    silence(host, gone)
    Head.objects.filter(pk=gone.pk).update(online=False, seen_at=timezone.now() - timedelta(days=7, minutes=1))
    Head.objects.filter(pk=there.pk).update(online=False, seen_at=timezone.now() - timedelta(days=6))
    with committed():
        assert actions.forget_gone(actor=ADMIN) == 1
    assert list(known().heads) == ["there"]
    assert actions.forget_gone(actor=ADMIN) == 0
    assert events()[-1] == ("offline", "deregistered", "offline_too_long")


@pytest.mark.django_db(databases=["default", "pg"], transaction=True)
@pytest.mark.usefixtures("both_databases")
def test_registrations_at_the_same_time_are_one_head() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connections

    routes_actions.create_provider(samples.provider("gpus", network="private"), actor=ADMIN)
    chosen = connections["default"]

    def one(_: int) -> int:
        connection = connections["default"] = chosen.copy()
        try:
            return register().generation
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        generations = sorted(pool.map(one, range(8)))
    assert generations == list(range(1, 9))
    assert Head.objects.count() == 1
