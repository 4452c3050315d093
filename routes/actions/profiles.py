"""Profiles with their targets, which are replaced as a whole. Draft until published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from routes import document, draft
from routes.actions import _rows, audit
from routes.actions.errors import Conflict, InUse, Invalid
from routes.document.base import merged
from routes.models import AccessKey, Profile, ProfileTarget, Provider

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.actions.actor import Actor


@transaction.atomic
def create_profile(data: Mapping[str, Any], *, actor: Actor) -> Profile:
    """A new profile in the draft; ``data`` is the document's entry. Raises Invalid, Conflict."""
    actor.require("admin")
    return store(_rows.parse(document.Profile, data), actor=actor)


@transaction.atomic
def update_profile(
    profile: Profile, changes: Mapping[str, Any], *, actor: Actor, version: int | None = None
) -> Profile:
    """Change some fields: failover and its time-outs are merged, ``targets`` replaced as a whole. Another strategy
    without ``params`` gets that strategy's defaults. Raises Invalid, StaleVersion, Missing."""
    actor.require("admin")
    row = _rows.lock(Profile.objects, profile.pk, f"profile {profile.slug}", version)
    tree = merged(draft.profile_tree(row), changes, document.Profile.OBJECTS)
    if "strategy" in changes and "params" not in changes:
        try:
            same = document.profile.strategy_name(changes["strategy"]) == row.strategy
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
    providers = Provider.objects.in_bulk({target.provider for target in wanted.targets}, field_name="slug")
    if errors := [
        (f"{path}targets[{index}].provider", f"there is no provider '{target.provider}'")
        for index, target in enumerate(wanted.targets)
        if target.provider not in providers
    ]:
        raise Invalid.from_errors(errors)
    before = {} if new else draft.profile_tree(row)
    after = wanted.model_dump(mode="json")
    changes = audit.difference(before, after)
    if not new and not changes:
        return row
    _rows.fill(row, after, draft.PROFILE_COLUMNS)
    if new:
        row.save(force_insert=True)
    else:
        _rows.bump(row)
    if new or "targets" in changes:
        row.targets.all().delete()
        ProfileTarget.objects.bulk_create(
            ProfileTarget(
                profile=row,
                provider=providers[target.provider],
                position=position,
                model=target.model,
                weight=target.weight,
                tier=target.tier,
            )
            for position, target in enumerate(wanted.targets)
        )
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


@transaction.atomic
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
        changes=audit.difference(draft.profile_tree(row), {}),
    )
    row.delete()
