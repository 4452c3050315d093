"""Admission, health and what happens when nothing is left; policy; requests that can go to one target only."""

from __future__ import annotations

from typing import Any

import pytest

from routes.engine.context import context_window
from routes.engine.explain import pack_decision, unpack_decision
from routes.engine.local_live import LocalLiveState
from routes.engine.pipeline import decide
from routes.engine.snapshot import Snapshot
from routes.engine.stages.health import fraction
from routes.engine.types import MODEL_TYPES, Outcome
from tests.documents import document, head, profile, provider, rule, snapshot, target
from tests.engine.drive import Bench, request, why


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
    decision = line.decide(operation="responses", model="gpt-4o")
    assert why(decision) == {"anthropic": "admission.wire_unsupported"}
    assert [(e.target.provider.slug, e.model) for e in decision.full_ranking()] == [
        ("openai-any", "gpt-4o"),
        ("openai-some", "acme-gpt-4o"),
    ]
    assert why(line.decide(model="other"))["openai-some"] == "admission.model_not_served"
    assert line.ranking(operation="count_tokens", model="claude") == ["anthropic"]


WIRES = [provider("openai"), provider("anthropic", wire="anthropic"), provider("generic", wire="generic")]
BOTH = ["openai", "anthropic"]


def test_each_operation_goes_to_providers_that_can_be_told_it() -> None:
    line = Bench(snapshot(WIRES))
    served = {operation: line.ranking(operation=operation, facts=None) for operation in MODEL_TYPES}
    assert served == {operation: ["openai"] for operation in MODEL_TYPES} | {
        "chat": BOTH,
        "messages": BOTH,
        "count_tokens": ["anthropic"],
        "service": ["generic"],
    }


def test_revisions_of_older_releases_keep_the_formats_apart_and_are_told_as_they_were() -> None:
    before = document(WIRES)
    del before["translates"], before["builtin_context"]
    old, new = Bench(Snapshot.from_document(before)), Bench(snapshot(WIRES))
    for operation, only in (("chat", "openai"), ("messages", "anthropic")):
        decision = old.decide(operation=operation, facts=None)
        told = unpack_decision(pack_decision(decision), old.snapshot)
        assert [place.target.provider.slug for place in told.full_ranking()] == [only]
        assert why(told) == why(decision) == dict.fromkeys({*BOTH, "generic"} - {only}, "admission.wire_unsupported")
        told = unpack_decision(pack_decision(new.decide(operation=operation, facts=None)), new.snapshot)
        assert why(told) == {"generic": "admission.wire_unsupported"}


def test_services_have_no_model_whatever_a_target_is_configured_with() -> None:
    line = Bench(snapshot([WIRES[2]], [profile("default", [target("generic", "m-1")])]))
    place = line.decide(operation="service", model="", facts=None).place(0)
    assert place is not None
    assert place.model == ""


def test_a_context_window_is_the_providers_word_before_what_everybody_knows() -> None:
    known = snapshot([provider("a", context={"m": 1, "u": 2})], builtin_context={"m": 3, "u": 4, "v": 5})
    a = known.providers["a"]
    assert [
        context_window(known, a, *names) for names in (("m", "u"), ("x", "u"), ("m", "x"), ("x", "v"), ("x", "y"))
    ] == [
        *(1, 2, 1),
        *(5, None),
    ]
    bare = snapshot([provider("a")], builtin_context={"m": 3, "u": 4})
    assert context_window(bare, bare.providers["a"], "m", "u") == 4


def test_a_model_that_nobody_serves_is_told_from_one_that_nobody_serves_now() -> None:
    line = Bench(snapshot([provider("a", models={"x": "x"})]))
    assert line.decide(model="y").unserved
    assert not line.profile().serves("chat", "y")
    line.set_states(a="disabled")
    decision = line.decide(model="x")
    assert decision.place(0) is None
    assert not decision.unserved
    assert line.profile().serves("chat", "x")


def test_a_provider_takes_no_more_than_it_may_have_in_flight() -> None:
    places = [target("a", model="x"), target("a", model="y"), target("b")]
    line = Bench(snapshot([provider("a", max_concurrency=2), provider("b")], [profile(targets=places)]))
    claims = [line.claim("a"), line.claim("a")]
    decision = line.decide()
    assert [(e.stage, e.code, e.value) for e in decision.excluded] == [("admission", "at_capacity", 2)] * 2
    assert claims[0] is not None
    line.live.release(claims[0], line.now)
    assert line.ranking() == ["a", "a", "b"]
    line.set_states(a="disabled")
    assert why(line.decide()) == {"a": "admission.disabled"}


