"""Everything is down, one provider hangs, and how they come back: by counts, without a stampede."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.gateway.lab import CHAT

if TYPE_CHECKING:
    from tests.gateway.lab import Lab
    from tests.gateways import Answer

pytestmark = pytest.mark.faults

OPEN_AT_ONCE = {"failure_threshold": 1, "recovery_timeout": 60}


def at_once(lab: Lab, count: int) -> list[Answer]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: lab.chat(), range(count)))


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_with_all_providers_down_the_client_is_told_when_to_come_back_and_nobody_is_asked(lab: Lab, wire: str) -> None:
    first, second = lab.provider(wire, circuit=OPEN_AT_ONCE), lab.provider(wire, circuit=OPEN_AT_ONCE)
    lab.publish(first, second, when_all_unhealthy="reject", same_target_retries=0)
    for each in (first, second):
        each.fail("status", status=500)
    assert lab.ask(wire).status == 502  # opens both

    answers = [lab.ask(wire) for _ in range(5)]

    assert {answer.status for answer in answers} == {503}
    assert {answer.json()["error"]["code"] for answer in answers} == {"no_target_available"}
    assert all(1 <= int(answer.headers["retry-after"]) <= 75 for answer in answers)
    assert (first.count, second.count) == (1, 1)
    row = lab.row(answers[0])
    assert (row.status, row.attempts) == ("rejected", [])


def test_trying_anyway_is_one_attempt_each_and_never_more_at_once_than_the_cap(lab: Lab) -> None:
    only = lab.provider(circuit=OPEN_AT_ONCE)
    lab.publish(only, when_all_unhealthy="try", panic_concurrency=2, same_target_retries=0)
    only.fail("status", status=500, times=1)
    assert lab.chat().status == 502
    only.fail("status", status=500, delay=1.5)

    answers = at_once(lab, 8)

    assert Counter(answer.status for answer in answers) == {502: 2, 503: 6}
    assert only.count == 3
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 503)
    assert all(lab.row(answer).degraded for answer in answers if answer.status == 502)


def test_trying_anyway_serves_as_soon_as_the_provider_is_back(lab: Lab) -> None:
    only = lab.provider(circuit=OPEN_AT_ONCE)
    lab.publish(only, same_target_retries=0)
    only.fail("status", status=500, times=1)

    assert [lab.chat().status for _ in range(2)] == [502, 200]


def test_a_provider_that_comes_back_takes_traffic_up_slowly(lab: Lab) -> None:
    """Half-open first, then a tenth of its share, growing over ``slow_start``: no stampede of what it would get."""
    back = lab.provider(
        circuit={"failure_threshold": 1, "recovery_timeout": 0.2, "success_threshold": 1, "slow_start": 600}
    )
    steady = lab.provider()
    lab.publish(back, steady, strategy="weighted")
    back.fail("status", status=500, times=1)
    while back.count == 0:
        lab.chat()
    time.sleep(0.4)  # the circuit's own time
    while not any(request.status == 200 for request in back.requests()):
        lab.chat()
    back.handle.forget()

    answers = [lab.chat() for _ in range(200)]

    assert {answer.status for answer in answers} == {200}
    assert back.count <= 40  # half of them without it, and ten on average with it


def test_requests_to_others_are_answered_while_one_provider_hangs(lab: Lab) -> None:
    hanging = lab.provider(models={"stuck": "stuck"})
    other = lab.provider(models={"gpt-4o": "gpt-4o"})
    lab.publish(hanging, other)
    hanging.fail("hang_before_headers")
    stuck = [lab.open({**CHAT, "model": "stuck"}) for _ in range(50)]
    hanging.wait_for(lambda requests: len(requests) == 50)

    answers = [answer for _ in range(5) for answer in at_once(lab, 20)]

    assert Counter(answer.status for answer in answers) == {200: 100}
    assert {answer.headers["x-route-attempts"] for answer in answers} == {"1"}
    assert not any(request.finished or request.disconnected for request in hanging.requests())
    for connection in stuck:
        connection.close()
    hanging.wait_for(lambda requests: all(request.disconnected for request in requests))


def test_a_provider_that_hangs_costs_requests_one_attempt_until_its_circuit_opens(lab: Lab) -> None:
    hanging, other = lab.provider(circuit={"failure_threshold": 3}), lab.provider()
    lab.publish(hanging, other, timeouts={"first_byte": 0.2})
    hanging.fail("hang_before_headers")

    answers = [lab.chat() for _ in range(8)]

    assert {answer.headers["x-route-provider"] for answer in answers} == {other.slug}
    assert Counter(answer.headers["x-route-attempts"] for answer in answers) == {"2": 3, "1": 5}
