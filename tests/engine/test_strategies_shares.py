"""Strategies that share traffic by turns, weights and seats."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routes.engine.facts import Facts
from routes.engine.strategies.base import successive
from routes.engine.strategies.smooth_weighted import PERIOD, TURNS_EACH, spread, turns
from tests.documents import profile, provider, rule, snapshot, target
from tests.engine.drive import CHI_SQUARED_0_001, Bench, chi_squared, why
from tests.engine.strategy_bench import bench, hold, told

# -- round robin --


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


# -- weighted --


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


@settings(max_examples=30)
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


# -- smooth weighted -------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_a_period_has_exactly_the_turns_of_each_and_keeps_close_to_an_even_flow(counts: list[int]) -> None:
    layout = spread(counts)
    period = sum(counts)
    assert [layout.count(index) for index in range(len(counts))] == counts
    given_so_far = [0] * len(counts)
    for slot, index in enumerate(layout, 1):
        given_so_far[index] += 1
        for other, count in enumerate(counts):
            assert abs(given_so_far[other] - slot * count / period) < 1


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([5, 1, 1], [5, 1, 1]),
        ([50, 30, 20], [5, 3, 2]),
        ([0.1, 0.2], [1, 2]),
        ([0.7, 0.3], [7, 3]),
        ([1 / 3, 2 / 3], [1, 2]),
        ([1e6, 3e6], [1, 3]),
        ([1.0] * 1500, [1] * 1500),
    ],
)
def test_weights_in_the_ratio_of_small_whole_numbers_become_exactly_those(
    weights: list[float], expected: list[int]
) -> None:
    assert turns(weights) == expected


@given(st.lists(st.floats(0.001, 1e6), min_size=2, max_size=40))
def test_other_weights_are_off_by_less_than_a_turn_of_the_period_and_nobody_goes_without(weights: list[float]) -> None:
    counts = turns(weights)
    total, period = sum(weights), sum(counts)
    assert period <= max(PERIOD, TURNS_EACH * len(weights)) + len(weights)
    assert min(counts) >= 1
    for weight, count in zip(weights, counts, strict=True):
        share = PERIOD * weight / total
        assert count == 1 or abs(count - share) < 1 or counts[0] / period == pytest.approx(weights[0] / total)


def test_smooth_weighted_is_exact_from_many_threads() -> None:
    line = bench("smooth_weighted", {"a": 5, "b": 3, "c": 2})
    seen: list[str | None] = []
    threads = [threading.Thread(target=lambda: seen.extend(line.first() for _ in range(20))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(seen) == {"a": 500, "b": 300, "c": 200}


def test_backups_of_smooth_weighted_go_by_weight() -> None:
    places = [target("a"), target("b", weight=1, tier=1), target("c", weight=5, tier=1)]
    line = Bench(snapshot([provider(slug) for slug in "abc"], [profile(targets=places, strategy="smooth_weighted")]))
    assert line.ranking() == ["a", "c", "b"]


# -- random ----------------------------------------------------------------------------------------------------


def test_random_takes_each_alike_whatever_the_weights() -> None:
    line = bench("random", {"a": 100, "b": 1, "c": 0, "d": 5}, seed=2)
    counts = line.firsts(2500)
    assert counts["c"] == 0
    assert chi_squared([counts["a"], counts["b"], counts["d"]], [1 / 3] * 3) < CHI_SQUARED_0_001[2]
    assert why(line.decide()) == {"c": "load_balancer.weight_zero"}


def test_the_tail_of_random_is_in_random_order() -> None:
    line = bench("random", 4, seed=3)
    thirds = Counter(ranking[2] for ranking in (line.ranking() for _ in range(4000)))
    assert chi_squared([thirds[slug] for slug in "abcd"], [0.25] * 4) < CHI_SQUARED_0_001[3]


def test_backups_of_random_do_not_follow_the_first_draw() -> None:
    places = [target("a"), target("b"), target("c", tier=1), target("d", tier=1)]
    line = Bench(snapshot([provider(slug) for slug in "abcd"], [profile(targets=places, strategy="random")]), seed=6)
    pairs = Counter((ranking[0], ranking[2]) for ranking in (line.ranking() for _ in range(4000)))
    assert chi_squared([pairs[x, y] for x in "ab" for y in "cd"], [0.25] * 4) < CHI_SQUARED_0_001[3]


# -- capacity ----------------------------------------------------------------------------------------------------


def seats(capacities: dict[str, float | None], **given: Any) -> Bench:
    providers = [provider(slug, capacity=capacity) for slug, capacity in capacities.items()]
    return Bench(snapshot(providers, strategy="capacity", **given))


def test_capacity_draws_in_proportion_to_free_seats() -> None:
    line = seats({"a": 10, "b": 5, "c": 2})
    hold(line, a=4, c=2)  # free: 6, 5, 0
    counts = line.firsts(2500)
    assert counts["c"] == 0
    assert chi_squared([counts["a"], counts["b"]], [6 / 11, 5 / 11]) < CHI_SQUARED_0_001[1]
    assert {entry for entry in told(line) if entry[0] == "c"} == {("c", "free_seats", 0.0)}
    assert told(line)[-1][0] == "c"


def test_a_pinned_session_takes_a_seat() -> None:
    line = seats({"a": 1, "b": 1})
    line.live.set_pin(b"k" * 16, line.target("a").id, line.now, 600.0, profile_id=line.profile().id)
    assert line.firsts(50) == {"b": 50}


def test_an_unknown_capacity_counts_as_the_freest_known() -> None:
    line = seats({"a": 8, "b": None, "c": 2})
    counts = line.firsts(2500)
    assert chi_squared([counts[slug] for slug in "abc"], [8 / 18, 8 / 18, 2 / 18]) < CHI_SQUARED_0_001[2]
    assert ("b", "seats_unknown", None) in told(line)


def test_without_any_capacity_all_count_alike() -> None:
    line = seats({"a": None, "b": None})
    counts = line.firsts(4000)
    assert chi_squared([counts["a"], counts["b"]], [0.5, 0.5]) < CHI_SQUARED_0_001[1]


def test_when_every_seat_is_taken_the_least_overbooked_take_turns() -> None:
    line = seats({"a": 1, "b": 1, "c": 1})
    hold(line, a=2, b=1, c=1)
    assert [line.first() for _ in range(4)] == ["b", "c", "b", "c"]
    assert line.ranking()[-1] == "a"


def test_a_draw_that_rounds_up_never_takes_a_full_target() -> None:
    line = seats({"a": 0.1, "b": 0.2, "c": 1})
    hold(line, c=1)
    line.rng.random = lambda: 1 - 2**-53  # type: ignore[method-assign]
    assert line.first() in ("a", "b")


def test_a_further_tier_of_capacity_is_drawn_too() -> None:
    places = [target("a"), target("b"), target("c", tier=1), target("d", tier=1)]
    providers = [provider(slug, capacity=5) for slug in "abcd"]
    line = Bench(snapshot(providers, [profile(targets=places, strategy="capacity")]))
    pairs = Counter((ranking[0], ranking[2]) for ranking in (line.ranking() for _ in range(1500)))
    assert chi_squared([pairs[x, y] for x in "ab" for y in "cd"], [0.25] * 4) < CHI_SQUARED_0_001[3]


# -- counters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["round_robin", "smooth_weighted", "least_in_flight", "least_loaded"])
def test_counters_of_a_rule_and_of_its_profile_are_apart(strategy: str) -> None:
    places = [target("a"), target("b")]
    rules = [rule("streams", {"fact": "stream", "op": "is", "value": True}, [dict(place) for place in places])]
    line = Bench(snapshot([provider("a"), provider("b")], [profile(targets=places, strategy=strategy, rules=rules)]))
    facts = Facts(operation="chat", model="gpt-4o", route_id="x", wall=0.0, stream=True)
    assert [line.first() for _ in range(3)] == ["a", "b", "a"]
    assert [line.first(stream=True, facts=facts) for _ in range(3)] == ["a", "b", "a"]
    assert line.first() == "b"