def test_required_tags_leave_out_who_does_not_carry_them_all() -> None:
    providers = [provider("a", tags=["eu", "cheap"]), provider("b", tags=["eu"]), provider("c")]
    line = Bench(snapshot(providers, require_tags=True))
    assert line.ranking() == ["a", "b", "c"]
    assert line.ranking(tags=frozenset({"eu"})) == ["a", "b"]
    line.set_states(c="disabled")
    decision = line.decide(tags=frozenset({"eu", "cheap"}))
    assert why(decision) == {"b": "admission.tags_missing", "c": "admission.disabled"}
    assert [e.value for e in decision.excluded if e.code == "tags_missing"] == ["cheap"]
    assert len(Bench(snapshot(providers)).ranking(tags=frozenset({"eu"}))) == 3


def test_a_head_of_one_type_serves_requests_for_it() -> None:
    heads = [
        head("any"),
        head("llama", model_type="llama"),
        head("mine", model_type="gpt-4o"),
        head("up", model_type="u"),
    ]
    line = Bench(snapshot([provider("a", heads=heads, models={"gpt-4o": "u"})]))

    def served(**given: Any) -> list[str | None]:
        return [e.target.head and e.target.head.id for e in line.decide(**given).full_ranking()]

    assert served() == ["any", "mine", "up"]
    assert served(model_type="llama") == ["any", "llama", "mine", "up"]
    assert [(e.code, e.value) for e in line.decide().excluded] == [("model_type", "llama")]
    line.set_states(a="disabled")
    assert {e.code for e in line.decide().excluded} == {"disabled"}


def test_a_decision_that_its_caller_carries_out_needs_neither_wire_nor_model() -> None:
    providers = [provider("a"), provider("b", wire="anthropic"), provider("c", models={"x": "y"})]
    line = Bench(snapshot(providers))
    assert [e.model for e in line.decide(operation="decision", model="").full_ranking()] == ["", "", ""]
    assert [e.model for e in line.decide(operation="decision", model="x").full_ranking()] == ["x", "x", "y"]
    assert why(line.decide(operation="decision", model="z")) == {"c": "admission.model_not_served"}


# -- where an earlier response came from -----------------------------------------------------------


def test_a_request_that_goes_on_with_a_response_goes_where_that_came_from() -> None:
    rules = [rule("gold", {"fact": "tag", "op": "eq", "value": "gold"}, [target("c")], fallback_to_profile=False)]
    providers = [provider(slug) for slug in "abc"]
    line = Bench(snapshot(providers, [profile(targets=[target("a"), target("b")], rules=rules)]))
    for slug in "bc":  # c is a rule's, and no rule matches
        for tags in (frozenset[str](), frozenset({"gold"})):
            decision = line.decide(origin=line.target(slug).id, operation="responses", tags=tags)
            assert [(e.target.provider.slug, e.code) for e in decision.full_ranking()] == [(slug, "origin")]
            assert set(why(decision).values()) == {"admission.not_origin"}
            assert (decision.source, decision.matched_rule) == ("pinned", None)


def test_it_goes_nowhere_else_when_that_target_is_out() -> None:
    line = bench(failover={"when_all_unhealthy": "reject"}, affinity={"enabled": True})
    line.set_states(a="draining")
    assert line.codes(origin=line.target("a").id, session="s") == ["origin"]  # what is there goes on
    line.set_states(a="disabled", b="disabled")
    decision = line.decide(origin=line.target("a").id)
    assert why(decision) == {"a": "admission.disabled", "b": "admission.not_origin", "c": "admission.not_origin"}
    assert (decision.place(0), decision.source, decision.pin) == (None, "none", None)
    line.set_states()
    line.open("a")
    assert why(line.decide(origin=line.target("a").id))["a"] == "health.circuit_open"
    assert line.decide(origin="elsewhere").place(0) is None


def test_where_the_profile_says_try_it_is_tried_there() -> None:
    line = bench()
    line.open("a")
    decision = line.decide(origin=line.target("a").id)
    assert [(e.target.provider.slug, e.code) for e in decision.full_ranking()] == [("a", "next_try")]
    assert (decision.degraded, decision.source) == (True, "pinned")


# -- policy --------------------------------------------------------------------------------------------


def test_policy_replaces_a_strategy_whose_family_is_off() -> None:
    off = {"enable_load_balancing": False, "default_strategy": "least_cost"}
    line = bench(strategy="round_robin", policy=off)
    decision = line.decide()
    assert (decision.strategy, decision.would_rank, decision.replaced) == ("least_cost", "least_cost", "round_robin")
    line = bench(strategy="round_robin", policy=off | {"default_strategy": "weighted"})
    assert line.decide().strategy == "failover"  # the default is of a family that is off as well
    decision = bench(strategy="round_robin").decide()
    assert (decision.strategy, decision.replaced) == ("round_robin", None)


def test_policy_replaces_what_a_request_or_a_rule_asks_for() -> None:
    off = {"enable_load_balancing": False}
    rules = [
        rule("all", {"fact": "stream", "op": "is", "value": False}, [target("a"), target("b")], strategy="weighted")
    ]
    line = bench(policy=off, rules=rules)
    decision = line.decide(strategy="round_robin")
    assert (decision.strategy, decision.replaced) == ("failover", "round_robin")
    decision = line.decide()
    assert (decision.strategy, decision.replaced) == ("failover", "weighted")


