"""A recorded decision run again: by its own revision it comes out the same, by another one nothing is guessed."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings

from routes.engine import strategies
from routes.engine.explain import Replay, WhatIf, pack_decision, render, sentences, undecidable, unpack_decision
from routes.engine.explain.recorded import RecordedLive
from routes.engine.explain.what_if import SlowStats
from routes.engine.facts import Facts, KeyFacts
from routes.engine.live import Means
from routes.engine.pipeline import decide
from routes.engine.stages import affinity
from routes.engine.types import Outcome, Requirements
from tests.documents import an_id, head, profile, provider, rule, snapshot, target
from tests.engine.drive import ROUTE_ID, Bench, request
from tests.engine.situations import situations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.engine.explain import Replayed
    from routes.engine.snapshot import Profile
    from routes.engine.types import Decision

WALL = 1_800_000_000.0
LONG = "word " * 1_000


def stored(decision: Decision) -> dict[str, Any]:
    """As the journal and the database give it back."""
    packed: dict[str, Any] = json.loads(
        json.dumps(msgspec.msgpack.decode(msgspec.msgpack.encode(pack_decision(decision))))
    )
    return packed


def facts(profile: Profile, text: str = "Hello", headers: Mapping[bytes, bytes] | None = None, **given: Any) -> Facts:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    given.setdefault("key", KeyFacts("app", frozenset({"internal"})))
    given.setdefault("route_id", ROUTE_ID)
    return Facts(
        operation="chat",
        model="gpt-4o",
        body=json.dumps(body).encode(),
        headers=headers,
        wall=WALL,
        scenario=profile.scenario,
        **given,
    )


def replay(line: Bench, decision: Decision, **row: Any) -> Replay:
    request = decision.request
    assert request is not None
    row.setdefault("session", request.session)
    row.setdefault("stream", request.stream)
    return Replay(stored(decision), line.snapshot, route_id=request.route_id, **row)


def same(told: Replayed, made: Decision) -> None:
    again = told.decision
    assert [e.target.id for e in again.full_ranking()] == [e.target.id for e in made.full_ranking()]
    assert {(e.target.id, e.stage, e.code) for e in again.excluded} == {
        (e.target.id, e.stage, e.code) for e in made.excluded
    }
    for name in ("source", "strategy", "matched_rule", "degraded", "variant", "replaced"):
        assert getattr(again, name) == getattr(made, name), name
    assert (told.undecidable, told.notes) == (0, ())


@settings(max_examples=40)
@given(situations())
def test_a_recorded_decision_comes_out_the_same_by_its_own_revision(
    situation: tuple[Bench, dict[str, Any]],
) -> None:
    line, wishes = situation
    decision = line.decide(**wishes)
    same(replay(line, decision).again(), decision)


def test_a_degraded_decision_of_single_comes_out_the_same() -> None:
    line = Bench(snapshot([provider("a"), provider("b")], strategy="single"))
    line.open("b")
    line.open("a")
    decision = line.decide()
    assert decision.degraded
    same(replay(line, decision).again(), decision)


RULES = [
    rule("off", {"fact": "stream", "op": "is", "value": False}, [target("c")], enabled=False),
    rule("long", {"all": [{"fact": "tokens", "op": "gte", "value": 1_000}]}, [target("d"), target("c")]),
    rule(
        "beta",
        {"fact": "header.x-beta", "op": "eq", "value": "1"},
        [target("c", weight=2), target("d")],
        strategy="peak_ewma",
    ),
    rule(
        "please",
        {"any": [{"fact": "user_text", "op": "contains", "value": "please"}]},
        [target("d")],
        fallback_to_profile=False,
    ),
]
MODES: tuple[Any, ...] = (
    "immediate",
    "cost",
    {"threshold": {"failures": 2}},
    {"success_rate": {"min": 0.9}},
    {"latency": {"ms": 300, "percentile": "p95"}},
)


def mixed(name: str, mode: Any = "immediate", **given: Any) -> Bench:
    """Four providers, one of them in a further tier, rules over the others, sessions that stick."""
    heads = [head("one", region="eu-west", capacity=4), head("two", region="us-east", capacity=2)]
    providers = [
        provider("a", weight=3, region="eu-west", prices={"gpt-4o": {"input": 2, "output": 8}}),
        provider("b", weight=2, heads=heads),
        provider("c", region="us-east", prices={"gpt-4o": {"input": 1, "output": 4}}),
        provider("d"),
    ]
    places = [target("a"), target("b"), target("c", tier=1)]
    of_profile = profile(
        targets=places, strategy=name, rules=RULES, affinity={"enabled": True}, failover={"mode": mode}, **given
    )
    return Bench(snapshot(providers, [of_profile]), seed=7)


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "long": {"text": LONG},
    "header": {"headers": {b"x-beta": b"1"}},
    "text": {"text": "say please"},
}


def asked(line: Bench, number: int, kind: str, session: str | None = None, **wishes: Any) -> Decision:
    """One request of a kind, with an id of its own."""
    route_id = f"{ROUTE_ID[:-6]}{number:06d}"
    known = facts(line.profile(), route_id=route_id, session=session, **KINDS[kind])
    return line.decide(route_id=route_id, facts=known, session=session, **wishes)


def send(line: Bench, decision: Decision, random: Random, failing: str = "a") -> None:
    """Let the request go where it was decided to, and the session be pinned there."""
    place = decision.place(0)
    if place is None:
        return
    claim = line.live.claim(place.target, line.now, decision.panic)
    if claim is None:
        return
    bad = place.target.provider.slug == failing and random.random() < 0.6
    seconds = random.choice([0.1, 0.25, 0.7])
    outcome = Outcome("failure" if bad else "success", None, seconds, None, 100, False, 5.0)
    line.live.settle(claim, place.target, outcome, line.now)
    line.live.release(claim, line.now, 100, 50)
    if decision.pin is not None and not bad:
        affinity.answered(decision.pin, line.live, place.target.id, line.now)


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("name", strategies.NAMES)
def test_whatever_strategy_rule_mode_pin_and_trouble_the_first_choice_is_reproduced(name: str, mode: Any) -> None:
    """A run of requests through changing states; each is recorded, and explained against its own revision."""
    line = mixed(name, mode)
    random = Random(f"{name}{mode}")
    for number in range(16):
        line.now += 0.8
        session = random.choice([None, "s1", "s2"])
        decision = asked(line, number, random.choice(list(KINDS)), session)
        told = replay(line, decision).again()
        same(told, decision)
        send(line, decision, random)
        if number == 6:
            line.live.quarantine(line.target("c"), None, 3.0, "rate_limited", line.now)
        if number == 11:
            line.set_states(b="draining")


def test_one_run_shows_twenty_mixed_requests_explained_with_a_reason_for_every_other_target() -> None:
    """The acceptance of this stage: strategies, rules and failures mixed, first choices reproduced, words for all."""
    shown = 0
    random = Random(3)
    for name in ("weighted", "round_robin", "least_latency", "peak_ewma", "failover"):
        line = mixed(name)
        for number, kind in enumerate(KINDS):
            for _ in range(4):
                send(line, asked(line, 1000 + number, "plain"), random)
            decision = asked(line, number, kind)
            told = replay(line, decision).again()
            assert told.decision.ranked[0].target is decision.ranked[0].target
            story = " ".join(sentences(render(stored(decision), line.snapshot)))
            for other in line.profile().targets:
                assert other.provider.slug in story
            if decision.rule is not None:
                assert f"Rule “{decision.rule.name}” matched: " in story
            for before in line.profile().rules[: decision.matched_rule_index + 1][:-1]:
                assert f"Rule “{before.name}” " in story
            shown += 1
    assert shown == 20


def test_a_clause_about_text_is_decided_by_what_was_found_then_and_never_by_the_text() -> None:
    line = mixed("failover")
    decision = asked(line, 1, "text")
    packed = stored(decision)
    assert decision.matched_rule == "please"
    assert "please" not in json.dumps(packed["f"])
    rules = render(packed, line.snapshot)["rules"]
    assert [(r["name"], r["enabled"], r["matched"], r["chosen"]) for r in rules] == [
        ("off", False, False, False),
        ("long", True, False, False),
        ("beta", True, False, False),
        ("please", True, True, True),
    ]
    assert rules[3]["clauses"][0]["matched"] is True


def other(line: Bench, **changes: Any) -> Bench:
    """The bench's profile in another revision, with some of it changed."""
    document = {
        "targets": [target("a"), target("b"), target("c", tier=1)],
        "strategy": "failover",
        "rules": RULES,
        **changes,
    }
    of_profile = profile(affinity=document.pop("affinity", {"enabled": True}), **document)
    providers = [provider(slug) for slug in "abcde"]
    return Bench(snapshot(providers, [of_profile], number=2))


