"""Sessions stay where they are: whose pin it is, how long it lives, when it is honoured and what rewrites it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from routes.engine.stages import affinity
from tests.documents import PINNED, profile, provider, snapshot, target
from tests.documents import rule as a_rule
from tests.engine.drive import Bench, why

GOLD = {"fact": "tag", "op": "eq", "value": "gold"}
GOLDEN = frozenset({"gold"})


def bench(targets: dict[str, int] | str = "abc", **given: Any) -> Bench:
    """Targets with their tiers; sessions are pinned."""
    tiers = dict.fromkeys(targets, 0) if isinstance(targets, str) else targets
    given["affinity"] = PINNED | given.pop("affinity", {})
    places = given.pop("places", None) or [target(slug, tier=tier) for slug, tier in tiers.items()]
    slugs = dict.fromkeys(place["provider"] for place in places) | dict.fromkeys("xyz")
    providers = [provider(slug, **given.pop(slug, {})) for slug in slugs]
    return Bench(snapshot(providers, [profile(targets=places, **given)]))


def pinned(line: Bench, session: str = "s", **given: Any) -> str | None:
    """Slug of the target the session's pin names."""
    pin = line.decide(session=session, dry=True, **given).pin
    assert pin is not None
    return next((t.provider.slug for t in line.profile().targets if t.id == pin.target_id), None)


# -- a session goes back -------------------------------------------------------------------------------


def test_a_session_goes_back_to_the_target_that_answered_it() -> None:
    line = bench(strategy="round_robin")
    assert [line.visit("s") for _ in range(5)] == ["a"] * 5
    assert [line.visit("t") for _ in range(3)] == ["b"] * 3
    line.now += 10
    decision = line.decide(session="s")
    assert decision.source == "affinity"
    assert (decision.ranked[0].code, decision.ranked[0].value) == ("pinned", 10.0)
    assert (decision.strategy, decision.would_rank) == ("round_robin", "round_robin")
    assert decision.pin is not None
    assert decision.pin.honoured


def test_a_pinned_session_advances_no_counter_and_has_backups_all_the_same() -> None:
    line = bench(strategy="round_robin")
    line.visit("s")
    for _ in range(7):
        assert sorted(line.ranking(session="s")) == ["a", "b", "c"]
    assert line.first() == "b"


def test_the_backups_of_pinned_sessions_are_spread() -> None:
    for name in ("round_robin", "weighted", "smooth_weighted"):
        line = bench("abcd", strategy=name)
        first = line.visit("s")
        seconds = {line.ranking(session="s")[1] for _ in range(60)}
        assert seconds == set("abcd") - {first}


def test_the_profiles_targets_behind_a_pinned_session_of_a_rule_are_spread_too() -> None:
    line = bench(
        "ab", rules=[a_rule("gold", GOLD, [target("x"), target("y")], strategy="failover")], strategy="round_robin"
    )
    assert line.visit("s", tags=GOLDEN) == "x"
    rankings = [line.ranking(session="s", tags=GOLDEN) for _ in range(40)]
    assert {tuple(ranking[:2]) for ranking in rankings} == {("x", "y")}
    assert {ranking[2] for ranking in rankings} == {"a", "b"}


def test_tiers_bind_the_backups_of_a_pinned_session() -> None:
    line = bench({"c": 2, "a": 0, "b": 1, "d": 0}, strategy="round_robin")
    assert line.visit("s") == "a"
    assert line.ranking(session="s") == ["a", "d", "b", "c"]


def test_without_a_session_or_with_affinity_off_there_is_no_pin() -> None:
    line = bench()
    assert line.decide().pin is None
    assert line.decide(session="").pin is None
    assert bench(affinity={"enabled": False}).decide(session="s").pin is None


def test_a_lone_candidate_can_be_pinned() -> None:
    line = bench("a")
    line.visit("s")
    decision = line.decide(session="s")
    assert (decision.source, [e.code for e in decision.full_ranking()]) == ("affinity", ["pinned"])


# -- whose pin it is -------------------------------------------------------------------------------------


def test_pins_are_of_profile_rule_key_and_session() -> None:
    keys = {
        affinity.pin_key(profile_id, rule_id, key_id, session)
        for profile_id in ("p", "q")
        for rule_id in (None, "r")
        for key_id in ("", "k")
        for session in ("s", "t")
    }
    assert len(keys) == 16
    assert {len(key) for key in keys} == {16}


