"""Celery's worker or beat is dead: gateways route on by their own clocks, and who comes back makes up for nothing."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from celery import Celery
from django.db import connections
from django.utils import timezone

from health.models import Check, ProbeResult
from health.probes import claims
from routing_project.celery import app, broker_url
from routing_project.processes import spawn
from tests.control.conftest import admin, env
from tests.faults.circuits import looking
from tests.gateways import wait_until
from tests.health.probes.installation import all_due, entry, plan, publish
from tests.stack import ROOT

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from routes.actions import Actor
    from routing_project.env import Env
    from tests.gateway.lab import Lab
    from tests.simulators import Simulator

#: They start processes.
pytestmark = [pytest.mark.faults, pytest.mark.slow]

__all__ = ["admin", "env"]


def answered_by(lab: Lab) -> set[str]:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: lab.chat(), range(10)))
    assert {answer.status for answer in answers} == {200}
    return {answer.headers["x-route-provider"] for answer in answers}


def test_what_probes_said_is_forgotten_by_both_processes_although_nobody_probes(lab_of_two: Lab) -> None:
    lab = lab_of_two  # two gateways, and no Celery anywhere
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second)
    lab.gateway.forget()
    with looking(lab.gateway.data, lab.gateway.document) as look:
        target, now = look.target(first.slug), time.monotonic()
        look.live.set_observed(target.id, "unhealthy", now + 60, now)  # the last word before they died
        assert answered_by(lab) == {second.slug}
        assert len(lab.gateway.records_by_process()) == 2

        now = time.monotonic()
        look.live.set_observed(target.id, "unhealthy", now + 0.2, now)  # it was said almost three intervals ago
        wait_until(lambda: look.live.observed(target.id, time.monotonic()) == "unknown")

        assert answered_by(lab) == {first.slug}


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_comes_back_asks_everybody_once_whatever_beat_sent_meanwhile(
    admin: Actor, env: Env, redis_url: str, tmp_path: Path, simulator: Simulator
) -> None:
    handles = simulator.add_all([{"name": f"p{number}", "wire": "openai"} for number in range(20)])
    publish(admin, *(entry(each.name, each.base_url, probe={"interval": 3600}) for each in handles))
    claims.agree(plan(), timezone.now())
    all_due(timezone.now() - timedelta(hours=5))
    environment = {
        **os.environ,
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{connections['default'].settings_dict['NAME']}",
        "DJANGO_SETTINGS_MODULE": "routing_project.settings",
    }
    running: list[subprocess.Popen[bytes]] = []

    def start(module: str) -> None:
        with (tmp_path / f"{module}.log").open("wb") as log:
            command = [sys.executable, "-m", f"routing_project.{module}"]
            running.append(spawn(command, env=environment, cwd=ROOT, stdout=log, stderr=log))

    queue = Celery(broker=broker_url(redis_url), set_as_current=False)
    queue.conf.update(broker_transport_options=app.conf.broker_transport_options)
    try:
        with queue.connection_for_read() as connection:
            client = connection.default_channel.client

            def waiting() -> int:
                return int(client.llen("celery"))

            start("beat")
            wait_until(lambda: waiting() >= 2, 30, "beat goes on although nobody works")
            assert not any(each.count() for each in handles)

            start("worker")

            wait_until(lambda: Check.objects.exclude(checked_at=None).count() == len(handles), 40, "all were asked")
            running[0].kill()
            wait_until(lambda: waiting() == 0, 20, "the queue is empty")
    finally:
        queue.close()
        for process in running:
            process.kill()
            process.wait()
    assert [each.count() for each in handles] == [1] * len(handles)
    assert ProbeResult.objects.count() == len(handles)
