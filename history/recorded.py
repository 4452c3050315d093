"""A recorded request as the control plane explains it again: implements ``routes.ports.recorded_route``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from history.models import RouteHistory
from routes.ports import RecordedRoute

if TYPE_CHECKING:
    from uuid import UUID


def recorded_route(route: UUID) -> RecordedRoute | None:
    """One query."""
    row = RouteHistory.objects.filter(id=route).first()
    if row is None:
        return None
    source = row.source_info
    return RecordedRoute(
        id=row.id,
        created_at=row.created_at,
        profile=row.profile,
        revision=row.revision,
        packed=row.routing_decision or {},
        requested_model=row.requested_model,
        session=row.session_key,
        stream=bool(source.get("stream")),
        key=row.access_key,
        client_ip=source.get("client_ip") or "",
        path=source.get("path") or "",
    )
