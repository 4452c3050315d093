"""SIGTERM under load: readiness first, what is open finishes, everything is written down, exit 0."""

from __future__ import annotations

import http.client
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.documents import document, provider
from tests.gateways import KEY, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateways import Gateways
    from tests.simulators import Simulator

#: They start and stop processes.
pytestmark = [pytest.mark.faults, pytest.mark.slow]

STREAM = b'{"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "hello"}]}'


def test_twenty_open_streams_and_requests_finish_and_each_has_its_row(
    start_gateways: Callable[..., Gateways], simulator: Simulator
) -> None:
    gateway = start_gateways(2, SIGNALBOX_SHUTDOWN_DELAY="1", SIGNALBOX_DRAIN_SECONDS="20")
    acme = simulator.add("acme", output_tokens=30, tokens_per_second=15)
    gateway.publish(document([provider("acme", base_url=acme.base_url)]))

    def ask(number: int) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        body = STREAM if number % 2 else STREAM.replace(b"true", b"false")
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content

    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(ask, number) for number in range(20)]
        acme.wait_for(lambda requests: len(requests) == 20)
        for process in gateway.processes:
            process.send_signal(signal.SIGTERM)
        wait_until(lambda: gateway.get("/readyz").status == 503)
        gateway.close_listener()
        answers = [each.result() for each in asked]
        assert [process.wait(30) for process in gateway.processes] == [0, 0]

    assert {status for status, _ in answers} == {200}
    assert all(content.endswith(b"data: [DONE]\n\n") for _, content in answers[1::2])
    assert [row.status for row in gateway.finished()] == ["routed"] * 20
    assert len({row.id for row in gateway.finished()}) == 20
