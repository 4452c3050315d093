"""Twenty publishes a second under load, broken ones among them: every request sees exactly one revision."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.documents import document, profile, provider, target
from tests.gateways import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateways import Answer, Gateways
    from tests.simulators import Simulator

pytestmark = pytest.mark.faults

BROKEN = (b"", b"{", b'{"format": 1, "number": 99999}', b'{"format": 2, "number": 99998, "providers": []}', b"\x00\xff")


def publish_fast(
    gateway: Gateways, simulator: Simulator, publishes: int, askers: int
) -> tuple[list[Answer], list[Answer]]:
    """(every answer, those of streams among them) of a load during so many publishes, 20 a second. In each revision the
    provider, its upstream model and the profile's own target name carry its number."""
    handle = simulator.add("acme", output_tokens=8, tokens_per_second=100)

    def revision(number: int) -> dict[str, Any]:
        entry = provider(f"acme-{number}", base_url=handle.base_url, models={"gpt-4o": f"model-{number}"})
        return document([entry], [profile("default", [target(f"acme-{number}", weight=number)])])

    answers: list[list[Answer]] = [[] for _ in range(askers)]
    done = threading.Event()
    gateway.publish(revision(1))

    def ask(place: int) -> None:
        message = {"role": "user", "content": "hello"}
        while not done.is_set():
            document = {"model": "gpt-4o", "messages": [message], "stream": place % 2 == 0}
            answers[place].append(gateway.post("/v1/chat/completions", document, x_route_debug="1"))

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(askers)]
    for thread in threads:
        thread.start()
    try:
        pace = threading.Event()
        for number in range(2, publishes + 2):
            if number % 5 == 0:
                gateway.write(gateway.data / "revision.json", BROKEN[number // 5 % len(BROKEN)])
                pace.wait(0.05)
            gateway.publish(revision(number), wait=False)
            pace.wait(0.05)
        gateway.wait_for(f"revision {publishes + 1} is in use")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    return [each for some in answers for each in some], [each for some in answers[::2] for each in some]


@pytest.mark.parametrize("publishes", [20, pytest.param(80, marks=pytest.mark.slow)])
def test_every_request_sees_exactly_one_revision_and_none_fails(
    start_gateways: Callable[..., Gateways], simulator: Simulator, publishes: int
) -> None:
    gateway = start_gateways(2)

    answers, streams = publish_fast(gateway, simulator, publishes, askers=4)

    assert {answer.status for answer in answers} == {200}
    assert all(answer.body.endswith(b"data: [DONE]\n\n") for answer in streams)
    seen = set()
    for answer in answers:
        number = answer.headers["x-route-revision"]
        assert answer.headers["x-route-provider"] == f"acme-{number}"
        assert answer.headers["x-route-model"] == f"model-{number}"
        seen.add(int(number))
    assert len(seen) > 1
    assert max(seen) <= publishes + 1  # no broken one ever went live
    rows = wait_until(lambda: found if len(found := gateway.finished()) == len(answers) else None)
    assert all((row.revision, row.provider) == (int(row.provider[5:]), f"acme-{row.revision}") for row in rows)