def test_a_changed_clause_on_text_is_undecidable_and_counted() -> None:
    line = mixed("failover")
    decision = asked(line, 1, "plain")
    changed = rule("please", {"fact": "user_text", "op": "contains", "value": "thanks"}, [target("d")])
    told = replay(line, decision).again(other(line, rules=[changed]).snapshot)
    assert (told.undecidable, told.rules[0]["matched"]) == (1, None)
    assert told.decision.matched_rule is None


def test_a_changed_clause_on_a_number_is_decided_anew() -> None:
    line = mixed("failover")
    decision = asked(line, 1, "plain")
    changed = rule("any size", {"fact": "tokens", "op": "gte", "value": 1}, [target("d")])
    told = replay(line, decision).again(other(line, rules=[changed]).snapshot)
    assert (told.undecidable, told.decision.matched_rule) == (0, "any size")


def test_a_draw_is_the_same_draw_by_other_weights() -> None:
    line = Bench(snapshot([provider("a"), provider("b")], strategy="weighted"))
    decision = line.decide()
    winner, loser = (entry.target.provider.slug for entry in decision.full_ranking())
    places = [target(winner, weight=1), target(loser, weight=0)]
    heavier = snapshot([provider("a"), provider("b")], [profile(targets=places, strategy="weighted")], number=2)
    told = replay(line, decision).again(heavier)
    assert (told.decision.ranked[0].target.provider.slug, told.undecidable) == (winner, 0)
    assert told.decision.inputs["draw"] == decision.inputs["draw"]