def test_two_keys_may_name_their_sessions_alike() -> None:
    line = bench(strategy="round_robin")
    assert line.visit("s", key_id="one") == "a"
    assert line.visit("s", key_id="two") == "b"
    assert line.visit("s", key_id="one") == "a"


@pytest.mark.parametrize(("scope", "leads", "source"), [("rule", "x", "smart_routing"), ("profile", "a", "affinity")])
def test_a_pin_never_hides_a_rule_that_matches_now(scope: str, leads: str, source: str) -> None:
    line = bench("ab", rules=[a_rule("gold", GOLD, [target("x"), target("a")])], affinity={"scope": scope})
    assert line.visit("s") == "a"
    decision = line.decide(session="s", tags=GOLDEN)
    assert (decision.matched_rule, decision.source) == ("gold", source)
    assert decision.ranked[0].target.provider.slug == leads


def test_a_pin_of_the_profile_is_not_honoured_outside_the_rules_targets() -> None:
    rules = [a_rule("gold", GOLD, [target("x")], fallback_to_profile=False)]
    line = bench("ab", rules=rules, affinity={"scope": "profile"})
    line.visit("s")
    decision = line.decide(session="s", tags=GOLDEN)
    assert decision.place(0).target.provider.slug == "x"  # type: ignore[union-attr]
    assert why(decision) == {"a": "smart_routing.not_in_rule", "b": "smart_routing.not_in_rule"}


def test_each_rule_has_its_own_pin_for_a_session() -> None:
    rules = [a_rule("gold", GOLD, [target("x"), target("y")])]
    line = bench("ab", rules=rules, strategy="round_robin")
    line.first(tags=GOLDEN)
    assert line.visit("s", tags=GOLDEN) == "y"
    assert line.visit("s") == "a"
    assert line.visit("s", tags=GOLDEN) == "y"
    assert line.visit("s") == "a"


# -- how long it lives -----------------------------------------------------------------------------------


def test_use_does_not_extend_a_pin() -> None:
    line = bench(strategy="round_robin", affinity={"ttl": 100})
    line.visit("s")
    line.now += 99
    assert line.visit("s") == "a"
    line.now += 1
    assert pinned(line) is None
    assert line.visit("s") == "b"


def test_use_extends_a_sliding_pin_and_keeps_its_age() -> None:
    line = bench(strategy="round_robin", affinity={"ttl": 100, "sliding": True})
    line.visit("s")
    for _ in range(5):
        line.now += 99
        assert line.visit("s") == "a"
    assert line.decide(session="s").ranked[0].value == 495
    line.now += 100
    assert line.visit("s") == "b"


# -- when it is not honoured ---------------------------------------------------------------------------


def test_a_session_moves_when_its_target_fails_and_stays_where_it_was_answered() -> None:
    line = bench(strategy="round_robin")
    line.visit("s")
    line.open("a")
    moved = line.visit("s")
    assert moved in ("b", "c")
    assert pinned(line) == moved
    line.recover("a")
    line.now += 30
    assert line.visit("s") == moved


def test_a_pin_to_a_target_that_is_out_names_nobody_in_the_trace() -> None:
    line = bench(strategy="round_robin")
    line.visit("s")
    line.live.quarantine(line.target("a"), None, 60, "rate_limited", line.now)
    decision = line.decide(session="s")
    assert (decision.source, why(decision)) == ("load_balancer", {"a": "health.quarantined_rate_limited"})
    assert decision.pin is not None
    assert not decision.pin.keep


def test_a_half_open_target_is_for_trials_not_for_sessions() -> None:
    line = bench(strategy="round_robin")
    line.visit("s")
    line.open("a")
    line.now = line.live.circuit(line.target("a"), line.now).until
    assert line.state("a") == "half_open"
    decision = line.decide(session="s")
    assert decision.pin is not None
    assert not decision.pin.honoured
    assert decision.source == "load_balancer"


def test_slow_start_keeps_a_pin_without_honouring_it() -> None:
    line = bench("ab")
    line.visit("s")
    line.open("a")
    line.recover("a")
    seen = set()
    for number in range(60):
        route_id = f"{number:032x}"
        decision = line.decide(session="s", route_id=route_id)
        assert decision.pin is not None
        honoured = decision.place(0).target.provider.slug == "a"  # type: ignore[union-attr]
        assert (decision.pin.honoured, decision.pin.keep) == (honoured, not honoured)
        line.visit("s", route_id=route_id)
        assert pinned(line) == "a"
        seen.add(honoured)
    assert seen == {True, False}


