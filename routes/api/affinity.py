"""``affinity/``: which sessions are pinned where, and letting go of them. Live, for operators.

Pins live in memory, not in a table, so their pages are cut from a sorted list: a cursor names the last pin seen.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from routes import actions, live
from routes.actions.errors import Invalid
from routes.api.auth import actor_of
from routes.api.openapi import reference
from routes.api.pagination import page_of_list
from routes.api.permissions import OperateScope
from routes.api.rules import find_profile
from routes.api.schema import PAGE_PARAMETERS
from routes.snapshots import live_snapshot

if TYPE_CHECKING:
    from rest_framework.request import Request

    from routes.engine.live import PinEntry
    from routes.models import Profile

FILTERS = [
    OpenApiParameter("profile", str, description="Only sessions of this profile: its slug or id."),
    OpenApiParameter("target", str, description="Only sessions pinned to this target: its id."),
]
#: (when it was pinned, newest first; what tells pins of one moment apart)
Key = tuple[float, str, str, str]
KEY_SHAPE = (float, str, str, str)


class AffinityView(APIView):
    """Sessions and the targets they are pinned to."""

    permission_classes = (OperateScope,)

    @extend_schema(
        operation_id="affinity_list",
        tags=["affinity"],
        parameters=[*FILTERS, *PAGE_PARAMETERS[:2]],
        responses={200: reference("PinPage")},
        description="Pins that have not expired, newest first.",
    )
    def get(self, request: Request) -> Response:
        profile, target = filters(request)
        now, wall = time.monotonic(), time.time()
        found = sorted(live.current().pins(now, str(profile.pk) if profile else None, target), key=_key)
        page, links = page_of_list(found, request, _key, KEY_SHAPE)
        names = Names()
        return Response({"results": [names.represent(pin, wall - now) for pin in page], **links})

    @extend_schema(
        operation_id="affinity_delete",
        tags=["affinity"],
        parameters=FILTERS,
        responses={200: reference("Dropped")},
        description="Let go of the sessions that the filters name, of all without one: they choose a target anew.",
    )
    def delete(self, request: Request) -> Response:
        profile, target = filters(request)
        dropped = actions.drop_pins(actor=actor_of(request), profile=profile, target_id=target)
        return Response({"deleted": dropped})


class Names:
    """What ids stand for in the configuration that is live."""

    def __init__(self) -> None:
        snapshot = live_snapshot()
        profiles = snapshot.profile_list if snapshot else ()
        self._targets = {target.id: target for profile in profiles for target in profile.targets}
        self._profiles = {profile.id: profile.slug for profile in profiles}

    def represent(self, pin: PinEntry, offset: float) -> dict[str, Any]:
        """``offset`` turns the live state's clock into Unix time. What is gone from the configuration is named by
        its id."""
        target = self._targets.get(pin.target_id)
        return {
            "profile": self._profiles.get(pin.profile_id, pin.profile_id),
            "target": pin.target_id,
            "provider": target.provider.slug if target else "",
            "model": target.model if target else None,
            "session": pin.session,
            "kind": pin.kind,
            "pinned_at": _time(pin.pinned_at + offset),
            "expires_at": _time(pin.expires + offset),
        }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def filters(request: Request) -> tuple[Profile | None, str | None]:
    """A filter that names nothing is refused: taken for none it would mean everything."""
    named, target = request.query_params.get("profile"), request.query_params.get("target")
    errors = []
    profile = None
    if named is not None:
        profile = find_profile(named)
        if profile is None:
            errors.append(("profile", "there is no such profile"))
    if target is not None:
        try:
            target = str(UUID(target))
        except ValueError:
            errors.append(("target", "must be the id of a target"))
    if errors:
        raise Invalid.from_errors(errors)
    return profile, target


def _key(pin: PinEntry) -> Key:
    return -pin.pinned_at, pin.session, pin.profile_id, pin.target_id