def measured(**given: Any) -> Bench:
    line = Bench(snapshot([provider(slug) for slug in "abc"], strategy="least_latency", **given))
    for slug, latency in (("a", 0.3), ("b", 0.1), ("c", 0.2)):
        for _ in range(12):
            line.attempt(slug, latency=latency)
    return line


def test_measurements_count_in_another_revision_while_strategy_and_params_are_the_same() -> None:
    line = measured()
    decision = line.decide()
    same_again = snapshot([provider(slug) for slug in "abc"], strategy="least_latency", number=2)
    told = replay(line, decision).again(same_again)
    assert [e.target.provider.slug for e in told.decision.full_ranking()] == ["b", "c", "a"]
    assert told.undecidable == 0


@pytest.mark.parametrize(
    "changes",
    [{"strategy": "peak_ewma"}, {"strategy": "least_latency", "params": {"min_samples": 3}}, {"strategy": "speed"}],
    ids=str,
)
def test_measurements_that_were_not_recorded_are_counted_and_not_guessed(changes: dict[str, Any]) -> None:
    line = measured()
    told = replay(line, line.decide()).again(snapshot([provider(slug) for slug in "abc"], number=2, **changes))
    assert told.undecidable > 0
    assert told.notes


def test_a_target_that_was_not_there_makes_a_measured_ranking_undecidable() -> None:
    line = measured()
    told = replay(line, line.decide()).again(
        snapshot([provider(slug) for slug in "abcd"], strategy="least_latency", number=2)
    )
    assert told.undecidable > 0


