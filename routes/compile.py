"""From a configuration to a compiled revision: ids resolved, defaults filled in, prices embedded, no secrets.

The result is what gateways read and what ``Snapshot.from_document`` takes; building that snapshot is the last
check of every revision, so that one which a gateway could not load is never written. Must not import actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from routes.document import DocumentError, Profile
from routes.document.access_key import format_time
from routes.engine.errors import SnapshotError
from routes.engine.snapshot import FORMAT, Snapshot
from routes.pricing import builtin_context, builtin_prices

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from routes.document import Configuration

#: The same everywhere: there is one such profile in an installation.
UNNAMED_ID = str(UUID(int=0))
AUTH_HEADERS = {
    "bearer": {"header": "authorization", "prefix": "Bearer "},
    "x-api-key": {"header": "x-api-key", "prefix": ""},
    "none": None,
}


def compile_configuration(
    configuration: Configuration,
    *,
    installation: str,
    number: int,
    published_at: datetime,
    provider_ids: Mapping[str, str],
    profile_ids: Mapping[str, str],
) -> dict[str, Any]:
    """The compiled document, checked. ``*_ids``: slug -> id. Raises DocumentError."""
    tree = configuration.canonical()
    weights = {provider["slug"]: provider["weight"] for provider in tree["providers"]}
    compiled = {
        "format": FORMAT,
        "installation": installation,
        "number": number,
        "published_at": format_time(published_at),
        "translates": True,
        "policy": tree["policy"],
        "prices": tree["prices"],
        "builtin_prices": builtin_prices(published_at),
        "builtin_context": builtin_context(),
        "providers": [_provider(entry, provider_ids[entry["slug"]]) for entry in tree["providers"]],
        "profiles": [_profile(entry, profile_ids[entry["slug"]], weights) for entry in tree["profiles"]],
        "unnamed": _profile(_unnamed(tree), UNNAMED_ID, weights),
    }
    try:
        Snapshot.from_document(compiled)
    except SnapshotError as error:
        raise DocumentError([(error.path, error.message)]) from error
    return compiled


def _provider(entry: dict[str, Any], provider_id: str) -> dict[str, Any]:
    auth = entry["auth"]
    return {"id": provider_id, **entry, "auth": AUTH_HEADERS[auth] if isinstance(auth, str) else auth}


def _unnamed(tree: dict[str, Any]) -> dict[str, Any]:
    """What decisions that name no profile go by: every provider, under the policy's default strategy."""
    defaults = Profile(slug="unnamed", name="No profile", strategy=tree["policy"]["default_strategy"], targets=[])
    targets = [{"provider": entry["slug"], "model": None, "weight": None, "tier": 0} for entry in tree["providers"]]
    return {**defaults.model_dump(mode="json"), "slug": "", "targets": targets}


def _profile(entry: dict[str, Any], profile_id: str, weights: Mapping[str, float]) -> dict[str, Any]:
    targets = [
        {**target, "weight": weights[target["provider"]] if target["weight"] is None else target["weight"]}
        for target in entry["targets"]
    ]
    return {"id": profile_id, **entry, "targets": targets}
