"""What holds for every strategy: names, params, policy, tiers, lone candidates; failover and single."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routes.engine import strategies, words
from routes.engine.errors import InvalidParamsError, UnknownStrategyError
from tests.documents import profile, provider, snapshot, target
from tests.engine.drive import Bench, why
from tests.engine.strategy_bench import bench, feed

# -- registry --


def test_the_registry_has_every_strategy() -> None:
    assert tuple(strategies.REGISTRY) == strategies.NAMES
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
        ("least_latency", {"min_samples": True}, "min_samples"),
        ("least_used", {"window": "60"}, "window"),
        ("ab_test", {"variants": [{"name": "a", "share": True, "targets": ["a"]}]}, "variants.0.share"),
        ("ab_test", {"variants": [{"name": "a\nb", "targets": ["a"]}]}, "variants.0.name"),
    ],
)
def test_wrong_params_are_refused_with_their_path(name: str, params: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        strategies.parse_params(strategies.get(name), params)
    assert caught.value.path == path
    assert caught.value.code == "invalid_params"


# -- failover, single --


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
    assert why(decision) == {"b": "health.circuit_open"}


# -- all of them --


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
@settings(max_examples=20)
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


# -- policy, params, nesting ---------------------------------------------------------------------------------------

FAMILIES = {
    "geo_preferred": "enable_geo_routing",
    "round_robin": "enable_load_balancing",
    "least_loaded": "enable_load_balancing",
    "model_specific": "enable_model_specific",
    "predictive": "enable_predictive",
    "adaptive": "enable_adaptive",
    "hybrid": "enable_adaptive",
}


@pytest.mark.parametrize(("name", "switch"), FAMILIES.items())
def test_the_policy_replaces_a_strategy_whose_family_is_off(name: str, switch: str) -> None:
    assert bench(name).decide().strategy == name
    off = bench(name, policy={switch: False, "default_strategy": "least_cost"}).decide()
    assert (off.strategy, off.replaced) == ("least_cost", name)


def test_a_default_strategy_that_is_off_itself_gives_way_to_failover() -> None:
    line = bench("round_robin", policy={"enable_load_balancing": False, "default_strategy": "weighted"})
    assert line.decide().strategy == "failover"


def test_a_strategy_is_off_when_the_one_within_it_is() -> None:
    policy = {"enable_load_balancing": False}
    assert bench("tiered", policy=policy).decide().strategy == "failover"
    assert bench("tiered", policy=policy, params={"within": "least_cost"}).decide().strategy == "tiered"


def test_what_no_switch_names_is_always_allowed() -> None:
    nothing = dict.fromkeys(strategies.SWITCHES.values(), False)
    policy = bench("failover", policy=nothing).snapshot.policy
    left = {name for name, strategy in strategies.REGISTRY.items() if strategies.allowed(strategy, policy)}
    assert left == {"failover", "single", "least_cost", "tiered", "consistent_hash", "ab_test"}


@pytest.mark.parametrize("name", strategies.NAMES)
def test_every_param_says_what_it_is_for_and_has_a_default(name: str) -> None:
    for info in strategies.get(name).params_model.model_fields.values():
        assert info.description
        assert not info.is_required()


@pytest.mark.parametrize(("name", "field"), [("tiered", "within"), ("geo_preferred", "then")])
def test_nested_strategies_offer_every_other_one_but_what_makes_no_sense_there(name: str, field: str) -> None:
    info = strategies.get(name).params_model.model_fields[field]
    left_out = {"tiered"} if name == "tiered" else {"tiered", "geo_preferred", "single", "adaptive", "hybrid"}
    assert set(get_args(info.annotation)) == set(strategies.NAMES) - left_out


@pytest.mark.parametrize("written", ["least-latency", "Least_Latency", " least_latency "])
def test_a_nested_name_may_be_written_in_any_form(written: str) -> None:
    params = strategies.parse_params(strategies.get("tiered"), {"within": written})
    assert params.model_dump() == {"within": "least_latency"}


@pytest.mark.parametrize("written", ["tiered", "fastest", "", 7, None])
def test_a_nested_name_that_is_unknown_or_its_own_is_refused(written: Any) -> None:
    with pytest.raises(InvalidParamsError) as caught:
        strategies.parse_params(strategies.get("tiered"), {"within": written})
    assert caught.value.path == "within"


def test_tiered_ranks_each_tier_by_the_strategy_within() -> None:
    places = [target("a", weight=1), target("b", weight=3), target("c", tier=1), target("d", weight=0)]
    line = Bench(snapshot([provider(slug) for slug in "abcd"], [profile(targets=places, strategy="tiered")]))
    decision = line.decide()
    ranked = decision.full_ranking()
    assert {(e.target.provider.slug, e.code, e.value) for e in ranked[:2]} == {("a", "weight", 25), ("b", "weight", 75)}
    assert ranked[2].target.provider.slug == "c"
    assert why(decision) == {"d": "load_balancer.weight_zero"}, "weight 0 means never, as in weighted"
    line.set_states(a="disabled", b="disabled")
    assert line.first() == "c"


def test_tiered_with_single_within_is_single() -> None:
    line = bench("tiered", params={"within": "single"})
    assert line.ranking() == ["a"]


def test_tiered_turns_exactly_with_round_robin_within() -> None:
    line = bench("tiered", params={"within": "round_robin"})
    assert line.firsts(30) == {"a": 10, "b": 10, "c": 10}


# -- the record ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", strategies.NAMES)
def test_every_target_is_ranked_or_excluded_once_and_in_words(name: str) -> None:
    line = bench(name, 12)
    line.set_states(c="disabled")
    decision = line.decide(session="s")
    ranking = decision.full_ranking()
    slugs = [e.target.provider.slug for e in ranking] + [e.target.provider.slug for e in decision.excluded]
    assert sorted(slugs) == list("abcdefghijkl")
    for rank, entry in enumerate(ranking, 1):
        sentence = words.ranked(entry.code, entry.value, rank)
        assert sentence
        assert sentence != entry.code.replace("_", " ") or entry.code == "price_unknown"


@pytest.mark.parametrize("name", strategies.NAMES)
def test_looking_advances_nothing(name: str) -> None:
    line, untouched = bench(name, 10, seed=4), bench(name, 10, seed=4)
    for _ in range(5):
        line.decide(dry=True).full_ranking()
    line.rng.seed(4)
    assert [line.first() for _ in range(12)] == [untouched.first() for _ in range(12)]


@pytest.mark.parametrize("name", strategies.NAMES)
def test_walking_the_tail_advances_nothing(name: str) -> None:
    places = [target(slug, tier=index // 4) for index, slug in enumerate("abcdefghijkl")]
    providers = [provider(slug) for slug in "abcdefghijkl"]
    lines = [Bench(snapshot(providers, [profile(targets=places, strategy=name)])) for _ in range(2)]
    for _ in range(8):
        lines[0].decide().full_ranking()
        lines[1].decide()
    assert lines[0].first() == lines[1].first()


@pytest.mark.parametrize("name", strategies.NAMES)
def test_same_seed_clock_and_state_give_the_same_ranking(name: str) -> None:
    one, other = bench(name, 12, seed=8), bench(name, 12, seed=8)
    for line in (one, other):
        feed(line, "b", 0.4, 3, tokens=50)
    assert [one.ranking() for _ in range(5)] == [other.ranking() for _ in range(5)]


@pytest.mark.parametrize("name", strategies.NAMES)
def test_what_is_recorded_of_the_draws_is_json(name: str) -> None:
    for targets in (3, 12):
        inputs = bench(name, targets).decide(session="s").inputs
        assert json.loads(json.dumps(inputs)) == {
            key: list(value) if isinstance(value, tuple) else value for key, value in inputs.items()
        }


@pytest.mark.parametrize(
    ("code", "value", "first", "second"),
    [
        ("random", 3, "drawn at random, one of 3", "drawn at random, one of 3"),
        ("in_flight", 2, "2 in flight", "2 in flight"),
        ("in_flight_of_two", 2, "2 in flight, the better of two drawn", None),
        ("requests", 1, "fewest, 1 request in the window", "1 request in the window"),
        ("tokens_used", 12000, "12,000 tokens used in the window", "12,000 tokens used in the window"),
        ("speed", 81.25, "highest 81.2 tokens/s", "81.2 tokens/s"),
        ("speed_unmeasured", 50.0, "counted as 50.0 tokens/s, too few streams yet", None),
        ("free_seats", 4.0, "4 of its seats free", "4 of its seats free"),
        ("seats_unknown", None, "its number of seats is unknown", None),
        ("hash_session", 0.93, "highest hash of the session (0.9300)", "hash of the session (0.9300)"),
        ("hash_request", 0.5, "highest hash of the request (0.5000)", "hash of the request (0.5000)"),
        ("hash_fact", 0.5, "highest hash of the named fact (0.5000)", "hash of the named fact (0.5000)"),
        ("variant", "B", "in variant B", "in variant B"),
        ("other_variant", "A", None, "backup from variant A"),
        ("no_variant", None, "in no variant", "in no variant"),
        ("region", "eu-west", "in the requested region eu-west", None),
        ("region_area", "eu-north", "in eu-north, the area of the requested region", None),
        ("region_priority", "us-east", "in us-east, a region the policy prefers", None),
        ("region_other", "ap-south", "farther away, in ap-south", None),
        ("region_other", None, "its region is unknown", None),
        ("model_score", 8, "8 points for what the request requires", None),
        ("current_percent", 45.2, "lowest load 45 % of its capacity", "load 45 % of its capacity"),
        ("current_load", 3.0, "lowest load 3, capacity unknown", "load 3, capacity unknown"),
        ("foreseen_percent", 45.2, "lowest expected load 45 % of its capacity", None),
        ("foreseen_load", 3.5, "lowest expected load 3.5, capacity unknown", None),
    ],
)
def test_reasons_read_well(code: str, value: Any, first: str | None, second: str | None) -> None:
    assert first is None or words.ranked(code, value, 1) == first
    assert second is None or words.ranked(code, value, 2) == second