def test_a_session_under_another_rule_may_have_had_another_pin() -> None:
    line = mixed("failover")
    first = asked(line, 1, "plain", "s1")
    send(line, first, Random(1), failing="")
    decision = asked(line, 2, "plain", "s1")
    assert decision.source == "affinity"
    again = replay(line, decision)
    assert again.again(other(line).snapshot).decision.source == "affinity"
    everything = rule("everything", {"all": []}, [target("d"), target("e")])
    told = again.again(other(line, rules=[everything]).snapshot)
    assert (told.decision.source, told.undecidable) == ("smart_routing", 1)
    unpinned = again.again(other(line, affinity={"enabled": False}, rules=[everything]).snapshot)
    assert unpinned.undecidable == 0
    for scope in ("profile", "rule"):
        by_profile = {"enabled": True, "scope": scope}
        assert again.again(other(line, affinity=by_profile).snapshot).undecidable == (scope == "profile")


def test_pins_of_whole_profiles_hold_whatever_rule_matches() -> None:
    line = Bench(snapshot([provider("a"), provider("b")], affinity={"enabled": True, "scope": "profile"}))
    decision = line.decide(session="s")
    everything = rule("everything", {"all": []}, [target("b"), target("a")])
    places = [target("a"), target("b")]
    revision = profile(targets=places, rules=[everything], affinity={"enabled": True, "scope": "profile"})
    told = replay(line, decision).again(snapshot([provider("a"), provider("b")], [revision], number=2))
    assert (told.undecidable, told.decision.matched_rule) == (0, "everything")


def test_what_is_imagined_to_be_in_trouble_is_left_out_and_the_rest_as_recorded() -> None:
    line = measured()
    again = replay(line, line.decide())
    troubles: Any = {an_id("provider", "b"): "down"}
    assert [e.target.provider.slug for e in again.again(troubles=troubles).decision.full_ranking()] == ["c", "a"]
    troubles = {an_id("provider", "b"): "429", an_id("provider", "c"): "down"}
    assert [e.target.provider.slug for e in again.again(troubles=troubles).decision.full_ranking()] == ["a"]


def test_facts_may_be_imagined_instead_of_what_was_recorded() -> None:
    line = mixed("failover")
    told = replay(line, asked(line, 1, "plain")).again(facts={"tokens": 50_000})
    assert told.decision.matched_rule == "long"


def test_further_draws_are_other_requests_like_it() -> None:
    line = Bench(snapshot([provider("a"), provider("b")], strategy="round_robin"))
    line.first()
    again = replay(line, line.decide())
    firsts = [again.again(draw=draw).decision.ranked[0].target.provider.slug for draw in range(4)]
    assert firsts == ["b", "a", "b", "a"]
    line = Bench(snapshot([provider("a"), provider("b")], strategy="weighted"))
    again = replay(line, line.decide())
    assert {again.again(draw=draw).decision.ranked[0].target.provider.slug for draw in range(20)} == {"a", "b"}


def test_a_profile_that_is_gone_is_a_lookup_error() -> None:
    line = mixed("failover")
    with pytest.raises(LookupError):
        replay(line, asked(line, 1, "plain")).again(snapshot([provider("a")], [profile("elsewhere", [target("a")])]))


def test_a_record_of_the_first_version_is_run_again_too() -> None:
    from tests.engine.test_explain_version1 import RECORDED, SNAPSHOT

    for record in RECORDED["records"]:
        told = Replay(record["packed"], SNAPSHOT, route_id=ROUTE_ID).again()
        assert [e.target.id for e in told.decision.full_ranking()][:1] == [first[0] for first in record["ranking"][:1]]


WISHES: dict[str, Any] = {
    "only": frozenset("ab"),
    "exclude": frozenset("c"),
    "strategy": "weighted",
    "region": "us-east",
    "tags": frozenset({"gold"}),
    "max_output_tokens": 100,
    "model_type": "llama",
    "requirements": Requirements("1.2", "70b", frozenset({"vision"})),
}


def test_what_a_request_wished_for_is_part_of_the_record() -> None:
    line = mixed("failover")
    wished = replay(line, line.decide(**WISHES)).again().decision.request
    assert wished is not None
    assert {name: getattr(wished, name) for name in WISHES} == WISHES


