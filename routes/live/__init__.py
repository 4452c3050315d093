"""The host's shared live state: one memory-mapped file in the data folder, and its exchange between hosts.

``open_host_state`` is for processes that know the path, ``current`` for those that take it from the environment.
Works without Django and without the gateway, because both planes use it; imports the engine.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from routes.live.state import SharedLiveState, open_host_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from routes.engine.tables.state import TableState
    from routes.engine.types import Transition

__all__ = ["SharedLiveState", "current", "hear_moves", "open_host_state"]

_lock = threading.Lock()
_opened: tuple[int, TableState] | None = None
_moved: Callable[[Transition], None] | None = None


def hear_moves(moved: Callable[[Transition], None]) -> None:
    """Who hears of what ``current`` does to circuits. Before it is asked for."""
    global _moved
    _moved = moved


def current() -> TableState:
    """This process's view of the host's live state, opened when first asked for (and again in a forked child)."""
    global _opened
    from routing_project.env import get_env

    opened = _opened
    if opened is None or opened[0] != os.getpid():
        with _lock:
            if _opened is None or _opened[0] != os.getpid():
                state = open_host_state(get_env().live_path, "console")
                if _moved is not None:
                    state.hear_moves(_moved)
                _opened = (os.getpid(), state)
            opened = _opened
    return opened[1]
