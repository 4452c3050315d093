"""Probes between processes: gateways that hear of them, and workers that share them."""

from __future__ import annotations

import base64
import os
import sys
from typing import TYPE_CHECKING

import pytest
from celery import Celery
from django.db import connections
from django.utils import timezone

from health.models import Check, ProbeResult
from health.probes import claims
from health.probes.tick import tick
from routing_project.celery import app, broker_url
from routing_project.env import get_env
from routing_project.processes import spawn
from tests.gateways import ENCRYPTION_KEY, KEY, Gateways, wait_until
from tests.health.probes.installation import CREDENTIAL, all_due, entry, plan, publish
from tests.stack import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from routes.actions import Actor
    from routing_project.env import Env
    from tests.simulators import Simulator

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(env: Env, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateways]:
    """Two gateway processes on this test's data folder."""
    monkeypatch.setenv("SIGNALBOX_ENCRYPTION_KEYS", base64.b64encode(ENCRYPTION_KEY).decode())
    get_env.cache_clear()
    gateways = Gateways(env.data, 2)
    gateways.start()
    yield gateways
    gateways.stop()


@pytest.mark.django_db(transaction=True)
def test_an_unhealthy_target_leaves_the_decisions_of_every_process_and_returns(
    admin: Actor, pair: Gateways, simulator: Simulator, asking: None
) -> None:
    first, second = simulator.add("first"), simulator.add("second")
    entries = [entry(each.name, each.base_url) for each in (first, second)]
    publish(admin, *entries, access_keys=[{"name": "tests", "profile": "default", "value": KEY}])
    pair.wait_for("revision 1 is in use")
    tick()

    def probe() -> None:
        """Whatever traffic says."""
        assert claims.ask_now(each.id for each in plan().values() if each.provider.slug == "first") == 1
        for begun in tick():
            begun.result(10)

    def served() -> set[str]:
        answers = [pair.chat() for _ in range(12)]
        assert {answer.status for answer in answers} == {200}
        return {answer.headers["x-route-provider"] for answer in answers}

    assert served() == {"first"}
    first.fail("status", status=500, path="/models")  # requests would be answered: all that is known is from probes
    for _ in range(3):
        probe()
    assert served() == {"second"}
    first.heal()
    probe()
    assert served() == {"second"}, "one success is not enough"
    probe()
    assert served() == {"first"}
    assert len(pair.writers()) == 2, "both processes decided"


@pytest.mark.django_db(transaction=True)
def test_two_workers_ask_everybody_once_however_often_they_are_told_to(
    admin: Actor, env: Env, redis_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    handles = simulator.add_all([{"name": f"p{number}", "wire": "openai"} for number in range(30)])
    environment = {
        **os.environ,
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{connections['default'].settings_dict['NAME']}",
        "DJANGO_SETTINGS_MODULE": "routing_project.settings",
    }
    publish(admin, *(entry(each.name, each.base_url, probe={"interval": 3600}) for each in handles))
    claims.agree(plan(), timezone.now())
    all_due(timezone.now())
    beat = Celery(broker=broker_url(redis_url), set_as_current=False)
    beat.conf.update(broker_transport_options=app.conf.broker_transport_options)
    workers, logs = [], [tmp_path / "north.log", tmp_path / "south.log"]
    try:
        for path in logs:
            with path.open("wb") as log:
                command = [sys.executable, "-m", "routing_project.worker"]
                workers.append(spawn(command, env=environment, cwd=ROOT, stdout=log, stderr=log))
        wait_until(lambda: all("ready" in path.read_text() for path in logs), 40, "two workers")
        for _ in range(40):
            beat.send_task("health.tick", expires=60)
        wait_until(lambda: Check.objects.exclude(checked_at=None).count() == len(handles), 20, "everybody was asked")
        with beat.connection_for_read() as connection:
            queue = connection.default_channel
            wait_until(lambda: queue.client.llen("celery") == 0, 20, "the queue is empty")
    finally:
        beat.close()
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(20)
    assert [each.count() for each in handles] == [1] * len(handles), [path.read_text() for path in logs]
    assert ProbeResult.objects.count() == len(handles)
    assert set(Check.objects.values_list("observed", flat=True)) == {"healthy"}
    for path in logs:
        assert CREDENTIAL not in path.read_text()
