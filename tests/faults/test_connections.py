"""Kept connections that die as they are used, over many requests; and storms of retries."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

import pytest

from tests.documents import document, provider
from tests.gateway.lab import CHAT, Lab
from tests.gateways import KEY
from tests.load import Load
from tests.simulators import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateways import Gateways

pytestmark = pytest.mark.faults

CIRCUIT_OF_STEEL = {"failure_threshold": 1_000_000, "failure_rate": 100}


@pytest.mark.parametrize("how", ["close", "reset"])
def test_no_client_notices_that_kept_connections_die_at_random(lab: Lab, how: str) -> None:
    requests = 500
    only = lab.provider()
    lab.publish(only, max_attempts=1)
    only.fail("keepalive_race", how=how, probability=0.2)
    body = json.dumps(CHAT)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    client = http.client.HTTPConnection("127.0.0.1", lab.gateway.port, timeout=30)

    seen: dict[tuple[int, str | None], int] = {}
    for _ in range(requests):
        client.request("POST", "/v1/chat/completions", body, headers)
        response = client.getresponse()
        response.read()
        key = (response.status, response.headers["x-route-attempts"])
        seen[key] = seen.get(key, 0) + 1
    client.close()

    assert seen == {(200, "1"): requests}
    assert {(row.status, len(row.attempts)) for row in lab.gateway.finished()} == {("routed", 1)}
    kept = only.requests()
    assert sum(request.fault == "keepalive_race" for request in kept) > len(kept) / 10
    assert only.count > requests


def test_a_request_whose_fresh_connection_dies_too_has_failed(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second)
    lab.chat()  # leaves a kept connection
    first.fail("close_before_headers")

    answer = lab.chat()

    assert lab.attempts(answer) == [(first.slug, "reset_before_headers"), (second.slug, None)]
    assert first.count == 3  # the one before, the kept connection, the fresh one


@pytest.mark.slow
async def test_retries_add_at_most_a_quarter_when_providers_fail_half_of_the_time(
    start_gateways: Callable[..., Gateways],
) -> None:
    gateway = start_gateways(2)
    with Simulator(process=True) as simulator:
        names = [f"flaky-{number}" for number in range(4)]
        handles = simulator.add_all([{"name": name} for name in names])
        for handle in handles:
            handle.behave(faults=[{"name": "status", "status": 500, "probability": 0.5}])
        gateway.publish(
            document(
                [provider(each.name, base_url=each.base_url, circuit=CIRCUIT_OF_STEEL) for each in handles],
                strategy="round_robin",
            )
        )
        total = 360
        seen = await Load(gateway.url, KEY, rate=60, total=total).run()
        asked = sum(handle.count() for handle in handles)

    assert len(seen) == total
    assert total < asked <= 1.25 * total
    assert {each.status for each in seen} == {200, 502}
    assert len(gateway.finished()) == total
    assert sum(row.attempt_count for row in gateway.finished()) == asked
