"""What holds for every decision: over random profiles, rules, sessions and states of health."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routes.engine import strategies
from routes.engine.pipeline import decide
from tests.documents import profile, provider, rule, snapshot, target
from tests.engine.drive import Bench, chi_squared, request
from tests.engine.situations import Watched, situations

#: Situations are large; six properties share what they may cost.
FEWER = settings(max_examples=25)
STAGES = ["admission", "health", "smart_routing", "affinity", "load_balancer"]


def parts(line: Bench, matched: str | None) -> tuple[set[str], set[str]]:
    """(ids of the targets a request may reach, ids of its rule's)"""
    own = {place.target.id for place in line.profile().base.places}
    for each in line.profile().rules:
        if each.name == matched:
            of_rule = {place.target.id for place in each.part.places}
            return (of_rule | own if each.fallback_to_profile else of_rule), of_rule
    return own, own


@FEWER
@given(situations())
def test_every_configured_target_appears_exactly_once(situation: tuple[Bench, dict[str, Any]]) -> None:
    line, wishes = situation
    decision = line.decide(**wishes)
    ranked = [entry.target.id for entry in decision.full_ranking()]
    left_out = [entry.target.id for entry in decision.excluded]
    assert sorted(ranked + left_out) == sorted(t.id for t in line.profile().targets)
    assert (decision.strategy == "none") == (decision.source == "none") == (not ranked)
    assert [entry.stage for entry in decision.stages] == STAGES
    assert decision.stages[0].candidates_in == len(line.profile().targets)
    assert decision.stages[-1].candidates_out == len(ranked)
    for before, after in zip(decision.stages, decision.stages[1:], strict=False):
        assert before.candidates_out == after.candidates_in
    for stage in decision.stages:
        dropped = sum(entry.stage == stage.stage for entry in decision.excluded)
        assert stage.candidates_in - stage.candidates_out == dropped
        assert stage.us >= 0


@FEWER
@given(situations())
def test_nobody_is_ranked_who_must_not_be(situation: tuple[Bench, dict[str, Any]]) -> None:
    line, wishes = situation
    decision = line.decide(**wishes)
    reach, of_rule = parts(line, decision.matched_rule)
    inactive = line.live.inactive(line.now)
    for entry in decision.full_ranking():
        assert entry.target.id in reach
        state = inactive.get(entry.target.provider.id)
        assert state != "disabled"
        assert state != "draining" or (decision.pin is not None and decision.pin.target_id == entry.target.id)
        if not decision.degraded:
            assert line.live.circuit(entry.target, line.now).state != "open"
            assert line.live.observed(entry.target.id, line.now) != "unhealthy"
            assert line.live.quarantined_until(entry.target, entry.model, line.now) is None
    for left_out in decision.excluded:
        if left_out.stage == "smart_routing":
            assert left_out.target.id not in reach
    assert (decision.rule is None) == (decision.matched_rule is None) == (decision.matched_rule_index == -1)
    if decision.source == "smart_routing":
        assert decision.ranked[0].target.id in of_rule or decision.ranked[-1].code.startswith("demoted")


@FEWER
@given(situations())
def test_tiers_are_ranked_in_order(situation: tuple[Bench, dict[str, Any]]) -> None:
    line, wishes = situation
    decision = line.decide(**wishes)
    if decision.degraded:
        return
    of_rule = None if decision.rule is None else decision.rule.part
    order = []
    for entry in decision.full_ranking():
        if entry.code == "pinned" or entry.code.startswith("demoted"):
            continue
        place = of_rule and of_rule.place_of(entry.target)
        of_base = line.profile().base.place_of(entry.target)
        # A target that the rule's strategy puts aside may come back among the profile's own.
        places = [(0, place.tier)] if place else []
        order.append(places + ([(1, of_base.tier)] if of_base else []))
    reached = (0, 0)
    for options in order:
        possible = [option for option in options if option >= reached]
        assert possible
        reached = min(possible)


@FEWER
@given(situations(), st.integers(0, 2**32))
def test_same_seed_clock_and_state_give_the_same_ranking(situation: tuple[Bench, dict[str, Any]], seed: int) -> None:
    line, wishes = situation

    def once() -> list[Any]:
        decision = decide(line.snapshot, line.profile(), request(**wishes), line.live, line.now, Random(seed), dry=True)
        return [decision.full_ranking(), decision.excluded, decision.inputs, decision.source, decision.variant]

    assert once() == once()


@FEWER
@given(situations())
def test_a_dry_decision_changes_nothing_and_others_only_counters(situation: tuple[Bench, dict[str, Any]]) -> None:
    line, wishes = situation
    live = line.live
    assert isinstance(live, Watched)
    live.done.clear()
    line.decide(dry=True, **wishes).full_ranking()
    assert live.done == []
    decision = line.decide(**wishes)
    advanced = list(live.done)
    assert "pin" not in advanced
    assert all(pool.startswith(line.profile().id) for pool in advanced)
    if decision.source in ("affinity", "none") or decision.degraded:
        assert advanced == []
    decision.full_ranking()
    assert live.done == advanced


@FEWER
@given(situations())
def test_walking_the_ranking_gives_what_the_whole_ranking_says(situation: tuple[Bench, dict[str, Any]]) -> None:
    line, wishes = situation
    decision = line.decide(dry=True, **wishes)
    walked = []
    while (place := decision.place(len(walked))) is not None:
        walked.append(place)
    assert walked == list(decision.full_ranking())
    assert decision.place(len(walked)) is None


def test_a_dry_decision_shows_what_the_next_real_one_does() -> None:
    for name in ("round_robin", "smooth_weighted"):
        line = Bench(snapshot([provider("a", weight=3), provider("b", weight=2)], strategy=name))
        for _ in range(10):
            expected = line.first(dry=True)
            assert line.first(dry=True) == expected
            assert line.first() == expected


@pytest.mark.parametrize("name", strategies.NAMES)
def test_computing_the_tail_advances_no_counter(name: str) -> None:
    places = [target(slug, tier=tier) for slug, tier in zip("abcd", (0, 0, 1, 1), strict=True)]
    line = Bench(snapshot([provider(slug) for slug in "abcd"], [profile(targets=places, strategy=name)]))
    live = line.live = Watched()
    decision = line.decide()
    advanced = list(live.done)
    decision.full_ranking()
    assert live.done == advanced


@pytest.mark.parametrize("out", ["disabled", "open", "rule"])
def test_the_weights_of_those_that_dropped_out_renormalise(out: str) -> None:
    """50/30/20 without the 30 is 71.4/28.6, whoever took it out, in a rule as in a profile."""
    of_rule = [target("a", weight=50), target("c", weight=20)]
    rules = [rule("gold", {"fact": "tag", "op": "eq", "value": "gold"}, of_rule, fallback_to_profile=False)]
    providers = [provider("a", weight=50), provider("b", weight=30), provider("c", weight=20)]
    line = Bench(snapshot(providers, strategy="weighted", rules=rules))
    if out == "open":
        line.open("b")
    line.set_states(**({"b": "disabled"} if out == "disabled" else {}))
    tags = frozenset({"gold"} if out == "rule" else ())
    led = line.firsts(4000, tags=tags)
    assert set(led) == {"a", "c"}
    assert chi_squared([led["a"], led["c"]], [5 / 7, 2 / 7]) < 10.828
    winner = line.decide(tags=tags).ranked[0]
    assert winner.value == pytest.approx(500 / 7 if winner.target.provider.slug == "a" else 200 / 7)