def test_a_degraded_decision_honours_no_pin() -> None:
    line = bench("ab")
    line.open("b")
    line.visit("s")
    line.now += 40
    line.open("a")
    decision = line.decide(session="s")
    assert decision.degraded
    assert [e.code for e in decision.full_ranking()] == ["next_try", "next_try"]
    assert decision.ranked[0].target.provider.slug == "b"
    line = bench("a")
    line.visit("s")
    line.live.set_observed(line.target("a").id, "unhealthy", 1e12)  # its circuit is closed
    decision = line.decide(session="s")
    assert (decision.degraded, decision.pin.honoured) == (True, False)  # type: ignore[union-attr]


def test_what_the_strategy_never_uses_is_not_honoured() -> None:
    line = bench("ab", strategy="round_robin")
    line.first()
    assert line.visit("s") == "b"
    line.snapshot = snapshot(
        [provider(slug) for slug in "ab"],
        [profile(targets=[target(s) for s in "ab"], strategy="single", affinity=PINNED)],
    )
    decision = line.decide(session="s")
    assert [e.target.provider.slug for e in decision.full_ranking()] == ["a"]
    assert why(decision) == {"b": "load_balancer.not_first"}


def test_a_target_that_left_the_profile_is_forgotten_by_its_sessions() -> None:
    line = bench("ab")
    line.visit("s")
    line.snapshot = snapshot([provider("b")], affinity=PINNED)
    assert line.visit("s") == "b"
    assert pinned(line) == "b"


# -- lower tiers -----------------------------------------------------------------------------------------


def moved_up(**given: Any) -> Bench:
    """A session on tier 1, because tier 0 was out and is back: its circuit closes at ``line.now``."""
    line = bench({"a": 0, "b": 1, "c": 1}, a={"circuit": {"slow_start": 0}}, **given)
    line.open("a")
    assert line.visit("s") == "b"
    line.recover("a")
    return line


def test_a_session_goes_back_to_the_lower_tier_once_it_has_been_back_for_a_while() -> None:
    line = moved_up()
    line.now += 59
    decision = line.decide(session="s")
    assert (decision.source, decision.ranked[0].target.provider.slug) == ("affinity", "b")
    assert line.visit("fresh") == "a"
    line.now += 1
    assert line.visit("s") == "a"
    assert pinned(line) == "a"


def test_without_a_hold_it_goes_back_at_once() -> None:
    assert moved_up(affinity={"promotion_hold": 0}).visit("s") == "a"


def test_a_lower_tier_that_was_never_out_is_preferred_at_once() -> None:
    line = bench({"a": 0, "b": 1})
    line.set_states(a="disabled")
    line.visit("s")
    line.set_states()
    assert line.visit("s") == "a"


def test_the_hold_ends_when_the_first_of_the_lower_tier_has_been_back_long_enough() -> None:
    settled = {"circuit": {"slow_start": 0}}
    line = bench({"a": 0, "d": 0, "b": 1}, a=settled, d=settled)
    line.open("d")
    line.open("a")
    assert line.visit("s") == "b"
    line.recover("a")
    line.now += 40
    line.recover("d")
    line.now += 19
    assert line.decide(session="s").source == "affinity"
    line.now += 1  # a has been back for 60 s, d for 20
    assert line.decide(session="s").source == "load_balancer"


def test_a_half_open_lower_tier_is_not_yet_available() -> None:
    line = bench({"a": 0, "b": 1})
    line.open("a")
    assert line.visit("s") == "b"
    line.now = line.live.circuit(line.target("a"), line.now).until + 1
    assert line.decide(session="s").source == "affinity"
    assert line.first() == "a"  # somebody else's request is its trial


def test_the_profiles_targets_behind_a_rule_are_a_higher_tier() -> None:
    rules = [a_rule("gold", GOLD, [target("x")])]
    line = bench("ab", rules=rules, x={"circuit": {"slow_start": 0}})
    line.open("x")
    assert line.visit("s", tags=GOLDEN) == "a"
    line.recover("x")
    decision = line.decide(session="s", tags=GOLDEN)
    assert (decision.source, [e.target.provider.slug for e in decision.full_ranking()]) == ("affinity", ["a", "x", "b"])
    line.now += 60
    assert line.visit("s", tags=GOLDEN) == "x"


