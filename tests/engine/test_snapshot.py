"""Snapshots: what a compiled revision means, and what is refused."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from routes.engine import candidates
from routes.engine import profile as module
from routes.engine.errors import EngineError, SnapshotError
from routes.engine.snapshot import ModelMap, Snapshot, rule_id, target_id
from tests.documents import an_id, document, head, provider, rule, snapshot, target
from tests.documents import profile as a_profile


def test_a_target_id_is_uuid5_of_provider_model_and_head() -> None:
    owner = "0b0e6c1e-3d7e-4d53-9d2f-3a5f5a7ad1c4"
    assert target_id(owner, None) == str(uuid.uuid5(uuid.UUID(owner), "*|"))
    assert target_id(owner, "gpt-4o") == str(uuid.uuid5(uuid.UUID(owner), "gpt-4o|"))
    assert target_id(owner, "gpt-4o", "head-1") == str(uuid.uuid5(uuid.UUID(owner), "gpt-4o|head-1"))
    assert target_id(owner.upper(), None) == target_id(owner, None)


@pytest.mark.parametrize(
    ("models", "asked", "sent"),
    [
        ({"gpt-4o": "acme-gpt-4o"}, "gpt-4o", "acme-gpt-4o"),
        ({"gpt-4o": "acme-gpt-4o"}, "gpt-4", None),
        ({"gpt-4o": "acme-gpt-4o"}, "GPT-4o", None),
        ({"gpt-*": "acme"}, "gpt-4o", "acme"),
        ({"gpt-*": "*"}, "gpt-4o", "gpt-4o"),
        ({"gpt-*": "gpt-*"}, "gpt-4o", "gpt-4o"),
        ({"gpt-*": None}, "gpt-4o", "gpt-4o"),
        ({"gpt-*": "acme"}, "my-gpt-4o", None),
        ({"*": "anything"}, "x", "anything"),
        ({"*": "*", "gpt-?o": "some-o", "gpt-4o": "exact"}, "gpt-4o", "exact"),
        ({"*": "*", "gpt-?o": "some-o", "gpt-4o": "exact"}, "gpt-5o", "some-o"),
        ({"*": "*", "gpt-?o": "some-o", "gpt-4o": "exact"}, "claude", "claude"),
        ({"a[bc]": "set"}, "ac", "set"),
        ({"plain": ""}, "plain", "plain"),
    ],
)
def test_a_provider_maps_names_exactly_then_by_its_most_specific_glob(
    models: dict[str, str | None], asked: str, sent: str | None
) -> None:
    assert ModelMap(models).upstream(asked) == sent


def test_the_order_of_globs_in_the_document_does_not_matter() -> None:
    pairs = {"*": "any", "gpt-*": "gpt", "gpt-4*": "four"}
    for mapping in (pairs, dict(reversed(pairs.items()))):
        assert [ModelMap(mapping).upstream(name) for name in ("gpt-4o", "gpt-5", "x")] == ["four", "gpt", "any"]


def test_names_that_can_be_listed_are_those_that_are_no_globs() -> None:
    assert ModelMap({"a": "x", "b-*": "y"}).names == ("a",)


@pytest.mark.parametrize(
    ("configured", "models", "asked", "names"),
    [
        (None, None, "r", ("r", "r")),
        ("m", None, "r", ("m", "m")),
        ("m", {"m": "u"}, "r", ("m", "u")),
        ("m", {"r": "u"}, "r", None),
        (None, {"r": "u"}, "r", ("r", "u")),
        (None, None, "", None),
    ],
)
def test_the_three_names_of_a_model(
    configured: str | None, models: Any, asked: str, names: tuple[str, str] | None
) -> None:
    compiled = snapshot([provider("a", models=models)], [a_profile(targets=[target("a", model=configured)])])
    (place,) = compiled.profiles["default"].targets
    assert place.models(asked) == names
    assert place.id == target_id(an_id("provider", "a"), configured)
    assert place.endpoint == "http://127.0.0.1:9/a/v1"
    assert place.label == ("a / m" if configured else "a")


def test_settings_are_typed_and_complete() -> None:
    compiled = snapshot(
        [provider("a", auth=None, base_url="https://x.example/v1/", tags=["t"])], failover={"max_attempts": 7}
    )
    a, default = compiled.providers["a"], compiled.profiles["default"]
    assert a.auth is None
    assert a.base_url == "https://x.example/v1"
    assert a.tags == {"t"}
    assert a.circuit.failure_threshold == 5
    assert a.quarantine.auth_max == 7200
    assert default.failover.max_attempts == 7
    assert default.failover.retry_statuses == {500, 502, 503, 504, 529}
    assert default.failover.timeouts is default.timeouts
    assert default.timeouts.first_event_soft == 10
    assert snapshot([provider("b", wire="anthropic")]).providers["b"].auth == ("x-api-key", "")
    assert snapshot([provider("b")]).providers["b"].auth == ("authorization", "Bearer ")
    assert compiled.number == 1
    assert compiled.profile_list[default.index] is default
    assert compiled.default_strategy.name == "failover"


def test_a_weight_left_open_is_the_providers() -> None:
    compiled = document([provider("a", weight=7)], [a_profile(targets=[target("a", weight=3)])])
    compiled["profiles"][0]["targets"][0]["weight"] = None
    assert Snapshot.from_document(compiled).profiles["default"].base.places[0].weight == 7


def test_provider_and_profile_ids_are_normalised() -> None:
    entry = provider("a")
    entry["id"] = entry["id"].upper()
    assert snapshot([entry]).providers["a"].id == an_id("provider", "a")


def broken(**change: Any) -> dict[str, Any]:
    return document([provider("a")]) | change


@pytest.mark.parametrize(
    ("compiled", "path", "message"),
    [
        (broken(format=2), "format", "expected 1"),
        (broken(policy={"default_strategy": "nope"}), "policy.default_strategy", "no strategy"),
        (document([provider("a")], strategy="nope"), "profiles[0].strategy", "no strategy"),
        (document([provider("a")], params={"x": 1}), "profiles[0].strategy", "x: Extra"),
        (document([provider("a"), provider("a")], []), "providers[1].slug", "taken"),
        (document([provider("a")], [a_profile("p"), a_profile("p")]), "profiles[1].slug", "taken"),
        (
            document([provider("a")], [a_profile(targets=[target("b")])]),
            "profiles[0].targets[0].provider",
            "no provider",
        ),
        (
            document([provider("a")], [a_profile(targets=[target("a"), target("a", weight=2)])]),
            "profiles[0].targets[1]",
            "same provider and model as targets[0]",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_path(compiled: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(SnapshotError) as caught:
        Snapshot.from_document(compiled)
    assert caught.value.path == path
    assert message in caught.value.message
    assert caught.value.code == "invalid_revision"


def test_missing_and_malformed_fields_are_refused() -> None:
    compiled = document([provider("a")])
    del compiled["providers"][0]["circuit"]["window"]
    with pytest.raises(SnapshotError, match=r"providers\[0\].circuit.window: missing"):
        Snapshot.from_document(compiled)
    del compiled["providers"][0]["slug"]
    with pytest.raises(SnapshotError, match="missing field 'slug'"):
        Snapshot.from_document(compiled)
    with pytest.raises(SnapshotError, match="malformed"):
        Snapshot.from_document(broken(providers=3))
    with pytest.raises(SnapshotError, match="malformed"):
        Snapshot.from_document(document([provider("a", id="not a uuid")]))
    assert issubclass(SnapshotError, EngineError)


def test_fields_of_a_newer_version_are_ignored() -> None:
    entry = provider("a", capacity=5, something_new=True)
    entry["circuit"]["something_new"] = 1
    assert snapshot([entry]).providers["a"].circuit.window == 30


# -- heads -----------------------------------------------------------------------------------------


def test_a_target_with_heads_is_one_target_per_head() -> None:
    known = {"region": "eu-west", "capacity": 4, "model_type": "llama", "version": "3", "capabilities": ["vision"]}
    heads = [head("one", **known), head("two")]
    entry = provider("a", heads=heads, region="us", capacity=9)
    default = snapshot([entry, provider("b", region="us", capacity=9)]).profiles["default"]
    one, two, plain = default.targets
    assert one.id == target_id(an_id("provider", "a"), None, "one")
    assert [t.endpoint for t in default.targets] == [f"http://127.0.0.1:9/{name}/v1" for name in ("one", "two", "b")]
    assert [(t.region, t.capacity) for t in default.targets] == [("eu-west", 4), ("us", None), ("us", 9)]
    assert one.head is not None
    assert (one.head.model_type, one.head.version, one.head.capabilities) == ("llama", "3", {"vision"})
    assert (one.label, two.label, plain.label) == ("a / one", "a / two", "b")
    assert repr(one.head) == "<Head one>"
    assert [place.number for place in default.base.places] == [0, 0, 1]


def test_a_head_says_only_what_it_knows() -> None:
    entry = provider("a", heads=[{"id": "bare", "endpoint": "http://127.0.0.1:9/v1/"}])
    (only,) = snapshot([entry]).profiles["default"].targets
    assert only.head is not None
    assert (only.endpoint, only.region) == ("http://127.0.0.1:9/v1", None)
    assert (only.head.model_type, only.head.version) == ("", "")
    assert (only.head.max_model_size, only.head.capacity, only.head.capabilities) == (None, None, frozenset())


# -- policy, rules and what else a profile has -----------------------------------------------------


def test_policy_is_typed() -> None:
    policy = snapshot([provider("a")], policy={"region_priority": ["eu", "us"], "prediction_window": 5}).policy
    assert policy.region_priority == ("eu", "us")
    assert (policy.prediction_window, policy.capacity_threshold, policy.enable_adaptive) == (5, 80, True)


def test_a_profile_has_affinity_scenario_and_tags() -> None:
    default = snapshot([provider("a")], affinity={"ttl": 5}, require_tags=True).profiles["default"]
    assert (default.affinity.ttl, default.affinity.scope, default.require_tags) == (5, "rule", True)
    assert default.scenario.long_context_threshold == 32_000
    with pytest.raises(SnapshotError, match=r"profiles\[0\].scenario.order: unknown scenario"):
        snapshot([provider("a")], scenario={"order": ["nope"]})


def test_targets_are_the_profiles_then_those_only_rules_use() -> None:
    tag = {"fact": "tag", "op": "eq", "value": "x"}
    rules = [rule("one", tag, [target("c"), target("a")]), rule("two", tag, [target("d"), target("c")])]
    providers = [provider(slug) for slug in "abcd"]
    default = snapshot(providers, [a_profile(targets=[target("b"), target("a")], rules=rules)]).profiles["default"]
    assert [t.provider.slug for t in default.targets] == ["b", "a", "c", "d"]
    assert [t.position for t in default.targets] == [0, 1, 2, 3]
    assert [p.target.provider.slug for p in default.rules[1].part.places] == ["d", "c"]
    assert default.base.place_of(default.targets[3]) is None
    assert repr(default.rules[0]) == "<Rule one>"
    assert default.rules[0].strategy is default.strategy


def test_the_profile_of_decisions_that_name_none_comes_last_and_has_no_slug_to_ask_for() -> None:
    entry = a_profile("anything", [target("a", weight=1)])
    compiled = Snapshot.from_document(document([provider("a")], unnamed=entry))
    assert compiled.unnamed is compiled.profile_list[-1]
    assert (compiled.unnamed.index, list(compiled.profiles)) == (1, ["default"])
    assert snapshot([provider("a")]).unnamed is None


def test_a_rule_keeps_its_id_while_it_keeps_its_name() -> None:
    owner = "0b0e6c1e-3d7e-4d53-9d2f-3a5f5a7ad1c4"
    assert rule_id(owner, "long context") == str(uuid.uuid5(uuid.UUID(owner), "long context"))
    assert rule_id(owner.upper(), "x") == rule_id(owner, "x") != rule_id(owner, "y")


# -- candidates are computed once ------------------------------------------------------------------


def test_candidates_are_computed_once_per_operation_and_model() -> None:
    default = snapshot([provider("a")]).profiles["default"]
    assert default.candidates_for("chat", "x") is default.candidates_for("chat", "x")
    assert default.candidates_for("chat", "x") is not default.candidates_for("chat", "y")
    assert default.candidates_for("chat", "x") is not default.candidates_for("embedding", "x")


def test_the_cache_does_not_grow_with_clients_model_names() -> None:
    default = snapshot([provider("a")]).profiles["default"]
    for number in range(3 * module.CACHE_SETS):
        default.candidates_for("chat", f"model-{number}")
        assert len(default._cache) <= module.CACHE_SETS


def test_the_cache_of_a_large_profile_keeps_fewer_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_CANDIDATES", 10)
    default = snapshot([provider(slug) for slug in "abcde"]).profiles["default"]
    for number in range(20):
        default.candidates_for("chat", f"model-{number}")
    assert len(default._cache) <= 2


def test_very_long_model_names_are_served_but_not_kept() -> None:
    default = snapshot([provider("a")]).profiles["default"]
    assert default.serves("chat", "x" * 100_000)
    assert len(default._cache) == 0


def test_when_every_target_names_its_model_what_is_asked_for_changes_nothing() -> None:
    compiled = snapshot([provider("a")], [a_profile(targets=[target("a", model="fixed")])])
    default = compiled.profiles["default"]
    assert default.candidates_for("chat", "x") is default.candidates_for("chat", "y" * 1000)


def test_plans_are_kept_and_bounded() -> None:
    base = snapshot([provider(f"p{number}") for number in range(10)]).profiles["default"].candidates_for("chat", "x")
    out = frozenset({0, 9})
    plan = base.plan(None, None, out)
    assert base.plan(None, None, frozenset({9, 0})) is plan
    assert [c.position for c in plan.steps[0].pool.candidates] == list(range(1, 9))
    for first in range(10):
        for second in range(10):
            base.plan(None, None, frozenset({first, second}))
            assert len(base._plans) <= candidates.PLANS


def test_things_say_what_they_are() -> None:
    compiled = snapshot([provider("a")])
    default = compiled.profiles["default"]
    assert [repr(each) for each in (compiled, default, default.targets[0], compiled.providers["a"])] == [
        "<Snapshot 1>",
        "<Profile default>",
        "<Target a>",
        "<Provider a>",
    ]
