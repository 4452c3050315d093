"""What happened to a head, told in the transaction that says so: a row of the timeline, and the feed after the commit.

The one place that writes events of heads. Reasons are stable codes, as the timeline's are.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.db import transaction

from health import events
from health.heads import render
from routes.engine.provider import head_key
from routing_project import feed, request_ids
from routing_project.feed.names import HEADS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from health.models import Head

REGISTERED: Final = "registered"
REGISTERED_AGAIN: Final = "registered_again"  # a new generation
BY_OPERATOR: Final = "approved"
INSIDE_NETWORKS: Final = "inside_head_networks"
HEARTBEAT: Final = "heartbeat"
NO_HEARTBEAT: Final = "heartbeats_stopped"
REPORTED: Final = "reported"
LEFT: Final = "deregistered"
FORGOTTEN: Final = "offline_too_long"


def tell(row: Head, before: str, after: str, reason: str, actor: str, detail: Mapping[str, Any] | None = None) -> None:
    """``actor``: who acted, or ``head`` or ``clock``."""
    events.record(
        "head",
        subject=row.head_id,
        before=before,
        after=after,
        reason=reason,
        actor=actor,
        provider=row.provider.slug,
        provider_id=row.provider_id,
        target_id=head_key(str(row.provider_id), row.head_id),
        detail={"generation": row.generation, **(detail or {})},
    )
    transaction.on_commit(partial(_publish, row, after))


def _publish(row: Head, event: str) -> None:
    """Whoever watches hears how the head is now, what happened to it, and in which request if in one."""
    request_id = request_ids.current() or None
    feed.publish(HEADS, [{**render.document(row), "event": event, "request_id": request_id}])
