"""Profiles with their targets and rules. Targets are replaced as a whole; a list of rules too, but rules that keep
their name keep their rows (``routes.actions.rules``). Draft until published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes import document, draft
from routes.actions import _rows, audit, rules
from routes.actions.errors import Conflict, InUse, Invalid
from routes.document.base import merged
from routes.document.configuration import named_providers, unknown_providers
from routes.document.strategy import strategy_name
from routes.models import AccessKey, Policy, Profile, ProfileTarget, Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.actions.actor import Actor


@audit.in_turn()
def create_profile(data: Mapping[str, Any], *, actor: Actor) -> Profile:
    """A new profile in the draft; ``data`` is the document's entry, whose strategy may be left to the policy.
    Raises Invalid, Conflict."""
    actor.require("admin")
    return store(_rows.parse(document.Profile, {"strategy": Policy.get().default_strategy, **data}), actor=actor)


@audit.in_turn()
def update_profile(
    profile: Profile, changes: Mapping[str, Any], *, actor: Actor, version: int | None = None
) -> Profile:
    """Change some fields: objects such as failover and its time-outs are merged, ``targets`` and ``rules`` replaced as
    a whole. Another strategy without ``params`` gets that strategy's defaults. Raises Invalid, StaleVersion,
    Missing."""
    actor.require("admin")
    row = _rows.lock(Profile.objects, profile.pk, f"profile {profile.slug}", version)
    tree = merged(draft.profile_tree(row), changes, document.Profile.OBJECTS)
    if "strategy" in changes and "params" not in changes:
        try:
            same = strategy_name(changes["strategy"]) == row.strategy
        except ValueError:
            same = True  # validation says what is wrong with it
        tree["params"] = tree["params"] if same else {}
    wanted = _rows.parse(document.Profile, tree)
    if wanted.slug != row.slug:
        raise Invalid.from_errors([("slug", "cannot be changed; duplicate the profile instead")])
    return store(wanted, actor=actor, row=row)


def store(wanted: document.Profile, *, actor: Actor, row: Profile | None = None, path: str = "") -> Profile:
    """Write a validated entry into its row, new or locked. ``path`` prefixes errors. Private to actions."""
    new = row is None
    if row is None:
        if Profile.objects.filter(slug=wanted.slug).exists():
            raise Conflict(f"there is already a profile '{wanted.slug}'", {f"{path}slug": ["is taken"]})
        row = Profile(slug=wanted.slug)
    parts = list(named_providers(wanted, path))
    providers = Provider.objects.in_bulk({slug for _, named in parts for slug in named}, field_name="slug")
    if errors := list(unknown_providers(parts, providers)):
        raise Invalid.from_errors(errors)
    before = {} if new else draft.profile_tree(row)
    after = wanted.model_dump(mode="json")
    changes = _changes(before, after)
    if not new and not changes:
        return row
    _rows.fill(row, after, draft.PROFILE_COLUMNS)
    if new:
        row.save(force_insert=True)
    else:
        _rows.bump(row)
    if new or "targets" in changes:
        _rows.replace_targets(ProfileTarget, {"profile": row}, wanted.targets, providers)
    if before.get("rules", []) != after["rules"]:
        rules.replace(row, wanted.rules, providers)
    audit.record(
        actor,
        "profile.created" if new else "profile.updated",
        category="routing",
        object_type="profile",
        object_id=row.pk,
        object_name=row.slug,
        changes=changes,
    )
    return row


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit entry says; rules one by one."""
    old, new = ({name: value for name, value in tree.items() if name != "rules"} for tree in (before, after))
    return {
        **audit.difference(old, new),
        **rules.changes_between(before.get("rules", ()), after.get("rules", ())),
    }


@audit.in_turn()
def delete_profile(profile: Profile, *, actor: Actor, version: int | None = None) -> None:
    """Remove from the draft. Raises InUse while access keys name it."""
    actor.require("admin")
    row = _rows.lock(Profile.objects, profile.pk, f"profile {profile.slug}", version)
    users = [
        f"access key {key.name}"
        for key in AccessKey.objects.all()
        if (key.profile == row.slug and "route" in key.scopes) or row.slug in (key.allowed_profiles or ())
    ]
    if users:
        raise InUse(f"profile '{row.slug}' is used by {', '.join(users)}", users)
    remove(row, actor=actor)


def remove(row: Profile, *, actor: Actor) -> None:
    """Delete the row. Private to actions."""
    audit.record(
        actor,
        "profile.deleted",
        category="routing",
        object_type="profile",
        object_id=row.pk,
        object_name=row.slug,
        changes=_changes(draft.profile_tree(row), {}),
    )
    row.delete()
