"""Smart rules: one by one, or all of a profile with it. Draft until published.

Whoever changes a rule holds its profile's row, so rules of a profile change one after the other. A change of a rule,
its position too, is a new version of the profile, which shows it; the rule's own version counts what the rule
itself says, so moving one rule makes no editor of another stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import F

from routes import document, draft
from routes.actions import _rows, audit
from routes.actions.errors import Conflict, Invalid
from routes.document.base import merged
from routes.document.configuration import unknown_providers
from routes.document.rule import MAX_RULES, settle
from routes.document.strategy import own_strategy_name
from routes.models import Profile, Provider, Rule, RuleTarget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routes.actions.actor import Actor


@audit.in_turn()
def create_rule(profile: Profile, data: Mapping[str, Any], *, actor: Actor, position: int | None = None) -> Rule:
    """A new rule; ``data`` is the document's entry. ``position`` None = last. Raises Invalid, Conflict, Missing."""
    actor.require("admin")
    profile = _rows.lock(Profile.objects, profile.pk, f"profile {profile.slug}", None)
    count = profile.rules.count()
    if count >= MAX_RULES:
        raise Conflict(f"a profile has at most {MAX_RULES} rules")
    wanted = _rows.parse(document.Rule, data)
    providers = _check(wanted, profile, None)
    place = _place(position, count)
    profile.rules.filter(position__gte=place).update(position=F("position") + 1)
    row = write(wanted, profile, None, place, providers)
    _rows.touch(profile)
    _record("rule.created", row, actor, audit.difference({}, draft.rule_tree(row)))
    return row


@audit.in_turn()
def update_rule(
    rule: Rule, changes: Mapping[str, Any], *, actor: Actor, version: int | None = None, position: int | None = None
) -> Rule:
    """Change some fields, and the place when ``position`` is given; ``when`` and ``targets`` are replaced whole.
    Another strategy without ``params`` gets that strategy's defaults. Raises Invalid, Conflict, StaleVersion,
    Missing."""
    actor.require("admin")
    row = _locked(rule, version)
    before = draft.rule_tree(row)
    tree = merged(before, changes, {})
    if "strategy" in changes and "params" not in changes and not _same_strategy(changes["strategy"], row.strategy):
        tree["params"] = None
    wanted = _rows.parse(document.Rule, tree)
    providers = _check(wanted, row.profile, row)
    found: dict[str, Any] = audit.difference(before, wanted.model_dump(mode="json"))
    if found:
        row = write(wanted, row.profile, row, row.position, providers)
    place = row.position if position is None else _place(position, row.profile.rules.count() - 1)
    moved = {} if place == row.position else {"position": [row.position, place]}
    if moved:
        _move(row, place)
    if found or moved:
        _rows.touch(row.profile)
        _record("rule.updated" if found else "rule.moved", row, actor, {**found, **moved})
    return row


def move_rule(rule: Rule, position: int, *, actor: Actor, version: int | None = None) -> Rule:
    """Put the rule at ``position`` (from 0; beyond the end = last). Raises Invalid, StaleVersion, Missing."""
    return update_rule(rule, {}, actor=actor, version=version, position=position)


@audit.in_turn()
def delete_rule(rule: Rule, *, actor: Actor, version: int | None = None) -> None:
    """Remove from the draft. Raises StaleVersion, Missing."""
    actor.require("admin")
    row = _locked(rule, version)
    tree = draft.rule_tree(row)
    row.profile.rules.filter(position__gt=row.position).update(position=F("position") - 1)
    _record("rule.deleted", row, actor, audit.difference(tree, {}))
    row.delete()
    _rows.touch(row.profile)


def _locked(rule: Rule, version: int | None) -> Rule:
    profile = _rows.lock(Profile.objects, rule.profile_id, "the profile of this rule", None)
    row = _rows.lock(Rule.objects, rule.pk, f"rule {rule.name}", version)
    row.profile = profile
    return row


