"""Rules: who reaches which targets, in which order, and what happens when a rule's own targets are out."""

from __future__ import annotations

from typing import Any

import pytest

from routes.engine.errors import SnapshotError
from routes.engine.snapshot import rule_id
from tests.documents import an_id, head, profile, provider, rule, snapshot, target
from tests.engine.drive import Bench, why

GOLD = {"fact": "tag", "op": "eq", "value": "gold"}
BIG = {"fact": "model", "op": "prefix", "value": "big"}
ALWAYS = {"fact": "stream", "op": "is", "value": False}
TEXT = {"fact": "user_text", "op": "contains", "value": "zebra"}
GOLDEN = frozenset({"gold"})


def bench(
    own: str = "ab",
    rules: list[dict[str, Any]] | None = None,
    providers: dict[str, dict[str, Any]] | None = None,
    **given: Any,
) -> Bench:
    """A profile with its own targets and rules, over the providers a to f."""
    known = [provider(slug, **(providers or {}).get(slug, {})) for slug in "abcdef"]
    places = given.pop("targets", None) or [target(slug) for slug in own]
    return Bench(snapshot(known, [profile(targets=places, rules=rules or [], **given)]))


def gold(slugs: str = "cd", **given: Any) -> dict[str, Any]:
    return rule("gold", GOLD, given.pop("targets", None) or [target(slug) for slug in slugs], **given)


# -- who reaches what ------------------------------------------------------------------------------


def test_a_request_that_matches_no_rule_never_sees_a_rules_targets() -> None:
    line = bench(rules=[gold(), rule("big", BIG, [target("d"), target("e")])])
    decision = line.decide()
    assert line.ranking() == ["a", "b"]
    assert why(decision) == dict.fromkeys("cde", "smart_routing.rule_only")
    assert [entry.value for entry in decision.excluded] == ["gold", "gold", "big"]  # the first rule that has it
    assert (decision.source, decision.matched_rule, decision.matched_rule_index) == ("load_balancer", None, -1)


def test_it_does_not_see_them_either_when_all_its_own_targets_are_out() -> None:
    line = bench(rules=[gold()], failover={"when_all_unhealthy": "reject"})
    line.open("a")
    line.open("b")
    decision = line.decide()
    assert decision.place(0) is None
    assert why(decision)["c"] == "smart_routing.rule_only"
    line = bench(rules=[gold()])
    line.set_states(a="disabled", b="disabled")
    assert line.decide().place(0) is None


def test_a_rule_narrows_to_its_targets() -> None:
    line = bench(rules=[gold("cb", fallback_to_profile=False), rule("big", BIG, [target("e")])])
    decision = line.decide(tags=GOLDEN)
    assert line.ranking(tags=GOLDEN) == ["c", "b"]
    assert why(decision) == {"a": "smart_routing.not_in_rule", "e": "smart_routing.rule_only"}
    assert {entry.target.provider.slug: entry.value for entry in decision.excluded} == {"a": "gold", "e": "big"}
    assert (decision.source, decision.matched_rule, decision.matched_rule_index) == ("smart_routing", "gold", 0)
    assert decision.rule is line.profile().rules[0]


def test_the_first_enabled_rule_that_holds_wins() -> None:
    rules = [gold("c", enabled=False), rule("big", BIG, [target("d")]), rule("golden too", GOLD, [target("e")])]
    line = bench(rules=rules)
    assert line.decide(tags=GOLDEN).matched_rule == "golden too"
    decision = line.decide(tags=GOLDEN, model="big-one")
    assert (decision.matched_rule, decision.matched_rule_index) == ("big", 1)
    assert line.decide(model="big-one").matched_rule_index == 1


def test_without_facts_no_rule_matches() -> None:
    line = bench(rules=[rule("always", ALWAYS, [target("c")])])
    assert line.first() == "c"
    assert line.first(facts=None) == "a"


def test_a_rule_is_asked_at_most_once_per_decision() -> None:
    line = bench(rules=[gold("c")], affinity={"enabled": True})
    asked = []
    condition = line.profile().rules[0].condition
    matches = condition.matches
    condition.matches = lambda facts, partition: asked.append(1) or matches(facts, partition)  # type: ignore[func-returns-value]
    line.open("a")
    line.set_states(b="draining")
    assert line.first(tags=GOLDEN, session="s") == "c"  # admission, health and affinity all want to know
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("operation", "matched"),
    [("chat", True), ("responses", True), ("completion", True), ("embedding", False)],
)
def test_rules_about_text_match_only_where_there_is_text(operation: str, matched: bool) -> None:
    line = bench(rules=[rule("zebra", {"any": [TEXT, ALWAYS]}, [target("c")])])
    document = {"messages": [{"role": "user", "content": "a zebra"}], "input": "a zebra"}
    assert (line.decide(operation=operation, document=document).matched_rule == "zebra") is matched


