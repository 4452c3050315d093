"""A head as people and programs see it: what is registered, and how it is by this host's live state. Writes nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from routes import live
from routes.engine.provider import head_key

if TYPE_CHECKING:
    from health.models import Head

#: How far back load reports are shown: the last ten, whenever they were.
EVER = float("-inf")


def document(row: Head) -> dict[str, Any]:
    """``row`` with its provider. No query; a look at the live state."""
    state, now = live.current(), time.monotonic()
    ahead = time.time() - now
    key = head_key(str(row.provider_id), row.head_id)
    head = state.head_state(key, now)
    loads = [{"at": moment(each.at + ahead), "load": each.load} for each in state.stats(key).loads(EVER)]
    reported = "draining" if head.draining else "active"
    return {
        "head_id": row.head_id,
        "provider": row.provider.slug,
        "endpoint": row.endpoint,
        "region": row.region,
        "model_type": row.model_type,
        "version": row.version,
        "capacity": row.capacity,
        "metadata": row.metadata,
        "generation": row.generation,
        "approved": row.approved,
        "liveness": "online" if head.online else "offline",
        "reported_status": reported,
        "status": reported if head.online else "offline",
        "load": head.load,
        "load_history": loads,
        "last_seen": iso(row.seen_at) if head.heard_at is None else moment(head.heard_at + ahead),
        "registered_at": iso(row.registered_at),
    }


def moment(seconds: float) -> str:
    return iso(datetime.fromtimestamp(seconds, UTC))


def iso(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds")
