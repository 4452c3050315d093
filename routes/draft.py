"""The draft: what the rows say, as a configuration document. Reads only; every write is in ``routes.actions``.

Column names are the document's field names but where a model would shadow Django (``models``). What a row does
not hold has its default.
"""

from __future__ import annotations

import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import Prefetch

from routes import document
from routes.document.access_key import format_time
from routes.document.base import merged, tidy
from routes.models import AccessKey, Policy, PriceTable, Profile, ProfileTarget, Provider, Rule, RuleTarget

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

#: document field -> column
PROVIDER_COLUMNS = {
    **{name: name for name in ("slug", "name", "wire", "base_url", "network", "auth", "headers", "query", "proxy")},
    **{name: name for name in ("region", "tags", "weight", "capacity", "max_concurrency", "prices", "circuit")},
    **{name: name for name in ("quarantine", "context", "stream_usage", "probe")},
    **{name: name for name in ("fallback_to_base_url", "head_networks")},
    "models": "model_map",
}
PROFILE_COLUMNS = {
    **{name: name for name in ("slug", "name", "strategy", "params", "affinity", "failover", "scenario")},
    **{name: name for name in ("limits", "accounting", "require_tags")},
}
RULE_COLUMNS = {
    **{name: name for name in ("name", "description", "enabled", "when", "strategy", "params")},
    "fallback_to_profile": "fallback_to_profile",
}
POLICY_COLUMNS = {name: name for name in document.Policy.model_fields}
KEY_COLUMNS = {
    **{name: name for name in ("name", "profile", "scopes", "enabled", "expires", "region", "tags", "allow")},
    "models": "allowed_models",
    "profiles": "allowed_profiles",
    "limits": "limits",
}


#: Every field with its default: what a row does not hold has this value.
_PROVIDER = document.Provider(slug="x", name="x", wire="openai", base_url="http://x").model_dump(mode="json")
_PROFILE = document.Profile(slug="x", name="x", targets=[]).model_dump(mode="json")
_KEY = document.AccessKey(name="x").model_dump(mode="json")
_RULE = dict.fromkeys(document.Rule.model_fields)
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
    """A profile with its rules as the document writes it. Take several from ``profiles_with_targets``."""
    return {
        **_tree(row, PROFILE_COLUMNS, _PROFILE, document.Profile.OBJECTS),
        "targets": targets_of(row),
        "rules": [rule_tree(rule) for rule in rules_of(row)],
    }


def rule_tree(row: Rule) -> dict[str, Any]:
    """A rule as the document writes it. Take several from ``rules_of`` or ``rules_with_targets``."""
    return {**_tree(row, RULE_COLUMNS, _RULE, {}), "targets": targets_of(row)}


def targets_of(row: Profile | Rule) -> list[dict[str, Any]]:
    """Its targets as the document writes them."""
    return [
        {
            "provider": target.provider.slug,
            "model": target.model,
            "weight": _plain(target.weight),
            "tier": target.tier,
        }
        for target in row.targets.all()
    ]


def key_tree(row: AccessKey) -> dict[str, Any]:
    """An access key as the document writes it, without its value."""
    return _tree(row, KEY_COLUMNS, _KEY, document.AccessKey.OBJECTS)


def limits_of(row: AccessKey) -> dict[str, Any]:
    """Its limits in full; a key from before there were any has none."""
    return {**_KEY["limits"], **row.limits}


def policy_tree(row: Policy) -> dict[str, Any]:
    return _tree(row, POLICY_COLUMNS, _POLICY, {})


def profiles_with_targets() -> QuerySet[Profile]:
    """All profiles with their targets and rules, in four queries."""
    return profiles_with_own_targets().prefetch_related(Prefetch("rules", rules_with_targets()))


def profiles_with_own_targets() -> QuerySet[Profile]:
    """All profiles with their targets, without their rules, in two queries."""
    return Profile.objects.prefetch_related(Prefetch("targets", ProfileTarget.objects.select_related("provider")))


def rules_with_targets() -> QuerySet[Rule]:
    """All rules with their targets, in two queries."""
    return Rule.objects.prefetch_related(Prefetch("targets", RuleTarget.objects.select_related("provider")))


def rules_of(profile: Profile) -> Iterable[Rule]:
    """A profile's rules in order, with their targets: two queries, or none when they came with the profile."""
    if "rules" in getattr(profile, "_prefetched_objects_cache", {}):
        return profile.rules.all()
    return rules_with_targets().filter(profile=profile)


def configuration() -> document.Configuration:
    """The draft as a validated document. Seven queries whatever its size. Raises DocumentError."""
    return document.Configuration.parse(
        {
            "version": 1,
            "policy": policy_tree(Policy.get()),
            "prices": PriceTable.get().prices,
            "providers": [provider_tree(row) for row in Provider.objects.all()],
            "profiles": [profile_tree(row) for row in profiles_with_targets()],
        }
    )
