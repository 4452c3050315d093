"""Strategies that keep sessions where they are: consistent hashing and A/B tests."""

from __future__ import annotations

from collections import Counter
from math import log
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routes.engine.errors import SnapshotError
from routes.engine.facts import Facts, RecordedFacts, record
from routes.engine.strategies.consistent_hash import hashed, scored
from tests.documents import profile, provider, rule, snapshot, target
from tests.engine.drive import CHI_SQUARED_0_001, Bench, chi_squared, why
from tests.engine.strategy_bench import SLUGS, bench, told

SESSIONS = [f"session-{number}" for number in range(1000)]


def placed(line: Bench, sessions: list[str] = SESSIONS) -> dict[str, str | None]:
    return {session: line.first(session=session) for session in sessions}


def facts(headers: dict[bytes, bytes] | None = None, **given: Any) -> Facts:
    return Facts(operation="chat", model="gpt-4o", route_id="r", wall=0.0, headers=headers or {}, **given)


# -- consistent hash -----------------------------------------------------------------------------------------------


def test_a_session_stays_on_its_target() -> None:
    line = bench("consistent_hash", 5)
    sessions = SESSIONS[:200]
    assert placed(line, sessions) == placed(line, sessions) == placed(bench("consistent_hash", 5, seed=9), sessions)


@settings(max_examples=12)
@given(targets=st.integers(2, 12), leaving=st.integers(0, 11))
@pytest.mark.parametrize("strategy", ["consistent_hash", "ab_test"])
def test_a_target_that_leaves_moves_only_its_own_sessions(strategy: str, targets: int, leaving: int) -> None:
    line = bench(strategy, targets)
    sessions = SESSIONS[:80]
    before = placed(line, sessions)
    gone = SLUGS[leaving % targets]
    line.set_states(**{gone: "disabled"})
    after = placed(line, sessions)
    moved = [session for session in sessions if before[session] != after[session]]
    assert moved == [session for session in sessions if before[session] == gone]
    line.set_states()
    assert placed(line, sessions) == before, "and gets the same ones back"


@pytest.mark.parametrize("strategy", ["consistent_hash", "ab_test"])
@pytest.mark.parametrize("targets", [3, 10])
def test_no_target_has_more_than_its_share_of_sessions_to_move(strategy: str, targets: int) -> None:
    counts = Counter(placed(bench(strategy, targets)).values())
    assert max(counts.values()) / len(SESSIONS) <= 1 / targets + 0.05


def test_the_sessions_of_a_target_that_left_spread_over_the_others() -> None:
    line = bench("consistent_hash", 4)
    before = placed(line)
    line.set_states(a="disabled")
    after = Counter(slug for session, slug in placed(line).items() if before[session] == "a")
    assert chi_squared([after[slug] for slug in "bcd"], [1 / 3] * 3) < CHI_SQUARED_0_001[2]


def test_sessions_spread_by_weight() -> None:
    line = bench("consistent_hash", {"a": 5, "b": 3, "c": 2, "d": 0})
    counts = Counter(placed(line).values())
    assert chi_squared([counts["a"], counts["b"], counts["c"]], [0.5, 0.3, 0.2]) < CHI_SQUARED_0_001[2]
    assert why(line.decide()) == {"d": "load_balancer.weight_zero"}


def test_a_heavier_weight_takes_sessions_and_gives_none_away() -> None:
    before = placed(bench("consistent_hash", {"a": 1, "b": 1, "c": 1}))
    after = placed(bench("consistent_hash", {"a": 3, "b": 1, "c": 1}))
    moved = {session: after[session] for session in SESSIONS if before[session] != after[session]}
    assert set(moved.values()) == {"a"}


def test_requests_without_a_session_go_by_their_own_id() -> None:
    line = bench("consistent_hash", 4)
    assert told(line)[0][1] == "hash_request"
    counts = Counter(line.first(route_id=f"route-{number}") for number in range(1000))
    assert chi_squared([counts[slug] for slug in "abcd"], [0.25] * 4) < CHI_SQUARED_0_001[3]