def test_a_strategy_asked_for_that_is_written_anyway_keeps_its_params() -> None:
    line = bench(strategy="least_latency", params={"min_samples": 1})
    for slug, latency in (("a", 0.5), ("b", 0.1), ("c", 0.3)):
        line.attempt(slug, latency=latency)
    assert line.ranking(strategy="least_latency") == ["b", "c", "a"]


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


def test_targets_that_probes_found_unhealthy_are_left_out() -> None:
    line = bench()
    line.live.set_observed(line.target("a").id, "unhealthy", 1e12)
    line.live.set_observed(line.target("b").id, "degraded", 1e12)
    decision = line.decide()
    assert (line.ranking(), why(decision)) == (["b", "c"], {"a": "health.unhealthy"})
    line.live.set_observed(line.target("a").id, "healthy", 1e12)
    assert line.ranking() == ["a", "b", "c"]


def test_when_all_are_unhealthy_they_are_tried_before_what_is_open() -> None:
    line = bench("ab")
    line.live.set_observed(line.target("b").id, "unhealthy", 1e12)
    line.open("a")
    decision = line.decide()
    assert [(e.target.provider.slug, e.code) for e in decision.full_ranking()] == [("b", "next_try"), ("a", "next_try")]
    assert decision.ranked[0].value == 0
    line = bench("a", failover={"when_all_unhealthy": "reject"})
    line.live.set_observed(line.target("a").id, "unhealthy", 1e12)
    assert line.decide().retry_at is None  # nobody knows


def test_weight_zero_means_never_in_trouble_too() -> None:
    line = Bench(snapshot([provider("a"), provider("b", weight=0)], strategy="weighted"))
    line.open("a")
    line.open("b")
    decision = line.decide()
    assert [e.target.provider.slug for e in decision.full_ranking()] == ["a"]
    assert why(decision) == {"b": "health.circuit_open"}


def test_weight_zero_means_never_when_the_others_dropped_out() -> None:
    line = Bench(snapshot([provider("a"), provider("b", weight=0)], strategy="weighted"))
    line.set_states(a="disabled")
    decision = line.decide()
    assert decision.place(0) is None
    assert why(decision) == {"a": "admission.disabled", "b": "load_balancer.weight_zero"}


def test_who_is_never_used_is_no_reason_to_leave_an_open_circuit_alone() -> None:
    line = Bench(snapshot([provider("a"), provider("b", weight=0)], strategy="weighted"))
    line.open("a")
    decision = line.decide()
    assert decision.degraded
    assert [e.target.provider.slug for e in decision.full_ranking()] == ["a"]
    assert why(decision) == {"b": "load_balancer.weight_zero"}
    assert not line.decide(strategy="failover").degraded, "which goes by no weights"


# -- slow start ------------------------------------------------------------------------------------


def recovered(**given: Any) -> Bench:
    line = bench("ab", **given)
    line.open("a")
    line.recover("a")
    return line


def share(line: Bench, seconds: float) -> float:
    line.now += seconds
    ids = [f"01890a5d-ac96-774b-bcce-{number:012x}" for number in range(4000)]
    found = sum(line.first(route_id=route_id, facts=None) == "a" for route_id in ids) / len(ids)
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


@pytest.mark.parametrize(("strategy", "weight"), [("single", 1), ("weighted", 0)])
def test_the_gate_opens_when_the_strategy_has_nobody_else(strategy: str, weight: int) -> None:
    line = Bench(snapshot([provider("a"), provider("b", weight=weight)], strategy=strategy))
    line.open("a")
    line.recover("a")
    assert share(line, 0) == 1.0


def test_the_gate_is_open_for_who_goes_on_with_a_response() -> None:
    line = recovered()
    assert share(line, 0) < 0.2
    origin = line.target("a").id
    assert {line.first(route_id=f"{number:032x}", origin=origin) for number in range(30)} == {"a"}


def test_gates_of_two_targets_are_independent() -> None:
    both = [(fraction(f"{number:032x}", "a") < 0.5, fraction(f"{number:032x}", "b") < 0.5) for number in range(4000)]
    assert both.count((True, True)) / 4000 == pytest.approx(0.25, abs=0.03)


def test_slow_start_ends_and_leaves_nothing_to_ask_about() -> None:
    line = recovered()
    assert list(line.live.suspects(line.now)) == [line.target("a").id]
    line.now += 30
    assert list(line.live.suspects(line.now)) == []


# -- the trace -----------------------------------------------------------------------------------------


def test_stage_times_come_from_the_timer_given() -> None:
    ticks = iter(range(100))
    line = bench()
    decision = decide(
        line.snapshot, line.profile(), request(), LocalLiveState(), 0.0, line.rng, timer=lambda: float(next(ticks))
    )
    assert [entry.us for entry in decision.stages] == [1e6] * 5
