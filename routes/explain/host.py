"""The host's live state as explaining sees it: a private copy that nobody else notices. Must not import history."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from routes import live
from routes.engine.local_live import LocalLiveState
from routes.models import Provider
from routing_project.env import get_env

if TYPE_CHECKING:
    from routes.engine.live import LiveState


def copied(now: float) -> LiveState:
    """A fork of the host's state, told the admin states of the moment. One query and a copy of the tables."""
    fork = _fork()
    states: dict[str, Any] = {
        str(row.pk): (row.admin_state, row.admin_until.timestamp() if row.admin_until else None)
        for row in Provider.with_deleted.exclude(admin_state=Provider.AdminState.ACTIVE)
    }
    fork.set_admin_states(states, now, time.time())
    return fork


def _fork() -> LiveState:
    """Where no gateway has ever run there is no state, and none is made for the sake of a question."""
    if not get_env().live_path.exists():
        return LocalLiveState()
    return live.current().fork()
