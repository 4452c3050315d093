"""Access keys: create (the value is shown once), change, revoke. Live: every write acts at once.

Only the SHA-256 of a value is stored; 32 random bytes need no slow hash.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from routes import document, draft
from routes.actions import _rows, audit, overlay
from routes.actions.errors import Conflict, Invalid
from routes.document.base import merged
from routes.models import AccessKey, Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.actions.actor import Actor

PREFIX_LENGTH = 12
#: May be named before it exists: it is the contract's default.
DEFAULT_PROFILE = "default"


class CreatedKey(NamedTuple):
    """``value`` is nowhere else: show it now or never."""

    key: AccessKey
    value: str

    def __repr__(self) -> str:
        return f"CreatedKey(key={self.key!r})"


def new_value() -> str:
    return f"sbx_{secrets.token_urlsafe(32)}"


@audit.in_turn()
def create_access_key(data: Mapping[str, Any], *, actor: Actor) -> CreatedKey:
    """A new key; ``data`` is the document's entry, with a ``value`` of the caller's choice or none. Raises Invalid,
    Conflict when the name or value is taken."""
    actor.require("admin")
    wanted = _rows.parse(document.AccessKey, data)
    value = wanted.value or new_value()
    return CreatedKey(store(wanted.model_copy(update={"value": value}), actor=actor), value)


@audit.in_turn()
def update_access_key(
    key: AccessKey, changes: Mapping[str, Any], *, actor: Actor, version: int | None = None
) -> AccessKey:
    """Change some fields; ``enabled: false`` locks it out within two seconds. Raises Invalid, Conflict,
    StaleVersion, Missing."""
    actor.require("admin")
    row = _rows.lock(AccessKey.objects, key.pk, f"access key {key.name}", version)
    tree = merged(draft.key_tree(row), changes, document.AccessKey.OBJECTS)
    return store(_rows.parse(document.AccessKey, tree), actor=actor, row=row)


def store(wanted: document.AccessKey, *, actor: Actor, row: AccessKey | None = None, path: str = "") -> AccessKey:
    """Write a validated entry into its row, new or locked. ``path`` prefixes errors. Private to actions."""
    new = row is None
    row = row or AccessKey()
    others = AccessKey.objects.exclude(pk=row.pk)
    if others.filter(name=wanted.name).exists():
        raise Conflict(f"there is already an access key '{wanted.name}'", {f"{path}name": ["is taken"]})
    if new and wanted.value is None:
        raise Invalid.from_errors([(f"{path}value", "required for a new key")])
    _check_profiles(wanted, row, path)
    before = {} if new else draft.key_tree(row)
    after = wanted.model_dump(mode="json")
    changes: dict[str, Any] = audit.difference(before, after)
    if wanted.value is not None:
        digest = sha256(wanted.value.encode()).hexdigest()
        if digest != row.digest:
            if others.filter(digest=digest).exists():
                raise Conflict("another access key has this value", {f"{path}value": ["is taken"]})
            row.digest, row.prefix, row.last4 = digest, wanted.value[:PREFIX_LENGTH], wanted.value[-4:]
            changes["value"] = "changed"
    if not new and not changes:
        return row
    _rows.fill(row, {**after, "expires": wanted.expires}, draft.KEY_COLUMNS)
    if new:
        row.save(force_insert=True)
    else:
        _rows.bump(row)
    audit.record(
        actor,
        "access_key.created" if new else "access_key.updated",
        category="auth",
        object_type="access_key",
        object_id=row.pk,
        object_name=row.name,
        changes=changes,
    )
    overlay.touch()
    return row


def _check_profiles(wanted: document.AccessKey, row: AccessKey, path: str) -> None:
    """Newly named profiles must exist; what the key named before may have been rolled away meanwhile."""
    named = {f"profiles[{index}]": slug for index, slug in enumerate(wanted.profiles or ())}
    if "route" in wanted.scopes:
        named["profile"] = wanted.profile
    known = {DEFAULT_PROFILE, row.profile, *(row.allowed_profiles or ())}
    known.update(Profile.objects.filter(slug__in=named.values()).values_list("slug", flat=True))
    if errors := [
        (f"{path}{field}", f"there is no profile '{slug}'") for field, slug in named.items() if slug not in known
    ]:
        raise Invalid.from_errors(errors)


@audit.in_turn()
def revoke_access_key(key: AccessKey, *, actor: Actor, version: int | None = None) -> None:
    """Delete the key; no process accepts it after two seconds."""
    actor.require("admin")
    row = _rows.lock(AccessKey.objects, key.pk, f"access key {key.name}", version)
    remove(row, actor=actor)


def remove(row: AccessKey, *, actor: Actor) -> None:
    """Delete the row. Private to actions."""
    audit.record(
        actor,
        "access_key.revoked",
        category="auth",
        object_type="access_key",
        object_id=row.pk,
        object_name=row.name,
        changes=audit.difference(draft.key_tree(row), {}),
    )
    row.delete()
    overlay.touch()