def test_the_ranking_goes_by_score_and_says_what_was_hashed() -> None:
    ranking = told(bench("consistent_hash", {"a": 1, "b": 2, "c": 3}), session="s")
    assert {code for _, code, _ in ranking} == {"hash_session"}
    values = [value for _, _, value in ranking]
    assert values == sorted(values, reverse=True)
    assert all(0 < value < 1 for value in values)


def test_a_named_fact_is_hashed_instead_of_the_session() -> None:
    line = bench("consistent_hash", 5, params={"fact": "header.X-Tenant"})
    tenants = {
        tenant: {line.first(session=session, facts=facts({b"x-tenant": tenant.encode()})) for session in SESSIONS[:20]}
        for tenant in SESSIONS[:40]
    }
    assert all(len(targets) == 1 for targets in tenants.values())
    assert len(set.union(*tenants.values())) == 5
    assert told(line, facts=facts({b"x-tenant": b"t"}))[0][1] == "hash_fact"


def test_without_the_fact_the_session_counts() -> None:
    line = bench("consistent_hash", 5, params={"fact": "header.x-tenant"})
    assert told(line, session="s", facts=facts())[0][1] == "hash_session"
    assert told(line, session="s")[0][1] == "hash_session"


def test_a_set_is_hashed_in_any_order() -> None:
    line = bench("consistent_hash", 10, params={"fact": "tag"})
    rankings = {tuple(line.ranking(facts=facts(tags=frozenset(tags)))) for tags in (("x", "y", "z"), ("z", "y", "x"))}
    assert len(rankings) == 1
    assert rankings != {tuple(line.ranking(facts=facts(tags=frozenset("x"))))}


def test_a_fact_that_was_not_recorded_is_not_guessed() -> None:
    line = bench("consistent_hash", 5, params={"fact": "header.x-tenant"})
    recorded = RecordedFacts(record(facts({b"x-tenant": b"t"})))
    assert told(line, session="s", facts=recorded)[0][1] == "hash_session"


@pytest.mark.parametrize(
    "fact", ["colour", "partition.utilisation", "time", "headers", "header.", "header.Authorization", "metadata."]
)
def test_a_fact_that_cannot_be_hashed_is_refused(fact: str) -> None:
    with pytest.raises(SnapshotError, match="fact"):
        bench("consistent_hash", params={"fact": fact})


def test_an_empty_fact_is_none() -> None:
    assert told(bench("consistent_hash", params={"fact": ""}), session="s")[0][1] == "hash_session"


@given(st.integers(0, 2**53 - 1), st.lists(st.text(max_size=5), min_size=1, max_size=5, unique=True))
def test_scores_are_numbers_between_0_and_1_and_with_weights_their_logarithms_over_them(
    key: int, names: list[str]
) -> None:
    seeds = [hashed(name) for name in names]
    assert all(0 <= seed < 2**53 for seed in seeds)
    even, weighed = scored(key, seeds, None), scored(key, seeds, [2.0] * len(seeds))
    assert all(0 < score < 1 for score in even)
    assert weighed == [pytest.approx(log(score) / 2) for score in even]


# -- A/B tests -------------------------------------------------------------------------------------------------------

VARIANTS: list[dict[str, Any]] = [
    {"name": "control", "share": 3, "targets": ["a", "b"]},
    {"name": "new", "share": 1, "targets": ["c/gpt-4o"]},
]


def trial(variants: list[dict[str, Any]] | None = None, weights: dict[str, float] | int = 4) -> Bench:
    return bench("ab_test", weights, params={"variants": VARIANTS if variants is None else variants})


def test_shares_are_normalised_and_sessions_stay_in_their_variant() -> None:
    line = trial()
    variants = {session: line.decide(session=session).variant for session in SESSIONS}
    counts = Counter(variants.values())
    assert chi_squared([counts["control"], counts["new"]], [0.75, 0.25]) < CHI_SQUARED_0_001[1]
    assert variants == {session: line.decide(session=session).variant for session in SESSIONS}


def test_within_a_variant_weights_share_the_sessions() -> None:
    line = trial(weights={"a": 1, "b": 3, "c": 1})
    counts = Counter(placed(line).values())
    assert chi_squared([counts["a"], counts["b"]], [0.25, 0.75]) < CHI_SQUARED_0_001[1]


