"""Pins of sessions to targets, in the live state of this host: dropped at once. They are no configuration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from routes import live
from routes.actions import audit

if TYPE_CHECKING:
    from routes.actions.actor import Actor
    from routes.models import Profile


@audit.in_turn()
def drop_pins(*, actor: Actor, profile: Profile | None = None, target_id: str | None = None) -> int:
    """Sessions of a profile, or pinned to a target, or all, choose anew with their next request. How many there
    were."""
    actor.require("operate")
    dropped = live.current().drop_pins(time.monotonic(), str(profile.pk) if profile else None, target_id)
    audit.record(
        actor,
        "affinity.dropped",
        category="routing",
        object_type="affinity",
        object_id=profile.pk if profile else "",
        object_name=profile.slug if profile else "",
        changes={"dropped": dropped, **({"target": target_id} if target_id else {})},
    )
    return dropped
