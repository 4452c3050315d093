"""People: accounts, their roles and passwords. Live: every write acts at once, also on sessions that are open.

What nobody can do here, whoever asks: leave the installation without an admin who can log in, delete his own account,
or, without being a superuser himself, make or edit one. A password is a parameter and then a hash; it is in no log,
error, audit entry or return value. Whoever writes holds the lock on the installation, so that two admins cannot
demote one another at the same time; hashing takes a third of a second, and is done before. Only what changes is held
against the rules: accounts of earlier releases can be switched off, whatever they are called. Roles are groups
(``routes.roles``); a group beside the three is one that an installation made itself once.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX, make_password
from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.password_validation import validate_password
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from routes.actions import _rows, audit
from routes.actions.errors import Conflict, Forbidden, InUse, Invalid, Missing, StaleVersion
from routes.document import user as document
from routes.models import Installation
from routes.roles import ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

    from routes.actions.actor import Actor

#: Details of people: everybody who may read the audit log reads it, and nothing can ever be taken out of it.
PERSONAL = ("email", "first_name", "last_name")
COLUMNS = ("username", "email", "first_name", "last_name", "is_active", "is_superuser")
LAST_ADMIN = (
    "this is the only admin who can log in: give another user the role Admin first, so that somebody can still change "
    "the configuration"
)


def tree(user: User) -> dict[str, Any]:
    """The account as the API and the audit log say it. No query when ``groups`` is prefetched, else one."""
    return {
        **{name: getattr(user, name) for name in COLUMNS},
        "roles": sorted(group.name for group in user.groups.all()),
    }


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """For the audit log: of details of people only which of them are others now."""
    return {
        name: "changed" if name in PERSONAL else change
        for name, change in audit.difference(before, after).items()
        if name not in PERSONAL or any(change)
    }


def version_of(user: User) -> int:
    """Which content of the account somebody looked at; another after every change, of the password too, and not after
    a login. Costs what ``tree`` costs."""
    content = orjson.dumps([user.pk, tree(user), user.password], option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(sha256(content).digest()[:6])


def admins() -> QuerySet[User]:
    """Who can log in to the console and change everything: at least one of them stays."""
    permission = Permission.objects.filter(content_type__app_label="routes", codename="control_admin")
    return (
        User.objects.filter(is_active=True, is_staff=True)
        .exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX)
        .filter(
            Q(is_superuser=True) | Q(groups__permissions__in=permission) | Q(user_permissions__in=permission),
        )
        .distinct()
    )


def create_user(data: Mapping[str, Any], *, actor: Actor) -> User:
    """A new account with its ``password``. Raises Invalid, Forbidden, Conflict when the name is taken."""
    actor.require("admin")
    wanted = _rows.parse(document.User, data)
    if wanted.password is None:
        raise Invalid.from_errors([("password", "required for a new user")])
    account = wanted.model_dump(mode="json")
    encoded = _encoded(wanted.password, account)
    with audit.in_turn():
        Installation.get(lock=True)
        return _store(account, encoded, actor=actor)


def update_user(user: User, changes: Mapping[str, Any], *, actor: Actor, version: int | None = None) -> User:
    """Change some fields. A new password, and ``is_active: false``, end the person's sessions and what they have open.
    Raises Invalid, Forbidden, Conflict, StaleVersion, Missing."""
    actor.require("admin")
    wanted, password = _changed(tree(user), changes)
    encoded = None if password is None else _encoded(password, {**tree(user), **wanted})
    with audit.in_turn():
        row = _lock(user, version)
        wanted, _ = _changed(tree(row), changes)  # it may be another account by now
        return _store({**tree(row), **wanted}, encoded, actor=actor, row=row)


@audit.in_turn()
def delete_user(user: User, *, actor: Actor, version: int | None = None) -> None:
    """Raises Forbidden, Conflict for one's own account and for the last admin's, StaleVersion, Missing."""
    actor.require("admin")
    row = _lock(user, version)
    if row.is_superuser:
        _require_superuser(actor)
    if actor.kind == "user" and actor.id == str(row.pk):
        raise Conflict("this is your own account: another admin can delete it")
    was_admin = admins().filter(pk=row.pk).exists()
    _record(actor, "user.deleted", row, difference(tree(row), {}))
    row.delete()
    _keep_an_admin(was_admin)


def change_own_password(user: User, password: str, *, actor: Actor) -> User:
    """A person's new password; that they know the old one, the caller has made sure. Raises Forbidden, Invalid."""
    if actor.kind != "user" or actor.id != str(user.pk):
        raise Forbidden("this is not your own account")
    _, checked = _changed(tree(user), {"password": password})
    encoded = _encoded(checked or "", tree(user))
    with audit.in_turn():
        row = _lock(user, None)
        row.password = encoded
        row.save(update_fields=["password"])
        _record(actor, "user.password", row, {"password": "changed"}, category="auth")
    return row


def first_admin(username: str, password: str, *, actor: Actor) -> tuple[User, bool]:
    """The superuser of an installation in which no admin can log in: a new account, or the one of that name made good
    again; and whether this call did it. Of several hosts that start at once one does, and the others find what it made.
    The password is the operator's own choice, from the environment, and held against no rule. Raises Invalid for what
    no new account may be called."""
    encoded = make_password(password)
    with audit.in_turn():
        Installation.get(lock=True)
        present = admins().order_by("-is_superuser", "pk").first()
        if present is not None:
            return present, False
        row = User.objects.filter(username=username).first()
        before = tree(row) if row else {}
        row = row or User(username=_rows.parse(document.User, {"username": username}).username)
        row.is_staff = row.is_active = row.is_superuser = True
        row.password = encoded
        row.save()
        action = "user.updated" if before else "user.created"
        _record(actor, action, row, {**difference(before, tree(row)), "password": "changed"})
        return row, True


