"""Recorded requests as the control plane explains them again: implements ``recorded_route``, ``recent_routes`` and
``oldest_route`` of ``routes.ports``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from history.ids import time_of
from history.models import RouteHistory
from history.packing import decision_of
from routes.ports import RecordedRoute

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
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
        packed=decision_of(row),
        requested_model=row.requested_model,
        session=row.session_key,
        stream=bool(source.get("stream")),
        key=row.access_key,
        client_ip=source.get("client_ip") or "",
        path=source.get("path") or "",
    )


def recent_routes(count: int) -> Sequence[UUID]:
    """One query, by the newest ids; what was refused before a decision has no source."""
    return list(RouteHistory.objects.exclude(source="").order_by("-id").values_list("id", flat=True)[:count])


def oldest_route() -> datetime | None:
    """One query, by the oldest id."""
    oldest = RouteHistory.objects.order_by("id").values_list("id", flat=True).first()
    return None if oldest is None else time_of(oldest)