def test_the_rest_of_the_variant_comes_before_the_other_variants_and_those_of_none_last() -> None:
    line = trial()
    of_control = next(session for session in SESSIONS if line.decide(session=session).variant == "control")
    ranking = told(line, session=of_control)
    assert {entry[0] for entry in ranking[:2]} == {"a", "b"}
    assert [entry[1:] for entry in ranking] == [
        ("variant", "control"),
        ("variant", "control"),
        ("other_variant", "new"),
        ("no_variant", None),
    ]


def test_a_variant_whose_targets_are_all_out_falls_to_the_others_and_they_are_recorded() -> None:
    line = trial()
    of_new = next(session for session in SESSIONS if line.decide(session=session).variant == "new")
    line.set_states(c="disabled")
    decision = line.decide(session=of_new)
    assert decision.variant == "control"
    assert decision.ranked[0].value == "control"
    line.set_states(a="disabled", b="disabled", c="disabled")
    assert line.decide(session=of_new).variant is None, "the one target left is in no variant"
    line.set_states(a="disabled", b="disabled")
    assert line.decide(session=of_new).variant == "new"


def test_when_no_target_of_any_variant_is_left_the_others_serve() -> None:
    line = trial([{"name": "only", "targets": ["a"]}])
    line.set_states(a="disabled")
    decision = line.decide()
    assert [entry.code for entry in decision.full_ranking()] == ["no_variant"] * 3
    assert decision.variant is None


def test_who_leads_without_any_variant_leads_like_others() -> None:
    params = {"variants": [{"name": "old", "share": 1, "targets": ["a"]}]}
    line = Bench(
        snapshot([provider(slug) for slug in "abc"], strategy="ab_test", params=params, failover={"mode": "cost"})
    )
    line.set_states(a="disabled")
    decision = line.decide()
    assert (decision.source, decision.strategy, decision.variant) == ("load_balancer", "ab_test", None)
    assert line.first() == "b"


def test_a_target_of_two_variants_is_ranked_once() -> None:
    line = trial([{"name": "x", "targets": ["a", "b"]}, {"name": "y", "targets": ["b", "c", "d"]}])
    for session in SESSIONS[:20]:
        assert sorted(line.ranking(session=session)) == list("abcd")


def test_a_variant_with_share_0_gets_nothing_but_failures() -> None:
    line = trial([{"name": "x", "targets": ["a"]}, {"name": "y", "share": 0, "targets": ["b"]}])
    assert set(placed(line).values()) == {"a"}
    assert told(line)[1:] == [("b", "no_variant", None), ("c", "no_variant", None), ("d", "no_variant", None)]


def test_without_variants_each_target_is_one_by_its_weight() -> None:
    line = bench("ab_test", {"a": 3, "b": 1})
    counts = Counter(line.decide(session=session).variant for session in SESSIONS)
    assert chi_squared([counts["a"], counts["b"]], [0.75, 0.25]) < CHI_SQUARED_0_001[1]


def test_a_provider_with_two_models_can_be_split_by_model() -> None:
    places = [target("a", model="gpt-4o"), target("a", model="gpt-4.1")]
    variants = [{"name": "old", "targets": ["a/gpt-4o"]}, {"name": "new", "targets": ["a/gpt-4.1"]}]
    entry = profile(targets=places, strategy="ab_test", params={"variants": variants})
    line = Bench(snapshot([provider("a")], [entry]))
    for session in SESSIONS[:50]:
        decision = line.decide(session=session)
        winner = decision.place(0)
        assert winner is not None
        assert (decision.variant, winner.model) in {("old", "gpt-4o"), ("new", "gpt-4.1")}


def test_experiments_of_two_profiles_are_independent() -> None:
    variants = [{"name": "x", "targets": ["a"]}, {"name": "y", "targets": ["b"]}]
    profiles = [
        profile(slug, [target("a"), target("b")], strategy="ab_test", params={"variants": variants})
        for slug in ("one", "two")
    ]
    line = Bench(snapshot([provider("a"), provider("b")], profiles))
    pairs = Counter((line.first("one", session=session), line.first("two", session=session)) for session in SESSIONS)
    assert chi_squared([pairs[x, y] for x in "ab" for y in "ab"], [0.25] * 4) < CHI_SQUARED_0_001[3]


