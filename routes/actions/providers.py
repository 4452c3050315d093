"""Providers: create, change, delete; and admin states, which act at once.

Everything but credential and admin state is draft until published. ``data`` is the document's entry; a
``credential`` in it may be ``{value}`` or ``{keep}``; ``{env}`` and ``{file}`` name things of the machine and are
resolved by commands only, before they come here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.utils import timezone

from routes import document, draft
from routes.actions import _rows, audit, credentials, overlay
from routes.actions.errors import Conflict, InUse, Invalid
from routes.document.base import merged
from routes.models import ConfigRevision, Profile, Provider, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.actions.actor import Actor


@audit.in_turn()
def create_provider(data: Mapping[str, Any], *, actor: Actor) -> Provider:
    """A new provider in the draft. Raises Invalid, or Conflict when the slug is taken.

    A slug that was deleted comes back under its old id, so that its circuits and its place in kept revisions
    stay one thing; its old credential does not come back.
    """
    actor.require("admin")
    wanted = _rows.parse(document.Provider, data)
    return store(wanted, actor=actor)


@audit.in_turn()
def update_provider(
    provider: Provider, changes: Mapping[str, Any], *, actor: Actor, version: int | None = None
) -> Provider:
    """Change some fields: circuit and quarantine are merged, lists and maps replaced. ``credential`` absent = kept,
    null = removed. Raises Invalid, StaleVersion, Missing."""
    actor.require("admin")
    row = _rows.lock(Provider.objects, provider.pk, f"provider {provider.slug}", version)
    tree = merged(draft.provider_tree(row), changes, document.Provider.OBJECTS)
    if "credential" not in changes and row.has_credential:
        tree["credential"] = {"keep": True}
    wanted = _rows.parse(document.Provider, tree)
    if wanted.slug != row.slug:
        raise Invalid.from_errors([("slug", "cannot be changed; duplicate the provider instead")])
    return store(wanted, actor=actor, row=row)


def store(
    wanted: document.Provider, *, actor: Actor, row: Provider | None = None, path: str = "", restore: bool = False
) -> Provider:
    """Write a validated entry into its row, new or locked. ``path`` prefixes errors; ``restore`` (rollback) lets a
    deleted row come back with its credential. Private to actions."""
    if row is None:
        row = Provider.with_deleted.select_for_update().filter(slug=wanted.slug).first() or Provider(slug=wanted.slug)
        if not row._state.adding and row.deleted_at is None:
            raise Conflict(f"there is already a provider '{wanted.slug}'", {f"{path}slug": ["is taken"]})
    new = row._state.adding or row.deleted_at is not None
    keep = wanted.credential is not None and wanted.credential.keep is True
    if keep and (not row.has_credential or (new and not restore)):
        raise Invalid.from_errors([(f"{path}credential", "there is no stored credential to keep")])
    secret = None if wanted.credential is None else wanted.credential.value
    if wanted.credential is not None and secret is None and not keep:
        raise Invalid.from_errors([(f"{path}credential", "env and file are read by commands only; give a value")])

    before = {} if new else draft.provider_tree(row)
    after = wanted.model_dump(mode="json")
    changes: dict[str, Any] = audit.difference(before, after)
    credential_changes = not keep and (secret is not None or row.has_credential)
    if credential_changes:
        credentials.put(row, secret)
        changes["credential"] = "removed" if secret is None else "changed"
    if not new and not changes:
        return row
    _rows.fill(row, after, draft.PROVIDER_COLUMNS)
    if row._state.adding:
        row.save(force_insert=True)
    else:
        row.deleted_at = None
        _rows.bump(row)
    audit.record(
        actor,
        "provider.created" if new else "provider.updated",
        category="admin",
        object_type="provider",
        object_id=row.pk,
        object_name=row.slug,
        changes=changes,
    )
    if credential_changes:
        overlay.touch()
    return row


@audit.in_turn()
def delete_provider(
    provider: Provider, *, actor: Actor, version: int | None = None, remove_from_profiles: bool = False
) -> None:
    """Remove from the draft. Raises InUse while profiles or rules name it, unless ``remove_from_profiles``."""
    actor.require("admin")
    row = _rows.lock(Provider.objects, provider.pk, f"provider {provider.slug}", version)
    users = used_by(row)
    if users and not remove_from_profiles:
        raise InUse(f"provider '{row.slug}' is used by {', '.join(users)}", users)
    if users:
        _drop_targets(row, actor)
    remove(row, actor=actor)


def used_by(provider: Provider) -> list[str]:
    """The profiles and rules that name it, for people; two queries."""
    profiles = Profile.objects.filter(pk__in=provider.targets.values("profile")).order_by("slug")
    rules = Rule.objects.filter(pk__in=provider.rule_targets.values("rule")).select_related("profile")
    return [
        *(f"profile {profile.slug}" for profile in profiles),
        *(f"rule {rule.name} of profile {rule.profile.slug}" for rule in rules.order_by("profile__slug", "position")),
    ]


def _drop_targets(provider: Provider, actor: Actor) -> None:
    from routes.actions.profiles import update_profile

    of_rules = provider.rule_targets.values("rule__profile")
    rows = draft.profiles_with_targets().filter(Q(pk__in=provider.targets.values("profile")) | Q(pk__in=of_rules))
    for profile in rows:
        tree = draft.profile_tree(profile)
        for part in (tree, *tree["rules"]):
            part["targets"] = [target for target in part["targets"] if target["provider"] != provider.slug]
        update_profile(profile, {"targets": tree["targets"], "rules": tree["rules"]}, actor=actor)


def remove(row: Provider, *, actor: Actor) -> None:
    """Delete an unused row, softly when a revision may name it. Private to actions."""
    had_credential = row.has_credential
    audit.record(
        actor,
        "provider.deleted",
        category="admin",
        object_type="provider",
        object_id=row.pk,
        object_name=row.slug,
        changes=audit.difference(draft.provider_tree(row), {}),
    )
    if ConfigRevision.objects.filter(created_at__gte=row.created_at).exists():
        row.deleted_at = timezone.now()
        _rows.bump(row, "deleted_at")
    else:
        row.delete()
    if had_credential:
        overlay.touch()
