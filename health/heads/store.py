"""The registered heads, read: as documents that the overlay carries to every process (``routes.ports.heads``), and as
rows for whoever lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from health.models import Head

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from health.heads.documents import HeadsWanted


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


def wanted_rows(wanted: HeadsWanted) -> QuerySet[Head]:
    """With their providers, in the order of their ids."""
    rows = Head.objects.select_related("provider").order_by("head_id")
    if wanted.provider is not None:
        rows = rows.filter(provider__slug=wanted.provider)
    if wanted.approved is not None:
        rows = rows.filter(approved=wanted.approved)
    return rows
