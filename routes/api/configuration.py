"""Providers, profiles and access keys over REST. Everything is decided by ``routes.actions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import extend_schema, extend_schema_view

from routes import actions, draft, host
from routes.api.auth import actor_of
from routes.api.resources import ByName, ResourceViewSet, meta
from routes.api.schema import describes
from routes.engine.limits import MONEY_WINDOWS
from routes.models import AccessKey, Profile, Provider

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request

    from routes.engine.limits import KeyUsage
    from routes.models import TargetOverride


@extend_schema_view(**describes("Provider", "provider"))
@extend_schema(tags=["providers"])
class ProviderViewSet(ResourceViewSet):
    """Providers of the draft. Credential and admin state are live: they act at once."""

    noun = "provider"
    read_only = ResourceViewSet.read_only | {"credential_last4", "admin_state"}

    def rows(self) -> QuerySet[Provider]:
        return Provider.objects.all()

    def represent(self, row: Provider) -> dict[str, Any]:
        return {
            **meta(row),
            **draft.provider_tree(row),
            "credential": {"keep": True} if row.has_credential else None,
            "credential_last4": row.credential_last4,
            "admin_state": admin_state(row),
        }

    def perform_create(self, data: dict[str, Any], request: Request) -> tuple[Provider, dict[str, Any]]:
        return actions.create_provider(data, actor=actor_of(request)), {}

    def perform_update(self, row: Provider, changes: dict[str, Any], version: int | None, request: Request) -> Provider:
        return actions.update_provider(row, changes, actor=actor_of(request), version=version)

    def perform_delete(self, row: Provider, version: int | None, request: Request) -> None:
        actions.delete_provider(row, actor=actor_of(request), version=version)


def admin_state(row: Provider | TargetOverride) -> dict[str, Any]:
    """What people decided about a provider or target, and until when."""
    return {
        "state": row.admin_state,
        "until": row.admin_until.isoformat() if row.admin_until else None,
        "reason": row.admin_reason,
        "by": row.admin_by,
    }


@extend_schema_view(**describes("Profile", "profile"))
@extend_schema(tags=["profiles"])
class ProfileViewSet(ResourceViewSet):
    """Profiles of the draft, with their targets, which a change replaces as a whole."""

    noun = "profile"

    def rows(self) -> QuerySet[Profile]:
        return draft.profiles_with_targets()

    def represent(self, row: Profile) -> dict[str, Any]:
        return {**meta(row), **draft.profile_tree(row)}

    def perform_create(self, data: dict[str, Any], request: Request) -> tuple[Profile, dict[str, Any]]:
        return actions.create_profile(data, actor=actor_of(request)), {}

    def perform_update(self, row: Profile, changes: dict[str, Any], version: int | None, request: Request) -> Profile:
        return actions.update_profile(row, changes, actor=actor_of(request), version=version)

    def perform_delete(self, row: Profile, version: int | None, request: Request) -> None:
        actions.delete_profile(row, actor=actor_of(request), version=version)


@extend_schema_view(**describes("AccessKey", "access key"))
@extend_schema(tags=["access-keys"])
class AccessKeyViewSet(ResourceViewSet):
    """Access keys; every change acts at once. A new key's ``value`` is answered once and stored as a hash."""

    noun = "access key"
    key_field = "name"
    pagination_class = ByName
    read_only = ResourceViewSet.read_only | {"prefix", "last4"}
    moving = frozenset({"usage"})

    def rows(self) -> QuerySet[AccessKey]:
        return AccessKey.objects.all()

    def represent(self, row: AccessKey) -> dict[str, Any]:
        usage = host.usage_of(row)
        return {
            **meta(row),
            **draft.key_tree(row),
            "prefix": row.prefix,
            "last4": row.last4,
            "usage": None if usage is None else usage_tree(usage),
        }

    def perform_create(self, data: dict[str, Any], request: Request) -> tuple[AccessKey, dict[str, Any]]:
        created = actions.create_access_key(data, actor=actor_of(request))
        return created.key, {"value": created.value}

    def perform_update(
        self, row: AccessKey, changes: dict[str, Any], version: int | None, request: Request
    ) -> AccessKey:
        return actions.update_access_key(row, changes, actor=actor_of(request), version=version)

    def perform_delete(self, row: AccessKey, version: int | None, request: Request) -> None:
        actions.revoke_access_key(row, actor=actor_of(request), version=version)


def usage_tree(usage: KeyUsage) -> dict[str, Any]:
    """What a key uses now, with money in dollars."""
    return {
        "requests_last_minute": usage.requests,
        "tokens_last_minute": usage.tokens,
        "in_flight": usage.in_flight,
        **{f"usd_{window}": spent / 1e6 for window, spent in zip(MONEY_WINDOWS, usage.money, strict=True)},
    }