def test_a_request_that_goes_on_with_a_response_goes_where_it_came_from_again() -> None:
    line = mixed("failover")
    decision = line.decide(origin=line.target("c").id)
    told = replay(line, decision).again()
    same(told, decision)
    assert (told.decision.source, len(told.decision.ranked)) == ("pinned", 1)
    assert "the response this request goes on with chose c" in " ".join(
        sentences(render(stored(decision), line.snapshot))
    )


def test_a_pin_to_a_target_that_is_gone_and_one_that_waits_are_told() -> None:
    line = mixed("failover")
    first = asked(line, 1, "plain", "s")
    send(line, first, Random(1), failing="")
    line.live.quarantine(line.target("a"), None, 60, "rate_limited", line.now)
    told = render(stored(asked(line, 2, "plain", "s")), line.snapshot)
    assert (told["pin"]["provider"], told["pin"]["honoured"]) == ("a", False)
    assert "The session is pinned to a, which was not used: rate-limited for another 1 min." in sentences(told)
    assert first.pin is not None
    line.live.set_pin(first.pin.key, an_id("target", "gone"), line.now, 60, profile_id=line.profile().id)
    told = render(stored(asked(line, 3, "plain", "s")), line.snapshot)
    assert (told["pin"]["target"], told["pin"]["provider"]) == ("", None)
    assert "The session was pinned to a target that does not belong to this profile any more." in sentences(told)


def test_a_pin_that_gives_way_to_a_lower_tier_is_told_and_replayed() -> None:
    line = mixed("failover")
    first = asked(line, 1, "plain", "s")
    assert first.pin is not None
    line.live.set_pin(first.pin.key, line.target("c").id, line.now, 600, profile_id=line.profile().id)
    decision = asked(line, 2, "plain", "s")
    same(replay(line, decision).again(), decision)
    assert decision.source == "load_balancer"
    assert "The session is pinned to c, which was not used: a target of a lower tier is available again." in sentences(
        render(stored(decision), line.snapshot)
    )


def test_a_pin_that_slow_start_gates_is_kept_and_said_to_be() -> None:
    line = Bench(snapshot([provider("a"), provider("b")], affinity={"enabled": True}))
    for number in range(200):
        decision = line.decide(session="s", route_id=f"{number:032x}")
        if number == 0:
            assert decision.pin is not None
            line.live.set_pin(decision.pin.key, line.target("a").id, line.now, 600, profile_id=line.profile().id)
            line.open("a")
            line.recover("a")
        if decision.pin is not None and decision.pin.keep:
            break
    told = sentences(render(stored(decision), line.snapshot))
    assert any(line.endswith("; the pin is kept.") for line in told), told
    same(replay(line, decision).again(), decision)


def test_a_pin_that_was_held_although_a_lower_tier_had_come_back_is_held_again() -> None:
    places = [target("a"), target("b", tier=1)]
    held = profile(targets=places, affinity={"enabled": True})
    line = Bench(snapshot([provider("a", circuit={"slow_start": 0}), provider("b")], [held]))
    line.open("a")
    first = line.decide(session="s")
    send(line, first, Random(1), failing="")
    line.recover("a")
    decision = line.decide(session="s")
    assert (first.ranked[0].target.provider.slug, decision.source) == ("b", "affinity")
    same(replay(line, decision).again(), decision)


def test_a_decision_without_its_request_is_recorded_without_wishes_and_facts() -> None:
    line = mixed("failover")
    packed = pack_decision(replace(asked(line, 1, "plain"), request=None))
    assert {"q", "f"}.isdisjoint(packed)
    assert render(packed, line.snapshot)["facts"] == {}
    decision = asked(line, 1, "plain")
    assert decision.request is not None
    assert "f" not in pack_decision(replace(decision, request=replace(decision.request, facts=None)))