def test_a_pinned_session_counts_for_the_variant_of_its_target() -> None:
    variants = [{"name": "old", "share": 1, "targets": ["a"]}, {"name": "new", "share": 1, "targets": ["b"]}]
    line = bench("ab", strategy="ab_test", params={"variants": variants})
    for session in "stuvwxyz":
        answered = line.visit(session)
        decision = line.decide(session=session)
        assert decision.source == "affinity"
        assert decision.variant == {"a": "old", "b": "new"}[answered or ""]


# -- admission ---------------------------------------------------------------------------------------------


def test_a_draining_target_keeps_its_sessions_and_takes_no_others() -> None:
    line = bench(strategy="round_robin")
    line.visit("s")
    line.set_states(a="draining")
    assert line.visit("s") == "a"
    assert why(line.decide(session="t")) == {"a": "admission.draining"}
    assert line.visit("t") != "a"
    line.set_states(a="disabled")
    assert line.visit("s") != "a"


# -- what an answer makes of it ----------------------------------------------------------------------------


def test_an_answer_is_remembered_with_profile_and_session() -> None:
    line = bench("ab")
    line.visit("s")
    (entry,) = line.live.pins(line.now)
    assert (entry.profile_id, entry.target_id, entry.session) == (line.profile().id, line.target("a").id, "s")
    assert (entry.pinned_at, entry.expires, entry.kind) == (line.now, line.now + 1800, "session")


def test_a_dry_decision_reads_pins_and_writes_none() -> None:
    line = bench("ab")
    line.visit("s")
    before = list(line.live.pins(line.now))
    for session in ("s", "t"):
        line.decide(session=session, dry=True).full_ranking()
    assert list(line.live.pins(line.now)) == before


# -- whatever happens --------------------------------------------------------------------------------------


class Sessions(RuleBasedStateMachine):
    """Sessions of three kinds come and go while targets fail, recover and are taken out. The model remembers
    where each was answered last and until when that counts."""

    TTL = 500.0

    def __init__(self) -> None:
        super().__init__()
        rules = [a_rule("gold", GOLD, [target("c"), target("d", tier=1)])]
        places = [target("a"), target("b"), target("c", tier=1)]
        providers = [provider(slug, circuit={"slow_start": 0, "failure_threshold": 2}) for slug in "abcd"]
        document = profile(targets=places, rules=rules, strategy="round_robin", affinity=PINNED | {"ttl": self.TTL})
        self.line = Bench(snapshot(providers, [document]))
        self.model: dict[tuple[str, bool], tuple[str, float]] = {}
        self.disabled: set[str] = set()

    sessions = st.sampled_from("st")
    slugs = st.sampled_from("abcd")

    @rule(session=sessions, gold=st.booleans())
    def visit(self, session: str, gold: bool) -> None:
        line = self.line
        given = {"session": session, "tags": GOLDEN if gold else frozenset()}
        decision = line.decide(**given)  # type: ignore[arg-type]
        pin = decision.pin
        assert pin is not None
        known = self.model.get((session, gold))
        alive = known is not None and known[1] > line.now
        assert pin.target_id == (line.target(known[0]).id if alive and known else None)
        place = decision.place(0)
        if decision.source == "affinity":
            assert alive
            assert known is not None
            assert place is not None
            assert place.target.provider.slug == known[0]
            assert line.state(known[0]) == "closed"
            assert known[0] not in self.disabled
        if place is None:
            return
        affinity.answered(pin, line.live, place.target.id, line.now)
        answered = place.target.provider.slug
        if not alive or known is None or known[0] != answered:
            self.model[session, gold] = answered, line.now + self.TTL

    @rule(slug=slugs)
    def fail(self, slug: str) -> None:
        if self.line.state(slug) == "closed":
            self.line.open(slug)

    @rule(slug=slugs)
    def recover(self, slug: str) -> None:
        if self.line.state(slug) != "closed":
            self.line.recover(slug)

    @rule(slug=slugs)
    def disable(self, slug: str) -> None:
        self.disabled.add(slug)
        self.line.set_states(**dict.fromkeys(self.disabled, "disabled"))

    @precondition(lambda self: self.disabled)
    @rule()
    def enable_all(self) -> None:
        self.disabled.clear()
        self.line.set_states()

    @rule(seconds=st.sampled_from([1.0, 59.0, 60.0, 499.0]))
    def wait(self, seconds: float) -> None:
        self.line.now += seconds

    @invariant()
    def one_pin_for_each_session_and_rule(self) -> None:
        alive = [key for key, (_, expires) in self.model.items() if expires > self.line.now]
        assert len(list(self.line.live.pins(self.line.now))) == len(alive)


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=40, stateful_step_count=25)
