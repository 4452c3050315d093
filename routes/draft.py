"""The draft: what the rows say, as a configuration document. Reads only; every write is in ``routes.actions``.

Column names are the document's field names but where a model would shadow Django (``models``). What a row does
not hold is a field of a later release and has its neutral value.
"""

from __future__ import annotations

import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any

from routes import document
from routes.document.access_key import format_time
from routes.document.base import merged, tidy
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


#: Every field with its default: what a row does not hold has this value.
_PROVIDER = document.Provider(slug="x", name="x", wire="openai", base_url="http://x").model_dump(mode="json")
_PROFILE = document.Profile(slug="x", name="x", targets=[]).model_dump(mode="json")
_KEY = document.AccessKey(name="x").model_dump(mode="json")
_POLICY = document.Policy().model_dump(mode="json")


def _tree(row: Any, columns: dict[str, str], neutral: dict[str, Any], objects: dict[str, Any]) -> dict[str, Any]:
    """Not validated: a row that this release would refuse can still be read, shown and corrected."""
    return merged(
        copy.deepcopy(neutral), {field: _plain(getattr(row, column)) for field, column in columns.items()}, objects
    )


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return tidy(value)
    return format_time(value) if isinstance(value, datetime) else value


def provider_tree(row: Provider) -> dict[str, Any]:
    """A provider as the document writes it, without its credential."""
    return _tree(row, PROVIDER_COLUMNS, _PROVIDER, document.Provider.OBJECTS)


def profile_tree(row: Profile) -> dict[str, Any]:
    """A profile as the document writes it. Prefetch ``targets__provider`` when there are several."""
    targets = [
        {
            "provider": target.provider.slug,
            "model": target.model,
            "weight": _plain(target.weight),
            "tier": target.tier,
        }
        for target in row.targets.all()
    ]
    return {**_tree(row, PROFILE_COLUMNS, _PROFILE, document.Profile.OBJECTS), "targets": targets}


def key_tree(row: AccessKey) -> dict[str, Any]:
    """An access key as the document writes it, without its value."""
    return _tree(row, KEY_COLUMNS, _KEY, document.AccessKey.OBJECTS)


def policy_tree(row: Policy) -> dict[str, Any]:
    return {**copy.deepcopy(_POLICY), "default_strategy": row.default_strategy}


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
