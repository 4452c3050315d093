"""Reading copies of payloads: who may, how long they are there, and that each reading leaves a trace.

What people wrote to a model is their own: reading needs ``admin``, one at a time by the route's id, and is in the audit
log, without any of the text. No list, export, search, feed or detail has it. Writing them is the shipper's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from history.errors import PayloadNotKept, RouteNotFound
from history.ids import time_of
from history.models import RouteHistory, RoutePayload
from history.render import moment
from routes.actions import audit
from routing_project.env import get_env

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from routes.actions.actor import Actor


def kept_until(route: UUID) -> datetime:
    """Until when copies of a request may be read. Their table is emptied by the day, which may be later."""
    return time_of(route) + timedelta(days=get_env().payload_days)


def is_kept(route: UUID) -> bool:
    """Whether there is something to read. One query at most."""
    return kept_until(route) > timezone.now() and RoutePayload.objects.filter(id=route).exists()


@audit.in_turn()
def read(route: UUID, *, actor: Actor) -> RoutePayload:
    """The copies of a request, for ``actor``, who is written down. Raises Forbidden, PayloadNotKept, RouteNotFound."""
    actor.require("admin")
    payload = RoutePayload.objects.filter(id=route).first() if kept_until(route) > timezone.now() else None
    if payload is None:
        if not RouteHistory.objects.filter(id=route).exists():
            raise RouteNotFound("there is no route with this id")
        raise PayloadNotKept("no copy of this request is kept")
    audit.record(
        actor,
        "payload.read",
        category="export",
        object_type="payload",
        object_id=route,
        object_name=str(route),
    )
    return payload


def render(payload: RoutePayload) -> dict[str, Any]:
    """As the API answers it."""
    return {
        "id": str(payload.id),
        "created_at": moment(payload.created_at),
        "kept_until": moment(kept_until(payload.id)),
        "redactions": payload.redactions,
        "request": {
            "content_type": payload.request_type,
            "size": payload.request_size,
            "truncated": payload.request_cut,
            "text": payload.request_text,
            "tail": payload.request_tail,
        },
        "response": {
            "content_type": payload.response_type,
            "size": payload.response_size,
            "truncated": payload.response_cut,
            "text": payload.response_text,
            "tail": payload.response_tail,
        },
    }