def test_rules_about_text_are_not_even_asked_for_embeddings() -> None:
    line = bench(rules=[rule("zebra", {"not": TEXT}, [target("c")]), rule("always", ALWAYS, [target("d")])])
    assert line.decide(document={}).matched_rule == "zebra"
    assert line.decide(operation="embedding", document={}).matched_rule == "always"


# -- the profile's targets behind the rule's ---------------------------------------------------------


def test_the_profiles_ranking_follows_the_rules_and_nobody_is_ranked_twice() -> None:
    line = bench("abc", [gold("cd")])
    decision = line.decide(tags=GOLDEN)
    assert line.ranking(tags=GOLDEN) == ["c", "d", "a", "b"]
    assert decision.excluded == []


def test_weight_and_tier_are_of_the_part() -> None:
    places = [target("a", weight=1, tier=1), target("b", weight=9)]
    line = bench(targets=places, rules=[gold(targets=[target("b", weight=2, tier=1), target("a", weight=3)])])
    assert line.ranking() == ["b", "a"]
    assert line.ranking(tags=GOLDEN) == ["a", "b"]


def test_a_rules_configured_order_is_its_own() -> None:
    line = bench("abc", [gold("cba")])
    assert line.ranking(tags=GOLDEN) == ["c", "b", "a"]
    assert [entry.value for entry in line.decide(tags=GOLDEN).full_ranking()] == [1, 2, 3]


def test_what_stands_behind_a_rule_advances_no_counter_of_the_profile() -> None:
    line = bench("abc", [gold("d")], strategy="round_robin")
    for _ in range(5):
        assert len(line.ranking(tags=GOLDEN)) == 4
    assert line.first() == "a"
    assert line.first() == "b"


def test_counters_of_rules_and_profile_are_apart() -> None:
    rules = [gold("ab"), rule("big", BIG, [target("a"), target("b")])]
    line = bench("ab", rules, strategy="round_robin")
    assert [line.first() for _ in range(3)] == ["a", "b", "a"]
    assert [line.first(tags=GOLDEN) for _ in range(3)] == ["a", "b", "a"]
    assert [line.first(model="big") for _ in range(3)] == ["a", "b", "a"]
    assert line.first() == "b"
    profile_id = an_id("profile", "default")
    rule_part = line.profile().rules[0].part
    assert line.profile().base.key == profile_id
    assert rule_part.key == f"{profile_id}/{rule_id(profile_id, 'gold')}"


def test_the_order_behind_a_rule_is_drawn_anew_for_each_request() -> None:
    line = bench("abcd", [gold("e")], strategy="round_robin")
    seconds = {line.ranking(tags=GOLDEN)[1] for _ in range(60)}
    assert seconds == set("abcd")


def test_tiers_behind_a_rule_stay_in_order() -> None:
    places = [target("a", tier=2), target("b", tier=1), target("c")]
    line = bench(targets=places, rules=[gold("d")], strategy="weighted")
    assert line.ranking(tags=GOLDEN) == ["d", "c", "b", "a"]


# -- what a rule leaves open ---------------------------------------------------------------------------


def test_a_rule_ranks_by_its_own_strategy_or_the_profiles() -> None:
    line = bench("abc", [gold("cd", strategy="round-robin"), rule("big", BIG, [target("e"), target("f")])])
    decision = line.decide(tags=GOLDEN)
    assert (decision.strategy, decision.ranked[0].code) == ("round_robin", "turn")
    assert line.decide(model="big").strategy == "failover"


def test_a_rules_params_are_its_own_the_profiles_or_the_defaults() -> None:
    def params(**given: Any) -> dict[str, Any]:
        line = bench(rules=[gold(**given)], strategy="least_latency", params={"min_samples": 7})
        return line.profile().rules[0].part.choice.params.model_dump()

    assert params()["min_samples"] == 7
    assert params(strategy="least_latency")["min_samples"] == 7
    assert params(params={"min_samples": 3})["min_samples"] == 3
    assert params(strategy="least_latency", params={})["min_samples"] == 10
    assert params(strategy="token_budget")["budget"] == 10_000


def test_weights_come_from_the_rule_then_the_profile_then_the_provider() -> None:
    targets = [target("a", weight=2), target("b"), target("c"), target("d", model="m"), target("d", model="n")]
    own = [target("b", weight=3), target("d", model="m", weight=5), target("d", model="n", weight=6)]
    line = bench(targets=own, rules=[gold(targets=targets)], providers={"c": {"weight": 4}})
    assert [place.weight for place in line.profile().rules[0].part.places] == [2, 3, 4, 5, 6]


