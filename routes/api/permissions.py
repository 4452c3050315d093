"""Scopes as DRF permissions. ``DenyAll`` is the default: a view that names no scope answers nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rest_framework.permissions import BasePermission

from routes.api.auth import scopes_of

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class DenyAll(BasePermission):
    message = "this address is not open to anybody"

    def has_permission(self, request: Request, view: APIView) -> bool:
        return False


class ScopePermission(BasePermission):
    """Reading needs ``read``, anything else ``write``."""

    read: ClassVar[str] = "read"
    write: ClassVar[str] = "admin"

    def has_permission(self, request: Request, view: APIView) -> bool:
        needed = self.read if request.method in SAFE else self.write
        self.message = f"this needs the scope '{needed}'"
        return needed in scopes_of(request)


class ReadScope(ScopePermission):
    """Everything here needs ``read``."""

    write = "read"


class AdminReadScope(ScopePermission):
    """Everything here needs ``admin``, reading too."""

    read = "admin"


class OperateScope(ScopePermission):
    """Reading needs ``read``, acting ``operate``."""

    write = "operate"


class AdminScope(ScopePermission):
    """Reading needs ``read``, changing ``admin``."""

    write = "admin"
