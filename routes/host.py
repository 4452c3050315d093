"""The host's live state as the console uses it: told what people decided, or copied so that nobody notices.

Admin states are in the database and not in the shared file, so whoever decides in the console hands them over first.
Must not import history.
"""

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
    tell_admin_states(fork, now)
    return fork


def tell_admin_states(state: LiveState, now: float) -> None:
    """One query. ``now`` is the clock of ``state``."""
    states: dict[str, Any] = {
        str(row.pk): (row.admin_state, row.admin_until.timestamp() if row.admin_until else None)
        for row in Provider.with_deleted.exclude(admin_state=Provider.AdminState.ACTIVE)
    }
    state.set_admin_states(states, now, time.time())


def _fork() -> LiveState:
    """Where no gateway has ever run there is no state, and none is made for the sake of a question."""
    if not get_env().live_path.exists():
        return LocalLiveState()
    return live.current().fork()
