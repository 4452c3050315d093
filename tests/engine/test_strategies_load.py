"""Strategies that follow how much targets are used: in flight, requests, tokens; and how their ties rotate."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from routes.engine.errors import SnapshotError
from tests.documents import profile, provider, snapshot, target
from tests.engine.drive import Bench
from tests.engine.strategy_bench import bench, hold, told

# -- ties --------------------------------------------------------------------------------------------------------

ROTATING = ("peak_ewma", "least_in_flight", "least_used", "speed", "least_loaded", "predictive")
ORDERED = ("failover", "least_cost", "token_budget", "tiered", "geo_preferred", "model_specific")


@pytest.mark.parametrize("strategy", ROTATING)
def test_ties_rotate_in_load_strategies(strategy: str) -> None:
    line = bench(strategy, 2)
    assert [line.first() for _ in range(4)] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("strategy", ROTATING[1:])
def test_every_tied_target_gets_its_turn_and_the_next_ones_follow_it(strategy: str) -> None:
    line = bench(strategy)
    assert [line.ranking() for _ in range(3)] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]]


@pytest.mark.parametrize("strategy", ORDERED)
def test_ties_keep_configured_order_in_the_others(strategy: str) -> None:
    params = {"within": "failover"} if strategy == "tiered" else {}
    line = bench(strategy, params=params)
    assert [line.ranking() for _ in range(3)] == [["a", "b", "c"]] * 3


@pytest.mark.parametrize("strategy", ROTATING[1:])
def test_ties_of_a_further_tier_are_scattered_and_advance_nothing(strategy: str) -> None:
    places = [target("a"), target("b"), target("c", tier=1), target("d", tier=1)]
    line = Bench(snapshot([provider(slug) for slug in "abcd"], [profile(targets=places, strategy=strategy)]))
    rankings = [line.ranking() for _ in range(100)]
    assert [ranking[0] for ranking in rankings] == ["a", "b"] * 50
    backups = Counter(ranking[2] for ranking in rankings if ranking[0] == "b")
    assert set(backups) == {"c", "d"}


# -- least in flight ---------------------------------------------------------------------------------------------


def test_least_in_flight_takes_the_one_with_fewest() -> None:
    line = bench("least_in_flight")
    hold(line, a=3, b=1, c=2)
    assert told(line) == [("b", "in_flight", 1), ("c", "in_flight", 2), ("a", "in_flight", 3)]


def test_least_in_flight_counts_per_weight() -> None:
    line = bench("least_in_flight", {"a": 1, "b": 4, "c": 0})
    hold(line, a=1, b=3)
    assert line.ranking() == ["b", "a"]


def test_above_eight_least_in_flight_takes_the_better_of_two() -> None:
    line = bench("least_in_flight", 9)
    hold(line, a=1)
    counts = line.firsts(900)
    assert counts["a"] == 0
    assert set(counts) == set("bcdefghi")
    decision = line.decide()
    assert decision.ranked[0].code == "in_flight_of_two"
    assert decision.inputs["pair"][0] == decision.ranked[0].target.position
    ranking = decision.full_ranking()
    assert len(ranking) == 9
    assert ranking[-1].target.provider.slug == "a"


def test_the_better_of_two_counts_per_weight_and_its_ties_rotate() -> None:
    line = bench("least_in_flight", dict.fromkeys("abcdefghi", 1.0))
    draws = iter([0.0, 0.0] * 5)  # always a and b
    line.rng.random = lambda: next(draws)  # type: ignore[method-assign]
    assert [line.first() for _ in range(4)] == ["a", "b", "a", "b"]
    hold(line, b=1)
    assert line.first() == "a"


def test_a_further_tier_is_ranked_as_a_whole_however_large() -> None:
    slugs = "abcdefghijk"
    places = [target(slug, tier=int(slug != "a")) for slug in slugs]
    line = Bench(snapshot([provider(slug) for slug in slugs], [profile(targets=places, strategy="least_in_flight")]))
    hold(line, b=2, c=1)
    assert line.ranking() == ["a", *"defghijk", "c", "b"]


# -- least used --------------------------------------------------------------------------------------------------


def test_least_used_counts_requests_of_the_window() -> None:
    line = bench("least_used", 2, params={"window": 30})
    for _ in range(3):
        line.attempt("a")
    line.now += 20
    line.attempt("b")
    assert told(line) == [("b", "requests", 1), ("a", "requests", 3)]
    line.now += 11  # a's are older than half a minute now
    assert told(line) == [("a", "requests", 0), ("b", "requests", 1)]


# -- token budget ------------------------------------------------------------------------------------------------


def spend(line: Bench, slug: str, tokens: int) -> None:
    line.attempt(slug, tokens=tokens)


def test_token_budget_stays_until_the_budget_is_used() -> None:
    line = bench("token_budget", params={"budget": 1000})
    spend(line, "a", 999)
    assert line.firsts(5) == {"a": 5}
    spend(line, "a", 1)
    assert line.first() == "b"


def test_token_budget_goes_on_to_the_one_that_used_fewest_and_stays_there() -> None:
    line = bench("token_budget", 4, params={"budget": 1000})
    for slug, tokens in (("a", 1000), ("b", 500), ("c", 300), ("d", 400)):
        spend(line, slug, tokens)
    assert line.first() == "c"
    spend(line, "c", 600)  # more than b and d by now, but not all of its budget
    assert line.ranking() == ["c", "d", "b", "a"]
    spend(line, "c", 100)
    assert line.first() == "d"


def test_a_budget_that_becomes_free_again_calls_nobody_back() -> None:
    line = bench("token_budget", 2, params={"budget": 1000, "window": 60})
    spend(line, "a", 1000)
    line.now += 30
    assert line.first() == "b"
    spend(line, "b", 10)
    line.now += 40  # what a used is out of the window, what b used is not
    assert line.firsts(3) == {"b": 3}


def test_when_every_budget_is_used_the_one_that_used_fewest_goes_on() -> None:
    line = bench("token_budget", 2, params={"budget": 100})
    spend(line, "a", 300)
    spend(line, "b", 200)
    assert line.firsts(3) == {"b": 3}
    spend(line, "b", 200)
    assert line.first() == "a"


def test_token_budget_moves_on_from_a_target_that_is_out_and_stays_where_it_went() -> None:
    line = bench("token_budget", params={"budget": 1000})
    spend(line, "b", 5)
    line.set_states(a="disabled")
    assert line.first() == "c"
    line.set_states()
    assert line.first() == "c", "coming back is no reason to go back"


def test_a_look_at_token_budget_moves_nothing() -> None:
    line = bench("token_budget", params={"budget": 100})
    spend(line, "a", 100)
    for _ in range(3):
        place = line.decide(dry=True).place(0)
        assert place is not None
        assert place.target.provider.slug == "b"
    assert line.live.peek().rotate(line.profile().id) == 0
    assert line.first() == "b"
    assert line.live.peek().rotate(line.profile().id) == 1


def test_backups_of_token_budget_go_by_use() -> None:
    places = [target("a"), target("b", tier=1), target("c", tier=1)]
    line = Bench(snapshot([provider(slug) for slug in "abc"], [profile(targets=places, strategy="token_budget")]))
    spend(line, "b", 10)
    assert line.ranking() == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("strategy", "params"),
    [
        ("least_used", {"window": 0}),
        ("least_used", {"window": 3601}),
        ("token_budget", {"budget": 0}),
        ("token_budget", {"budget": 1.5}),
        ("speed", {"unmeasured": -1}),
    ],
)
def test_params_out_of_range_are_refused(strategy: str, params: dict[str, Any]) -> None:
    with pytest.raises(SnapshotError):
        bench(strategy, params=params)
