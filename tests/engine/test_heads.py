"""Strategies by what heads are and report: loads, forecasts, models, and the two that combine them with regions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routes.engine.strategies.model_size import is_prefix, parameters
from routes.engine.types import Requirements
from tests.documents import profile, provider, snapshot, target
from tests.engine.drive import Bench
from tests.engine.strategy_bench import bench, heads, hold, report, told


def needs(version: str | None = None, size: str | None = None, *capabilities: str) -> Requirements:
    return Requirements(version, size, frozenset(capabilities))


# -- least loaded ------------------------------------------------------------------------------------------------


def test_least_loaded_compares_load_over_capacity() -> None:
    line = heads("least_loaded", {"a": {"capacity": 10}, "b": {"capacity": 100}})
    report(line, a=5, b=20)
    assert told(line) == [("b", "current_percent", 20.0), ("a", "current_percent", 50.0)]


def test_requests_sent_since_the_report_count_and_a_new_report_forgets_them() -> None:
    line = heads("least_loaded", {"a": {"capacity": 10}, "b": {"capacity": 10}})
    report(line, a=2, b=4)
    assert line.first() == "a"
    for _ in range(3):
        line.attempt("a")
    assert told(line)[0] == ("b", "current_percent", 40.0)
    report(line, a=2, b=4)
    assert line.first() == "a"


def test_without_reports_what_is_in_flight_counts() -> None:
    line = bench("least_loaded")
    hold(line, a=2, b=1, c=3)
    assert told(line) == [("b", "current_load", 1.0), ("a", "current_load", 2.0), ("c", "current_load", 3.0)]


def test_an_unknown_capacity_counts_as_the_mean_of_those_known() -> None:
    line = heads("least_loaded", {"a": {"capacity": 10}, "b": {"capacity": 30}, "c": {}})
    report(line, a=5, b=12, c=9)  # 50 %, 40 %, and 9 of about 20
    assert told(line) == [
        ("b", "current_percent", 40.0),
        ("c", "current_load", 9.0),
        ("a", "current_percent", 50.0),
    ]


def test_a_head_without_seats_is_full_by_any_load() -> None:
    line = heads("least_loaded", {"a": {"capacity": 0}, "b": {"capacity": 10}})
    report(line, a=1, b=9)
    assert line.ranking() == ["b", "a"]


# -- predictive --------------------------------------------------------------------------------------------------


def test_predictive_expects_the_mean_of_the_last_five_reports_to_grow() -> None:
    line = heads("predictive", {"a": {"capacity": 100}, "b": {"capacity": 100}})
    for load in (90, 60, 50, 40, 30, 20):  # the first of a is the sixth last, and does not count
        report(line, a=load, b=load + 5)
    assert told(line) == [
        ("a", "foreseen_percent", pytest.approx(40 * 1.1)),
        ("b", "foreseen_percent", pytest.approx(45 * 1.1)),
    ]


def test_predictive_takes_the_load_as_it_is_where_that_is_more() -> None:
    line = heads("predictive", {"a": {"capacity": 100}, "b": {"capacity": 100}})
    report(line, a=10, b=50)
    report(line, a=80, b=50)
    assert told(line) == [("b", "foreseen_percent", pytest.approx(55.0)), ("a", "foreseen_percent", 80.0)]


def test_reports_older_than_the_window_are_no_forecast() -> None:
    line = heads("predictive", {"a": {"capacity": 100}, "b": {"capacity": 100}}, policy={"prediction_window": 2})
    report(line, a=90)
    line.now += 121
    report(line, a=10, b=20)
    assert told(line)[0] == ("a", "foreseen_percent", pytest.approx(11.0))


def test_how_much_loads_are_expected_to_grow_is_the_policys() -> None:
    line = heads("predictive", {"a": {"capacity": 100}, "b": {"capacity": 100}}, policy={"load_growth_factor": 2})
    report(line, a=30, b=20)
    assert told(line)[0] == ("b", "foreseen_percent", 40.0)


# -- model specific ----------------------------------------------------------------------------------------------


def points(fields: dict[str, Any], wanted: Requirements | None, load: float = 0) -> float:
    """What one head scores beside one that has nothing."""
    line = heads("model_specific", {"a": {"capacity": 100, **fields}, "b": {"capacity": 1}})
    report(line, a=load, b=1)
    return float(next(value for slug, _, value in told(line, requirements=wanted) if slug == "a"))


@pytest.mark.parametrize(
    ("fields", "wanted", "expected"),
    [
        ({"version": "2.1"}, needs("2.1"), 3 + 1),
        ({"version": "2.1.7"}, needs("2.1"), 2 + 1),
        ({"version": "2.10"}, needs("2.1"), 0 + 1),
        ({"version": "2"}, needs("2.1"), 0 + 1),
        ({"max_model_size": "70b"}, needs(None, "8b"), 2 + 1),
        ({"max_model_size": "8b"}, needs(None, "70b"), 0 + 1),
        ({"max_model_size": "70b"}, needs(None, "70B-instruct"), 2 + 1),
        ({"max_model_size": "9b"}, needs(None, "70b"), 0 + 1),
        ({"max_model_size": "huge"}, needs(None, "70b"), 0 + 1),
        ({"max_model_size": "70b"}, needs(None, "huge"), 0 + 1),
        ({"capabilities": ["vision", "tools"]}, needs(None, None, "vision", "tools", "audio"), 4 + 1),
        (
            {"version": "3", "max_model_size": "405b", "capabilities": ["vision"]},
            needs("3", "70b", "vision"),
            3 + 2 + 2 + 1,
        ),
        ({}, needs("3", "70b", "vision"), 0 + 1),
    ],
)
def test_points(fields: dict[str, Any], wanted: Requirements, expected: int) -> None:
    assert points(fields, wanted) == expected
    assert points(fields, wanted, load=80) == expected - 1, "at the threshold it takes no more load"


def test_no_requirement_scores_0() -> None:
    fields = {"version": "3", "max_model_size": "405b", "capabilities": ["vision"]}
    assert points(fields, None) == points(fields, needs()) == points(fields, needs("", "")) == 0


def test_equal_points_keep_configured_order() -> None:
    line = heads("model_specific", {"a": {}, "b": {"version": "2"}, "c": {"version": "2"}})
    assert line.ranking(requirements=needs("2")) == ["b", "c", "a"]


def test_a_target_without_a_head_scores_for_its_load_alone() -> None:
    providers = [provider("a", capacity=1), provider("b", capacity=4), provider("c")]
    line = Bench(snapshot(providers, strategy="model_specific"))
    hold(line, a=1, b=1, c=50)
    assert told(line, requirements=needs("2")) == [
        ("b", "model_score", 1),
        ("c", "model_score", 1),
        ("a", "model_score", 0),
    ]


def test_the_threshold_of_load_is_the_policys() -> None:
    line = heads("model_specific", {"a": {"capacity": 10}}, policy={"capacity_threshold": 30})
    other = heads("model_specific", {"a": {"capacity": 10}, "b": {"capacity": 10}}, policy={"capacity_threshold": 30})
    report(other, a=3, b=2)
    assert other.first(requirements=needs("1")) == "b"
    assert line.first() == "a"


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("70b", 70e9),
        ("8B", 8e9),
        ("1.5b", 1.5e9),
        ("8x7b", 56e9),
        ("8 x 22B", 176e9),
        ("405B", 405e9),
        ("70B-instruct", 70e9),
        ("llama-3-70b", 70e9),
        ("llama-3.1-8b-instruct", 8e9),
        ("500m", 0.5e9),
        ("1T", 1e12),
        ("13", 13e9),
        (" 7.5 ", 7.5e9),
        ("big", None),
        ("", None),
        ("gpt-4", None),
        ("x" * 99 + "70b", None),
    ],
)
def test_sizes_are_numbers(written: str, number: float | None) -> None:
    assert parameters(written) == (None if number is None else pytest.approx(number))


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_sizes_compare_as_numbers_and_not_as_text(one: int, other: int) -> None:
    first, second = parameters(f"{one}b"), parameters(f"{other}b")
    assert first is not None
    assert second is not None
    assert (first < second) == (one < other)


@pytest.mark.parametrize(
    ("wanted", "version", "expected"),
    [
        ("1.2", "1.2.7", True),
        ("1.2", "1.20", False),
        ("v2", "v2-beta", True),
        ("2", "1.2", False),
        ("gpt-4", "gpt-4o", True),
    ],
)
def test_a_prefix_of_a_version_never_cuts_a_number(wanted: str, version: str, expected: bool) -> None:
    assert is_prefix(wanted, version) is expected


# -- adaptive, hybrid --------------------------------------------------------------------------------------------

FLEET: dict[str, dict[str, Any]] = {
    "a": {"capacity": 10, "region": "us-east", "version": "1"},
    "b": {"capacity": 10, "region": "eu-west", "version": "2"},
    "c": {"capacity": 10, "region": "eu-north", "version": "3"},
    "d": {"capacity": 10, "region": "ap-east", "version": "3"},
}


def test_adaptive_takes_the_head_that_fits_if_it_can_take_load() -> None:
    line = heads("adaptive", FLEET)
    report(line, a=0, b=1, c=2, d=3)
    assert told(line, region="eu-west", requirements=needs("3")) == [
        ("c", "model_score", 4),
        ("a", "foreseen_percent", 0.0),
        ("b", "foreseen_percent", pytest.approx(11.0)),
        ("d", "foreseen_percent", pytest.approx(33.0)),
    ]


def test_adaptive_goes_on_to_what_is_near_when_the_fitting_head_is_full() -> None:
    line = heads("adaptive", FLEET)
    report(line, a=0, b=9, c=2, d=3)
    assert told(line, region="eu-west", requirements=needs("2"))[0] == ("c", "region_area", "eu-north")


def test_adaptive_goes_on_to_the_forecast_when_nothing_near_can_take_load() -> None:
    line = heads("adaptive", FLEET)
    report(line, a=2, b=9, c=8, d=1)
    assert told(line, region="eu-west", requirements=needs("2"))[0][:2] == ("d", "foreseen_percent")


def test_without_requirements_and_region_adaptive_is_predictive() -> None:
    line = heads("adaptive", FLEET)
    report(line, a=4, b=3, c=1, d=2)
    assert line.ranking() == line.ranking(requirements=needs()) == ["c", "d", "b", "a"]


def test_requirements_that_no_head_fits_decide_nothing() -> None:
    line = heads("adaptive", FLEET)
    report(line, a=4, b=3, c=1, d=2)
    assert line.first(requirements=needs("9")) == "c"


def test_regions_of_the_policy_are_near_for_adaptive_and_not_for_hybrid() -> None:
    policy = {"region_priority": ["ap-east"]}
    for strategy, expected in (("adaptive", "d"), ("hybrid", "c")):
        line = heads(strategy, FLEET, policy=policy)
        report(line, a=4, b=3, c=1, d=2)
        assert line.first() == expected


@pytest.mark.parametrize(
    ("off", "expected"),
    [("enable_model_specific", "b"), ("enable_geo_routing", "c"), ("enable_predictive", "c")],
)
def test_adaptive_passes_over_what_the_policy_switched_off(off: str, expected: str) -> None:
    line = heads("adaptive", FLEET, policy={off: False})
    report(line, a=0, b=1, c=2, d=3)
    assert line.first(region="eu-west", requirements=needs("3")) == expected


def test_adaptive_without_regions_and_forecasts_takes_loads_as_they_are() -> None:
    off = {"enable_geo_routing": False, "enable_predictive": False}
    line = heads("adaptive", FLEET, policy=off)
    report(line, a=9, b=9, c=9, d=9)
    report(line, a=4, b=3, c=1, d=2)
    assert told(line, region="us-east")[0] == ("c", "current_percent", 10.0)


def test_hybrid_takes_what_is_near_if_it_can_take_load() -> None:
    line = heads("hybrid", FLEET)
    report(line, a=0, b=7, c=1, d=2)
    assert line.ranking(region="eu-west") == ["b", "a", "c", "d"]
    report(line, b=8)
    assert told(line, region="eu-west")[0] == ("c", "region_area", "eu-north")
    report(line, c=8)
    assert told(line, region="eu-west")[0][:2] == ("a", "foreseen_percent")


def test_hybrid_without_geo_routing_is_predictive() -> None:
    line = heads("hybrid", FLEET, policy={"enable_geo_routing": False})
    report(line, a=4, b=3, c=1, d=2)
    assert line.first(region="us-east") == "c"


@pytest.mark.parametrize("strategy", ["adaptive", "hybrid"])
def test_tiers_bind_combined_strategies_too(strategy: str) -> None:
    places = [target("a"), target("b", tier=1)]
    providers = [provider("a", region="us"), provider("b", region="eu")]
    line = Bench(snapshot(providers, [profile(targets=places, strategy=strategy)]))
    assert line.ranking(region="eu") == ["a", "b"]
