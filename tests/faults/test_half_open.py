"""Half-open over two gateway processes: exactly as many trials as there are slots, and no slot is ever lost."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from history.records import Started
from tests.faults.circuits import Burst, looking
from tests.gateway.lab import CHAT
from tests.gateways import wait_until

if TYPE_CHECKING:
    from tests.gateway.lab import Lab, Provider

#: Two processes, fifty requests at once, and one of the processes is killed.
pytestmark = [pytest.mark.faults, pytest.mark.slow]

#: Opened by one failure, tried again soon. Nothing else opens it.
QUICK = {
    "failure_threshold": 1,
    "failure_rate": 0,
    "recovery_timeout": 0.3,
    "recovery_timeout_max": 0.3,
    "half_open_max_calls": 3,
    "success_threshold": 2,
    "slow_start": 0,
}
#: What says nothing of the target -> (fault, its options, the status that the client gets).
NEUTRAL: dict[str, tuple[str, dict[str, Any], int]] = {
    "400": ("status", {"status": 400}, 400),
    "404": ("status", {"status": 404}, 404),
    "422": ("status", {"status": 422}, 422),
    "a content filter": ("content_filter", {}, 400),
    "429": ("rate_limited", {"retry_after": 60}, 200),
    "403": ("status", {"status": 403}, 200),
    "401": ("status", {"status": 401}, 200),
}


@pytest.fixture
def lab(lab_of_two: Lab) -> Lab:
    return lab_of_two


def burst_of(lab: Lab, weak: Provider, count: int, **body: Any) -> Burst:
    return Burst(lambda _: lab.chat(**body), weak.handle, count)


def half_open(lab: Lab, **circuit: Any) -> tuple[Provider, Provider]:
    """A provider that may be tried again, before one that answers."""
    weak, strong = lab.provider(circuit=QUICK | circuit), lab.provider()
    lab.publish(weak, strong, same_target_retries=0)
    weak.fail("status", status=500, times=1)
    assert lab.chat().headers["x-route-provider"] == strong.slug
    with looking(lab.gateway.data, lab.gateway.document) as look:
        look.wait_for(weak.slug, "half_open")
    return weak, strong


def state_of(lab: Lab, weak: Provider) -> str:
    with looking(lab.gateway.data, lab.gateway.document) as look:
        return look.circuit(weak.slug).state


def transitions(lab: Lab, weak: Provider) -> list[tuple[str, str]]:
    attempts = [each for row in lab.gateway.finished() for each in row.attempts if each.provider == weak.slug]
    return sorted(step[:2] for each in attempts for step in each.transitions)


@pytest.mark.parametrize("slots", [1, 3, 5])
def test_of_fifty_requests_at_once_exactly_as_many_are_trials_as_there_are_slots(lab: Lab, slots: int) -> None:
    weak, _ = half_open(lab, half_open_max_calls=slots)
    lab.gateway.forget()

    burst = burst_of(lab, weak, 50)

    assert burst.settled(slots) == slots
    assert len(lab.gateway.records_by_process()) == 2  # both had some of them
    assert burst.end() == {200: 50}


@pytest.mark.parametrize("outcome", NEUTRAL)
def test_what_says_nothing_of_the_target_gives_its_slot_back_and_changes_nothing(lab: Lab, outcome: str) -> None:
    fault, options, status = NEUTRAL[outcome]
    weak, _ = half_open(lab)
    weak.fail(fault, **options)
    lab.gateway.forget()

    # More than there are slots, unless the first keeps the model, or soon the credential, away from everybody.
    answers = [lab.chat() for _ in range(1 if status == 200 else 5)]

    assert {answer.status for answer in answers} == {status}
    assert weak.count == 1 + len(answers)
    assert transitions(lab, weak) == [("open", "half_open")]
    burst = burst_of(lab, weak, 10, model="gpt-4o-mini")
    assert burst.settled(3) == 3
    burst.end()


@pytest.mark.parametrize("stream", [False, True])
def test_clients_that_leave_give_their_slots_back_and_change_nothing(lab: Lab, stream: bool) -> None:
    weak, strong = half_open(lab)
    weak.fail("hang_before_headers")
    weak.handle.forget()
    lab.gateway.forget()
    left = [lab.open({**CHAT, "stream": stream}) for _ in range(3)]
    weak.wait_for(lambda requests: len(requests) == 3)
    assert lab.attempts(lab.chat()) == [(strong.slug, None)]  # all slots are taken

    for connection in left:
        connection.close()

    wait_until(lambda: sum(row.status == "cancelled" for row in lab.gateway.finished()) == 3)
    assert transitions(lab, weak) == [("open", "half_open")]
    assert state_of(lab, weak) == "half_open"
    burst = burst_of(lab, weak, 10)
    assert burst.settled(3) == 3
    burst.end()


def test_slots_of_a_killed_process_are_free_for_the_one_that_is_left(lab: Lab) -> None:
    weak, _ = half_open(lab, half_open_max_calls=1)
    weak.fail("hang_before_headers")
    weak.handle.forget()
    lab.gateway.forget()
    with lab.open(CHAT):
        weak.wait_for(lambda requests: len(requests) == 1)
        ((pid, records),) = lab.gateway.records_by_process().items()
        assert [type(record) for record in records] == [Started]
        holder = [process.pid for process in lab.gateway.processes].index(pid)

        lab.gateway.kill(holder, signal.SIGKILL)

    try:
        burst = burst_of(lab, weak, 10)
        assert burst.settled(1) == 1
        assert burst.end() == {200: 10}
    finally:
        lab.gateway.restart(holder)


def test_two_answers_close_it_whole_or_streamed_alike_and_one_failure_opens_it_again(lab: Lab) -> None:
    weak, strong = half_open(lab)

    assert lab.chat(stream=True).headers["x-route-provider"] == weak.slug
    assert state_of(lab, weak) == "half_open"
    assert lab.chat().headers["x-route-provider"] == weak.slug
    assert state_of(lab, weak) == "closed"

    weak, strong = half_open(lab)
    assert lab.chat().headers["x-route-provider"] == weak.slug
    weak.fail("status", status=500, times=1)
    assert lab.chat().headers["x-route-provider"] == strong.slug
    assert ("half_open", "open") in transitions(lab, weak)
