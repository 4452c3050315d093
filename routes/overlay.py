"""The live overlay as a document: credentials, key hashes, heads and what people decided about providers, targets and
circuits, from the rows as they are now.

Holds secrets: what it returns goes into ``crypto.seal`` and nowhere else. Must not import actions or delivery.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from routes import crypto, decided, draft, ports
from routes.models import AccessKey, ConfigRevision, Provider
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routes.decided import Decision

log = get_logger("overlay")

FORMAT = 1


def build(installation: str, version: int) -> dict[str, Any]:
    """Read ``version`` before calling: newer rows under an older number are delivered again, never lost.
    Five queries."""
    found = decided.decisions()
    return {
        "format": FORMAT,
        "installation": installation,
        "version": version,
        "credentials": _credentials(),
        "admin_states": _admin_states(found, time.time()),
        # Resets and holds that are over too, or a host that was away would go on with what was before.
        "circuits": {key: forced._asdict() for key, forced in decided.circuits(found).items()},
        "generations": decided.generations(found),
        "heads": list(ports.heads()),
        "keys": [key_document(row) for row in AccessKey.objects.all()],
    }


def _credentials() -> dict[str, Any]:
    found = {}
    live = _live_slugs()
    for row in Provider.with_deleted.exclude(credential=None):
        if row.deleted_at is not None and row.slug not in live:
            continue
        try:
            value = crypto.unseal(bytes(row.credential or b""), row.credential_context).decode()
        except crypto.SealError as error:
            # The others must still get theirs; the system check routes.E003 names this one.
            log.error("credential_unreadable", provider=row.slug, error=str(error))
            continue
        found[str(row.pk)] = {"value": value, "generation": row.credential_generation}
    return found


def _live_slugs() -> set[str]:
    """Providers of the live revision: one deleted from the draft keeps its credential until that is published."""
    revision = ConfigRevision.objects.only("document_text").first()
    return {provider["slug"] for provider in revision.document["providers"]} if revision else set()


def _admin_states(found: Mapping[str, Decision], now: float) -> dict[str, Any]:
    """Those in force that are not active, by id of a provider or target."""
    return {
        key: {"state": state, "until": until}
        for key, (state, until) in decided.admin_states(found).items()
        if until is None or until > now
    }


def key_document(row: AccessKey) -> dict[str, Any]:
    """An access key as gateways know it."""
    return {
        "id": str(row.pk),
        "name": row.name,
        "prefix": row.prefix,
        "hash": row.digest,
        "profile": row.profile,
        "scopes": row.scopes,
        "enabled": row.enabled,
        "expires": row.expires.timestamp() if row.expires else None,
        "region": row.region,
        "tags": row.tags,
        "models": row.allowed_models,
        "profiles": row.allowed_profiles,
        "allow": row.allow,
        "limits": draft.limits_of(row),
    }
