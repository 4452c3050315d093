"""Circuits: when they open, how they are tried again, and what never counts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routes.engine.circuit import BUCKETS, CLOSED, SIZE, Circuit, Window
from routes.engine.settings import CircuitSettings
from routes.engine.types import Outcome
from tests.documents import CIRCUIT, provider, snapshot
from tests.engine.drive import Bench


def bench(seed: int = 1, **circuit: Any) -> Bench:
    return Bench(snapshot([provider("a", circuit=circuit), provider("b")]), seed)


def settings(**given: Any) -> CircuitSettings:
    return CircuitSettings(**(CIRCUIT | given))


@pytest.mark.parametrize("threshold", range(1, 51))
def test_a_fresh_target_opens_at_exactly_that_many_consecutive_failures(threshold: int) -> None:
    line = bench(failure_threshold=threshold)
    for _ in range(threshold - 1):
        assert line.attempt("a", "failure") == []
        assert line.state("a") == "closed"
    (opened,) = line.attempt("a", "failure")
    assert (opened.before, opened.after, opened.reason) == ("closed", "open", "consecutive_failures")
    assert opened.target_id == line.target("a").id
    assert line.state("a") == "open"


def test_one_success_starts_the_count_of_consecutive_failures_anew() -> None:
    line = bench(failure_threshold=3, min_results=1000)
    for verdict in ("failure", "failure", "success", "failure", "failure"):
        line.attempt("a", verdict)  # type: ignore[arg-type]
    assert line.state("a") == "closed"
    line.attempt("a", "failure")
    assert line.state("a") == "open"


def test_neutral_outcomes_neither_count_nor_reset() -> None:
    line = bench(failure_threshold=3)
    for verdict in ("failure", "neutral", "failure", "neutral", "neutral"):
        line.attempt("a", verdict)  # type: ignore[arg-type]
    assert line.state("a") == "closed"
    line.attempt("a", "failure")
    assert line.state("a") == "open"


def test_a_target_that_fails_every_other_time_opens_by_its_failure_rate() -> None:
    line = bench()
    for number in range(9):
        line.attempt("a", "failure" if number % 2 == 0 else "success")
        assert line.state("a") == "closed"
    line.attempt("a", "success")
    assert line.state("a") == "closed", "10 results, 5 failures: a success never opens a circuit"
    (opened,) = line.attempt("a", "failure")
    assert opened.reason == "failure_rate"


def test_thirty_percent_failures_do_not_open_at_a_rate_of_fifty_but_do_at_thirty() -> None:
    pattern = (
        "success",
        "success",
        "failure",
        "success",
        "success",
        "failure",
        "success",
        "failure",
        "success",
        "success",
    )
    lenient, strict = bench(failure_rate=50), bench(failure_rate=30)
    for verdict in pattern * 2:
        lenient.attempt("a", verdict)
        if strict.state("a") == "closed":
            strict.attempt("a", verdict)
    assert lenient.state("a") == "closed"
    assert strict.state("a") == "open"


def test_results_older_than_the_window_do_not_count() -> None:
    line = bench(window=30, failure_threshold=100)
    for _ in range(6):
        line.attempt("a", "success")
    for _ in range(6):
        line.attempt("a", "failure")
        line.now += 31
    assert line.state("a") == "closed"


def test_a_run_of_failures_alone_is_the_thresholds_business() -> None:
    line = bench(failure_threshold=50, min_results=10)
    for _ in range(49):
        line.attempt("a", "failure")
    assert line.state("a") == "closed"


def test_an_open_circuit_takes_no_claim_until_its_time_and_is_then_half_open() -> None:
    line = bench()
    line.open("a")
    until = line.live.circuit(line.target("a"), line.now).until
    assert 48 <= until - line.now <= 72
    line.now = until - 0.001
    assert line.claim("a") is None
    assert line.state("a") == "open"
    line.now = until
    assert line.state("a") == "half_open"
    claim = line.claim("a")
    assert claim is not None
    assert claim.half_open
    assert [(t.before, t.after, t.reason) for t in claim.transitions] == [("open", "half_open", "recovery_timeout")]


def test_the_open_period_doubles_on_reopening_up_to_the_maximum_with_jitter() -> None:
    line = bench(success_threshold=1)
    line.open("a")
    lengths = []
    for _ in range(5):
        until = line.live.circuit(line.target("a"), line.now).until
        lengths.append(until - line.now)
        line.now = until
        line.attempt("a", "failure")
    for length, middle in zip(lengths, (60, 120, 240, 300, 300), strict=True):
        assert 0.8 * middle <= length <= 1.2 * middle
    assert (
        len({round(length / middle, 6) for length, middle in zip(lengths, (60, 120, 240, 300, 300), strict=True)}) > 1
    )


def test_closing_ends_the_doubling() -> None:
    line = bench(success_threshold=1, slow_start=0)
    line.open("a")
    line.now = line.live.circuit(line.target("a"), line.now).until
    line.attempt("a", "failure")
    line.recover("a")
    line.open("a")
    assert line.live.circuit(line.target("a"), line.now).until - line.now <= 72


@given(st.integers(1, 10), st.integers(0, 60))
def test_at_half_open_exactly_the_configured_number_is_in_flight(slots: int, wanted: int) -> None:
    line = bench(half_open_max_calls=slots)
    line.open("a")
    line.now += 73
    claims = [line.claim("a") for _ in range(wanted)]
    assert len([claim for claim in claims if claim]) == min(slots, wanted)


@pytest.mark.parametrize("verdict", ["neutral", None])
def test_a_half_open_slot_comes_back_whatever_became_of_the_attempt(verdict: str | None) -> None:
    line = bench(half_open_max_calls=1)
    line.open("a")
    line.now += 73
    for _ in range(20):
        if verdict is None:  # cancelled before anything was known
            claim = line.claim("a")
            assert claim is not None
            line.live.release(claim, line.now)
        else:
            line.attempt("a", "neutral")
    assert line.state("a") == "half_open"
    assert line.claim("a") is not None


def test_a_half_open_slot_that_nobody_gives_back_lapses() -> None:
    line = bench(half_open_max_calls=1)
    line.open("a")
    line.now += 73
    lost = line.claim("a", lease=30.0)
    assert lost is not None
    assert line.claim("a") is None
    line.now += 30
    assert line.claim("a") is not None
    line.live.release(lost, line.now)
    assert line.claim("a") is None, "giving back a slot that lapsed does not free somebody else's"


def test_slots_of_an_earlier_half_open_period_take_no_room() -> None:
    line = bench(half_open_max_calls=2)
    line.open("a")
    line.now += 73
    hanging = line.claim("a")
    line.attempt("a", "failure")
    assert hanging is not None
    assert line.state("a") == "open"
    line.now += 145
    assert [line.claim("a") is not None for _ in range(3)] == [True, True, False]
    line.live.release(hanging, line.now)
    assert line.claim("a") is None


def test_a_stream_that_has_begun_gives_its_slot_back_before_it_ends() -> None:
    line = bench(half_open_max_calls=1, success_threshold=2)
    line.open("a")
    line.now += 73
    claim = line.claim("a")
    assert claim is not None
    line.live.settle(claim, line.target("a"), Outcome("success", None, 0.2, 0.2, None, True), line.now)
    assert line.claim("a") is not None


def test_success_threshold_successes_close_and_one_failure_reopens() -> None:
    line = bench(success_threshold=3)
    line.open("a")
    line.now += 73
    assert [t.reason for t in line.attempt("a")] == ["recovery_timeout"]
    assert line.attempt("a") == []
    (closed,) = line.attempt("a")
    assert (closed.before, closed.after, closed.reason) == ("half_open", "closed", "successes")
    line.open("a")
    line.now += 73
    line.attempt("a")
    line.attempt("a")
    (reopened,) = line.attempt("a", "failure")
    assert (reopened.before, reopened.after, reopened.reason) == ("half_open", "open", "half_open_failure")


def test_late_results_of_an_older_period_are_ignored() -> None:
    line = bench(success_threshold=1, slow_start=0, failure_threshold=2)
    early = [line.claim("a") for _ in range(8)]
    assert all(early)
    line.open("a")
    target = line.target("a")

    def late(verdict: Any) -> list[Any]:
        claim = early.pop()
        assert claim is not None
        return line.live.settle(claim, target, Outcome(verdict), line.now)

    assert late("success") == []
    assert line.state("a") == "open", "a success begun before it opened does not end the open period"
    line.now += 73
    probe = line.claim("a")
    assert probe is not None
    assert late("failure") == []
    assert late("success") == []
    assert line.state("a") == "half_open", "only answers to requests begun at half-open decide"
    line.live.settle(probe, target, Outcome("success"), line.now)
    assert line.state("a") == "closed"
    for _ in range(4):
        assert late("failure") == []
    assert line.state("a") == "closed", "failures begun before the outage do not open it again"


def test_a_stream_cut_after_its_first_event_counts_as_a_failure_after_all() -> None:
    line = bench(failure_threshold=1)
    target, claim = line.target("a"), line.claim("a")
    assert claim is not None
    line.live.settle(claim, target, Outcome("success", None, 0.2, 0.2, None, True), line.now)
    (opened,) = line.live.settle(claim, target, Outcome("failure", "reset_midstream", 3.0, None, None, True), line.now)
    assert opened.after == "open"
    assert line.live.settle(claim, target, Outcome("failure"), line.now) == [], "once is enough"
    line.live.release(claim, line.now)


def test_an_answer_to_a_degraded_request_ends_the_open_period_early_but_does_not_close() -> None:
    line = bench(success_threshold=1)
    line.open("a")
    assert line.attempt("a", "failure", panic=10) == []
    assert line.state("a") == "open"
    (moved,) = line.attempt("a", "success", panic=10)
    assert (moved.before, moved.after, moved.reason) == ("open", "half_open", "degraded_success")
    (closed,) = line.attempt("a", "success")
    assert closed.after == "closed"


def test_panic_caps_what_is_in_flight_on_the_target() -> None:
    line = bench()
    line.open("a")
    claims = [line.claim("a", panic=4) for _ in range(10)]
    granted = [claim for claim in claims if claim]
    assert len(granted) == 4
    line.live.release(granted[0], line.now)
    assert line.claim("a", panic=4) is not None


def test_slow_start_admits_a_growing_share_and_never_less_than_a_tenth() -> None:
    line = bench(success_threshold=1, slow_start=30)
    assert line.live.circuit(line.target("a"), line.now) is CLOSED, "a fresh target needs no slow start"
    line.open("a")
    line.recover("a")
    closed_at = line.now
    for elapsed, share in ((0, 0.1), (1.5, 0.1), (3, 0.1), (6, 0.2), (15, 0.5), (29.99, 0.99967)):
        assert line.live.circuit(line.target("a"), closed_at + elapsed).admitted == pytest.approx(share, abs=1e-3)
    assert line.live.circuit(line.target("a"), closed_at + 30) is CLOSED


def test_a_changed_window_starts_empty_and_keeps_the_circuit() -> None:
    circuit = Circuit("t")
    for _ in range(4):
        circuit.succeeded(settings(), 0, 10.0)
        circuit.failed(settings(failure_threshold=99), 0, 10.0, 0.5)
    other = settings(window=60, failure_threshold=99)
    assert circuit.failed(other, 0, 10.0, 0.5) is None
    assert circuit.consecutive == 2


@given(
    st.floats(1.0, 3600.0),
    st.lists(st.tuples(st.booleans(), st.floats(0.0, 100.0)), min_size=1, max_size=200),
)
def test_the_window_agrees_with_a_list_of_results(seconds: float, steps: list[tuple[bool, float]]) -> None:
    window, now, results = Window([0.0] * SIZE), 5000.0, []
    window.restart(seconds)
    width = seconds / BUCKETS
    for success, wait in steps:
        now += wait * seconds / 50
        window.add(success, now)
        results.append((success, int(now / width)))
        inside = [good for good, bucket in results if bucket > int(now / width) - BUCKETS]
        assert (window.good, window.bad) == (inside.count(True), inside.count(False))


def test_jitter_follows_from_the_seed() -> None:
    def length(seed: int) -> float:
        line = bench(seed)
        line.open("a")
        return line.live.circuit(line.target("a"), line.now).until - line.now

    assert length(5) == length(5)
    assert length(5) != length(6)
