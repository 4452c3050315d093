"""Admission, health and what happens when nothing is left; properties that hold for every decision."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routes.engine import strategies
from routes.engine.local_live import LocalLiveState
from routes.engine.pipeline import decide
from routes.engine.stages.health import fraction
from routes.engine.types import Outcome
from tests.documents import profile, provider, snapshot, target
from tests.engine.drive import Bench, request, why

STAGES = ["admission", "health", "smart_routing", "affinity", "load_balancer"]


def bench(slugs: str = "abc", **given: Any) -> Bench:
    return Bench(snapshot([provider(slug) for slug in slugs], **given))


# -- admission -------------------------------------------------------------------------------------


def test_disabled_and_draining_targets_are_left_out_with_their_state() -> None:
    line = bench()
    line.set_states(a="disabled", b="draining")
    decision = line.decide()
    assert why(decision) == {"a": "admission.disabled", "b": "admission.draining"}
    assert decision.ranked[0].target.provider.slug == "c"


def test_an_admin_state_ends_at_its_time() -> None:
    line = bench()
    line.set_states(a=("disabled", line.now + 1e9 + 60))
    assert line.first() == "b"
    line.now += 59
    assert line.live.admin_state(line.target("a"), line.now) == "disabled"
    line.now += 1
    assert line.first() == "a"
    assert line.live.admin_state(line.target("a"), line.now) == "active"


def test_an_active_state_in_the_overlay_changes_nothing() -> None:
    line = bench()
    line.set_states(a="active")
    assert line.first() == "a"


def test_the_request_may_name_providers_or_exclude_some() -> None:
    line = bench("abcd")
    line.set_states(a="disabled")
    decision = line.decide(only=frozenset("abc"), exclude=frozenset("b"))
    assert line.ranking(only=frozenset("abc"), exclude=frozenset("b")) == ["c"]
    assert why(decision) == {
        "a": "admission.disabled",
        "b": "admission.excluded_by_request",
        "d": "admission.not_requested",
    }


def test_wire_and_model_decide_who_can_serve() -> None:
    providers = [
        provider("openai-any"),
        provider("anthropic", wire="anthropic"),
        provider("openai-some", models={"gpt-4o": "acme-gpt-4o"}),
    ]
    line = Bench(snapshot(providers))
    decision = line.decide(model="gpt-4o")
    assert why(decision) == {"anthropic": "admission.wire_unsupported"}
    assert [(e.target.provider.slug, e.model) for e in decision.full_ranking()] == [
        ("openai-any", "gpt-4o"),
        ("openai-some", "acme-gpt-4o"),
    ]
    assert why(line.decide(model="other"))["openai-some"] == "admission.model_not_served"
    assert line.ranking(operation="messages", model="claude") == ["anthropic"]


def test_a_model_that_nobody_serves_is_told_from_one_that_nobody_serves_now() -> None:
    line = Bench(snapshot([provider("a", models={"x": "x"})]))
    assert line.decide(model="y").unserved
    assert not line.profile().serves("chat", "y")
    line.set_states(a="disabled")
    decision = line.decide(model="x")
    assert decision.place(0) is None
    assert not decision.unserved
    assert line.profile().serves("chat", "x")


# -- health ----------------------------------------------------------------------------------------


def test_an_open_circuit_is_left_out_with_the_seconds_that_remain() -> None:
    line = bench()
    line.open("a")
    decision = line.decide()
    (left_out,) = decision.excluded
    assert (left_out.stage, left_out.code) == ("health", "circuit_open")
    assert isinstance(left_out.value, float)
    assert 48 <= left_out.value <= 72
    assert decision.retry_at == line.now + left_out.value
    assert not decision.degraded


def test_a_half_open_target_is_a_candidate_like_any_other() -> None:
    line = bench()
    line.open("a")
    line.now += 73
    assert line.ranking() == ["a", "b", "c"]


def test_one_circuit_serves_all_profiles() -> None:
    profiles = [profile(slug, [target("a"), target("b")]) for slug in ("one", "two")]
    line = Bench(snapshot([provider("a"), provider("b")], profiles))
    other = line.target("a", "two")
    for _ in range(5):
        claim = line.live.claim(other, line.now)
        assert claim is not None
        line.live.settle(claim, other, Outcome("failure"), line.now)
    assert line.first("one") == "b"


def test_circuits_are_of_targets_not_of_providers() -> None:
    places = [target("a", model="big"), target("a", model="small")]
    line = Bench(snapshot([provider("a")], [profile(targets=places)]))
    line.open("a")  # the first of them
    assert [e.model for e in line.decide().full_ranking()] == ["small"]


def quarantine(line: Bench, slug: str, seconds: float, cause: str = "rate_limited", **given: Any) -> None:
    line.live.quarantine(line.target(slug), given.pop("model", "gpt-4o"), seconds, cause, line.now, **given)


def test_a_rate_limit_keeps_away_that_upstream_model_on_that_credential_only() -> None:
    providers = [provider("a", models={"x": "up-x", "y": "up-y"}), provider("b")]
    line = Bench(snapshot(providers))
    quarantine(line, "a", 30, model="up-x")
    decision = line.decide(model="x")
    assert why(decision) == {"a": "health.quarantined_rate_limited"}
    assert decision.excluded[0].value == 30
    assert line.first(model="y") == "a"
    line.now += 29.9
    assert line.first(model="x") == "b"
    line.now += 0.1
    assert line.first(model="x") == "a"


def test_a_quarantined_credential_takes_all_targets_of_its_provider_out() -> None:
    places = [target("a", model="x"), target("a", model="y"), target("b")]
    line = Bench(snapshot([provider("a"), provider("b")], [profile(targets=places)]))
    quarantine(line, "a", 30, "auth_failed", model=None)
    assert line.ranking() == ["b"]


def test_the_longer_of_two_quarantines_counts() -> None:
    line = bench()
    quarantine(line, "a", 30)
    quarantine(line, "a", 60, "auth_failed", model=None)
    found = line.live.quarantined_until(line.target("a"), "gpt-4o", line.now)
    assert found is not None
    assert (found.cause, found.until) == ("auth_failed", line.now + 60)
    line.now += 45
    quarantine(line, "a", 30)
    found = line.live.quarantined_until(line.target("a"), "gpt-4o", line.now)
    assert found is not None
    assert found.cause == "rate_limited"
    line.now += 100
    assert line.live.quarantined_until(line.target("a"), "gpt-4o", line.now) is None


# -- nothing left ----------------------------------------------------------------------------------


def test_when_all_circuits_are_open_the_soonest_due_is_tried_once() -> None:
    line = bench(failover={"panic_concurrency": 7})
    for slug in "cab":
        line.open(slug)
        line.now += 20
    line.now -= 19
    decision = line.decide()
    due = {slug: line.live.circuit(line.target(slug), line.now).until for slug in "abc"}
    assert [e.target.provider.slug for e in decision.full_ranking()] == sorted(due, key=due.__getitem__)
    assert decision.degraded
    assert decision.panic == 7
    assert decision.excluded == []
    assert {e.code for e in decision.ranked} == {"next_try"}
    assert decision.retry_at == min(due.values())


def test_reject_leaves_the_decision_empty() -> None:
    line = bench("ab", failover={"when_all_unhealthy": "reject"})
    line.open("a")
    line.open("b")
    decision = line.decide()
    assert decision.place(0) is None
    assert (decision.strategy, decision.source, decision.degraded, decision.panic) == ("none", "none", False, 0)
    assert why(decision) == {"a": "health.circuit_open", "b": "health.circuit_open"}
    assert decision.retry_at is not None


def test_quarantined_targets_stay_out_while_open_ones_are_tried() -> None:
    line = bench("ab")
    line.open("a")
    quarantine(line, "b", 1)
    decision = line.decide()
    assert [e.target.provider.slug for e in decision.full_ranking()] == ["a"]
    assert why(decision) == {"b": "health.quarantined_rate_limited"}
    assert decision.degraded
    assert not decision.all_rate_limited
    assert decision.retry_at == line.now + 1


def test_all_quarantined_without_a_word_from_upstream_the_soonest_due_is_tried_alone() -> None:
    line = bench()
    for slug, seconds in (("a", 60), ("b", 30), ("c", 60)):
        quarantine(line, slug, seconds)
    decision = line.decide()
    assert [(e.target.provider.slug, e.code, e.value) for e in decision.full_ranking()] == [("b", "next_try", 30.0)]
    assert decision.panic == 1
    assert decision.all_rate_limited
    claim = line.claim("b", panic=decision.panic)
    assert claim is not None
    assert line.claim("b", panic=decision.panic) is None


def test_a_retry_after_is_respected_when_all_are_limited() -> None:
    line = bench("ab")
    quarantine(line, "a", 60)
    quarantine(line, "b", 30, told=True)
    decision = line.decide()
    assert decision.place(0) is None
    assert decision.all_rate_limited
    assert decision.retry_at == line.now + 30


def test_refused_credentials_are_not_rate_limits() -> None:
    line = bench("ab", failover={"when_all_unhealthy": "reject"})
    quarantine(line, "a", 60)
    quarantine(line, "b", 1800, "auth_failed", model=None)
    assert not line.decide().all_rate_limited


# -- slow start ------------------------------------------------------------------------------------


def recovered(**given: Any) -> Bench:
    line = bench("ab", **given)
    line.open("a")
    line.recover("a")
    return line


def share(line: Bench, seconds: float) -> float:
    line.now += seconds
    ids = [f"01890a5d-ac96-774b-bcce-{number:012x}" for number in range(4000)]
    found = sum(line.first(route_id=route_id) == "a" for route_id in ids) / len(ids)
    line.now -= seconds
    return found


def test_a_recovering_target_gets_a_tenth_then_its_growing_share() -> None:
    line = recovered()
    for seconds, expected in ((0, 0.1), (9, 0.3), (15, 0.5), (30, 1.0)):
        assert share(line, seconds) == pytest.approx(expected, abs=0.03)


def test_the_gate_is_decided_by_the_request_id_alone() -> None:
    line = recovered()
    ids = [f"01890a5d-ac96-774b-bcce-{number:012x}" for number in range(100)]
    assert [line.first(route_id=i) for i in ids] == [line.first(route_id=i) for i in ids]
    gated = next(i for i in ids if line.first(route_id=i) == "b")
    decision = line.decide(route_id=gated)
    assert why(decision) == {"a": "health.slow_start"}
    assert decision.excluded[0].value == pytest.approx(10.0)


def test_the_gate_opens_when_nothing_else_is_left() -> None:
    line = recovered()
    line.set_states(b="disabled")
    assert share(line, 0) == 1.0
    line.set_states()
    line.open("b")
    assert share(line, 0) == 1.0
    assert not line.decide().degraded


def test_gates_of_two_targets_are_independent() -> None:
    both = [(fraction(f"{number:032x}", "a") < 0.5, fraction(f"{number:032x}", "b") < 0.5) for number in range(4000)]
    assert both.count((True, True)) / 4000 == pytest.approx(0.25, abs=0.03)


def test_slow_start_ends_and_leaves_nothing_to_ask_about() -> None:
    line = recovered()
    assert list(line.live.suspects(line.now)) == [line.target("a").id]
    line.now += 30
    assert list(line.live.suspects(line.now)) == []


# -- every decision ----------------------------------------------------------------------------------


@st.composite
def situations(draw: st.DrawFn) -> tuple[Bench, dict[str, Any]]:
    """A profile of up to eight targets in any state of admission and health, and a request to it."""
    count = draw(st.integers(0, 8))
    slugs = "abcdefgh"[:count]
    providers = [
        provider(
            slug,
            wire=draw(st.sampled_from(["openai", "openai", "openai", "anthropic"])),
            models=draw(st.sampled_from([None, None, {"gpt-4o": "up"}, {"x": "y"}, {"gpt-*": "*"}])),
            prices=draw(st.sampled_from([{}, {"gpt-4o": {"input": 1, "output": 2}}])),
        )
        for slug in slugs
    ]
    places = [target(slug, weight=draw(st.sampled_from([0, 1, 5.5])), tier=draw(st.integers(0, 2))) for slug in slugs]
    failover = {"when_all_unhealthy": draw(st.sampled_from(["try", "reject"]))}
    name = draw(st.sampled_from(strategies.NAMES))
    compiled = snapshot(providers or [provider("z")], [profile(targets=places, strategy=name, failover=failover)])
    line = Bench(compiled, draw(st.integers(0, 1000)))
    states: dict[str, str] = {}
    for slug in slugs:
        match draw(st.sampled_from(["", "", "", "disabled", "draining", "open", "recovering", "limited", "measured"])):
            case "open":
                line.open(slug)
            case "recovering":
                line.open(slug)
                line.recover(slug)
            case "limited":
                quarantine(line, slug, 30, told=draw(st.booleans()), model=None)
            case "measured":
                for _ in range(12):
                    line.attempt(slug, latency=draw(st.sampled_from([0.1, 0.2, 1.0])), tokens=100)
            case ("disabled" | "draining") as state:
                states[slug] = state
    line.set_states(**states)
    wishes: dict[str, Any] = {
        "route_id": f"{draw(st.integers(0, 2**64)):032x}",
        "stream": draw(st.booleans()),
        "only": draw(st.sampled_from([None, None, frozenset("abc")])),
        "exclude": draw(st.sampled_from([frozenset(), frozenset("a")])),
        "strategy": draw(st.sampled_from([None, None, *strategies.NAMES])),
    }
    return line, wishes


@given(situations())
def test_every_configured_target_appears_exactly_once(situation: tuple[Bench, dict[str, Any]]) -> None:
    line, wishes = situation
    decision = line.decide(**wishes)
    ranked = [entry.target.id for entry in decision.full_ranking()]
    left_out = [entry.target.id for entry in decision.excluded]
    assert sorted(ranked + left_out) == sorted(t.id for t in line.profile().targets)
    assert (decision.strategy == "none") == (not ranked)
    assert [entry.stage for entry in decision.stages] == STAGES
    assert decision.stages[0].candidates_in == len(line.profile().targets)
    assert decision.stages[-1].candidates_out == len(ranked)
    for before, after in zip(decision.stages, decision.stages[1:], strict=False):
        assert before.candidates_out == after.candidates_in
    for stage in decision.stages:
        dropped = sum(entry.stage == stage.stage for entry in decision.excluded)
        assert stage.candidates_in - stage.candidates_out == dropped
        assert stage.us >= 0


@given(situations(), st.integers(0, 2**32))
def test_same_seed_clock_and_state_give_the_same_ranking(situation: tuple[Bench, dict[str, Any]], seed: int) -> None:
    line, wishes = situation

    def once() -> list[Any]:
        decision = decide(line.snapshot, line.profile(), request(**wishes), line.live, line.now, Random(seed), dry=True)
        return [decision.full_ranking(), decision.excluded, decision.inputs]

    assert once() == once()


@given(situations())
def test_a_dry_decision_changes_nothing(situation: tuple[Bench, dict[str, Any]]) -> None:
    line, wishes = situation
    live = line.live
    before = (dict(live._counters), {pool: dict(state) for pool, state in live._smooth.items()})
    line.decide(dry=True, **wishes).full_ranking()
    assert (dict(live._counters), live._smooth) == before


def test_a_dry_decision_shows_what_the_next_real_one_does() -> None:
    for name in ("round_robin", "smooth_weighted"):
        line = Bench(snapshot([provider("a", weight=3), provider("b", weight=2)], strategy=name))
        for _ in range(10):
            expected = line.first(dry=True)
            assert line.first(dry=True) == expected
            assert line.first() == expected


@given(situations())
def test_walking_the_ranking_gives_what_the_whole_ranking_says(situation: tuple[Bench, dict[str, Any]]) -> None:
    line, wishes = situation
    decision = line.decide(dry=True, **wishes)
    walked = []
    while (place := decision.place(len(walked))) is not None:
        walked.append(place)
    assert walked == list(decision.full_ranking())
    assert decision.place(len(walked)) is None


def test_computing_the_tail_advances_no_counter() -> None:
    for name in strategies.NAMES:
        places = [target(slug, tier=tier) for slug, tier in zip("abcd", (0, 0, 1, 1), strict=True)]
        line = Bench(snapshot([provider(slug) for slug in "abcd"], [profile(targets=places, strategy=name)]))
        decision = line.decide()
        before = dict(line.live._counters)
        decision.full_ranking()
        assert line.live._counters == before


def test_stage_times_come_from_the_timer_given() -> None:
    ticks = iter(range(100))
    line = bench()
    decision = decide(
        line.snapshot, line.profile(), request(), LocalLiveState(), 0.0, line.rng, timer=lambda: float(next(ticks))
    )
    assert [entry.us for entry in decision.stages] == [1e6] * 5
