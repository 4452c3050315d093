"""Processes die under load: what the client was told is in the history, exactly once, and nobody notices the rest."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.gateways import wait_until
from tests.load import Load, Seen
from tests.stack import document

if TYPE_CHECKING:
    from tests.simulators import Simulator
    from tests.stack import Stack

#: They start and stop processes; part of `make test-faults`.
pytestmark = [pytest.mark.slow, pytest.mark.faults]

UNANSWERED = {"pending", "started", ""}


def rows(stack: Stack) -> Counter[str]:
    """Route id -> how many rows the history has of it."""
    return Counter(str(UUID(each)) for (each,) in stack.query("SELECT id FROM route_history"))


def failures(seen: list[Seen]) -> list[Seen]:
    return [each for each in seen if each.status != 200 or not each.complete]


async def test_a_killed_console_comes_back_and_no_request_notices(stack: Stack, simulator: Simulator) -> None:
    acme = simulator.add("acme", latency=0.05)
    stack.import_config(document(acme))
    load = Load(stack.url, stack.key, rate=50)
    running = asyncio.create_task(load.run())
    await load.until(10)
    pid = stack.kill("console")
    await asyncio.to_thread(stack.wait_replaced, console=pid)
    # Relayed requests wait in the socket's backlog for the new one instead of failing.
    login = await asyncio.to_thread(stack.request, "GET", "/admin/login/")
    load.stop()
    seen = await running
    assert login.status == 200
    assert failures(seen) == []
    assert len(seen) == load.sent >= 10


async def test_a_killed_worker_beat_and_redis_come_back_and_no_request_notices(
    stack: Stack, simulator: Simulator
) -> None:
    acme = simulator.add("acme", latency=0.05)
    stack.import_config(document(acme))
    load = Load(stack.url, stack.key, rate=50)
    running = asyncio.create_task(load.run())
    pids = {name: stack.kill(name) for name in ("worker", "beat", "redis")}
    await asyncio.to_thread(stack.wait_replaced, **pids)
    load.stop()
    assert failures(await running) == []


async def test_every_answered_request_has_one_row_after_five_random_kills(stack: Stack, simulator: Simulator) -> None:
    total, draw = 500, random.Random(20261120)
    victims = ["shipper", "gateway-1", *draw.choices(["gateway-1", "gateway-2", "shipper"], k=3)]
    draw.shuffle(victims)
    acme = simulator.add("acme", latency=0.05, jitter=0.05, tokens_per_second=200)
    stack.import_config(document(acme))
    load = Load(stack.url, stack.key, rate=100, total=total)
    running = asyncio.create_task(load.run())
    for ordinal, name in enumerate(victims, start=1):
        await load.until(ordinal * total // (len(victims) + 2))
        pid = stack.kill(name)
        await asyncio.to_thread(stack.wait_replaced, **{name: pid})
    seen = await running
    assert len(seen) == total
    answered = {each.route_id for each in seen if each.complete and each.route_id is not None}
    assert len(answered) >= total * 0.8

    def shipped() -> bool:
        return answered <= set(rows(stack))

    await asyncio.to_thread(wait_until, shipped, 30, "every answered request is in the history")
    counts = rows(stack)
    assert [route_id for route_id in answered if counts[route_id] != 1] == []
    doubles = "SELECT history_id, ordinal FROM route_attempts GROUP BY history_id, ordinal HAVING count(*) > 1"
    assert stack.query(doubles) == []
    # Whatever was under way in a killed gateway is told as such, not left open.
    statuses = {status for (status,) in stack.query("SELECT DISTINCT status FROM route_history")}
    assert not statuses & UNANSWERED
    # All went through the one connection that broke, or came back whole: nothing was answered with an error.
    assert {each.status for each in seen if each.complete} == {200}


async def test_no_client_notices_that_the_chosen_provider_stops_and_it_comes_back_through_half_open(
    single: Stack, simulator: Simulator
) -> None:
    chosen = simulator.add("chosen", latency=0.02)
    other = simulator.add("other", latency=0.02)
    configuration = document(chosen, other, strategy="failover")
    configuration["providers"][0]["circuit"] = {"recovery_timeout": 1, "recovery_timeout_max": 2, "slow_start": 0}
    single.import_config(configuration)
    before = len(rows(single))
    load = Load(single.url, single.key, rate=50)
    running = asyncio.create_task(load.run())
    await load.until(25)
    chosen.stop()
    stopped = load.sent
    await load.until(stopped + 50)
    chosen.start()
    chosen.forget()
    await asyncio.to_thread(wait_until, lambda: chosen.count() >= 25, 30, "the provider is back")
    load.stop()
    seen = await running
    assert failures(seen) == []

    await asyncio.to_thread(wait_until, lambda: len(rows(single)) >= before + load.sent, 20)
    recovered = single.query("SELECT count(*) FROM route_history WHERE recovered AND provider = 'other'")[0][0]
    refused = "SELECT count(*) FROM route_attempts WHERE error_class = 'connect_refused' AND provider = 'chosen'"
    failed_attempts = single.query(refused)[0][0]
    assert recovered >= 5  # what it takes to open the circuit
    assert failed_attempts >= recovered
    steps = {
        tuple(step[:2])
        for (text,) in single.query("SELECT transitions FROM route_attempts WHERE provider = 'chosen'")
        for step in json.loads(text)
    }
    assert {("closed", "open"), ("open", "half_open"), ("half_open", "closed")} <= steps
    last = single.query("SELECT provider, recovered FROM route_history ORDER BY id DESC LIMIT 1")
    assert last == [("chosen", 0)]
