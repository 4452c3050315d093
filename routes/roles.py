"""The roles Viewer ⊂ Operator ⊂ Admin: groups kept in step with the tables after every ``migrate``.

A receiver of ``post_migrate`` and not a data migration, because permissions exist only after migrations ran, and
because tables that later releases add must reach existing groups too. Permissions are only ever added: what an
installation grants beyond them stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.apps import AppConfig

VIEWER, OPERATOR, ADMIN = "Viewer", "Operator", "Admin"
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
