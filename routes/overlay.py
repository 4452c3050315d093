"""The live overlay as a document: credentials, key hashes, heads and what people decided about providers, targets and
circuits, from the rows as they are now.

Holds secrets: what it returns goes into ``crypto.seal`` and nowhere else. Must not import actions or delivery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.utils import timezone

from routes import crypto, draft, ports
from routes.engine.provider import heads_digest
from routes.models import AccessKey, ConfigRevision, Provider, TargetOverride
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from datetime import datetime

log = get_logger("overlay")

FORMAT = 1


def build(installation: str, version: int) -> dict[str, Any]:
    """Read ``version`` before calling: newer rows under an older number are delivered again, never lost.
    Seven queries."""
    now = timezone.now()
    heads = list(ports.heads())
    return {
        "format": FORMAT,
        "installation": installation,
        "version": version,
        "credentials": _credentials(),
        "admin_states": admin_states(now),
        "circuits": circuits(),
        "cleared": cleared(),
        "heads": {"digest": heads_digest(heads), "entries": heads},
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


def admin_states(now: datetime) -> dict[str, Any]:
    """Those in force that are not active, by id of a provider or target. Two queries."""
    found = {}
    for rows in (Provider.with_deleted.all(), TargetOverride.objects.all()):
        for row in rows.exclude(admin_state=Provider.AdminState.ACTIVE).filter(
            Q(admin_until=None) | Q(admin_until__gt=now)
        ):
            found[str(row.pk)] = {
                "state": row.admin_state,
                "until": _epoch(row.admin_until),
                "reason": row.admin_reason,
            }
    return found


def circuits() -> dict[str, Any]:
    """What people last did to circuits, by target id: also resets and holds that are over, however long ago, or a host
    that was away then would go on with what was before. One query."""
    return {
        str(row.pk): {
            "act": row.forced or "reset",
            "until": _epoch(row.forced_until),
            "at": _epoch(row.circuit_acted_at),
        }
        for row in TargetOverride.objects.exclude(circuit_acted_at=None)
    }


def cleared() -> dict[str, int]:
    """How often quarantines were made void beside by the credential that is there, by provider id: by hand, and by
    credentials where there is none now. What gateways count, this and the credential's generation, must only ever grow,
    or a quarantine of before would be in force again. One query."""
    rows = Provider.with_deleted.exclude(quarantines_cleared=0, credential_generation=0)
    found = {
        str(row.pk): row.quarantines_cleared + (row.credential_generation if row.credential is None else 0)
        for row in rows.only("quarantines_cleared", "credential_generation", "credential")
    }
    return {key: number for key, number in found.items() if number}


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
        "expires": _epoch(row.expires),
        "region": row.region,
        "tags": row.tags,
        "models": row.allowed_models,
        "profiles": row.allowed_profiles,
        "allow": row.allow,
        "limits": draft.limits_of(row),
    }


def _epoch(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
