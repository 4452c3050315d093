"""Strategies that follow what answers were like: latency, speed, cost."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from routes.engine.types import Outcome
from tests.documents import profile, provider, snapshot, target
from tests.engine.drive import CHI_SQUARED_0_001, Bench, chi_squared
from tests.engine.strategy_bench import bench, feed, told, told_of


# -- least latency --
def test_least_latency_ranks_streams_by_their_first_event() -> None:
    line = bench("least_latency")
    for slug, latency in (("a", 0.3), ("b", 0.045), ("c", 0.1)):
        feed(line, slug, latency, stream=True)
        feed(line, slug, 1 / latency)  # other requests say the opposite
    decision = line.decide(stream=True)
    assert told_of(decision) == [
        ("b", "first_event", pytest.approx(45.0)),
        ("c", "first_event", pytest.approx(100.0)),
        ("a", "first_event", pytest.approx(300.0)),
    ]


def test_least_latency_ranks_others_by_latency_per_output_token() -> None:
    line = bench("least_latency", 2)
    feed(line, "a", 2.0, tokens=1000)
    feed(line, "b", 1.0, tokens=10)
    decision = line.decide()
    assert told_of(decision) == [
        ("a", "per_token", pytest.approx(2.0)),
        ("b", "per_token", pytest.approx(100.0)),
    ]


def test_least_latency_never_compares_seconds_with_seconds_per_token() -> None:
    line = bench("least_latency", 2)
    feed(line, "a", 2.0, tokens=1000)
    feed(line, "b", 1.0)  # reports no tokens
    decision = line.decide()
    assert [(e.target.provider.slug, e.code) for e in decision.full_ranking()] == [("b", "latency"), ("a", "latency")]


def test_embeddings_are_compared_by_latency() -> None:
    line = bench("least_latency", 2)
    feed(line, "a", 2.0, tokens=1000)
    feed(line, "b", 1.0, tokens=10)
    assert line.first(operation="embedding") == "b"


def test_a_failed_attempt_counts_as_its_timeout() -> None:
    line = bench("least_latency", 2)
    feed(line, "a", 0.1, 9, stream=True)
    line.attempt("a", "failure", latency=0.001, stream=True, timeout=60.0)
    feed(line, "b", 2.0, stream=True)
    assert line.first(stream=True) == "b"


def test_ties_keep_configured_order() -> None:
    line = bench("least_latency", 4)
    for slug in "dbca":
        feed(line, slug, 0.5)
    assert line.ranking() == ["a", "b", "c", "d"]


def test_nothing_measured_yet_means_everyone_in_turn() -> None:
    line = bench("least_latency")
    assert [line.first() for _ in range(4)] == ["a", "b", "c", "a"]


def test_five_percent_explore_the_unmeasured_in_turn() -> None:
    line = bench("least_latency", 4, seed=9)
    feed(line, "a", 5.0)
    feed(line, "b", 1.0)
    counts = line.firsts(4000)
    assert counts["a"] == 0
    assert chi_squared([counts["b"], counts["c"] + counts["d"]], [0.95, 0.05]) < CHI_SQUARED_0_001[1]
    assert abs(counts["c"] - counts["d"]) <= 1
    ranking = line.decide().full_ranking()
    assert {e.code for e in ranking} <= {"per_token", "latency", "cold_start", "explore"}


def test_cold_start_last_never_explores() -> None:
    line = bench("least_latency", 3, params={"cold_start": "last", "min_samples": 2})
    feed(line, "c", 1.0, 2)
    feed(line, "a", 1.0, 1)
    assert line.firsts(200) == {"c": 200}
    assert line.ranking() == ["c", "a", "b"]


def test_samples_older_than_an_hour_leave_a_target_unmeasured() -> None:
    line = bench("least_latency", 2, params={"cold_start": "last"})
    feed(line, "b", 0.1)
    line.now += 3000
    feed(line, "a", 9.0)
    assert line.ranking() == ["b", "a"]
    line.now += 700
    assert line.ranking() == ["a", "b"]


def test_backup_tiers_are_ranked_without_exploring() -> None:
    places = [target("a"), target("b", tier=1), target("c", tier=1)]
    line = Bench(snapshot([provider(slug) for slug in "abc"], [profile(targets=places, strategy="least_latency")]))
    feed(line, "c", 0.5)
    assert all(line.ranking() == ["a", "c", "b"] for _ in range(100))


# -- least cost --

PRICES: dict[str, dict[str, Any]] = {
    "a": {"gpt-4o": {"input": 2.5, "output": 10.0}},
    "b": {"gpt-4o": {"input": 1.0, "output": 4.0}},
    "c": {},
}


def priced(**given: Any) -> Bench:
    return Bench(
        snapshot([provider(slug, prices=prices) for slug, prices in PRICES.items()], strategy="least_cost", **given)
    )


def test_least_cost_puts_the_cheapest_first_and_unknown_prices_last() -> None:
    decision = priced().decide(estimate_tokens=lambda: 250)
    assert [(e.target.provider.slug, e.code) for e in decision.full_ranking()] == [
        ("b", "usd_per_million"),
        ("a", "usd_per_million"),
        ("c", "price_unknown"),
    ]
    assert decision.ranked[0].value == pytest.approx((1.0 + 4.0) / 2)


def test_the_model_really_used_decides_the_price() -> None:
    prices = {
        "big": {"input": 10, "output": 10},
        "tiny": {"input": 0.1, "output": 0.1},
        "gpt-4o": {"input": 1, "output": 1},
    }
    providers = [provider("a", prices=prices), provider("b", prices=prices)]
    places = [target("a"), target("b", model="big")]
    line = Bench(snapshot(providers, [profile(targets=places, strategy="least_cost")]))
    assert line.first() == "a"
    places = [target("a"), target("b", model="tiny")]
    line = Bench(snapshot(providers, [profile(targets=places, strategy="least_cost")]))
    assert line.first() == "b"


def test_expected_output_decides_between_cheap_input_and_cheap_output() -> None:
    providers = [
        provider("talk", prices={"gpt-4o": {"input": 1, "output": 10}}),
        provider("read", prices={"gpt-4o": {"input": 10, "output": 1}}),
    ]
    line = Bench(snapshot(providers, strategy="least_cost"))
    assert line.first(estimate_tokens=lambda: 10_000) == "talk"
    assert line.first(estimate_tokens=lambda: 10) == "read"
    assert line.first(estimate_tokens=lambda: 10, max_output_tokens=1) == "talk"


def test_a_target_without_answers_is_assumed_to_write_as_much_as_the_others() -> None:
    providers = [
        provider("a", prices={"gpt-4o": {"input": 1, "output": 1}}),
        provider("b", prices={"gpt-4o": {"input": 1, "output": 2}}),
    ]
    line = Bench(snapshot(providers, strategy="least_cost"))
    feed(line, "a", 0.1, tokens=5000)
    assert line.first() == "a", "many tokens at the low price are still cheaper than as many at the high one"
    feed(line, "b", 0.1, tokens=1000)
    assert line.first() == "b"


def test_the_estimate_is_made_at_most_once_and_only_when_needed() -> None:
    calls: list[int] = []

    def estimate() -> int:
        calls.append(1)
        return 100

    places = [target("a"), target("b", tier=1), target("c", tier=2)]
    providers = [provider(slug, prices=PRICES["a"]) for slug in "abc"]
    line = Bench(snapshot(providers, [profile(targets=places, strategy="least_cost")]))
    line.decide(estimate_tokens=estimate).full_ranking()
    assert calls == [1]
    bench("weighted").decide(estimate_tokens=estimate).full_ranking()
    assert calls == [1]


def test_free_models_and_empty_requests_have_a_cost_too() -> None:
    line = Bench(
        snapshot([provider(slug, prices={"gpt-4o": {"input": 0, "output": 0}}) for slug in "ab"], strategy="least_cost")
    )
    feed(line, "a", 0.1)
    decision = line.decide(estimate_tokens=lambda: 0, max_output_tokens=None)
    assert decision.ranked[0].value == 0.0
    assert line.ranking() == ["a", "b"]


# -- peak ewma --


def test_peak_ewma_takes_the_faster_of_two() -> None:
    line = bench("peak_ewma", 2)
    feed(line, "a", 1.0, 1, stream=True)
    feed(line, "b", 0.2, 1, stream=True)
    decision = line.decide(stream=True)
    assert told_of(decision) == [
        ("b", "peak_ewma", pytest.approx(200.0)),
        ("a", "peak_ewma", pytest.approx(1000.0)),
    ]


def test_peak_ewma_multiplies_by_what_is_in_flight() -> None:
    line = bench("peak_ewma", 2)
    feed(line, "a", 0.3, 1)
    feed(line, "b", 0.2, 1)
    held = [line.claim("b"), line.claim("b")]
    assert line.first() == "a"
    for claim in held:
        assert claim is not None
        line.live.release(claim, line.now)
    assert line.first() == "b"


def test_peak_ewma_divides_by_weight() -> None:
    line = bench("peak_ewma", {"a": 1, "b": 4})
    feed(line, "a", 1.0, 1)
    feed(line, "b", 3.0, 1)
    assert line.first() == "b"


def test_peak_ewma_never_takes_the_slowest_of_three() -> None:
    line = bench("peak_ewma")
    for slug, latency in (("a", 1.0), ("b", 0.5), ("c", 3.0)):
        feed(line, slug, latency, 1)
    counts = line.firsts(3000)
    assert counts["c"] == 0
    assert chi_squared([counts["b"], counts["a"]], [2 / 3, 1 / 3]) < CHI_SQUARED_0_001[1]


def test_ties_of_peak_ewma_rotate() -> None:
    line = bench("peak_ewma", 2)
    assert [line.first() for _ in range(4)] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("measured", ["a", "b"])
def test_an_unmeasured_target_is_tried_at_once_but_not_flooded(measured: str) -> None:
    line = bench("peak_ewma", 2)
    feed(line, measured, 0.5, 1)
    claims = []
    for _ in range(100):
        slug = line.first()
        assert slug is not None
        claims.append((slug, line.claim(slug)))
    counts = Counter(slug for slug, _ in claims)
    assert counts == {"a": 50, "b": 50}


def test_a_target_that_fails_at_once_is_not_the_fastest() -> None:
    line = bench("peak_ewma", 2)
    feed(line, "a", 0.4, 5)
    for _ in range(4):
        line.attempt("b", "failure", latency=0.001, timeout=60)
    assert line.first() == "a"


def test_a_target_that_was_slow_once_is_tried_again() -> None:
    line = bench("peak_ewma", 2)
    feed(line, "a", 0.5, 1)
    feed(line, "b", 20.0, 1)
    assert line.firsts(20) == {"a": 20}
    for _ in range(60):
        line.now += 1
        feed(line, "a", 0.5, 1)
    assert line.first() == "b"


def test_tiers_bind_peak_ewma_too() -> None:
    places = [target("a"), target("b", tier=1), target("c", tier=1)]
    line = Bench(snapshot([provider(slug) for slug in "abc"], [profile(targets=places, strategy="peak_ewma")]))
    feed(line, "a", 9.0, 1)
    feed(line, "b", 2.0, 1)
    feed(line, "c", 1.0, 1)
    assert all(line.ranking() == ["a", "c", "b"] for _ in range(50))


# -- speed -------------------------------------------------------------------------------------------------------


def stream(line: Bench, slug: str, speed: float, count: int = 5) -> None:
    """So many streams of so many tokens per second after the first event."""
    for _ in range(count):
        claim = line.claim(slug)
        assert claim is not None
        line.live.settle(claim, line.target(slug), Outcome("success", None, 0.1, 0.1, None, True), line.now)
        line.now += 2
        line.live.release(claim, line.now, round(2 * speed))


def test_speed_takes_the_most_tokens_per_second() -> None:
    line = bench("speed")
    for slug, speed in (("a", 60), ("b", 120), ("c", 90)):
        stream(line, slug, speed)
    assert told(line) == [("b", "speed", 120.0), ("c", "speed", 90.0), ("a", "speed", 60.0)]


def test_a_target_with_fewer_than_five_streams_counts_as_unmeasured() -> None:
    line = bench("speed", params={"unmeasured": 70})
    stream(line, "a", 60)
    stream(line, "b", 500, 4)
    stream(line, "c", 80)
    assert told(line) == [("c", "speed", 80.0), ("b", "speed_unmeasured", 70.0), ("a", "speed", 60.0)]


def test_fifty_tokens_per_second_are_assumed_unless_said_otherwise() -> None:
    line = bench("speed", 2)
    stream(line, "a", 49)
    assert line.first() == "b"
    stream(line, "a", 60)
    assert line.first() == "a"


def test_streams_of_more_than_an_hour_ago_do_not_count() -> None:
    line = bench("speed", 2)
    stream(line, "a", 200)
    line.now += 3000
    stream(line, "a", 60, 5)
    assert told(line)[0] == ("a", "speed", 130.0)
    line.now += 700
    assert told(line)[0] == ("a", "speed", 60.0)
    line.now += 3600
    assert {code for _, code, _ in told(line)} == {"speed_unmeasured"}


# -- what backups keep ---------------------------------------------------------------------------------------------


def test_backups_of_peak_ewma_alone_in_their_tier_are_told_too() -> None:
    places = [target("a"), target("b"), target("c", tier=1)]
    line = Bench(snapshot([provider(slug) for slug in "abc"], [profile(targets=places, strategy="peak_ewma")]))
    assert line.ranking()[2] == "c"
