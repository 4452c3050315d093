"""Scopes: what a bearer key or a person may do, and how they imply one another. Imports nothing of the project.

``route`` stands alone; ``operate`` includes ``read``; ``admin`` includes both. People get theirs from the roles
Viewer, Operator and Admin (``routes.roles``), so API, admin and commands ask one question: which scopes?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

Scope = Literal["route", "read", "operate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
#: Everything a control-plane scope includes.
INCLUDES: dict[str, frozenset[str]] = {
    "route": frozenset({"route"}),
    "read": frozenset({"read"}),
    "operate": frozenset({"read", "operate"}),
    "admin": frozenset({"read", "operate", "admin"}),
}
#: Django permission (on the Installation model) -> scope.
PERMISSIONS: dict[str, Scope] = {
    "routes.control_read": "read",
    "routes.control_operate": "operate",
    "routes.control_admin": "admin",
}


def effective(scopes: Iterable[str]) -> frozenset[str]:
    """``scopes`` with everything they include."""
    return frozenset().union(*(INCLUDES.get(scope, frozenset()) for scope in scopes))


def scopes_of_user(user: AbstractBaseUser | AnonymousUser) -> frozenset[str]:
    """A person's scopes, from permissions (two queries the first time, then cached on ``user``)."""
    has_perm = getattr(user, "has_perm", None)
    if not user.is_active or has_perm is None:
        return frozenset()
    return effective(scope for permission, scope in PERMISSIONS.items() if has_perm(permission))
