"""Failover modes: leaders that answer badly step back, and backups by cost."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from routes.engine.errors import SnapshotError
from routes.engine.failover_mode import KEPT_SHARE, MIN_SAMPLES, Mode, parse_mode
from tests.documents import PINNED, profile, provider, rule, snapshot, target
from tests.engine.drive import Bench

THREE_FAILURES = {"threshold": {"failures": 3}}
MOST_SUCCEED = {"success_rate": {"min": 0.8}}
TWO_SECONDS = {"latency": {"ms": 2000, "percentile": "p95"}}


def bench(mode: Any, slugs: str = "abc", tiers: str = "", **given: Any) -> Bench:
    places = [target(slug, tier=int(tier)) for slug, tier in zip(slugs, tiers or "0" * len(slugs), strict=True)]
    providers = [provider(slug, **given.pop(slug, {})) for slug in dict.fromkeys(slugs + "xyz")]
    return Bench(snapshot(providers, [profile(targets=places, failover={"mode": mode}, **given)]))


def fail(line: Bench, slug: str, count: int) -> None:
    for _ in range(count):
        line.attempt(slug, "failure")


def slow(line: Bench, slug: str, latency: float = 3.0, count: int = MIN_SAMPLES, stream: bool = False) -> None:
    for _ in range(count):
        line.attempt(slug, latency=latency, stream=stream)


def steps_back(line: Bench, slug: str = "a", **given: Any) -> tuple[str, float | str | None]:
    """Of many decisions: the leader steps back in most, and why."""
    decisions = [line.decide(**given) for _ in range(200)]
    led = Counter(decision.ranked[0].target.provider.slug for decision in decisions)
    assert 180 <= 200 - led[slug] < 200
    decision = next(d for d in decisions if d.ranked[0].target.provider.slug != slug)
    assert decision.inputs["kept"] >= KEPT_SHARE
    assert next(d for d in decisions if d.ranked[0].target.provider.slug == slug).inputs["kept"] < KEPT_SHARE
    entry = next(e for e in decision.full_ranking() if e.target.provider.slug == slug)
    return entry.code, entry.value


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("immediate", Mode("immediate")),
        ("cost", Mode("cost")),
        (THREE_FAILURES, Mode("threshold", 3.0)),
        (MOST_SUCCEED, Mode("success_rate", 0.8)),
        (TWO_SECONDS, Mode("latency", 2000.0, 95.0)),
    ],
)
def test_a_mode_is_read_as_the_document_writes_it(written: Any, mode: Mode) -> None:
    assert parse_mode(written, "") == mode


@pytest.mark.parametrize(
    "written",
    [
        "slow",
        None,
        {"threshold": {"failures": "3"}},
        {"latency": {"ms": 1, "percentile": "p12"}},
        {"latency": {"ms": 1}},
        THREE_FAILURES | MOST_SUCCEED,
        {"success_rate": 0.5},
    ],
)
def test_an_unknown_mode_is_refused_with_its_path(written: Any) -> None:
    with pytest.raises(SnapshotError) as caught:
        bench(written)
    assert caught.value.path == "profiles[0].failover.mode"


def test_immediate_changes_nothing() -> None:
    line = bench("immediate")
    fail(line, "a", 4)
    assert line.ranking() == ["a", "b", "c"]
    assert line.decide().inputs == {}


def test_failures_in_a_row_put_the_leader_behind_the_next() -> None:
    line = bench(THREE_FAILURES)
    fail(line, "a", 2)
    assert line.firsts(50) == {"a": 50}
    fail(line, "a", 1)
    assert steps_back(line) == ("demoted_threshold", 3.0)
    decision = next(d for d in (line.decide() for _ in range(200)) if d.inputs["kept"] >= KEPT_SHARE)
    assert [e.target.provider.slug for e in decision.full_ranking()] == ["b", "a", "c"]
    assert not decision.replayable
    line.attempt("a")  # one of those it keeps
    assert line.firsts(50) == {"a": 50}


def test_a_low_rate_of_success_puts_it_back() -> None:
    line = bench(MOST_SUCCEED)
    for verdict in ("failure", "success", "failure", "success"):
        line.attempt("a", verdict)  # type: ignore[arg-type]
    assert line.firsts(20) == {"a": 20}
    line.attempt("a", "failure")
    code, rate = steps_back(line)
    assert code == "demoted_success_rate"
    assert isinstance(rate, float)
    assert 0.7 < rate < 0.8


def test_a_slow_percentile_puts_it_back_once_there_are_samples() -> None:
    line = bench(TWO_SECONDS)
    slow(line, "a", count=MIN_SAMPLES - 1)
    assert line.firsts(20) == {"a": 20}
    slow(line, "a", count=1)
    assert steps_back(line) == ("demoted_latency", 3000.0)
    assert line.firsts(20, stream=True) == {"a": 20}  # streams are another matter
    slow(line, "a", stream=True)
    assert steps_back(line, stream=True) == ("demoted_latency", 3000.0)


def test_a_fast_leader_stays() -> None:
    line = bench(TWO_SECONDS)
    slow(line, "a", latency=1.9)
    assert line.firsts(50) == {"a": 50}


def test_those_that_are_bad_too_are_passed_over() -> None:
    line = bench(THREE_FAILURES)
    fail(line, "a", 3)
    fail(line, "b", 4)
    ranking = next(d for d in (line.decide() for _ in range(200)) if d.inputs["kept"] >= KEPT_SHARE).full_ranking()
    assert [(e.target.provider.slug, e.code, e.value) for e in ranking] == [
        ("c", "in_order", 3),
        ("a", "demoted_threshold", 3.0),
        ("b", "demoted_threshold", 4.0),
    ]


def test_where_all_are_bad_nobody_steps_back() -> None:
    line = bench(THREE_FAILURES)
    for slug in "abc":
        fail(line, slug, 3)
    assert line.firsts(50) == {"a": 50}
    assert line.ranking() == ["a", "b", "c"]
    assert line.codes() == ["in_order"] * 3


def test_a_leader_steps_back_behind_a_further_tier() -> None:
    line = bench(THREE_FAILURES, "ab", "01")
    fail(line, "a", 3)
    assert steps_back(line)[0] == "demoted_threshold"


@pytest.mark.parametrize("strategy", ["round_robin", "weighted", "least_cost", "peak_ewma"])
def test_modes_work_with_every_strategy(strategy: str) -> None:
    line = bench(THREE_FAILURES, "ab", strategy=strategy)
    fail(line, "a", 3)
    led = line.firsts(400)
    assert led["a"] < 60
    assert all(sorted(line.ranking()) == ["a", "b"] for _ in range(20))


def test_single_has_nobody_to_step_back_for() -> None:
    line = bench(THREE_FAILURES, strategy="single")
    fail(line, "a", 3)
    assert line.firsts(50) == {"a": 50}
    rules = [rule("always", {"fact": "stream", "op": "is", "value": False}, [target("x")], strategy="single")]
    line = bench(THREE_FAILURES, rules=rules)
    fail(line, "x", 3)
    assert line.firsts(50) == {"x": 50}


def test_a_lone_candidate_stays() -> None:
    line = bench(THREE_FAILURES, "a")
    fail(line, "a", 3)
    decision = line.decide()
    assert [e.code for e in decision.full_ranking()] == ["only_candidate"]
    assert decision.inputs == {}


def test_a_session_stays_with_its_target_whatever_the_mode() -> None:
    line = bench(THREE_FAILURES, affinity=PINNED)
    line.visit("s")
    fail(line, "a", 3)
    assert [line.visit("s") for _ in range(30)] == ["a"] * 30


def test_the_variant_is_of_who_leads_in_the_end() -> None:
    variants = [{"name": "old", "share": 1, "targets": ["a"]}, {"name": "new", "share": 1, "targets": ["b"]}]
    line = bench(THREE_FAILURES, "ab", strategy="ab_test", params={"variants": variants})
    fail(line, "a", 3)
    for number in range(50):
        decision = line.decide(route_id=f"{number:032x}")
        assert decision.variant == {"a": "old", "b": "new"}[decision.ranked[0].target.provider.slug]


# -- backups by cost -------------------------------------------------------------------------------------


def priced(usd: float) -> dict[str, Any]:
    return {"prices": {"gpt-4o": {"input": usd, "output": usd}}}


def test_by_cost_the_leader_stays_and_the_cheapest_are_its_backups() -> None:
    line = bench("cost", "abcd", b=priced(9), c=priced(1), d=priced(4))
    decision = line.decide()
    assert [e.target.provider.slug for e in decision.full_ranking()] == ["a", "c", "d", "b"]
    assert [e.code for e in decision.ranked] == ["in_order", *["usd_per_million"] * 3]
    assert not decision.replayable


def test_behind_a_pinned_session_the_cheapest_follow_too() -> None:
    line = bench("cost", "abc", affinity=PINNED, strategy="round_robin", b=priced(9), c=priced(1))
    assert line.visit("s") == "a"
    assert line.codes(session="s") == ["pinned", "usd_per_million", "usd_per_million"]
    assert line.ranking(session="s") == ["a", "c", "b"]


def test_tiers_bind_backups_by_cost() -> None:
    line = bench("cost", "abcd", "0011", b=priced(9), c=priced(4), d=priced(1))
    assert line.ranking() == ["a", "b", "d", "c"]
    line = bench("cost", "ab", "01", b=priced(9))
    assert line.ranking() == ["a", "b"]


def test_the_profiles_targets_behind_a_rule_follow_by_cost() -> None:
    rules = [rule("always", {"fact": "stream", "op": "is", "value": False}, [target("x"), target("y"), target("z")])]
    line = bench("cost", "ab", rules=rules, a=priced(9), b=priced(1), y=priced(9), z=priced(1))
    assert line.ranking() == ["x", "z", "y", "b", "a"]