def test_policy_and_variant_are_told() -> None:
    line = Bench(
        snapshot([provider("a"), provider("b")], strategy="round_robin", policy={"enable_load_balancing": False})
    )
    told = render(stored(line.decide()), line.snapshot)
    assert (told["strategy"], told["replaced_strategy"]) == ("failover", "round_robin")
    assert "Strategy round_robin is switched off by the policy, so failover ranked." in sentences(told)
    variants = [{"name": name, "share": 1, "targets": [name]} for name in "ab"]
    line = Bench(snapshot([provider("a"), provider("b")], strategy="ab_test", params={"variants": variants}))
    told = render(stored(line.decide()), line.snapshot)
    assert f"The request belongs to variant “{told['variant']}” of the test." in sentences(told)


def test_facts_of_a_body_nobody_read_are_unknown_but_for_those_that_were_given() -> None:
    line = Bench(snapshot([provider("a")]))
    stated = {"scenario": "code", "has_tools": False}
    told = render(stored(line.decide(facts=facts(line.profile(), given=stated))), line.snapshot)["facts"]
    assert (told["scenario"], told["has_tools"], told["model"]) == ("code", False, "gpt-4o")
    assert "tokens" not in told
    told = render(stored(line.decide(facts=facts(line.profile()))), line.snapshot)["facts"]
    assert ("scenario" in told, told["body_bytes"] > 0) == (False, True)


def test_a_record_that_does_not_begin_as_it_says_is_told_as_far_as_it_was_written() -> None:
    line = Bench(snapshot([provider(slug) for slug in "abc"], strategy="round_robin"))
    packed = stored(line.decide())
    packed["r"] = [[2, "turn", 0]]
    ranking = [(e.target.provider.slug, e.code) for e in unpack_decision(packed, line.snapshot).ranked]
    assert ranking == [("c", "turn"), ("a", "backup"), ("b", "backup")]


def test_whoever_was_out_is_out_again_for_the_same_reason() -> None:
    line = Bench(
        snapshot([provider("a"), provider("b", max_concurrency=1), provider("c"), provider("d"), provider("e")])
    )
    line.set_states(a="disabled", d="draining")
    assert line.claim("b") is not None
    line.live.set_observed(line.target("c").id, "unhealthy", 1e12)
    decision = line.decide()
    assert sorted(e.code for e in decision.excluded) == ["at_capacity", "disabled", "draining", "unhealthy"]
    same(replay(line, decision).again(), decision)
    live = RecordedLive(decision, ROUTE_ID, own=True)
    assert (live.admin_state(line.target("a"), 0), live.observed(line.target("c").id, 0)) == ("disabled", "unhealthy")
    more = snapshot([provider("a"), provider("b", max_concurrency=9), provider("e", max_concurrency=2)], number=2)
    assert replay(line, decision).again(more).undecidable == 1


def test_rules_on_text_are_not_asked_of_embeddings_and_that_is_said() -> None:
    line = mixed("failover")
    told = render(stored(line.decide(operation="embedding", facts=facts(line.profile()))), line.snapshot)
    assert told["rules"][3]["note"].startswith("looks at text")
    assert any("was not asked: looks at text" in line for line in sentences(told))
    assert render(stored(line.decide()), line.snapshot)["facts"] != {}


def test_stories_of_rules_say_what_is_not_known_and_count_what_is_left_out() -> None:
    clause = {"fact": "tokens", "op": "gte", "value": 1, "matched": None, "sentence": "cannot be told: x"}
    unknown = {"name": "r", "chosen": False, "matched": None, "note": "", "sentence": "s", "clauses": [clause] * 6}
    empty = unknown | {"clauses": []}
    told = {"ranking": [], "excluded": [], "profile": "p", "degraded": False, "matched_rule": None, "source": "none"}
    assert sentences(told | {"rules": [unknown, empty]})[:2] == [
        "Whether rule “r” matched cannot be told: x; x; x; x and 2 more.",
        "Whether rule “r” matched cannot be told: s.",
    ]
    assert undecidable([unknown, empty]) == 7
    assert sentences(told | {"matched_rule": "gone"})[0] == "Rule “gone” matched."


