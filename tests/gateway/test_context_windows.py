"""A request that is too long for a target goes to one that takes in more, and to no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.documents import document, profile, provider, target
from tests.gateway.lab import CHAT, MODEL, feed_retry_budget

if TYPE_CHECKING:
    from tests.gateway.lab import Lab, Provider

#: Many of a kind.
pytestmark = pytest.mark.thorough

TOO_LONG = "context_length"


def sized(lab: Lab, window: int | None, upstream: str | None = None, *, too_long: bool = False) -> Provider:
    """A provider with that window for a model it calls by a name of its own."""
    made = lab.provider(context={} if window is None else {MODEL: window})
    made.entry["models"] = {MODEL: upstream or f"{made.slug}/m"}
    if too_long:
        made.fail("context_length")
    return made


def test_the_next_target_with_a_larger_window_takes_over_and_smaller_ones_are_passed_over(lab: Lab) -> None:
    first, smaller, same, unknown, larger = (
        sized(lab, 8_000, too_long=True),
        sized(lab, 4_000),
        sized(lab, 8_000),
        sized(lab, None),
        sized(lab, 128_000),
    )
    lab.publish(first, smaller, same, unknown, larger)

    got = lab.chat()

    assert (got.status, got.headers["x-route-provider"]) == (200, larger.slug)
    assert lab.attempts() == [(first.slug, TOO_LONG), (larger.slug, None)]
    assert [each.count for each in (smaller, same, unknown)] == [0, 0, 0]


def test_each_refusal_raises_what_the_next_one_must_take(lab: Lab) -> None:
    first, second, between, last = (
        sized(lab, 8_000, too_long=True),
        sized(lab, 64_000, too_long=True),
        sized(lab, 32_000),
        sized(lab, 128_000),
    )
    lab.publish(first, second, between, last)

    assert lab.chat(stream=True).headers["x-route-provider"] == last.slug
    assert lab.attempts() == [(first.slug, TOO_LONG), (second.slug, TOO_LONG), (last.slug, None)]


def test_without_a_larger_one_the_upstreams_own_words_reach_the_client(lab: Lab) -> None:
    first, smaller, unknown = sized(lab, 8_000, too_long=True), sized(lab, 4_000), sized(lab, None)
    lab.publish(first, smaller, unknown)

    got = lab.chat()

    assert (got.status, got.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert (lab.row().status, lab.row().error_code, lab.row().attempt_count) == ("routed", TOO_LONG, 1)


def test_a_model_that_said_so_is_not_asked_again_at_another_provider(lab: Lab) -> None:
    first, same_model = sized(lab, 8_000, "acme/m", too_long=True), sized(lab, 128_000, "acme/m")
    lab.publish(first, same_model)

    assert lab.chat().status == 400
    assert same_model.count == 0


def test_a_refusal_by_a_window_nobody_knows_asks_for_more_than_the_request_itself(lab: Lab) -> None:
    first, small, large = sized(lab, None, too_long=True), sized(lab, 5), sized(lab, 1_000)
    lab.publish(first, small, large)
    messages = [{"role": "user", "content": "x" * 400}]  # about a hundred tokens

    assert lab.chat(messages=messages).headers["x-route-provider"] == large.slug
    assert small.count == 0


def test_windows_that_everybody_knows_need_not_be_configured(lab: Lab) -> None:
    calm = lab._simulator.add("calm")
    first, second = sized(lab, None, "small-1", too_long=True), sized(lab, None, "large-1")
    lab.gateway.publish(
        document(
            [first.entry, second.entry, provider("calm", base_url=calm.base_url)],
            [
                profile("default", [target(first.slug), target(second.slug)]),
                profile("calm", [target("calm")]),
            ],
            builtin_context={"small-1": 8_000, "large-1": 200_000},
        )
    )
    feed_retry_budget(lab.gateway)

    assert lab.chat().headers["x-route-provider"] == second.slug


def test_what_a_provider_says_of_its_window_goes_before_what_everybody_knows(lab: Lab) -> None:
    calm = lab._simulator.add("calm")
    first, second = sized(lab, 100_000, "small-1", too_long=True), sized(lab, 50_000, "large-1")
    lab.gateway.publish(
        document(
            [first.entry, second.entry, provider("calm", base_url=calm.base_url)],
            [profile("default", [target(first.slug), target(second.slug)]), profile("calm", [target("calm")])],
            builtin_context={"small-1": 8_000, "large-1": 200_000},
        )
    )
    feed_retry_budget(lab.gateway)

    assert lab.chat().status == 400


def test_no_attempt_is_left_for_a_larger_one(lab: Lab) -> None:
    first, second = sized(lab, 8_000, too_long=True), sized(lab, 128_000)
    lab.publish(first, second, max_attempts=1)

    assert (lab.chat().status, second.count) == (400, 0)


def test_a_larger_one_that_fails_is_tried_again_and_the_smaller_ones_are_not(lab: Lab) -> None:
    bad, first, larger = sized(lab, 4_000), sized(lab, 8_000, too_long=True), sized(lab, 128_000)
    lab.publish(bad, first, larger, max_attempts=5, same_target_retries=1)
    bad.fail("status", status=500)
    larger.fail("status", status=500, times=1)

    got = lab.chat()

    assert got.status == 200
    assert lab.attempts() == [
        (bad.slug, "upstream_5xx"),
        (first.slug, TOO_LONG),
        (larger.slug, "upstream_5xx"),
        (larger.slug, None),
    ]


def test_a_refusal_on_a_second_pass_reaches_the_client(lab: Lab) -> None:
    first, larger = sized(lab, 8_000), sized(lab, 128_000)
    lab.publish(first, larger, max_attempts=5, same_target_retries=1)
    first.behave(faults=[{"name": "status", "status": 500, "times": 1}, {"name": "context_length"}])
    larger.fail("status", status=500)

    got = lab.chat()

    assert (got.status, got.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert [error for _, error in lab.attempts()] == ["upstream_5xx", "upstream_5xx", TOO_LONG]


def test_a_larger_one_that_cannot_be_tried_after_all_leaves_a_400(lab: Lab) -> None:
    first, larger = sized(lab, 8_000, too_long=True), sized(lab, 128_000)
    larger.entry["wire"] = "anthropic"
    lab.publish(first, larger)
    untold: dict[str, Any] = {"logit_bias": {"50256": -100}, "n": 3}  # nothing the other format could say

    got = lab.chat(**untold)

    assert (got.status, got.json()["error"]["code"]) == (400, "context_length")
    assert got.headers["x-should-retry"] == "false"
    assert [each["error_class"] for each in got.json()["error"]["attempts"]] == [TOO_LONG]
    assert (lab.row().error_code, lab.row().attempt_count, larger.count) == (TOO_LONG, 1, 0)


def test_a_target_is_not_to_blame_for_what_is_too_long_for_it(lab: Lab) -> None:
    first, larger = sized(lab, 8_000, too_long=True), sized(lab, 128_000)
    lab.publish(first, larger)
    for _ in range(8):
        assert lab.gateway.post("/v1/chat/completions", CHAT).status == 200
    assert first.count == 8
