"""A client that does not read: what waits for it in the gateway stays small, and nobody else waits with it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.faults.processes import in_kernel, resident_mb
from tests.gateway.lab import CHAT
from tests.gateways import wait_until

if TYPE_CHECKING:
    from tests.gateway.lab import Lab, Provider

pytestmark = pytest.mark.faults

#: What one stream may hold, at the client's socket, on its way there and in the reader, and beside it the simulated
#: provider's own write buffer.
HELD_BYTES = 256 * 1024
SIMULATOR_BYTES = 128 * 1024


def stalled(provider: Provider, streams: int) -> int:
    """Wait until the provider cannot send any more; the bytes it has sent."""
    seen: list[int] = []

    def still() -> bool:
        requests = provider.requests()
        seen.append(sum(request.bytes_sent for request in requests))
        return len(requests) == streams and len(seen) > 20 and seen[-1] == seen[-20] > 0

    wait_until(still, 20, "the provider stalls")
    return seen[-1]


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_kept_for_a_client_that_does_not_read_is_bounded(lab: Lab, stream: bool) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("endless_body", seconds=0)
    connection = lab.open({**CHAT, "stream": stream})
    assert connection.recv(10, socket.MSG_PEEK)

    sent = stalled(only, 1)
    kernel = in_kernel(only.handle.port) + in_kernel(lab.gateway.port)
    connection.close()

    # Sent by the provider and in no socket on the way: held by a process.
    assert sent - kernel < HELD_BYTES + SIMULATOR_BYTES
    only.wait_for(lambda requests: requests[0].disconnected)


def test_twenty_clients_that_do_not_read_keep_nobody_else_waiting(lab: Lab) -> None:
    only, other = lab.provider(models={"endless": "endless"}), lab.provider(models={"gpt-4o": "gpt-4o"})
    lab.publish(only, other)
    only.fail("endless_body", seconds=0)
    before = resident_mb(lab.gateway)
    connections = [lab.open({**CHAT, "model": "endless", "stream": True}) for _ in range(20)]
    for connection in connections:
        assert connection.recv(10, socket.MSG_PEEK)
    stalled(only, 20)

    answers = [lab.chat(stream=number % 2 == 0) for number in range(20)]

    assert {answer.status for answer in answers} == {200}
    assert resident_mb(lab.gateway) - before < 20 * 2
    for connection in connections:
        connection.close()
    only.wait_for(lambda requests: all(request.disconnected for request in requests))
    wait_until(lambda: sum(row.status == "cancelled" for row in lab.gateway.finished()) == 20)
