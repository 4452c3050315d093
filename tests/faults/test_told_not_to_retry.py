"""``x-should-retry: false``: SDKs do not try again what the gateway has tried, nor what cannot succeed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateway.lab import Lab

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstreams_error_after_two_attempts_says_so_and_after_one_does_not(lab: Lab, stream: bool) -> None:
    first, second = lab.provider(circuit={"failure_threshold": 100}), lab.provider()
    lab.publish(first, second)

    for status in (400, 404, 409, 422, 501):
        first.fail("status", status=500)
        second.fail("status", status=status)
        twice = lab.chat(stream=stream)
        first.fail("status", status=status)
        once = lab.chat(stream=stream)

        assert (twice.status, twice.headers["x-route-attempts"]) == (status, "2")
        assert twice.headers["x-should-retry"] == "false"
        assert (once.status, once.headers["x-route-attempts"]) == (status, "1")
        assert "x-should-retry" not in once.headers


def test_a_408_of_the_upstream_may_be_retried_however_often_was_tried(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second)
    first.fail("status", status=500)
    second.fail("status", status=408)

    answer = lab.chat()

    assert (answer.status, answer.headers["x-route-attempts"]) == (408, "2")
    assert "x-should-retry" not in answer.headers


def test_one_failed_attempt_may_be_retried_by_the_client(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only, max_attempts=1)
    only.fail("status", status=500)

    answer = lab.chat()

    assert (answer.status, answer.json()["error"]["code"]) == (502, "all_targets_failed")
    assert "x-should-retry" not in answer.headers


def test_our_own_4xx_says_so_at_once(lab: Lab) -> None:
    only = lab.provider(models={"gpt-4o": "gpt-4o"})
    lab.publish(only)

    answer = lab.chat(model="nothing-like-it")

    assert (answer.status, answer.headers["x-should-retry"]) == (404, "false")
    assert only.count == 0


def test_when_everything_is_rate_limited_after_several_attempts_the_time_is_told_instead(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second)
    for each in (first, second):
        each.fail("rate_limited", retry_after=30)

    answer = lab.chat()

    assert (answer.status, len(answer.json()["error"]["attempts"])) == (429, 2)
    assert 25 <= int(answer.headers["retry-after"]) <= 30
    assert "x-should-retry" not in answer.headers
