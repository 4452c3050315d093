"""Time limits that the tests of attempts and streams do not cover: limits of requests that think, and of the edges
between two phases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateway.lab import Lab

pytestmark = pytest.mark.faults

THINKING = {"reasoning_effort": "high"}


def test_a_request_that_thinks_is_left_early_six_times_as_late(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second, timeouts={"first_event": 60, "first_event_soft": 0.5})
    first.fail("slow_first_content", seconds=1.2)

    assert lab.chat(stream=True).headers["x-route-provider"] == second.slug
    assert lab.chat(stream=True, **THINKING).headers["x-route-provider"] == first.slug


def test_the_early_limit_is_off_at_zero_and_where_it_is_not_the_lower_one(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    first.fail("slow_first_content", seconds=0.6)
    for soft, hard in ((0, 30), (0.2, 0.2)):
        lab.publish(first, second, timeouts={"first_event": hard, "first_event_soft": soft})
        answer = lab.chat(stream=True)
        if soft:  # the hard limit struck, and counts
            assert lab.attempts(answer)[0] == (first.slug, "timeout_first_event")
        else:
            assert lab.attempts(answer) == [(first.slug, None)]


def test_the_last_target_left_is_waited_for_until_the_hard_limit(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only, timeouts={"first_event": 30, "first_event_soft": 0.1})
    only.fail("slow_first_content", seconds=0.6)

    assert lab.chat(stream=True).status == 200
    assert lab.attempts() == [(only.slug, None)]


def test_a_target_left_that_may_not_serve_is_none(lab: Lab) -> None:
    slow, limited = lab.provider(), lab.provider()
    lab.publish(limited, slow, timeouts={"first_event": 30, "first_event_soft": 0.1})
    limited.fail("rate_limited", retry_after=60)
    slow.fail("slow_first_content", seconds=0.6)

    assert lab.attempts(lab.chat(stream=True)) == [(limited.slug, "rate_limited"), (slow.slug, None)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_hanging_upstream_is_given_up_in_time_in_both_modes(lab: Lab, stream: bool) -> None:
    bad, good = lab.provider(), lab.provider()
    lab.publish(bad, good, timeouts={"first_byte": 0.3, "first_event": 0.3})
    bad.fail("hang_before_headers")

    assert lab.chat(stream=stream).headers["x-route-provider"] == good.slug
    expected = "timeout_first_event" if stream else "timeout_first_byte"
    assert lab.attempts() == [(bad.slug, expected), (good.slug, None)]
    bad.wait_for(lambda requests: requests[0].disconnected)


def test_a_time_out_counts_against_its_target(lab: Lab) -> None:
    bad, good = lab.provider(circuit={"failure_threshold": 1}), lab.provider()
    lab.publish(bad, good, timeouts={"first_byte": 0.2})
    bad.fail("hang_before_headers")

    assert [lab.chat().headers["x-route-provider"] for _ in range(3)] == [good.slug] * 3
    assert bad.count == 1
