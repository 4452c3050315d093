"""``GET /v1/models``: what a profile serves, merged over its targets, in the shape of either wire. Pure.

Names are what a client may ask for: the keys of a provider's ``models`` (globs cannot be listed), or the model a
target is configured with. A provider that passes any name on adds nothing to the list, yet any single name is
found, because it would be routed. Services have no models.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from routes.engine.types import SERVICE_WIRE

if TYPE_CHECKING:
    from routes.engine.snapshot import Profile, Snapshot
    from routes.gateway.auth import AccessKey


def names(profile: Profile, key: AccessKey) -> dict[str, str]:
    """Model name -> slug of the first provider that serves it, in the profile's order, as the key may use them."""
    found: dict[str, str] = {}
    for target in profile.targets:
        provider = target.provider
        if provider.wire == SERVICE_WIRE:
            continue
        if target.model is not None:
            listed: tuple[str, ...] = (target.model,)
        else:
            listed = provider.models.names if provider.models is not None else ()
        for name in listed:
            if name not in found and target.models(name) is not None and key.may_use_model(name):
                found[name] = provider.slug
    return found


def owner(profile: Profile, key: AccessKey, model: str) -> str | None:
    """Slug of the first provider that would serve ``model``; None = not served, or not for this key."""
    if not key.may_use_model(model):
        return None
    serving = (target for target in profile.targets if target.provider.wire != SERVICE_WIRE)
    return next((target.provider.slug for target in serving if target.models(model) is not None), None)


def _openai(name: str, slug: str, snapshot: Snapshot) -> dict[str, Any]:
    created = int(datetime.fromisoformat(snapshot.published_at).timestamp())
    return {"id": name, "object": "model", "created": created, "owned_by": slug}


def _anthropic(name: str, snapshot: Snapshot) -> dict[str, Any]:
    # ``lifecycle`` is required by the SDK's type; whoever retired a model would not serve it.
    created = snapshot.published_at
    return {"type": "model", "id": name, "display_name": name, "created_at": created, "lifecycle": "active"}


def one(wire: str, name: str, slug: str, snapshot: Snapshot) -> dict[str, Any]:
    return _anthropic(name, snapshot) if wire == "anthropic" else _openai(name, slug, snapshot)


def many(wire: str, found: dict[str, str], snapshot: Snapshot) -> dict[str, Any]:
    """The whole list as one page."""
    data = [one(wire, name, slug, snapshot) for name, slug in found.items()]
    if wire == "anthropic":
        first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {"data": data, "has_more": False, "first_id": first, "last_id": last}
    return {"object": "list", "data": data}