def test_a_rules_target_without_a_model_stands_for_the_profiles_first_of_that_provider() -> None:
    own = [target("a", model="x", weight=3), target("a", model="y")]
    line = bench(targets=own, rules=[gold(targets=[target("a"), target("b")])])
    decision = line.decide(tags=GOLDEN)
    assert [(e.target.provider.slug, e.model) for e in decision.full_ranking()] == [
        ("a", "x"),
        ("b", "gpt-4o"),
        ("a", "y"),
    ]
    assert line.profile().rules[0].part.places[0].target is line.profile().targets[0]


def test_a_rule_may_send_another_model_than_was_asked_for() -> None:
    line = bench(rules=[gold(targets=[target("a", model="small")])], providers={"a": {"models": {"small": "tiny"}}})
    assert [e.model for e in line.decide(tags=GOLDEN).full_ranking()] == ["tiny", "gpt-4o"]


def test_the_heads_of_a_rules_target_share_its_weight_and_place() -> None:
    line = bench(rules=[gold("c")], providers={"c": {"heads": [head("one"), head("two")]}})
    part = line.profile().rules[0].part
    assert [(place.target.head.id, place.number) for place in part.places if place.target.head] == [
        ("one", 0),
        ("two", 0),
    ]
    assert line.ranking(tags=GOLDEN) == ["c", "c", "a", "b"]


def test_a_strategy_asked_for_by_the_request_ranks_rules_and_profile() -> None:
    line = bench("abc", [gold("cd", strategy="round_robin")], strategy="weighted")
    decision = line.decide(tags=GOLDEN, strategy="failover")
    assert decision.strategy == "failover"
    assert [e.code for e in decision.full_ranking()] == ["in_order"] * 4


def test_single_in_a_rule_is_the_rules_first_target() -> None:
    line = bench("ab", [gold("cd", strategy="single", fallback_to_profile=False)])
    assert line.ranking(tags=GOLDEN) == ["c"]
    assert why(line.decide(tags=GOLDEN))["d"] == "load_balancer.not_first"
    line = bench("abd", [gold("cd", strategy="single")])
    assert line.ranking(tags=GOLDEN) == ["c", "a", "b", "d"]  # d is the profile's as well
    line.set_states(c="disabled")
    decision = line.decide(tags=GOLDEN)
    assert [e.target.provider.slug for e in decision.full_ranking()] == ["a", "b", "d"]
    assert decision.source == "load_balancer"


def test_one_candidate_in_two_parts_is_one_candidate() -> None:
    line = bench("a", [gold("ca", strategy="single")])
    line.set_states(c="disabled")
    assert line.codes(tags=GOLDEN) == ["only_candidate"]


def test_weight_zero_in_a_rule_leaves_the_target_to_the_profile() -> None:
    targets = [target("c", weight=1), target("a", weight=0), target("d", weight=0)]
    line = bench("ab", [gold(targets=targets)], strategy="weighted")
    ranking = line.ranking(tags=GOLDEN)
    assert ranking[0] == "c"
    assert sorted(ranking[1:]) == ["a", "b"]
    assert why(line.decide(tags=GOLDEN)) == {"d": "load_balancer.weight_zero"}


# -- a rule's targets are out --------------------------------------------------------------------------


def test_weight_zero_means_never_behind_a_rule_too() -> None:
    own = [provider("a"), provider("b", weight=0)]
    line = Bench(snapshot(own, strategy="weighted", rules=[rule("all", {"all": []}, [target("a")])]))
    decision = line.decide()
    assert [entry.target.provider.slug for entry in decision.full_ranking()] == ["a"]
    assert why(decision) == {"b": "load_balancer.weight_zero"}


def test_a_dead_partition_falls_back_to_the_profile_as_if_no_rule_had_matched() -> None:
    line = bench("ab", [gold("c")], strategy="round_robin")
    line.open("c")
    assert [line.first(tags=GOLDEN) for _ in range(4)] == ["a", "b", "a", "b"]
    decision = line.decide(tags=GOLDEN)
    assert (decision.source, decision.matched_rule, decision.degraded) == ("load_balancer", "gold", False)
    assert why(decision) == {"c": "health.circuit_open"}
    assert line.first() == "b"  # it was the profile's own counter that advanced


def test_a_dead_partition_without_fallback_is_tried_or_refused_as_the_profile_says() -> None:
    line = bench("ab", [gold("cd", fallback_to_profile=False)])
    line.open("c")
    line.set_states(d="disabled")
    decision = line.decide(tags=GOLDEN)
    assert [(e.target.provider.slug, e.code) for e in decision.full_ranking()] == [("c", "next_try")]
    assert (decision.degraded, decision.panic, decision.source) == (True, 10, "smart_routing")
    assert not line.decide().degraded
    line = bench("ab", [gold("c", fallback_to_profile=False)], failover={"when_all_unhealthy": "reject"})
    line.open("c")
    decision = line.decide(tags=GOLDEN)
    assert decision.place(0) is None
    assert decision.retry_at is not None


