"""A recorded decision run again: by its own revision it comes out the same, by another one nothing is guessed."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings

from routes.engine import strategies
from routes.engine.explain import Replay, pack_decision, render, sentences
from routes.engine.facts import Facts, KeyFacts
from routes.engine.stages import affinity
from routes.engine.types import Outcome
from tests.documents import an_id, head, profile, provider, rule, snapshot, target
from tests.engine.drive import ROUTE_ID, Bench
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


RULES = [
    rule("off", {"fact": "stream", "op": "is", "value": False}, [target("c")], enabled=False),
    rule("long", {"all": [{"fact": "tokens", "op": "gte", "value": 1_000}]}, [target("d"), target("c")]),
    rule("beta", {"fact": "header.x-beta", "op": "eq", "value": "1"}, [target("c", weight=2), target("d")], strategy="peak_ewma"),
    rule("please", {"any": [{"fact": "user_text", "op": "contains", "value": "please"}]}, [target("d")], fallback_to_profile=False),
]  # fmt: skip
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