class Numbers:
    """Samples of one target, as a live state has them."""

    mean_output_tokens: float | None = None

    def __init__(self, means: Means) -> None:
        self.means = means

    def ewma_s(self, stream: bool, now: float) -> float | None:
        return self.means.seconds

    def means_s(self, stream: bool, now: float) -> Means:
        return self.means

    def percentile_s(self, stream: bool, percent: float, now: float) -> tuple[float | None, int]:
        return self.means.seconds, self.means.samples

    def speed(self, now: float) -> tuple[float | None, int]:
        return None, 0


def test_slow_is_ten_times_as_slow_and_at_least_ten_seconds() -> None:
    slow = SlowStats(Numbers(Means(2.0, 5, 0.2, 5)))
    assert slow.means_s(True, 0.0) == Means(20.0, 100, 2.0, 100)
    assert slow.mean_latency_s(True, 0.0) == (20.0, 100)
    assert slow.percentile_s(True, 95, 0.0) == (20.0, 100)
    assert slow.ewma_s(True, 0.0) == 20.0
    assert slow.speed(0.0) == (1.0, 100)
    assert SlowStats(Numbers(Means(None, 0, None, 0))).means_s(True, 0.0) == Means(10.0, 100, 0.1, 100)


@pytest.mark.parametrize("name", ["least_latency", "peak_ewma", "speed"])
def test_what_is_imagined_to_be_slow_loses_against_what_is_measured(name: str) -> None:
    line = Bench(snapshot([provider("a"), provider("b")], strategy=name))
    for slug in "ab":
        for stream in (False, True):
            for _ in range(12):
                line.attempt(slug, stream=stream, tokens=1000)
    imagined: Any = WhatIf(line.live, {an_id("provider", "a"): "slow"}, line.profile().targets)
    before = [line.decide(dry=True).inputs, line.live.circuit(line.target("a"), line.now)]
    for _ in range(20):
        decision = decide(line.snapshot, line.profile(), request(stream=True), imagined, line.now, line.rng, dry=True)
        assert decision.ranked[0].target.provider.slug == "b"
    assert imagined.stats(line.target("b").id) is not None
    assert before[1] == line.live.circuit(line.target("a"), line.now)


def test_nothing_imagined_reaches_the_live_state_beneath() -> None:
    line = Bench(snapshot([provider("a"), provider("b")]))
    troubles: Any = {an_id("provider", "a"): "down", an_id("provider", "b"): "429"}
    imagined: Any = WhatIf(line.live, troubles, line.profile().targets)
    decision = decide(line.snapshot, line.profile(), request(), imagined, line.now, line.rng)
    assert decision.degraded
    assert not line.decide().degraded
    assert imagined.peek().rotate("x") == 0
    assert imagined.quarantined_until(line.target("a"), "gpt-4o", line.now) is None
    assert imagined.circuit(line.target("b"), line.now).state == "closed"
    assert len(imagined.stats_of([target.id for target in line.profile().targets])) == 2


def test_a_recorded_state_answers_what_it_does_not_know_as_never_measured_and_says_so() -> None:
    line = mixed("failover")
    live = RecordedLive(replay(line, line.decide()).recorded, ROUTE_ID, own=False)
    one = line.target("a")
    stats = live.stats(one.id)
    assert (stats.ewma_s(True, 0), stats.means_s(True, 0).samples, stats.mean_latency_s(True, 0)) == (
        None,
        0,
        (None, 0),
    )
    assert (stats.requests_in(60, 0), stats.tokens_in(60, 0), stats.speed(0), stats.loads(0)) == (0, 0, (None, 0), ())
    assert (stats.consecutive_failures, stats.success_rate, stats.percentile_s(True, 95, 0)) == (0, 1.0, (0.0, 100))
    assert live.missing == {one.id}
    assert (live.admin_state(one, 0), live.in_flight("p"), live.pinned("t"), live.last_input(b"", 0)) == (
        *("active", 0, 0),
        None,
    )
    assert live.missing == {one.id, "p", "t"}
    assert live.peek().rotate("pool") + 1 == live.rotate("pool")
