"""The draft: what the rows say, as a configuration document. Reads only; every write is in ``routes.actions``.

Column names are the document's field names but where a model would shadow Django (``models``). What a row does
not hold is a field of a later release and has its neutral value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes import document
from routes.models import AccessKey, Policy, PriceTable, Profile, Provider

if TYPE_CHECKING:
    from django.db.models import QuerySet

#: document field -> column
PROVIDER_COLUMNS = {
    **{name: name for name in ("slug", "name", "wire", "base_url", "network", "auth", "headers", "query", "proxy")},
    **{name: name for name in ("region", "tags", "weight", "prices", "circuit", "quarantine")},
    "models": "model_map",
}
PROFILE_COLUMNS = {name: name for name in ("slug", "name", "strategy", "params", "failover", "accounting")}
KEY_COLUMNS = {
    **{name: name for name in ("name", "profile", "scopes", "enabled", "expires", "region", "allow")},
    "models": "allowed_models",
    "profiles": "allowed_profiles",
}


def _tree(row: Any, columns: dict[str, str]) -> dict[str, Any]:
    return {field: getattr(row, column) for field, column in columns.items()}


def provider_tree(row: Provider) -> dict[str, Any]:
    """A provider as the document writes it, without its credential."""
    return document.Provider.model_validate(_tree(row, PROVIDER_COLUMNS)).model_dump(mode="json")


def profile_tree(row: Profile) -> dict[str, Any]:
    """A profile as the document writes it. Prefetch ``targets__provider`` when there are several."""
    targets = [
        {"provider": target.provider.slug, "model": target.model, "weight": target.weight, "tier": target.tier}
        for target in row.targets.all()
    ]
    return document.Profile.model_validate({**_tree(row, PROFILE_COLUMNS), "targets": targets}).model_dump(mode="json")


def key_tree(row: AccessKey) -> dict[str, Any]:
    """An access key as the document writes it, without its value."""
    return document.AccessKey.model_validate(_tree(row, KEY_COLUMNS)).model_dump(mode="json")


def policy_tree(row: Policy) -> dict[str, Any]:
    return document.Policy(default_strategy=row.default_strategy).model_dump(mode="json")


def profiles_with_targets() -> QuerySet[Profile]:
    """All profiles in two queries."""
    return Profile.objects.prefetch_related("targets__provider")


def configuration() -> document.Configuration:
    """The draft as a validated document. Six queries whatever its size. Raises DocumentError."""
    return document.Configuration.parse(
        {
            "version": 1,
            "policy": policy_tree(Policy.get()),
            "prices": PriceTable.get().prices,
            "providers": [provider_tree(row) for row in Provider.objects.all()],
            "profiles": [profile_tree(row) for row in profiles_with_targets()],
        }
    )
