"""Every gateway process of a host dies and starts again: what all of them knew of providers is still known."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.circuits import Burst, looking
from tests.gateway.lab import CHAT, Lab

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateways import Gateways
    from tests.simulators import Simulator

#: They kill and start processes.
pytestmark = [pytest.mark.faults, pytest.mark.slow]

CIRCUIT = {"failure_threshold": 1, "failure_rate": 0, "half_open_max_calls": 3, "slow_start": 0}
SOON = {**CIRCUIT, "recovery_timeout": 0.3, "recovery_timeout_max": 0.3}
LATER = {**CIRCUIT, "recovery_timeout": 600, "recovery_timeout_max": 600}


def restart(gateway: Gateways, number: int) -> None:
    """All of them, with nobody left in between."""
    for index in range(gateway.count):
        gateway.processes[index].send_signal(number)
    for process in gateway.processes:
        process.wait(20)
    gateway.processes.clear()
    gateway.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_open_circuit_is_open_after_a_restart_and_is_tried_with_no_more_requests_than_it_has_slots(
    start_gateways: Callable[..., Gateways], simulator: Simulator, number: int
) -> None:
    lab = Lab(start_gateways(2, SIGNALBOX_DRAIN_SECONDS="1"), simulator)
    later, soon, limited, strong = (
        lab.provider(circuit=LATER),
        lab.provider(circuit=SOON),
        lab.provider(),
        lab.provider(),
    )
    providers = (later, soon, limited, strong)
    lab.publish(*providers, max_attempts=4, same_target_retries=0, of_profile={"affinity": {"enabled": True}})
    for each in (later, soon):
        each.fail("status", status=500, times=1)
    limited.fail("rate_limited", retry_after=200, times=1)
    pinned = lab.gateway.chat(x_route_session="kept")
    assert pinned.headers["x-route-provider"] == strong.slug
    with looking(lab.gateway.data, lab.gateway.document) as look:
        look.wait_for(soon.slug, "half_open")
        until = look.circuit(later.slug).until
        # Trials that nobody is left to end.
        soon.fail("hang_before_headers")
        hanging = [lab.open(CHAT) for _ in range(3)]
        soon.wait_for(lambda requests: len(requests) == 1 + 3)

    restart(lab.gateway, number)

    for connection in hanging:
        connection.close()
    with looking(lab.gateway.data, lab.gateway.document) as look:
        assert look.circuit(later.slug) == ("open", until, 1.0, False)
        assert look.circuit(soon.slug).state == "half_open"
    answer = lab.gateway.chat(x_route_session="kept", x_route_debug="1")
    assert (answer.headers["x-route-provider"], answer.headers["x-route-source"]) == (strong.slug, "affinity")
    burst = Burst(lambda _: lab.chat(), soon.handle, 50)
    assert burst.settled(3) == 3
    assert burst.end() == {200: 50}
    assert (later.count, limited.count) == (1, 1)
