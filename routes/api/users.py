"""People over REST: ``users/``, and ``roles/``, which says what each role may do. Decided by ``routes.actions.users``.

Accounts are Django's and have no version of their own: their ``ETag`` stands for their content. Reading needs ``read``
as everywhere; what is personal (names, e-mail, last login) is shown to admins, and to people of themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.auth.models import Group, User
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.exceptions import NotFound
from rest_framework.response import Response
from rest_framework.views import APIView

from routes import actions
from routes.actions import users
from routes.api.auth import actor_of, scopes_of
from routes.api.openapi import reference
from routes.api.pagination import CursorPages
from routes.api.permissions import ReadScope
from routes.api.resources import ResourceViewSet
from routes.api.schema import describes
from routes.document.access_key import format_time
from routes.roles import ROLES, scopes_of_groups

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request

PERSONAL = ("email", "first_name", "last_name", "last_login")


class ByUsername(CursorPages):
    ordering = "username"


class Content(NamedTuple):
    version: int


@extend_schema_view(**describes("User", "user", refused="for your own account and for the last admin who can log in"))
@extend_schema(tags=["users"])
class UserViewSet(ResourceViewSet):
    """People who may log in to the console. Every change acts at once."""

    noun = "user"
    key_field = "username"
    pagination_class = ByUsername
    read_only = frozenset({"id", "version", "created_at"})
    moving = frozenset({"last_login"})

    def rows(self) -> QuerySet[User]:
        return User.objects.prefetch_related("groups")

    def numbered(self, row: User) -> Content:
        return Content(users.version_of(row))

    def represent(self, row: User) -> dict[str, Any]:
        found = {
            "id": str(row.pk),
            "version": users.version_of(row),
            "created_at": row.date_joined.isoformat(),
            "last_login": format_time(row.last_login) if row.last_login else None,
            **users.tree(row),
        }
        asker: Any = self.request.user
        if "admin" not in scopes_of(self.request) and asker.pk != row.pk:
            found |= dict.fromkeys(PERSONAL)
        return found

    def perform_create(self, data: dict[str, Any], request: Request) -> tuple[User, dict[str, Any]]:
        return actions.create_user(data, actor=actor_of(request)), {}

    def perform_update(self, row: User, changes: dict[str, Any], version: int | None, request: Request) -> User:
        return actions.update_user(row, changes, actor=actor_of(request), version=version)

    def perform_delete(self, row: User, version: int | None, request: Request) -> None:
        actions.delete_user(row, actor=actor_of(request), version=version)

    def find(self, key: str) -> User:
        """By id, else by user name. Raises NotFound."""
        row = None
        if "\x00" not in key:
            if key.isascii() and key.isdecimal() and len(key) < 10:
                row = self.rows().filter(pk=int(key)).first()
            row = row or self.rows().filter(username=key).first()
        if row is None:
            raise NotFound("there is no user of this name")
        return row


class RolesView(APIView):
    """The three roles, then what groups an installation made itself."""

    permission_classes = (ReadScope,)

    @extend_schema(
        operation_id="roles_list",
        tags=["users"],
        responses={200: reference("RolePage")},
        description="What each role may do, as scopes and in words, and how many people have it.",
    )
    def get(self, request: Request) -> Response:
        groups = {
            group.name: group for group in Group.objects.prefetch_related("user_set", "permissions__content_type")
        }
        names = [*(name for name in ROLES if name in groups), *sorted(groups.keys() - ROLES.keys())]
        found = [
            {
                "name": name,
                "scopes": scopes_of_groups([groups[name]]),
                "description": ROLES.get(name, ""),
                "users": len(groups[name].user_set.all()),
            }
            for name in names
        ]
        return Response({"results": found, "next": None, "previous": None})
