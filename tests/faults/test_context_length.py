"""A request that is too long for a model goes to one that takes in more, or back to the client as it was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.gateway.lab import Lab

pytestmark = pytest.mark.faults

SMALL, LARGE = 8192, 128_000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 413, 500])
def test_the_next_target_is_one_whose_window_is_known_to_be_larger(lab: Lab, status: int, stream: bool) -> None:
    small = lab.provider(context={"gpt-4o": SMALL})
    same = lab.provider(context={"gpt-4o": SMALL}, models={"gpt-4o": "same"})
    unknown = lab.provider(models={"gpt-4o": "unknown"})
    large = lab.provider(context={"gpt-4o": LARGE}, models={"gpt-4o": "large"})
    lab.publish(small, same, unknown, large)
    small.fail("context_length", status=status, window=SMALL)

    answer = lab.chat(stream=stream)

    assert answer.status == 200
    assert lab.attempts() == [(small.slug, "context_length"), (large.slug, None)]
    assert (same.count, unknown.count) == (0, 0)


def test_a_window_is_known_from_the_built_in_table_too(lab: Lab) -> None:
    small, large = lab.provider(models={"gpt-4o": "small-1"}), lab.provider(models={"gpt-4o": "large-1"})
    lab.publish(small, large, of_document={"builtin_context": {"small-1": SMALL, "large-1": LARGE}})
    small.fail("context_length")

    assert lab.chat().status == 200
    assert lab.attempts() == [(small.slug, "context_length"), (large.slug, None)]


def test_the_same_model_is_never_asked_twice_whatever_is_said_of_its_window(lab: Lab) -> None:
    small, claimed = lab.provider(context={"gpt-4o": SMALL}), lab.provider(context={"gpt-4o": LARGE})
    lab.publish(small, claimed)
    for each in (small, claimed):
        each.fail("context_length")

    answer = lab.chat()

    assert (answer.status, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert lab.attempts() == [(small.slug, "context_length")]
    assert claimed.count == 0


def test_where_none_is_larger_the_client_reads_the_upstreams_own_refusal(lab: Lab) -> None:
    small, smaller = lab.provider(context={"gpt-4o": SMALL}), lab.provider(context={"gpt-4o": 4096})
    lab.publish(small, smaller)
    small.fail("status", status=400, body='{"error": {"code": "context_length_exceeded",   "message": "too long"}}')

    answer = lab.chat()

    assert answer.status == 400
    assert answer.body == b'{"error": {"code": "context_length_exceeded",   "message": "too long"}}'
    assert smaller.count == 0


def test_a_request_that_is_too_long_says_nothing_about_the_target(lab: Lab) -> None:
    only = lab.provider(circuit={"failure_threshold": 1})
    lab.publish(only)
    only.fail("context_length", times=1)

    assert [lab.chat().status for _ in range(2)] == [400, 200]


def test_messages_move_on_to_a_larger_window_too(lab: Lab) -> None:
    small = lab.provider("anthropic", context={"gpt-4o": SMALL})
    large = lab.provider("anthropic", context={"gpt-4o": LARGE}, models={"gpt-4o": "large"})
    lab.publish(small, large)
    small.fail("context_length")

    assert lab.messages().status == 200
    assert lab.attempts() == [(small.slug, "context_length"), (large.slug, None)]
