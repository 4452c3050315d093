"""Clients that leave in every window, many at once: nothing of them stays behind."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.processes import descriptors
from tests.gateway.lab import CHAT
from tests.gateways import wait_until

if TYPE_CHECKING:
    from tests.gateway.lab import Lab

pytestmark = pytest.mark.faults

#: window -> (fault, its options, whether the client has read something by then)
WINDOWS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "before the headers": ("hang_before_headers", {}, False),
    "before the first event": ("slow_first_content", {"seconds": 60, "pings": 600}, False),
    "mid-stream": ("idle_stall", {"after_events": 5}, True),
}


@pytest.mark.parametrize("window", WINDOWS)
def test_twenty_clients_leave_at_once_and_nothing_of_them_stays(lab: Lab, window: str) -> None:
    fault, options, reads = WINDOWS[window]
    only = lab.provider(max_concurrency=20)
    lab.publish(only, timeouts={"first_event": 60, "idle": 60})
    before = descriptors(lab.gateway)
    only.fail(fault, **options)
    connections = [lab.open({**CHAT, "stream": True}) for _ in range(20)]
    only.wait_for(lambda requests: len(requests) == 20)
    if reads:
        for connection in connections:
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.readline()
            response.close()
    assert lab.chat().status == 503  # all seats are taken

    for connection in connections:
        connection.close()

    only.wait_for(lambda requests: all(request.disconnected for request in requests))
    wait_until(lambda: sum(row.status == "cancelled" for row in lab.gateway.finished()) == 20)
    rows = [row for row in lab.gateway.finished() if row.status == "cancelled"]
    assert {attempt.error_class for row in rows for attempt in row.attempts} == {"cancelled"}
    assert all(bool(row.output_tokens) is reads for row in rows)
    only.heal()
    assert [lab.chat().status for _ in range(3)] == [200] * 3  # seats, circuit and all
    wait_until(lambda: descriptors(lab.gateway) <= before + 2)