def _same_strategy(written: Any, stored: str | None) -> bool:
    try:
        return bool(own_strategy_name(written) == stored)
    except ValueError:
        return True  # validation says what is wrong with it


def _place(position: int | None, last: int) -> int:
    if position is None:
        return last
    if isinstance(position, bool) or not isinstance(position, int) or position < 0:
        raise Invalid.from_errors([("position", "must be a whole number from 0")])
    return min(position, last)


def _move(row: Rule, place: int) -> None:
    """Rules between the two places make room."""
    if place < row.position:
        row.profile.rules.filter(position__gte=place, position__lt=row.position).update(position=F("position") + 1)
    else:
        row.profile.rules.filter(position__gt=row.position, position__lte=place).update(position=F("position") - 1)
    row.position = place
    row.save(update_fields=["position"])


def _check(wanted: document.Rule, profile: Profile, row: Rule | None) -> dict[str, Provider]:
    """What only shows beside the profile. The providers that the rule names, by slug."""
    others = profile.rules.exclude(pk=row.pk) if row else profile.rules.all()
    if others.filter(name=wanted.name).exists():
        raise Conflict(f"profile '{profile.slug}' has a rule '{wanted.name}' already", {"name": ["is taken"]})
    named = [target.provider for target in wanted.targets]
    providers = Provider.objects.in_bulk(set(named), field_name="slug")
    targets = [document.Target.model_construct(**tree) for tree in draft.targets_of(profile)]
    if errors := [*unknown_providers([("", named)], providers), *settle(wanted, profile.strategy, targets)]:
        raise Invalid.from_errors(errors)
    return providers


def write(
    wanted: document.Rule, profile: Profile, row: Rule | None, position: int, providers: Mapping[str, Provider]
) -> Rule:
    """Write a validated rule into its row, new or locked; what is so already stays. Private to actions."""
    tree = wanted.model_dump(mode="json")
    before = draft.rule_tree(row) if row else {}
    if row is None:
        row = Rule(profile=profile, position=position)
        _rows.fill(row, tree, draft.RULE_COLUMNS)
        row.save(force_insert=True)
    elif before != tree:
        row.position = position
        _rows.fill(row, tree, draft.RULE_COLUMNS)
        _rows.bump(row)
    elif row.position != position:
        row.position = position
        row.save(update_fields=["position"])
    if before.get("targets") != tree["targets"]:
        _rows.replace_targets(RuleTarget, {"rule": row}, wanted.targets, providers)
        row.__dict__.get("_prefetched_objects_cache", {}).pop("targets", None)
    return row


def replace(profile: Profile, wanted: Sequence[document.Rule], providers: Mapping[str, Provider]) -> None:
    """Make the profile's rules exactly these, in this order; one that keeps its name keeps its id and, unless it
    says something else, its version. Private to actions."""
    rows = {row.name: row for row in draft.rules_of(profile)}
    kept = {rule.name for rule in wanted}
    Rule.objects.filter(pk__in=[row.pk for name, row in rows.items() if name not in kept]).delete()
    for position, rule in enumerate(wanted):
        write(rule, profile, rows.get(rule.name), position, providers)


def changes_between(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """For the audit entry of a profile: ``rules[name].field`` -> [before, after], and the order when it changed."""
    old = {rule["name"]: rule for rule in before}
    new = {rule["name"]: rule for rule in after}
    changes: dict[str, list[Any]] = {}
    for name in {**old, **new}:
        if name in old and name in new:
            changes.update(audit.difference(old[name], new[name], f"rules[{name}]."))
        else:
            changes[f"rules[{name}]"] = [old.get(name), new.get(name)]
    orders = [[name for name in one if name in other] for one, other in ((old, new), (new, old))]
    if orders[0] != orders[1]:
        changes["rules.order"] = orders
    return changes


def _record(action: str, row: Rule, actor: Actor, changes: Mapping[str, Any]) -> None:
    audit.record(
        actor,
        action,
        category="routing",
        object_type="rule",
        object_id=row.pk,
        object_name=f"{row.profile.slug}: {row.name}",
        changes=changes,
    )
