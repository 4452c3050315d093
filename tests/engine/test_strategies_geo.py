"""Preferring what is near: the order of regions, and the strategy among equals."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from routes.engine.strategies import regions
from tests.documents import head, profile, provider, snapshot, target
from tests.engine.drive import Bench
from tests.engine.strategy_bench import told

PLACES: dict[str, str | None] = {
    "nowhere": None,
    "tokyo": "ap-east",
    "dublin": "eu-west",
    "oregon": "us-west",
    "berlin": "eu-central",
    "ohio": "us-east",
    "paris": "eu-west",
}


def world(then: str = "failover", places: dict[str, str | None] | None = None, **policy: Any) -> Bench:
    providers = [provider(slug, region=region) for slug, region in (PLACES if places is None else places).items()]
    return Bench(snapshot(providers, strategy="geo_preferred", params={"then": then}, policy=policy))


def test_the_region_then_its_area_then_the_policys_regions_then_the_rest() -> None:
    line = world(region_priority=["us-east", "us-west"])
    assert told(line, region="eu-west") == [
        ("dublin", "region", "eu-west"),
        ("paris", "region", "eu-west"),
        ("berlin", "region_area", "eu-central"),
        ("ohio", "region_priority", "us-east"),
        ("oregon", "region_priority", "us-west"),
        ("nowhere", "region_other", None),
        ("tokyo", "region_other", "ap-east"),
    ]


def test_a_request_without_a_region_begins_with_the_policys() -> None:
    line = world(region_priority=["ap-east"])
    assert line.ranking()[:2] == ["tokyo", "nowhere"]
    assert world().ranking() == list(PLACES), "and without those in configured order"


@pytest.mark.parametrize("region", ["EU-Central", "eu", "eu-north"])
def test_case_does_not_count_and_an_area_is_what_stands_before_the_hyphen(region: str) -> None:
    assert set(world().ranking(region=region)[:3]) == {"dublin", "berlin", "paris"}


def test_what_only_begins_alike_is_another_area() -> None:
    places: dict[str, str | None] = {"a": "eureka-1", "b": "eu-west"}
    assert world(places=places).first(region="eu-central") == "b"


def test_a_region_nobody_is_in_leaves_the_configured_order() -> None:
    assert world().ranking(region="sa-east") == list(PLACES)


def test_the_strategy_among_equals_turns_within_the_nearest_group_only() -> None:
    line = world("round_robin")
    assert [line.first(region="eu-west") for _ in range(4)] == ["dublin", "paris"] * 2
    assert [line.first(region="us-west") for _ in range(2)] == ["oregon", "oregon"]
    assert line.first(region="eu-west") == "dublin", "nobody else's turns are counted there"


def test_groups_behind_the_nearest_draw_for_themselves() -> None:
    places: dict[str, str | None] = {"a": "x", "b": "x", "c": "y", "d": "y"}
    line = world("weighted", places)
    pairs = Counter((ranking[0], ranking[2]) for ranking in (line.ranking(region="x") for _ in range(800)))
    assert set(pairs) == {(first, third) for first in "ab" for third in "cd"}
    assert min(pairs.values()) > 120


def test_weight_0_means_never_where_the_strategy_among_equals_says_so() -> None:
    places = [target("a", weight=0), target("b"), target("c")]
    providers = [provider(slug, region="x") for slug in "abc"]
    entry = profile(targets=places, strategy="geo_preferred", params={"then": "weighted"})
    assert sorted(Bench(snapshot(providers, [entry])).ranking(region="x")) == ["b", "c"]


def test_the_region_of_a_head_counts_before_its_providers() -> None:
    heads = [head("one", region="us-east"), head("two", region="eu-west"), head("three")]
    line = Bench(snapshot([provider("a", region="ap-east", heads=heads)], strategy="geo_preferred"))
    ranking = line.decide(region="eu-west").full_ranking()
    assert [entry.target.head.id for entry in ranking if entry.target.head] == ["two", "one", "three"]
    assert ranking[2].value == "ap-east"


def test_tiers_bind_before_regions() -> None:
    places = [target("far"), target("near", tier=1)]
    providers = [provider("far", region="us"), provider("near", region="eu")]
    line = Bench(snapshot(providers, [profile(targets=places, strategy="geo_preferred")]))
    assert line.ranking(region="eu") == ["far", "near"]


def test_regions_that_clients_make_up_are_not_kept_for_ever() -> None:
    line = world()
    for number in range(3 * regions.KEPT):
        line.decide(region=f"made-up-{number}").full_ranking()
    plan = line.decide().profile.candidates_for("chat", "gpt-4o").plan(None, None, frozenset())
    assert 0 < len(plan.steps[0].pool.memo["regions"]) <= regions.KEPT


def test_counters_are_never_named_by_what_a_client_wrote() -> None:
    line = world("round_robin")
    for number in range(20):
        line.decide(region=f"eu-{number}").full_ranking()
    assert [line.first(region="eu-anything") for _ in range(3)] == ["paris", "dublin", "berlin"]
