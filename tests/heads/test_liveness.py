"""Heads that come and go are told of once, however many look, and by whoever has heard of them."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.utils import timezone

from health.heads import liveness, render
from health.models import Head, HealthEvent
from health.tasks import forget_heads, heads
from routes import actions as routes_actions
from tests.control import samples
from tests.heads.conftest import ADMIN, key_of, register, silence

if TYPE_CHECKING:
    from routes.live import SharedLiveState


def told(after: str) -> list[tuple[str, str, str, str]]:
    rows = HealthEvent.objects.filter(kind="head", after=after).order_by("id")
    return list(rows.values_list("subject", "before", "reason", "actor"))


@pytest.mark.django_db
@pytest.mark.usefixtures("provider")
def test_a_head_that_falls_silent_is_offline_by_the_clock_and_told_of_once(host: SharedLiveState) -> None:
    row = register()
    heads()
    assert told("offline") == []
    silence(host, row)
    assert not host.head_state(key_of(row), time.monotonic()).online
    heads()
    heads()
    assert told("offline") == [("one", "online", "heartbeats_stopped", "clock")]
    event = HealthEvent.objects.get(after="offline")
    assert event.detail["ttl"] == 15
    assert str(event.target_id) == key_of(row)
    liveness.hear(str(row.provider_id), "one", 1, False)
    heads()
    heads()
    assert told("online") == [("one", "offline", "heartbeat", "head")]


@pytest.mark.django_db(transaction=True)
def test_many_workers_tell_each_change_once(host: SharedLiveState) -> None:
    routes_actions.create_provider(samples.provider("gpus", network="private"), actor=ADMIN)
    rows = [register(f"head-{number}") for number in range(5)]
    for row in rows:
        silence(host, row)
    failures: list[BaseException] = []
    together = threading.Barrier(4)

    def look() -> None:
        try:
            together.wait()
            liveness.notice_all()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(name for name, *_ in told("offline")) == sorted(row.head_id for row in rows)


@pytest.mark.django_db
@pytest.mark.usefixtures("provider")
def test_a_host_that_never_heard_of_a_head_leaves_it_to_those_that_did(host: SharedLiveState) -> None:
    row = register()
    Head.objects.update(head_id="elsewhere")  # the same as one that another host hears
    heads()
    assert told("offline") == []
    Head.objects.update(seen_at=timezone.now() - timedelta(minutes=5))  # nobody has noted it for long
    heads()
    assert [name for name, *_ in told("offline")] == ["elsewhere"]
    assert host.head_state(key_of(row), time.monotonic()).online


@pytest.mark.django_db
@pytest.mark.usefixtures("provider")
def test_when_a_head_was_seen_is_written_once_a_minute() -> None:
    register()
    long_ago = timezone.now() - timedelta(seconds=61)
    Head.objects.update(seen_at=long_ago)
    heads()
    seen = Head.objects.get().seen_at
    assert seen > long_ago + timedelta(seconds=60)
    heads()
    assert Head.objects.get().seen_at == seen


@pytest.mark.django_db
@pytest.mark.usefixtures("provider")
def test_heads_are_forgotten_by_the_schedule(host: SharedLiveState) -> None:
    silence(host, register())
    heads()
    Head.objects.update(seen_at=timezone.now() - timedelta(days=8))
    forget_heads()
    assert Head.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.usefixtures("provider")
def test_what_is_told_of_a_head_is_registration_and_live_state_together(host: SharedLiveState) -> None:
    row = register("one", capacity=4, metadata={"capabilities": ["vision"], "rack": "b7"})
    liveness.hear(str(row.provider_id), "one", 3, True)
    document = render.document(row)
    assert document | {"last_seen": "", "registered_at": "", "load_history": []} == {
        "head_id": "one",
        "provider": "gpus",
        "endpoint": "http://10.20.0.7:8000/v1",
        "region": None,
        "model_type": "",
        "version": "",
        "capacity": 4,
        "metadata": {"max_model_size": None, "capabilities": ["vision"], "rack": "b7"},
        "generation": 1,
        "approved": True,
        "liveness": "online",
        "reported_status": "draining",
        "status": "draining",
        "load": 3,
        "load_history": [],
        "last_seen": "",
        "registered_at": "",
    }
    assert [entry["load"] for entry in document["load_history"]] == [3]
    silence(host, row)
    assert render.document(row)["status"] == "offline"
