"""Smart rules in the draft: one by one and with their profile, versions, places, and what is told about changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from routes import actions, diff, draft, lint
from routes.actions.errors import Conflict, Forbidden, InUse, Invalid, Missing, StaleVersion
from routes.document import Configuration
from routes.engine.snapshot import Snapshot, rule_id
from routes.models import AuditEntry, ConfigRevision, Profile, Provider, Rule
from tests.control.conftest import actor
from tests.control.samples import LONG, profile, provider, rule

if TYPE_CHECKING:
    from routes.actions import Actor

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def providers(admin: Actor) -> None:
    for slug in ("alpha", "beta"):
        actions.create_provider(provider(slug), actor=admin)
    rules = [rule("a", "alpha"), rule("b", ("beta", 2)), rule("c")]
    actions.create_profile(profile("default", ("alpha", 70), "beta", rules=rules), actor=admin)


def default() -> Profile:
    return Profile.objects.get(slug="default")


def named(name: str) -> Rule:
    return Rule.objects.get(name=name)


def order() -> list[str]:
    """Names in order; places have no gaps."""
    rows = list(default().rules.order_by("position"))
    assert [row.position for row in rows] == list(range(len(rows)))
    return [row.name for row in rows]


def test_a_rule_is_added_at_its_place_and_is_a_new_version_of_its_profile(admin: Actor) -> None:
    row = actions.create_rule(default(), rule("first", "alpha", description="why"), actor=admin, position=0)
    assert draft.rule_tree(row) == rule("first", "alpha") | {
        "description": "why",
        "enabled": True,
        "targets": [{"provider": "alpha", "model": None, "weight": None, "tier": 0}],
        "strategy": None,
        "params": None,
        "fallback_to_profile": True,
    }
    actions.create_rule(default(), rule("last"), actor=admin)
    actions.create_rule(default(), rule("far"), actor=admin, position=99)
    assert order() == ["first", "a", "b", "c", "last", "far"]
    assert default().version == 4
    assert draft.profile_tree(default())["rules"][0]["name"] == "first"


def test_a_changed_rule_is_a_new_version_of_itself_and_of_its_profile_and_of_no_other_rule(admin: Actor) -> None:
    row = actions.update_rule(named("b"), {"enabled": False}, actor=admin, version=1)
    assert (row.version, default().version) == (2, 2)
    assert [named(name).version for name in "abc"] == [1, 2, 1]
    actions.update_rule(row, {"enabled": False, "when": LONG}, actor=admin, version=2)
    assert (named("b").version, default().version) == (2, 2), "nothing was changed"
    with pytest.raises(StaleVersion):
        actions.update_rule(row, {"enabled": True}, actor=admin, version=1)
    with pytest.raises(StaleVersion):
        actions.update_profile(default(), {"name": "x"}, actor=admin, version=1)


@pytest.mark.parametrize(
    ("name", "position", "expected"), [("a", 2, "bca"), ("c", 0, "cab"), ("b", 9, "acb"), ("a", 1, "bac")]
)
def test_moving_a_rule_makes_room_and_leaves_the_versions_of_rules_alone(
    admin: Actor, name: str, position: int, expected: str
) -> None:
    actions.move_rule(named(name), position, actor=admin, version=1)
    assert "".join(order()) == expected
    assert {row.version for row in Rule.objects.all()} == {1}
    assert default().version == 2
    actions.move_rule(named(name), position, actor=admin)
    assert default().version == 2, "it was there already"
    assert AuditEntry.objects.latest("pk").changes == {"position": ["abc".index(name), min(position, 2)]}


@pytest.mark.parametrize("position", [-1, "1", True, 1.0])
def test_a_place_is_a_whole_number(admin: Actor, position: Any) -> None:
    with pytest.raises(Invalid) as caught:
        actions.move_rule(named("a"), position, actor=admin)
    assert list(caught.value.fields) == ["position"]


def test_a_deleted_rule_leaves_no_gap(admin: Actor) -> None:
    actions.delete_rule(named("a"), actor=admin, version=1)
    assert order() == ["b", "c"]
    with pytest.raises(Missing):
        actions.delete_rule(Rule(pk=default().pk, profile=default(), name="a"), actor=admin)


def test_a_rule_is_refused_with_paths_below_it(admin: Actor) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"when": {"all": [{"fact": "tokens", "op": "gte", "value": None}]}}, "when.all[0].value"),
        ({"targets": [{"provider": "alpha"}, {"provider": "nowhere"}]}, "targets[1].provider"),
        ({"targets": [{"provider": "alpha"}, {"provider": "alpha"}]}, "targets[1]"),
        ({"params": {"window": 1}}, "params.window"),
        ({"colour": "red"}, "colour"),
    ]
    for change, path in wrong:
        for act in (
            lambda change=change: actions.update_rule(named("a"), change, actor=admin),
            lambda change=change: actions.create_rule(default(), rule("new", "beta") | change, actor=admin),
        ):
            with pytest.raises(Invalid) as caught:
                act()
            assert list(caught.value.fields) == [path]
    for taken in (
        lambda: actions.update_rule(named("a"), {"name": "b"}, actor=admin),
        lambda: actions.create_rule(default(), rule("b"), actor=admin),
    ):
        with pytest.raises(Conflict):
            taken()
    assert (default().version, order()) == (1, ["a", "b", "c"])


def test_rules_need_the_scope_admin() -> None:
    for scope in ("read", "operate"):
        for act in (
            lambda scope=scope: actions.create_rule(default(), rule("x"), actor=actor(scope)),
            lambda scope=scope: actions.update_rule(named("a"), {}, actor=actor(scope)),
            lambda scope=scope: actions.move_rule(named("a"), 1, actor=actor(scope)),
            lambda scope=scope: actions.delete_rule(named("a"), actor=actor(scope)),
        ):
            with pytest.raises(Forbidden):
                act()


def test_another_strategy_without_params_gets_its_own_defaults(admin: Actor) -> None:
    row = actions.update_rule(named("a"), {"strategy": "token_budget", "params": {"budget": 7}}, actor=admin)
    row = actions.update_rule(row, {"strategy": "token-budget", "enabled": False}, actor=admin)
    assert row.params is not None
    assert row.params["budget"] == 7
    assert actions.update_rule(row, {"strategy": None}, actor=admin).params is None


def test_rules_saved_with_their_profile_keep_what_they_are_by_name(admin: Actor) -> None:
    before = {row.name: (row.pk, row.version) for row in Rule.objects.all()}
    tree = draft.profile_tree(default())
    changed = {**tree["rules"][0], "description": "now with a reason"}
    wanted = [tree["rules"][2], changed, rule("d", "alpha")]
    actions.update_profile(default(), {"rules": wanted}, actor=admin, version=1)
    assert order() == ["c", "a", "d"]
    assert (named("c").pk, named("c").version) == before["c"], "a rule that says the same has its old version"
    assert (named("a").pk, named("a").version) == (before["a"][0], 2)
    changes = AuditEntry.objects.latest("pk").changes
    assert changes["rules[a].description"] == ["", "now with a reason"]
    assert changes["rules[b]"][1] is None
    assert changes["rules[d]"][0] is None
    assert changes["rules.order"] == [["a", "c"], ["c", "a"]]
    actions.update_profile(default(), {"rules": wanted, "name": "Default"}, actor=admin)
    assert default().version == 2, "nothing was changed"


def test_a_provider_that_a_rule_names_cannot_go_but_may_be_switched_off(admin: Actor) -> None:
    actions.update_profile(default(), {"targets": [{"provider": "alpha"}]}, actor=admin)
    beta = Provider.objects.get(slug="beta")
    with pytest.raises(InUse) as caught:
        actions.delete_provider(beta, actor=admin)
    assert caught.value.used_by == ["rule b of profile default"]
    actions.set_admin_state(beta, "disabled", actor=admin)
    assert actions.update_rule(named("b"), {"description": "still editable"}, actor=admin).version == 2
    actions.delete_provider(beta, actor=admin, remove_from_profiles=True)
    assert draft.targets_of(named("b")) == []
    assert draft.targets_of(named("a")) != []


def test_rules_are_published_as_the_engine_reads_them(admin: Actor) -> None:
    actions.update_rule(named("b"), {"strategy": "round-robin", "fallback_to_profile": False}, actor=admin)
    snapshot = Snapshot.from_document(actions.publish(actor=admin).compiled)
    rules = snapshot.profiles["default"].rules
    assert [rule.name for rule in rules] == ["a", "b", "c"]
    assert rules[1].id == rule_id(str(default().pk), "b")
    assert (rules[1].strategy.name, rules[1].fallback_to_profile) == ("round_robin", False)
    assert [place.weight for place in rules[1].part.places] == [2]
    assert [place.weight for place in rules[0].part.places] == [70], "the profile's weight, where a rule has none"


def test_a_rollback_brings_the_rules_back(admin: Actor) -> None:
    actions.publish(actor=admin)
    before = draft.profile_tree(default())
    actions.delete_rule(named("a"), actor=admin)
    actions.update_rule(named("b"), {"when": {"all": []}}, actor=admin)
    actions.publish(actor=admin)
    actions.rollback(1, actor=admin)
    assert draft.profile_tree(default()) == before
    assert ConfigRevision.objects.get(number=3).document == ConfigRevision.objects.get(number=1).document


# -- what is told --------------------------------------------------------------------------------------------
def sentences(admin: Actor, *changes: Any) -> list[str]:
    """What publishing would change after ``changes``."""
    actions.publish(actor=admin)
    for change in changes:
        change()
    return [change.sentence for change in actions.pending_changes()]


def test_every_change_of_a_rule_is_a_sentence(admin: Actor) -> None:
    shorter = {"fact": "tokens", "op": "gte", "value": 500}
    assert sentences(
        admin,
        lambda: actions.update_rule(named("a"), {"when": shorter, "enabled": False}, actor=admin),
        lambda: actions.update_rule(
            named("b"), {"targets": [{"provider": "beta", "weight": None, "tier": 0}]}, actor=admin
        ),
        lambda: actions.update_rule(named("b"), {"strategy": "single", "fallback_to_profile": False}, actor=admin),
        lambda: actions.delete_rule(named("c"), actor=admin),
        lambda: actions.create_rule(default(), rule("d", ("alpha", 1), "beta", when=shorter), actor=admin),
    ) == [
        "profile default: rule a: condition “tokens ≥ 32 000” → “tokens ≥ 500”",
        "profile default: rule a switched off",
        "profile default: rule b: weight of beta 2 → the profile's",
        "profile default: rule b: strategy the profile's → single",
        "profile default: rule b: fallback_to_profile on → off",
        "profile default: rule c removed: tokens ≥ 32 000 → no target",
        "profile default: rule d added: tokens ≥ 500 → alpha, beta",
    ]


def test_a_rule_that_moved_is_told_with_its_places(admin: Actor) -> None:
    assert sentences(admin, lambda: actions.move_rule(named("c"), 0, actor=admin)) == [
        "profile default: rule c moved from place 3 to 1"
    ]
    assert sentences(
        admin,
        lambda: actions.move_rule(named("a"), 0, actor=admin),
        lambda: actions.move_rule(named("b"), 1, actor=admin),
    ) == ["profile default: rule c moved from place 1 to 3"]
    actions.create_rule(default(), rule("d"), actor=admin)
    assert sentences(
        admin,
        lambda: actions.move_rule(named("d"), 0, actor=admin),
        lambda: actions.move_rule(named("a"), 3, actor=admin),
    ) == ["profile default: order of rules a, b, c, d → d, b, c, a"]


def test_policy_affinity_and_modes_are_told_too(admin: Actor) -> None:
    assert sentences(
        admin,
        lambda: actions.update_policy({"enable_adaptive": False, "geo": {"de": "eu"}}, actor=admin),
        lambda: actions.update_profile(
            default(),
            {"affinity": {"ttl": 60}, "failover": {"mode": {"threshold": {"failures": 5}}}},
            actor=admin,
        ),
    ) == [
        "policy: enable_adaptive on → off",
        "policy: geo.DE added: eu",
        "profile default: affinity.ttl 1800 → 60",
        "profile default: failover.mode immediate → threshold failures 5",
    ]


def test_limits_windows_and_accounting_are_told_too(admin: Actor) -> None:
    alpha = Provider.objects.get(slug="alpha")
    assert sentences(
        admin,
        lambda: actions.update_provider(alpha, {"context": {"gpt-4o": 128_000}, "stream_usage": False}, actor=admin),
        lambda: actions.update_profile(
            default(),
            {"limits": {"concurrency": 20}, "accounting": "off", "failover": {"non_idempotent": True}},
            actor=admin,
        ),
    ) == [
        "provider alpha: context.gpt-4o added: 128000",
        "provider alpha: stream_usage on → off",
        "profile default: failover.non_idempotent off → on",
        "profile default: limits.concurrency 0 → 20",
        "profile default: accounting when_asked → off",
    ]


def test_a_condition_of_another_release_is_told_as_it_is_written() -> None:
    empty = {"policy": {}, "prices": {}, "providers": []}
    one, other = (
        {
            "slug": "p",
            "targets": [],
            "rules": [rule("r", when=when) | {"enabled": True, "strategy": None, "params": None}],
        }
        for when in ({"fact": "mood", "op": "eq", "value": "good"}, {"all": []})
    )
    (change,) = diff.compare({**empty, "profiles": [one]}, {**empty, "profiles": [other]})
    assert '"mood"' in change.sentence


# -- what is probably not meant --------------------------------------------------------------------------------
BETA_ONLY = provider("beta", models={"b-*": "*"})


def found(*targets: Any, **fields: Any) -> list[tuple[str, str]]:
    others = [provider("claude", wire="anthropic"), provider("speech", wire="generic", models={"m": "m"})]
    tree = {"providers": [provider("alpha"), BETA_ONLY, *others], "profiles": [profile("p", *targets, **fields)]}
    return [
        (finding.code, finding.path.removeprefix("profiles[p]"))
        for finding in lint.findings(Configuration.parse({"version": 1, **tree}))
    ]


A, B = {"fact": "model", "op": "eq", "value": "a"}, {"fact": "stream", "op": "is", "value": True}
TEXT = {"fact": "user_text", "op": "contains", "value": "x"}
PARTITION = {"fact": "partition.utilisation", "op": "lte", "value": 50}


@pytest.mark.parametrize(
    ("earlier", "later", "hidden"),
    [
        (A, A, True),
        ({"all": []}, A, True),
        (A, {"all": [B, A]}, True),
        ({"all": [A]}, {"all": [A, B]}, True),
        ({"any": [A, B]}, A, True),
        ({"any": [A, B, LONG]}, {"any": [B, A]}, True),
        ({"all": [A, B]}, A, False),
        (A, {"any": [A, B]}, False),
        (A, {"not": A}, False),
        (A, {"all": []}, False),
        (PARTITION, PARTITION, False),
        ({"any": [A, B, TEXT]}, {"any": [A, B]}, False),  # a rule that reads text leaves embeddings to the later one
        ({"any": [A, B, TEXT]}, {"any": [A, TEXT]}, True),
        (A, B, False),
    ],
)
def test_a_rule_that_no_request_reaches_is_found(earlier: Any, later: Any, hidden: bool) -> None:
    one, two = rule("one", "alpha", when=earlier), rule("two", "alpha", when=later)
    expected = [("rule_unreachable", ".rules[two]")] if hidden else []
    assert found("alpha", rules=[one, two]) == expected
    assert found("alpha", rules=[one | {"enabled": False}, two]) == []
    assert found("alpha", rules=[one, two | {"enabled": False}]) == []


def test_targets_that_serve_nothing_and_weights_that_say_nothing_are_found() -> None:
    wrong = {"provider": "beta", "model": "a-1"}
    assert found("alpha", wrong) == [("model_not_served", ".targets[1]")]
    assert found("alpha", rules=[rule("r", wrong)]) == [("nothing_served", ".rules[r]")]
    assert found("alpha", rules=[rule("r", wrong, "alpha")]) == [("model_not_served", ".rules[r].targets[0]")]
    assert found("alpha", rules=[rule("r")]) == [("rule_without_targets", ".rules[r]")]
    assert found() == [("profile_without_targets", "")]
    zero = [("alpha", 0), ("beta", 0)]
    assert found(*zero, strategy="weighted") == [("weights_zero", "")]
    assert found(*zero, strategy="tiered", params={"within": "weighted"}) == [("weights_zero", "")]
    assert found(*zero, strategy="round_robin") == []
    assert found(*zero, rules=[rule("r", "alpha", "beta", strategy="weighted")]) == [("weights_zero", ".rules[r]")]
    assert found(*zero, rules=[rule("r", "alpha", ("beta", 1), strategy="weighted")]) == []


def test_a_queue_that_nothing_fills_is_found() -> None:
    assert found("alpha", limits={"queue_ms": 100}) == [("queue_without_limit", "")]
    assert found("alpha", limits={"queue_ms": 100, "concurrency": 1}) == []
    assert found("alpha", limits={"concurrency": 1}) == []


def test_generic_providers_beside_others_are_found_and_alone_are_fine() -> None:
    assert found("speech") == []
    assert found("alpha", "claude") == []
    assert found("alpha", "speech") == [("generic_among_others", "")]
    assert found("alpha", rules=[rule("r", "speech")]) == []
    assert found("alpha", rules=[rule("r", "beta", "speech")]) == [("generic_among_others", ".rules[r]")]
    assert found({"provider": "speech", "model": "whatever"}) == []


def test_findings_are_told_on_publishing_and_never_refuse_it(admin: Actor) -> None:
    from routes.checks import check_stored_configuration

    messages = [warning.msg for warning in check_stored_configuration(["default"]) if warning.id == "routes.W004"]
    assert [message.partition(": ")[2] for message in messages] == [
        "profile default: rule c has no targets, so requests that match go to the profile's targets",
        "profile default: rule b is never reached: rule a matches whatever this one does",
        "profile default: rule c is never reached: rule a matches whatever this one does",
    ]
    assert actions.publish(actor=admin).number == 1
