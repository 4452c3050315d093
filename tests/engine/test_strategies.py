"""What each strategy promises, decision by decision."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routes.engine import strategies
from routes.engine.errors import InvalidParamsError, UnknownStrategyError
from routes.engine.strategies.base import successive
from tests.documents import profile, provider, snapshot, target
from tests.engine.drive import CHI_SQUARED_0_001, Bench, chi_squared, why


def bench(strategy: str, weights: dict[str, float] | int = 3, seed: int = 1, **given: Any) -> Bench:
    """Providers ``a``, ``b``, ``c``… or those of ``weights``."""
    if isinstance(weights, int):
        weights = dict.fromkeys("abcdefghij"[:weights], 1.0)
    return Bench(
        snapshot([provider(slug, weight=weight) for slug, weight in weights.items()], strategy=strategy, **given), seed
    )


# -- registry --------------------------------------------------------------------------------------


def test_the_registry_has_every_strategy() -> None:
    assert strategies.NAMES == tuple(strategies.REGISTRY)
    assert set(strategies.NAMES) == {
        "failover",
        "single",
        "round_robin",
        "weighted",
        "smooth_weighted",
        "random",
        "least_latency",
        "peak_ewma",
        "least_in_flight",
        "least_used",
        "least_cost",
        "speed",
        "token_budget",
        "capacity",
        "tiered",
        "consistent_hash",
        "ab_test",
        "geo_preferred",
        "least_loaded",
        "model_specific",
        "predictive",
        "adaptive",
        "hybrid",
    }
    for name in strategies.NAMES:
        strategy = strategies.get(name)
        assert strategy.name == name
        assert strategy.description.endswith(".")
        assert strategy.params_model.model_json_schema()["additionalProperties"] is False


@pytest.mark.parametrize("name", ["", None, "failover", "Failover", " failover "])
def test_an_empty_name_is_failover(name: str | None) -> None:
    assert strategies.get(name).name == "failover"


def test_hyphens_and_underscores_are_alike() -> None:
    assert strategies.get("round-robin") is strategies.get("round_robin")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownStrategyError, match="round_robin"):
        strategies.get("fastest")


@pytest.mark.parametrize(
    ("name", "params", "path"),
    [
        ("failover", {"x": 1}, "x"),
        ("least_latency", {"min_samples": 0}, "min_samples"),
        ("least_latency", {"cold_start": "first"}, "cold_start"),
    ],
)
def test_wrong_params_are_refused_with_their_path(name: str, params: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        strategies.parse_params(strategies.get(name), params)
    assert caught.value.path == path
    assert caught.value.code == "invalid_params"


# -- failover, single --------------------------------------------------------------------------------


def test_failover_keeps_tier_then_configured_order() -> None:
    places = [target("a", tier=1), target("b"), target("c", tier=1), target("d")]
    line = Bench(snapshot([provider(slug) for slug in "abcd"], [profile(targets=places)]))
    assert line.ranking() == ["b", "d", "a", "c"]


def test_single_uses_the_first_target_and_no_other() -> None:
    line = bench("single")
    decision = line.decide()
    assert [entry.target.provider.slug for entry in decision.full_ranking()] == ["a"]
    assert why(decision) == {"b": "load_balancer.not_first", "c": "load_balancer.not_first"}


def test_single_with_its_target_out_chooses_none() -> None:
    line = bench("single")
    line.set_states(a="disabled")
    decision = line.decide()
    assert decision.place(0) is None
    assert (decision.strategy, decision.source) == ("none", "none")
    line.set_states()
    line.open("a")
    assert line.first() is None


def test_single_takes_the_first_of_the_lowest_tier() -> None:
    places = [target("a", tier=1), target("b")]
    line = Bench(snapshot([provider("a"), provider("b")], [profile(targets=places, strategy="single")]))
    assert line.ranking() == ["b"]


def test_a_degraded_single_still_means_the_first_target() -> None:
    line = bench("single", 2)
    line.open("b")
    line.open("a")
    decision = line.decide()
    assert [entry.target.provider.slug for entry in decision.full_ranking()] == ["a"]
    assert decision.degraded
    assert why(decision) == {"b": "load_balancer.not_first"}


# -- round robin ---------------------------------------------------------------------------------------


@given(st.integers(2, 10), st.integers(1, 20))
def test_round_robin_gives_each_exactly_its_turns(targets: int, rounds: int) -> None:
    line = bench("round_robin", targets)
    assert set(line.firsts(targets * rounds).values()) == {rounds}


def test_round_robin_starts_with_the_first_and_continues_in_order() -> None:
    line = bench("round_robin")
    assert [line.ranking() for _ in range(4)] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_round_robin_from_a_hundred_threads_stays_within_one() -> None:
    line = bench("round_robin", 7)
    seen: list[str | None] = []

    def client() -> None:
        seen.extend(line.first() for _ in range(30))

    threads = [threading.Thread(target=client) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter(seen)
    assert sum(counts.values()) == 3000
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_disabled_target_never_advances_the_counter() -> None:
    line = bench("round_robin")
    line.set_states(b="disabled")
    assert [line.first() for _ in range(4)] == ["a", "c", "a", "c"]
    line.set_states()
    assert line.firsts(30) == {"a": 10, "b": 10, "c": 10}


def test_a_decision_without_candidates_or_with_only_one_advances_nothing() -> None:
    line = bench("round_robin")
    line.set_states(a="disabled", b="disabled")
    assert [line.first() for _ in range(3)] == ["c", "c", "c"]
    line.set_states(a="disabled", b="disabled", c="disabled")
    assert line.first() is None
    line.set_states()
    assert line.first() == "a"


def test_counters_of_two_profiles_are_apart() -> None:
    places = [target("a"), target("b")]
    profiles = [profile(slug, [dict(place) for place in places], strategy="round_robin") for slug in ("one", "two")]
    line = Bench(snapshot([provider("a"), provider("b")], profiles))
    assert [line.first("one"), line.first("one"), line.first("one")] == ["a", "b", "a"]
    assert line.first("two") == "a"


def test_two_models_that_take_turns_do_not_starve_each_other_of_targets() -> None:
    only_big = {"big": "big", "small": "small"}
    providers = [provider("a", models=only_big), provider("b", models=only_big), provider("c", models={"big": "big"})]
    line = Bench(snapshot(providers, strategy="round_robin"))
    small: Counter[str | None] = Counter()
    big: Counter[str | None] = Counter()
    for _ in range(30):
        big[line.first(model="big")] += 1
        small[line.first(model="small")] += 1
    assert set(big.values()) == {10}
    assert small == {"a": 15, "b": 15}


def test_the_failovers_of_one_target_spread_over_the_next_tier() -> None:
    places = [target("a"), target("b"), target("c", tier=1), target("d", tier=1)]
    line = Bench(snapshot([provider(slug) for slug in "abcd"], [profile(targets=places, strategy="round_robin")]))
    backups = Counter(ranking[2] for ranking in (line.ranking() for _ in range(400)) if ranking[0] == "a")
    assert set(backups) == {"c", "d"}
    assert min(backups.values()) > 50


# -- weighted ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["weighted", "smooth_weighted"])
def test_shares_follow_the_weights(strategy: str) -> None:
    line = bench(strategy, {"a": 50, "b": 30, "c": 20}, seed=11)
    counts = line.firsts(10_000)
    assert chi_squared([counts["a"], counts["b"], counts["c"]], [0.5, 0.3, 0.2]) < CHI_SQUARED_0_001[2]


@pytest.mark.parametrize("strategy", ["weighted", "smooth_weighted"])
def test_what_was_dropped_renormalises(strategy: str) -> None:
    line = bench(strategy, {"a": 50, "b": 30, "c": 20}, seed=12)
    line.set_states(b="disabled")
    counts = line.firsts(10_000)
    assert counts["b"] == 0
    assert chi_squared([counts["a"], counts["c"]], [50 / 70, 20 / 70]) < CHI_SQUARED_0_001[1]
    assert line.decide().ranked[0].value in (pytest.approx(71.42857), pytest.approx(28.57143))


@given(st.lists(st.integers(1, 100), min_size=2, max_size=10), st.integers(0, 2**32))
def test_smooth_weighted_is_never_far_from_its_shares(weights: list[int], seed: int) -> None:
    line = bench("smooth_weighted", {"abcdefghij"[i]: weight for i, weight in enumerate(weights)}, seed)
    total = sum(weights)
    counts: Counter[str | None] = Counter()
    for step in range(1, min(total, 200) + 1):
        counts[line.first()] += 1
        for index, weight in enumerate(weights):
            assert abs(counts["abcdefghij"[index]] - step * weight / total) < len(weights)


def test_smooth_weighted_does_not_clump() -> None:
    line = bench("smooth_weighted", {"a": 5, "b": 1, "c": 1})
    assert "".join(line.first() or "" for _ in range(7)) == "abaacaa"


def test_smooth_weighted_follows_with_the_heaviest() -> None:
    assert bench("smooth_weighted", {"a": 1, "b": 5, "c": 3}).ranking() == ["b", "c", "a"]


@pytest.mark.parametrize("strategy", ["weighted", "smooth_weighted", "peak_ewma"])
def test_weight_zero_means_never(strategy: str) -> None:
    line = bench(strategy, {"a": 1, "b": 0, "c": 2})
    assert line.firsts(500)["b"] == 0
    decision = line.decide()
    assert "b" not in [entry.target.provider.slug for entry in decision.full_ranking()]
    assert why(decision) == {"b": "load_balancer.weight_zero"}


@pytest.mark.parametrize("strategy", ["weighted", "smooth_weighted", "peak_ewma"])
def test_weight_zero_everywhere_means_equal(strategy: str) -> None:
    line = bench(strategy, {"a": 0, "b": 0}, seed=3)
    counts = line.firsts(2000)
    assert chi_squared([counts["a"], counts["b"]], [0.5, 0.5]) < CHI_SQUARED_0_001[1]
    assert line.decide().excluded == []


def test_a_target_of_weight_zero_in_the_first_tier_is_no_reason_to_stay_there() -> None:
    places = [target("a", weight=0), target("b", weight=1, tier=1), target("c", weight=1, tier=1)]
    line = Bench(snapshot([provider(slug) for slug in "abc"], [profile(targets=places, strategy="weighted")]))
    assert set(line.firsts(50)) == {"b", "c"}


def test_the_weight_in_the_profile_wins_over_the_providers() -> None:
    places = [target("a", weight=0), target("b")]
    line = Bench(snapshot([provider("a", weight=100), provider("b")], [profile(targets=places, strategy="weighted")]))
    assert line.firsts(50) == {"b": 50}


def test_the_tail_of_weighted_is_drawn_by_weight_too() -> None:
    line = bench("weighted", {"a": 1000, "b": 3, "c": 1}, seed=5)
    seconds = Counter(ranking[1] for ranking in (line.ranking() for _ in range(4000)) if ranking[0] == "a")
    assert chi_squared([seconds["b"], seconds["c"]], [0.75, 0.25]) < CHI_SQUARED_0_001[1]


def test_backups_of_weighted_do_not_follow_the_first_draw() -> None:
    places = [target("a"), target("b"), target("c", tier=1), target("d", tier=1)]
    line = Bench(snapshot([provider(slug) for slug in "abcd"], [profile(targets=places, strategy="weighted")]), seed=6)
    pairs = Counter((ranking[0], ranking[2]) for ranking in (line.ranking() for _ in range(4000)))
    assert chi_squared([pairs[x, y] for x in "ab" for y in "cd"], [0.25] * 4) < CHI_SQUARED_0_001[3]


@given(st.floats(0, 1, exclude_max=True), st.integers(-5, 2000))
def test_successive_draws_stay_in_the_unit_interval(draw: float, step: int) -> None:
    assert 0.0 <= successive(draw, step) < 1.0


def test_a_draw_next_to_one_chooses_the_last() -> None:
    line = bench("weighted", {"a": 0.1, "b": 0.2, "c": 1e-300})
    line.rng.random = lambda: 1 - 2**-53  # type: ignore[method-assign]
    assert line.first() in ("b", "c")


# -- least latency -----------------------------------------------------------------------------------------


def feed(line: Bench, slug: str, latency: float, count: int = 10, **given: Any) -> None:
    for _ in range(count):
        line.attempt(slug, latency=latency, **given)


def test_least_latency_ranks_streams_by_their_first_event() -> None:
    line = bench("least_latency")
    for slug, latency in (("a", 0.3), ("b", 0.045), ("c", 0.1)):
        feed(line, slug, latency, stream=True)
        feed(line, slug, 1 / latency)  # other requests say the opposite
    decision = line.decide(stream=True)
    assert [(e.target.provider.slug, e.code, e.value) for e in decision.full_ranking()] == [
        ("b", "first_event", pytest.approx(45.0)),
        ("c", "first_event", pytest.approx(100.0)),
        ("a", "first_event", pytest.approx(300.0)),
    ]


def test_least_latency_ranks_others_by_latency_per_output_token() -> None:
    line = bench("least_latency", 2)
    feed(line, "a", 2.0, tokens=1000)
    feed(line, "b", 1.0, tokens=10)
    decision = line.decide()
    assert [(e.target.provider.slug, e.code, e.value) for e in decision.full_ranking()] == [
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


# -- least cost ------------------------------------------------------------------------------------------------

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


# -- peak ewma ---------------------------------------------------------------------------------------------------


def test_peak_ewma_takes_the_faster_of_two() -> None:
    line = bench("peak_ewma", 2)
    feed(line, "a", 1.0, 1, stream=True)
    feed(line, "b", 0.2, 1, stream=True)
    decision = line.decide(stream=True)
    assert [(e.target.provider.slug, e.value) for e in decision.full_ranking()] == [
        ("b", pytest.approx(200.0)),
        ("a", pytest.approx(1000.0)),
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


# -- all of them ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", strategies.NAMES)
def test_one_candidate_is_returned_as_it_is(name: str) -> None:
    line = bench(name, 1)
    decision = line.decide()
    (only,) = decision.full_ranking()
    assert (only.target.provider.slug, only.code) == ("a", "first" if name == "single" else "only_candidate")
    assert decision.inputs == {}


@pytest.mark.parametrize("name", strategies.NAMES)
def test_a_profile_without_targets_decides_none(name: str) -> None:
    line = Bench(snapshot([provider("a")], [profile(targets=[], strategy=name)]))
    decision = line.decide()
    assert decision.place(0) is None
    assert decision.strategy == "none"
    assert decision.unserved


@pytest.mark.parametrize("name", [name for name in strategies.NAMES if name != "single"])
@given(tiers=st.lists(st.integers(0, 3), min_size=1, max_size=8), out=st.sets(st.integers(0, 7)))
def test_tiers_bind_every_strategy(name: str, tiers: list[int], out: set[int]) -> None:
    slugs = "abcdefgh"[: len(tiers)]
    places = [target(slug, tier=tier) for slug, tier in zip(slugs, tiers, strict=True)]
    line = Bench(snapshot([provider(slug) for slug in slugs], [profile(targets=places, strategy=name)]))
    line.set_states(**{slugs[index]: "disabled" for index in out if index < len(slugs)})
    ranked = [tiers[slugs.index(slug)] for slug in line.ranking()]
    assert ranked == sorted(ranked)


def test_the_request_may_choose_another_strategy() -> None:
    line = Bench(snapshot([provider(slug) for slug in "abc"], strategy="least_latency", params={"cold_start": "last"}))
    decision = line.decide(strategy="round_robin")
    assert decision.strategy == "round_robin"
    assert [line.first(strategy="round_robin") for _ in range(3)] == ["b", "c", "a"]
    assert line.decide(strategy="least_latency").ranked[0].code == "cold_start", "the profile's own params stay"