def test_a_pinned_session_counts_for_the_variant_of_its_target() -> None:
    line = bench("ab_test", 4, params={"variants": VARIANTS}, affinity={"enabled": True})
    session = next(session for session in SESSIONS if line.decide(session=session).variant == "new")
    decision = line.decide(session=session)
    assert decision.pin is not None
    line.live.set_pin(
        decision.pin.key, line.target("a").id, line.now, 600.0, profile_id=line.profile().id, session=session
    )
    pinned = line.decide(session=session)
    assert (pinned.source, pinned.variant) == ("affinity", "control")
    line.live.set_pin(
        decision.pin.key, line.target("d").id, line.now, 600.0, profile_id=line.profile().id, session=session
    )
    assert line.decide(session=session).variant is None


def test_a_variant_is_known_within_tiers_too() -> None:
    places = [target("a"), target("b", tier=1)]
    entry = profile(targets=places, strategy="tiered", params={"within": "ab_test"})
    line = Bench(snapshot([provider("a"), provider("b")], [entry]))
    assert line.decide().variant == "a"
    line.set_states(b="disabled")
    assert line.decide().variant == "a", "and when nobody else is left"


def test_a_demoted_leader_takes_its_variant_with_it() -> None:
    variants = [{"name": "x", "targets": ["a"]}, {"name": "y", "targets": ["b"]}]
    entry = profile(
        targets=[target("a"), target("b")],
        strategy="ab_test",
        params={"variants": variants},
        failover={"mode": {"threshold": {"failures": 2}}},
    )
    line = Bench(snapshot([provider("a"), provider("b")], [entry]))
    session = next(session for session in SESSIONS if line.decide(session=session).variant == "x")
    for _ in range(2):
        line.attempt("a", "failure")
    line.rng.random = lambda: 0.5  # type: ignore[method-assign]
    assert (line.first(session=session), line.decide(session=session).variant) == ("b", "y")


def test_further_tiers_are_backups_of_the_experiment_and_change_no_variant() -> None:
    places = [target("a"), target("b"), target("c", tier=1), target("d", tier=1)]
    variants = [{"name": "x", "targets": ["a", "c"]}, {"name": "y", "targets": ["b", "d"]}]
    entry = profile(targets=places, strategy="ab_test", params={"variants": variants})
    line = Bench(snapshot([provider(slug) for slug in "abcd"], [entry]))
    for session in SESSIONS[:30]:
        decision = line.decide(session=session)
        ranking = [e.target.provider.slug for e in decision.full_ranking()]
        assert ranking in (["a", "b", "c", "d"], ["b", "a", "d", "c"])
        assert decision.variant == ("x" if ranking[0] == "a" else "y")


def test_params_of_a_rule_are_its_own_experiment() -> None:
    variants = [{"name": "x", "targets": ["a"]}, {"name": "y", "targets": ["b"]}]
    rules = [
        rule(
            "streams",
            {"fact": "stream", "op": "is", "value": True},
            [target("a"), target("b")],
            strategy="ab_test",
            params={"variants": variants},
        )
    ]
    entry = profile(targets=[target("a"), target("b")], strategy="ab_test", rules=rules)
    line = Bench(snapshot([provider("a"), provider("b")], [entry]))
    assert line.decide(stream=True, facts=facts(stream=True)).variant in ("x", "y")
    assert line.decide().variant in ("a", "b")


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ([{"name": "x", "targets": ["a"]}, {"name": "x", "targets": ["b"]}], "name of its own"),
        ([{"name": "x", "share": 0, "targets": ["a"]}], "share"),
        ([{"name": "x", "targets": []}], "targets"),
        ([{"name": "", "targets": ["a"]}], "name"),
        ([{"name": "x", "share": -1, "targets": ["a"]}], "share"),
        ([{"name": "x", "targets": ["a"], "weight": 1}], "weight"),
    ],
)
def test_variants_that_make_no_sense_are_refused(variants: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(SnapshotError, match=said):
        trial(variants)