@audit.in_turn()
def delete_role(group: Group, *, actor: Actor) -> None:
    """Remove a group that an installation made itself. Raises Conflict for the three roles, InUse while somebody has
    it."""
    actor.require("admin")
    Installation.get(lock=True)
    row = Group.objects.select_for_update().filter(pk=group.pk).first()
    if row is None:
        raise Missing(f"role {group.name} does not exist any more")
    if row.name in ROLES:
        raise Conflict(f"{row.name} is one of the three roles of the product, which stay")
    members = User.objects.filter(groups=row).order_by("username").values_list("username", flat=True)
    if members:
        raise InUse(f"role {row.name} is still given to somebody", [f"user {name}" for name in members])
    audit.record(
        actor,
        "role.deleted",
        category="admin",
        object_type="role",
        object_id=row.pk,
        object_name=row.name,
        changes={"permissions": [sorted(row.permissions.values_list("codename", flat=True)), None]},
    )
    row.delete()


def _lock(user: User, version: int | None) -> User:
    Installation.get(lock=True)
    row = User.objects.select_for_update().filter(pk=user.pk).first()
    if row is None:
        raise Missing(f"user {user.username} does not exist any more")
    if version is not None and version != (current := version_of(row)):
        raise StaleVersion(f"user {row.username}", version, current)
    return row


def _changed(present: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """What becomes another, checked, and a new password. Raises Invalid."""
    new = {
        name: value
        for name, value in changes.items()
        if name not in present or type(value) is not type(present[name]) or value != present[name]
    }
    checked = _rows.parse(document.User, {"username": "stays", **new})
    return checked.model_dump(mode="json", include=set(new)), checked.password


def _encoded(password: str, account: Mapping[str, Any]) -> str:
    """The hash of a password that will do for this account. About a third of a second, so never while the chain is
    held. Raises Invalid with what is wrong with it."""
    try:
        validate_password(password, User(**{name: account[name] for name in COLUMNS}))
    except ValidationError as error:
        raise Invalid.from_errors(("password", text) for text in error.messages) from None
    return make_password(password)


def _store(wanted: Mapping[str, Any], encoded: str | None, *, actor: Actor, row: User | None = None) -> User:
    """Write a checked account, and the hash of a new password, into its row, new or locked."""
    new = row is None
    row = row or User(is_staff=True)  # whoever has an account may log in; what they may do is the role's matter
    if row.is_superuser or wanted["is_superuser"]:
        _require_superuser(actor)
    renamed = wanted["username"] != row.username
    if renamed and User.objects.exclude(pk=row.pk).filter(username__iexact=wanted["username"]).exists():
        raise Conflict(f"there is already a user '{wanted['username']}'", {"username": ["is taken"]})
    groups = list(Group.objects.filter(name__in=wanted["roles"]))
    if unknown := sorted(set(wanted["roles"]) - {group.name for group in groups}):
        raise Invalid.from_errors(
            (f"roles[{wanted['roles'].index(name)}]", f"there is no role '{name}'") for name in unknown
        )
    before = {} if new else tree(row)
    was_admin = not new and admins().filter(pk=row.pk).exists()
    changes = difference(before, wanted)
    for name in COLUMNS:
        setattr(row, name, wanted[name])
    if encoded is not None:
        row.password = encoded
        changes["password"] = "changed"  # noqa: S105 - that it changed, never what it is
    if not new and not changes:
        return row
    row.save(force_insert=new)
    row.groups.set(groups)
    _record(actor, "user.created" if new else "user.updated", row, changes)
    if not row.is_active or (not new and "is_active" in changes):
        transaction.on_commit(partial(_end_sessions, row.pk), robust=True)
    _keep_an_admin(was_admin)
    return row


def _require_superuser(actor: Actor) -> None:
    """An admin who could edit a superuser could become one. An access key is nobody, and so no superuser."""
    if actor.kind in ("command", "system"):
        return
    if actor.kind != "user" or not User.objects.filter(pk=actor.id, is_superuser=True, is_active=True).exists():
        raise Forbidden("only a superuser may make, change or delete a superuser")


def _keep_an_admin(was_admin: bool) -> None:
    if was_admin and not admins().exists():
        raise Conflict(LAST_ADMIN)


def _end_sessions(user_id: int) -> None:
    """Forget the sessions of somebody who may not log in any more, or they would be good again together with the
    account. Reads every session there is, and so comes after the commit, when nobody waits for it; in case that it did
    not come then, also when the account is switched on again."""
    own = [
        session.pk
        for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator()
        if session.get_decoded().get("_auth_user_id") == str(user_id)
    ]
    Session.objects.filter(pk__in=own).delete()


def _record(actor: Actor, action: str, row: User, changes: Mapping[str, Any], category: str = "admin") -> None:
    audit.record(
        actor,
        action,
        category=category,
        object_type="user",
        object_id=row.pk,
        object_name=row.username,
        changes=changes,
    )
