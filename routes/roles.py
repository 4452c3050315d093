"""The roles Viewer ⊂ Operator ⊂ Admin: groups kept in step with the tables after every ``migrate``.

A receiver of ``post_migrate`` and not a data migration, because permissions exist only after migrations ran, and
because tables that later releases add must reach existing groups too. Permissions are only ever added: what an
installation grants beyond them stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.scopes import PERMISSIONS, SCOPES, effective

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.apps import AppConfig
    from django.contrib.auth.models import Group

VIEWER, OPERATOR, ADMIN = "Viewer", "Operator", "Admin"
#: The roles, each including those before it, and what people are told that they may do.
ROLES: dict[str, str] = {
    VIEWER: "See everything but credentials, details of people and copies of payloads: health, history, configuration.",
    OPERATOR: "Also act on health: drain and disable providers, hold and reset circuits, probe, approve heads.",
    ADMIN: "Also change everything: configuration, access keys, alerts and users; publish; read copies of payloads.",
}
#: Apps whose tables people may look at.
APPS = ("routes", "history", "health")
#: Control-plane permissions and change permissions of each role; each role has those before it too.
GRANTS: dict[str, tuple[str, ...]] = {
    VIEWER: ("control_read",),
    OPERATOR: ("control_operate",),
    ADMIN: (
        "control_admin",
        *(
            f"{verb}_{model}"
            for model in ("provider", "profile", "profiletarget", "accesskey")
            for verb in ("add", "change", "delete")
        ),
        "add_configrevision",
        "change_policy",
        "change_pricetable",
        *(f"{verb}_{model}" for model in ("user", "group") for verb in ("view", "add", "change", "delete")),
    ),
}
GRANTING_APPS = (*APPS, "auth")


def scopes_of_groups(groups: Iterable[Group]) -> list[str]:
    """What groups give together, as scopes in their usual order. No query when ``permissions__content_type`` is
    prefetched."""
    held = {
        f"{permission.content_type.app_label}.{permission.codename}"
        for group in groups
        for permission in group.permissions.all()
    }
    found = effective(scope for permission, scope in PERMISSIONS.items() if permission in held)
    return [scope for scope in SCOPES if scope in found]


def grant_roles(sender: AppConfig, using: str, **_: Any) -> None:
    """Create the groups and give them what they miss of ``sender``'s permissions."""
    if sender.label not in GRANTING_APPS:
        return
    from django.contrib.auth.models import Group, Permission
    from django.db import router

    if not router.allow_migrate_model(using, Group):
        return
    permissions = Permission.objects.using(using).filter(content_type__app_label=sender.label)
    by_codename = {permission.codename: permission for permission in permissions}
    granted = [codename for codename in by_codename if codename.startswith("view_") and sender.label in APPS]
    for role, codenames in GRANTS.items():
        granted += [codename for codename in codenames if codename in by_codename]
        group, _created = Group.objects.using(using).get_or_create(name=role)
        group.permissions.add(*(by_codename[codename] for codename in granted))
