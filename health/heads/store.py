"""The registered heads as documents: what the overlay carries to every process (``routes.ports.heads``). Reads only."""

from __future__ import annotations

from typing import Any

from health.models import Head


def documents() -> list[dict[str, Any]]:
    """All of them, approved or not, in one order. One query."""
    return [document(row) for row in Head.objects.order_by("head_id")]


def document(row: Head) -> dict[str, Any]:
    metadata = row.metadata
    return {
        "id": row.head_id,
        "provider": str(row.provider_id),
        "endpoint": row.endpoint,
        "region": row.region,
        "model_type": row.model_type,
        "version": row.version,
        "capacity": row.capacity,
        "max_model_size": metadata.get("max_model_size"),
        "capabilities": metadata.get("capabilities") or [],
        "generation": row.generation,
        "approved": row.approved,
    }
