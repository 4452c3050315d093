"""Sample windows and the peak EWMA."""

from __future__ import annotations

from math import exp
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routes.engine.stats import SIZE, TargetStats
from routes.engine.tables.memory import Guard, ThreadLocks
from routes.engine.windows import MAX_AGE, SAMPLES, TAU, PeakEwma, SampleWindow

outcomes = st.lists(
    st.tuples(
        st.floats(0.0, 600.0),  # wait before it
        st.floats(0.001, 600.0),  # seconds
        st.integers(0, 5000),  # tokens
        st.booleans(),  # failed
    ),
    min_size=1,
    max_size=250,
)


class Books(TargetStats):
    """The figures of one target, in memory of their own; every write goes through the guard."""

    def __init__(self) -> None:
        cells: memoryview[float] = memoryview(bytearray(8 * (SIZE + 1))).cast("d")
        self.guard = Guard(ThreadLocks(), 0, cells[SIZE:], self.repair)
        super().__init__(cells[:SIZE], self.guard)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("succeeded", "failed", "recovered", "ended", "streamed", "report"):
            return found

        def guarded(*given: Any) -> Any:
            with self.guard:
                return found(*given)

        return guarded


@given(outcomes)
def test_means_agree_with_a_plain_list(steps: list[tuple[float, float, int, bool]]) -> None:
    kept, now, samples = SampleWindow(), 10_000.0, []
    for wait, seconds, tokens, failed in steps:
        now += wait
        kept.add(now, seconds, -1 if failed else tokens)
        samples.append((now, seconds, 0 if failed else tokens, failed))
    inside = [sample for sample in samples[-SAMPLES:] if sample[0] >= now - MAX_AGE]
    means, _ = kept.means(now)
    assert means.samples == len(inside)
    assert means.seconds == pytest.approx(sum(s for _, s, _, _ in inside) / len(inside))
    answers = [(s, tokens) for _, s, tokens, failed in inside if tokens and not failed]
    failures = [s for _, s, _, failed in inside if failed]
    if not answers:
        assert (means.per_token, means.token_samples) == (None, 0)
    else:
        tokens = sum(t for _, t in answers)
        typical = tokens / len(answers)
        expected = (sum(s for s, _ in answers) + sum(failures)) / (tokens + len(failures) * typical)
        assert means.per_token == pytest.approx(expected)
        assert means.token_samples == len(answers) + len(failures)


def test_an_empty_window_says_so() -> None:
    stats = Books()
    assert stats.means_s(False, 0.0) == (None, 0, None, 0)
    stats.succeeded(False, 1.0, 10, 0.0)
    assert stats.means_s(False, MAX_AGE).samples == 1
    assert stats.means_s(False, MAX_AGE + 0.1) == (None, 0, None, 0)


def test_what_grows_too_old_leaves_the_means_although_nothing_is_added() -> None:
    stats = Books()
    stats.succeeded(False, 1.0, 10, 0.0)
    stats.succeeded(False, 3.0, 10, 1000.0)
    assert stats.mean_latency_s(False, 2000.0) == (2.0, 2)
    assert stats.mean_latency_s(False, MAX_AGE + 1.0) == (3.0, 1)
    assert stats.percentile_s(False, 50, MAX_AGE + 1.0) == (3.0, 1)


def test_what_failed_after_all_is_counted_once_and_as_its_timeout() -> None:
    stats = Books()
    sample = stats.succeeded(True, 0.2, None, 1.0)
    stats.failed(True, 60.0, 5.0, sample)
    assert stats.mean_latency_s(True, 5.0) == (60.0, 1)
    assert stats.consecutive_failures == 1


def test_a_failure_long_after_its_sample_was_dropped_changes_no_sum() -> None:
    stats = Books()
    early = stats.succeeded(True, 0.2, None, 1.0)
    for _ in range(SAMPLES):
        stats.succeeded(True, 1.0, None, 2.0)
    stats.failed(True, 60.0, 3.0, early)
    assert stats.mean_latency_s(True, 3.0) == (pytest.approx(1.0), SAMPLES)


def test_streams_and_others_are_apart() -> None:
    stats = Books()
    stats.succeeded(True, 0.2, None, 1.0)
    stats.succeeded(False, 3.0, 100, 1.0)
    assert stats.means_s(True, 1.0).seconds == 0.2
    assert stats.means_s(False, 1.0) == (3.0, 1, 0.03, 1)
    assert stats.ewma_s(True, 1.0) == 0.2
    assert stats.ewma_s(False, 1.0) == 3.0


def test_mean_output_tokens_is_of_the_last_hundred_answers() -> None:
    stats = Books()
    assert stats.mean_output_tokens is None
    for tokens in [1_000_000, *[50] * SAMPLES]:
        stats.ended(0.0, tokens, 0, 0.0)
    assert stats.mean_output_tokens == 50


def test_the_ewma_rises_to_a_peak_at_once_and_falls_back_slowly() -> None:
    ewma = PeakEwma()
    assert ewma.read(0.0) is None
    ewma.add(0.1, 0.0)
    ewma.add(2.0, 1.0)
    assert ewma.read(1.0) == 2.0
    ewma.add(0.1, 1.0 + TAU)
    assert ewma.read(1.0 + TAU) == pytest.approx(2.0 * exp(-1) + 0.1 * (1 - exp(-1)))
    assert ewma.read(1.0 + 2 * TAU) == pytest.approx((2.0 * exp(-1) + 0.1 * (1 - exp(-1))) * exp(-1))


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0.001, 100), st.booleans()), min_size=1, max_size=50))
def test_the_ewma_stays_between_nothing_and_the_worst_seen(steps: list[tuple[float, float, bool]]) -> None:
    ewma, now, worst = PeakEwma(), 0.0, 0.0
    for wait, seconds, failed in steps:
        now += wait
        worst = max(worst, seconds)
        if failed:
            ewma.fail(seconds, now)
        else:
            ewma.add(seconds, now)
        estimate = ewma.read(now)
        assert estimate is not None
        assert 0 <= estimate <= worst


def test_a_failure_costs_three_times_the_estimate_up_to_the_timeout() -> None:
    ewma = PeakEwma()
    ewma.fail(60.0, 0.0)
    assert ewma.read(0.0) == 60.0, "nothing known yet: the time-out"
    ewma = PeakEwma()
    ewma.add(1.0, 0.0)
    seen = []
    for _ in range(5):
        ewma.fail(60.0, 0.0)
        seen.append(ewma.read(0.0))
    assert seen == [3.0, 9.0, 27.0, 60.0, 60.0]
