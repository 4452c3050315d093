"""The outcome table, the order of tries and the retry budget, without any I/O."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routes.engine import retry
from routes.engine.retry import Again, Keep, RetryBudget, Step, Walk
from routes.engine.types import ERROR_CLASSES


def failover(**given: Any) -> Any:
    defaults = {
        "max_attempts": 3,
        "same_target_retries": 1,
        "retry_statuses": frozenset({500, 502, 503, 504, 529}),
        "auth_errors": "failover",
    }
    return SimpleNamespace(**{**defaults, **given})


@pytest.mark.parametrize(
    ("status", "cause", "expected"),
    [
        (200, None, (None, Step.DELIVER, "success", Again.NO, Keep.NONE)),
        (301, None, ("upstream_redirect", Step.NEXT, "failure", Again.NO, Keep.NONE)),
        (429, None, ("rate_limited", Step.NEXT, "neutral", Again.WAIT, Keep.RATE_LIMIT)),
        (429, "billing", ("rate_limited", Step.NEXT, "neutral", Again.WAIT, Keep.RATE_LIMIT)),
        (401, None, ("auth_failed", Step.NEXT, "neutral", Again.NO, Keep.ACCOUNT)),
        (402, None, ("quota_exhausted", Step.NEXT, "neutral", Again.NO, Keep.ACCOUNT)),
        (400, "billing", ("quota_exhausted", Step.NEXT, "neutral", Again.NO, Keep.ACCOUNT)),
        (403, None, ("auth_failed", Step.NEXT, "neutral", Again.NO, Keep.MODEL)),
        (403, "content_filter", ("content_filter", Step.SURFACE, "neutral", Again.NO, Keep.NONE)),
        (500, None, ("upstream_5xx", Step.NEXT, "failure", Again.QUICK, Keep.NONE)),
        (503, None, ("upstream_5xx", Step.NEXT, "failure", Again.QUICK, Keep.COOL_DOWN)),
        (529, None, ("overloaded", Step.NEXT, "failure", Again.QUICK, Keep.NONE)),
        (400, "context_length", ("context_length", Step.LARGER, "neutral", Again.NO, Keep.NONE)),
        (500, "context_length", ("context_length", Step.LARGER, "neutral", Again.NO, Keep.NONE)),
        (400, "content_filter", ("content_filter", Step.SURFACE, "neutral", Again.NO, Keep.NONE)),
        (400, None, ("client_error", Step.SURFACE, "neutral", Again.NO, Keep.NONE)),
        (404, None, ("client_error", Step.SURFACE, "neutral", Again.NO, Keep.NONE)),
        (422, None, ("client_error", Step.SURFACE, "neutral", Again.NO, Keep.NONE)),
        (501, None, ("upstream_5xx", Step.SURFACE, "neutral", Again.NO, Keep.NONE)),
    ],
)
def test_what_a_status_leads_to(status: int, cause: str | None, expected: tuple[Any, ...]) -> None:
    assert tuple(retry.rule_on_status(status, cause, failover())) == expected


def test_a_refused_credential_is_surfaced_when_the_profile_says_so() -> None:
    surface = failover(auth_errors="surface")

    assert [retry.rule_on_status(status, None, surface).step for status in (401, 402)] == [Step.REFUSE] * 2
    assert retry.rule_on_status(403, None, surface).step is Step.NEXT


def test_only_the_profiles_own_statuses_are_retried() -> None:
    odd = failover(retry_statuses=frozenset({404}))

    assert retry.rule_on_status(404, None, odd)[:3] == ("client_error", Step.NEXT, "failure")
    assert retry.rule_on_status(500, None, odd)[:3] == ("upstream_5xx", Step.SURFACE, "neutral")


def test_every_failure_has_a_class_of_the_closed_list_and_slow_ones_are_never_tried_again() -> None:
    for name in ("connect_refused", "reset_before_headers", "dns", "tls", "truncated"):
        assert retry.rule_on_failure(name) == (name, Step.NEXT, "failure", Again.QUICK, Keep.NONE)
    for name in ("connect_timeout", "timeout_first_byte", "timeout_first_event", "timeout_idle", "invalid_response"):
        assert retry.rule_on_failure(name) == (name, Step.NEXT, "failure", Again.NO, Keep.NONE)
    assert all(retry.rule_on_failure(name).error_class in ERROR_CLASSES for name in retry._FAILURES)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after", b" 1.5 ")], 1.5),
        ([(b"retry-after", b"30"), (b"retry-after-ms", b"1500")], 1.5),
        ([(b"retry-after", format_datetime(datetime(2026, 11, 20, 12, 0, 9, tzinfo=UTC), usegmt=True).encode())], 9.0),
        ([(b"retry-after", b"Fri, 20 Nov 2026 11:00:00 GMT")], 0.0),
        ([(b"retry-after", b"-3")], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"inf")], None),
        ([(b"retry-after", b"\xff")], None),
        ([], None),
    ],
)
def test_retry_after_in_every_form(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()

    assert retry.retry_after(headers, now) == seconds


class Highest(random.Random):
    """Draws the upper bound, so that a test can see it."""

    def uniform(self, a: float, b: float) -> float:
        return b


def walked(walk: Walk, outcomes: dict[int, list[tuple[Again, float | None]]], places: int) -> list[Any]:
    """What is tried, in order, pauses written as floats, when each place fails as told."""
    seen: list[Any] = []
    index: int | None = -1
    now = 0.0
    while not walk.exhausted:
        index = walk.following(index)
        if index is None or index >= places:
            pause = walk.another_pass(now, Highest())
            if pause is None:
                break
            seen.append(pause)
            now += pause
            index = -1
            continue
        walk.began()
        seen.append(index)
        again, wait = outcomes[index].pop(0)
        walk.failed(index, again, now, wait)
    return seen


QUICK, SLOW = (Again.QUICK, None), (Again.NO, None)


def test_the_ranking_is_walked_once_before_anything_is_tried_again() -> None:
    outcomes = {0: [QUICK, QUICK], 1: [SLOW], 2: [QUICK, QUICK]}

    assert walked(Walk(failover(max_attempts=10)), outcomes, 3) == [0, 1, 2, 0.1, 0, 2]


def test_max_attempts_ends_the_walk_wherever_it_is() -> None:
    assert walked(Walk(failover(max_attempts=2)), {0: [QUICK], 1: [QUICK]}, 5) == [0, 1]
    assert walked(Walk(failover(max_attempts=3)), {0: [QUICK] * 2, 1: [QUICK]}, 2) == [0, 1, 0.1, 0]


def test_more_passes_back_off_exponentially_up_to_a_cap() -> None:
    walk = Walk(failover(max_attempts=20, same_target_retries=7))

    pauses = [step for step in walked(walk, {0: [QUICK] * 20}, 1) if isinstance(step, float)]

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_without_retries_there_is_one_pass() -> None:
    assert walked(Walk(failover(same_target_retries=0)), {0: [QUICK]}, 1) == [0]


def test_a_rate_limit_is_waited_for_only_if_it_is_short_and_nothing_else_is_left() -> None:
    short, long, unnamed = (Again.WAIT, 4.0), (Again.WAIT, 6.0), (Again.WAIT, None)

    assert walked(Walk(failover()), {0: [short, SLOW]}, 1) == [0, 4.0, 0]
    assert walked(Walk(failover()), {0: [short], 1: [QUICK, SLOW]}, 2) == [0, 1, 0.1, 1]
    assert walked(Walk(failover()), {0: [long]}, 1) == [0]
    assert walked(Walk(failover()), {0: [unnamed]}, 1) == [0]


def test_the_soonest_of_several_rate_limits_is_waited_for() -> None:
    outcomes = {0: [(Again.WAIT, 3.0)], 1: [(Again.WAIT, 2.0), SLOW]}

    assert walked(Walk(failover()), outcomes, 2) == [0, 1, 2.0, 1]


def test_a_degraded_decision_makes_one_attempt() -> None:
    assert walked(Walk(failover(), single=True), {0: [QUICK], 1: [QUICK]}, 2) == [0]


def test_the_jitter_is_full() -> None:
    draws = []
    for seed in range(200):
        walk = Walk(failover())
        walk.began()
        walk.failed(0, Again.QUICK, 0.0)
        draws.append(walk.another_pass(0.0, random.Random(seed)))

    assert all(draw is not None and 0 <= draw <= 0.1 for draw in draws)
    assert min(filter(None, draws)) < 0.01
    assert max(filter(None, draws)) > 0.09


def test_a_cold_process_may_spend_thirty_attempts_at_once() -> None:
    budget = RetryBudget()

    assert [budget.take(1000.0) for _ in range(31)] == [True] * 30 + [False]


def test_a_busy_process_may_spend_a_fifth_of_its_requests() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.request(500.0)

    assert sum(budget.take(500.5) for _ in range(400)) == 200


def test_the_budget_comes_back_after_ten_seconds() -> None:
    budget = RetryBudget()
    while budget.take(100.0):
        pass

    assert not budget.take(109.9)
    assert sum(budget.take(110.0) for _ in range(50)) == 30


steps = st.lists(st.tuples(st.floats(0, 4), st.integers(0, 60), st.integers(0, 60)), max_size=30)


@given(steps)
def test_in_no_ten_seconds_more_is_spent_than_the_budget(moves: list[tuple[float, int, int]]) -> None:
    budget = RetryBudget()
    now = 50.0
    requests: list[float] = []
    extra: list[float] = []
    for pause, sent, wanted in moves:
        now += pause
        for _ in range(sent):
            budget.request(now)
            requests.append(now)
        taken = [now for _ in range(wanted) if budget.take(now)]
        extra += taken
        if not taken:
            continue
        window = [moment for moment in extra if moment > now - 10]
        asked = [moment for moment in requests if moment > now - 10]
        assert len(window) <= max(30, 0.2 * len(asked))
