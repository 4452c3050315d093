"""What a document may say about rules, modes, scenarios and the policy, and what is said when it may not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from routes.document import Document, DocumentError, Policy, Profile
from routes.document.schema import document_schema
from routes.engine.strategies import NAMES
from tests.control.samples import LONG, profile, rule, whole_document
from tests.control.test_document import errors_of, json_values

AB = {"variants": [{"name": "a", "targets": ["alpha"]}, {"name": "b", "share": 2, "targets": ["beta/m"]}]}


def of_profile(*targets: Any, **fields: Any) -> dict[str, str]:
    """Errors of one profile, by their path below it."""
    found = errors_of({"profiles": [profile("p", *targets, **fields)]})
    return {path.removeprefix("profiles[0]."): text for path, text in found.items()}


def read(*targets: Any, **fields: Any) -> dict[str, Any]:
    return Profile.model_validate(profile("p", *targets, **fields)).model_dump(mode="json")


# -- rules -----------------------------------------------------------------------------------------------
def test_a_rule_needs_a_name_a_condition_and_targets_and_the_rest_has_defaults() -> None:
    assert of_profile(rules=[{}]) == dict.fromkeys(["rules[0].name", "rules[0].when", "rules[0].targets"], "required")
    assert read(rules=[rule("r", "alpha")])["rules"] == [
        {
            "name": "r",
            "description": "",
            "enabled": True,
            "when": LONG,
            "targets": [{"provider": "alpha", "model": None, "weight": None, "tier": 0}],
            "strategy": None,
            "params": None,
            "fallback_to_profile": True,
        }
    ]


@pytest.mark.parametrize(
    ("when", "path"),
    [
        ({"fact": "tokens", "op": "gte", "value": "many"}, "when.value"),
        ({"fact": "tokens", "op": "is", "value": 1}, "when.op"),
        ({"fact": "tokenz", "op": "gte", "value": 1}, "when.fact"),
        (
            {"all": [LONG, {"any": [{"not": {"fact": "stream", "op": "is", "value": 1}}]}]},
            "when.all[1].any[0].not.value",
        ),
        ({"fact": "time", "op": "within", "value": {"start": "9", "end": "10:00"}}, "when.value.start"),
        ({"fact": "model", "op": "in", "value": ["a", 3]}, "when.value[1]"),
        ({"fact": "model", "op": "regex", "value": "(?=x)"}, "when.value"),
        ({"all": [LONG], "any": [LONG]}, "when.any"),
        ({"all": [LONG], "some": 1}, "when.some"),
        ([], "when"),
        ("tokens > 3", "when"),
        (None, "when"),
    ],
)
def test_a_wrong_condition_is_refused_where_it_is_wrong(when: Any, path: str) -> None:
    found = of_profile("alpha", rules=[rule("fine"), {"name": "r", "when": when, "targets": []}])
    assert list(found) == [f"rules[1].{path}"]


def test_a_condition_is_kept_in_one_form() -> None:
    window = {"value": {"end": "06:00", "start": "22:00"}, "op": "within", "fact": "time"}
    tree = {
        "all": [
            window,
            {"fact": "scenario", "op": "eq", "value": "webSearch"},
            {"fact": "header.X-A", "op": "exists", "value": True},
        ]
    }
    first = read(rules=[rule("r", when=tree)])["rules"][0]["when"]
    assert first == read(rules=[rule("r", when=first)])["rules"][0]["when"]
    assert first["all"][0]["value"] == {"start": "22:00", "end": "06:00", "timezone": "UTC"}
    assert [clause["fact"] for clause in first["all"]] == ["time", "scenario", "header.x-a"]
    assert first["all"][1]["value"] == "web_search"


def test_names_of_rules_are_unique_in_their_profile() -> None:
    assert of_profile(rules=[rule("a"), rule("b"), rule("a")]) == {"rules[2].name": "the same as rules[0].name"}
    Document.parse({"profiles": [profile("p", rules=[rule("a")]), profile("q", rules=[rule("a")])]})


def test_a_profile_has_at_most_a_thousand_rules() -> None:
    rules = [rule(f"r{index}") for index in range(1001)]
    assert list(of_profile(rules=rules)) == ["rules"]
    assert len(read(rules=rules[1:])["rules"]) == 1000


def test_tiers_of_a_rule_compact_by_themselves() -> None:
    targets = [{"provider": "alpha", "tier": 7}, {"provider": "beta", "tier": 3}]
    wanted = read({"provider": "alpha", "tier": 2}, rules=[rule("r", *targets)])
    assert [target["tier"] for target in wanted["rules"][0]["targets"]] == [1, 0]
    assert wanted["targets"][0]["tier"] == 0


def test_two_targets_of_a_rule_that_stand_for_one_are_refused() -> None:
    own = {"provider": "alpha", "model": "m"}
    assert of_profile(own, rules=[rule("r", "beta", own, "alpha")]) == {
        "rules[0].targets[2]": "the same provider and model as targets[1]"
    }, "alpha without a model is the profile's alpha with m"
    read("alpha", rules=[rule("r", "alpha", own)])


def test_a_rules_params_are_those_of_its_strategy_or_of_the_profiles() -> None:
    wanted = read(
        strategy="least_latency",
        rules=[
            rule("own", strategy="token-budget", params={"budget": 5}),
            rule("profile's", params={"min_samples": 2}),
            rule("none", strategy="token_budget"),
            rule("empty", strategy=""),
        ],
    )
    own, of_profile_, none, empty = wanted["rules"]
    assert (own["strategy"], own["params"]["budget"], own["params"]["window"]) == ("token_budget", 5, 60)
    assert (of_profile_["strategy"], of_profile_["params"]) == (None, {"min_samples": 2, "cold_start": "explore"})
    assert (none["strategy"], none["params"], empty["strategy"]) == ("token_budget", None, None)
    found = of_profile(strategy="weighted", rules=[rule("r", params={"min_samples": 2}), rule("s", strategy="fastest")])
    assert found["rules[1].strategy"].startswith("unknown strategy")
    assert of_profile(rules=[rule("r", params={"min_samples": 2})]) == {"rules[0].params.min_samples": "unknown field"}


def test_variants_of_an_experiment_name_targets_that_are_there() -> None:
    read("alpha", {"provider": "beta", "model": "m"}, strategy="ab_test", params=AB)
    read("alpha", "beta", strategy="ab_test", params=AB)  # beta takes any model
    assert list(of_profile("alpha", strategy="ab_test", params=AB)) == ["params.variants[1].targets[0]"]
    both = ["alpha", {"provider": "beta", "model": "m"}]
    read(*both, rules=[rule("r", *both, strategy="ab_test", params=AB)])
    found = of_profile(*both, rules=[rule("r", "beta", strategy="ab_test", params=AB)])
    assert list(found) == ["rules[0].params.variants[0].targets[0]"]


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_there_is_may_be_chosen(name: str) -> None:
    wanted = read("alpha", strategy=name, rules=[rule("r", "alpha", strategy=name.replace("_", "-"))])
    assert (wanted["strategy"], wanted["rules"][0]["strategy"]) == (name, name)
    assert Policy.model_validate({"default_strategy": name}).default_strategy == name


# -- failover modes, scenarios, policy ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("immediate", "immediate"),
        ("cost", "cost"),
        ({"threshold": {}}, {"threshold": {"failures": 3}}),
        ({"success_rate": {"min": 1}}, {"success_rate": {"min": 1}}),
        ({"latency": {"percentile": "p99"}}, {"latency": {"ms": 2000, "percentile": "p99"}}),
    ],
)
def test_a_failover_mode_has_its_contracts_forms_and_defaults(written: Any, kept: Any) -> None:
    assert read(failover={"mode": written})["failover"]["mode"] == kept


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("fastest", ""),
        ("threshold", ""),
        (None, ""),
        ({}, ""),
        ({"cost": {}}, ""),
        ({"threshold": {"failures": 3}, "latency": {}}, ""),
        ({"threshold": {"failures": 0}}, ".threshold.failures"),
        ({"threshold": 3}, ".threshold"),
        ({"success_rate": {"min": 80}}, ".success_rate.min"),
        ({"latency": {"ms": 0}}, ".latency.ms"),
        ({"latency": {"percentile": 95}}, ".latency.percentile"),
        ({"latency": {"max": 1}}, ".latency.max"),
    ],
)
def test_any_other_failover_mode_is_refused_where_it_is_wrong(written: Any, path: str) -> None:
    assert list(of_profile(failover={"mode": written})) == [f"failover.mode{path}"]


def test_scenarios_take_their_aliases_and_end_with_the_default() -> None:
    order = read(scenario={"order": ["webSearch", "long-context", "Image"]})["scenario"]["order"]
    assert order == ["web_search", "long_context", "image", "default"]
    for wrong in (["code", "code"], ["default", "code"], ["poetry"], [3], "code"):
        assert all(path.startswith("scenario.order") for path in of_profile(scenario={"order": wrong})), wrong
    assert list(of_profile(scenario={"long_context_threshold": 0})) == ["scenario.long_context_threshold"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("enable_geo_routing", "yes"),
        ("enable_adaptive", 1),
        ("region_priority", ["eu", "eu"]),
        ("region_priority", "eu"),
        ("prediction_window", 0),
        ("load_growth_factor", -1),
        ("capacity_threshold", 101),
        ("geo", {"DE": "eu", "de": "us"}),
        ("geo", ["DE"]),
        ("default_strategy", "fastest"),
        ("region", "eu"),
    ],
)
def test_the_policy_refuses_what_is_out_of_bounds(field: str, value: Any) -> None:
    assert list(errors_of({"policy": {field: value}})) == [f"policy.{field}"]


def test_affinity_is_on_unless_switched_off_and_bounded() -> None:
    assert read()["affinity"]["enabled"] is True
    found = of_profile(affinity={"ttl": 0, "scope": "session", "promotion_hold": -1, "sliding": None})
    assert set(found) == {f"affinity.{name}" for name in ("ttl", "scope", "promotion_hold", "sliding")}
    assert read(affinity={"promotion_hold": 0})["affinity"]["promotion_hold"] == 0


# -- the schema, and any input -------------------------------------------------------------------------------
def test_the_json_schema_takes_what_the_document_takes() -> None:
    check = Draft202012Validator(document_schema())
    assert list(check.iter_errors(whole_document())) == []
    wrong: list[dict[str, Any]] = [
        profile("p", rules=[rule("r", when={"fact": "tokens", "op": "gte", "value": "many"})]),
        profile("p", rules=[rule("r", when={"fact": "tokenz", "op": "gte", "value": 1})]),
        profile("p", rules=[{"name": "r", "targets": []}]),
        profile("p", failover={"mode": {"threshold": {"failures": 0}}}),
    ]
    for entry in wrong:
        assert not check.is_valid({"profiles": [entry]}), entry


@settings(max_examples=12)
@given(json_values)
def test_any_json_in_the_new_fields_is_taken_or_refused_by_path(tree: Any) -> None:
    for fields in (
        {"rules": tree},
        {"rules": [tree]},
        {"rules": [{"name": "r", "when": tree, "targets": []}]},
        {"rules": [{"name": "r", "when": {"all": [tree]}, "targets": tree, "params": tree}]},
        {"affinity": tree},
        {"scenario": {"order": tree, "background_models": tree}},
        {"failover": {"mode": tree}},
    ):
        with suppress(DocumentError):
            assert Document.parse({"profiles": [profile("p", **fields)]})
    for policy in (tree, {"geo": tree}, {"region_priority": tree}, {"prediction_window": tree}):
        with suppress(DocumentError):
            assert Document.parse({"policy": policy})