def test_when_rule_and_profile_are_dead_the_soonest_due_of_both_is_tried() -> None:
    line = bench("a", [gold("c"), rule("big", BIG, [target("e")])])
    line.open("a")
    line.now += 30
    line.open("c")
    decision = line.decide(tags=GOLDEN)
    assert [e.target.provider.slug for e in decision.full_ranking()] == ["a", "c"]
    assert decision.degraded
    assert why(decision) == {"e": "smart_routing.rule_only"}


def test_a_dead_profile_is_judged_without_the_rules_targets() -> None:
    line = bench("a", [gold("c")])
    line.open("a")
    decision = line.decide()
    assert [e.code for e in decision.full_ranking()] == ["next_try"]
    assert decision.retry_at == line.live.circuit(line.target("a"), line.now).until
    line.open("c")
    assert line.decide().retry_at == decision.retry_at  # c is nothing to wait for


def test_a_rules_targets_in_trouble_are_excluded_once() -> None:
    line = bench("ab", [gold("c"), rule("big", BIG, [target("d")])])
    line.open("c")
    line.set_states(d="disabled")
    decision = line.decide()
    assert why(decision) == {"c": "health.circuit_open", "d": "admission.disabled"}
    assert len(decision.excluded) == 2


def test_slow_start_gives_way_when_a_rule_has_nobody_else() -> None:
    line = bench("ab", [gold("c", fallback_to_profile=False)])
    line.open("c")
    line.recover("c")
    assert {line.first(tags=GOLDEN, route_id=f"{n:032x}") for n in range(50)} == {"c"}
    assert why(line.decide(route_id=f"{1:032x}"))["c"] == "smart_routing.rule_only"


# -- figures of the rule's own targets -----------------------------------------------------------------


def asking(name: str, op: str, value: float) -> list[dict[str, Any]]:
    return [gold(), rule("busy", {"fact": f"partition.{name}", "op": op, "value": value}, [target("c"), target("d")])]


@pytest.mark.parametrize("name", ["ttft_ms_avg", "ttft_ms_p99"])
def test_a_rule_may_ask_how_fast_its_own_targets_are(name: str) -> None:
    line = bench(rules=asking(name, "lte", 250))
    assert line.decide().matched_rule == "busy"  # nothing measured yet
    line.attempt("c", latency=0.3, stream=True)
    line.attempt("a", latency=0.1, stream=True)  # not one of its targets
    assert line.decide().matched_rule is None
    line.attempt("d", latency=0.2, stream=True)
    assert line.decide().matched_rule == "busy"


def test_utilisation_is_what_is_in_flight_of_the_seats() -> None:
    providers = {"c": {"capacity": 4}, "d": {"max_concurrency": 2}}
    line = bench(rules=asking("utilisation", "lte", 40), providers=providers)
    assert line.decide().matched_rule == "busy"
    assert line.claim("d") is not None
    assert line.claim("c") is not None
    assert line.decide().matched_rule == "busy"  # c: 25 %
    assert line.claim("c") is not None
    assert line.decide().matched_rule is None  # both 50 %


def test_utilisation_of_a_head_is_the_load_it_reports() -> None:
    heads = [head("one", capacity=10), head("two"), head("three", capacity=10)]
    line = bench(rules=asking("utilisation", "gte", 30), providers={"c": {"heads": heads}})
    one = line.target("c")
    assert line.decide().matched_rule is None  # 0 % and 0 %
    line.live.hear_head(one.head_key, 7.0, False, 1e12, line.now)
    assert line.decide().matched_rule == "busy"  # a mean of 35 %
    assert line.claim("c") is not None


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "path", "message"),
    [
        ([gold(), gold()], "rules[1].name", "taken"),
        ([gold("z")], "rules[0].targets[0].provider", "no provider"),
        ([gold("cc")], "rules[0].targets[1]", "same provider and model"),
        ([gold(strategy="nope")], "rules[0].strategy", "no strategy"),
        ([gold(params={"x": 1})], "rules[0].strategy", "x: Extra"),
        (
            [rule("bad", {"all": [{"fact": "tokens", "op": "gte", "value": "many"}]}, [target("c")])],
            "rules[0].when.all[0].value",
            "",
        ),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_with_its_path(
    rules: list[dict[str, Any]], path: str, message: str
) -> None:
    with pytest.raises(SnapshotError) as caught:
        bench(rules=rules)
    assert caught.value.path == f"profiles[0].{path}"
    assert message in caught.value.message
