"""The host's live state as the console uses it: told what people decided, or copied so that nobody notices.

Admin states and the heads are in the database and not in the shared file, so whoever decides in the console hands them
over first.
Must not import history.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID
from weakref import WeakKeyDictionary

from routes import decided, live, ports
from routes.engine.limits import UNUSED, KeyLimits, begins
from routes.engine.local_live import LocalLiveState
from routes.models import AccessKey
from routing_project.env import get_env

if TYPE_CHECKING:
    from routes.decided import Decisions
    from routes.engine.limits import KeyUsage
    from routes.engine.live import LiveState
    from routes.engine.snapshot import Snapshot
    from routes.engine.tables.state import TableState


def copied(snapshot: Snapshot, now: float) -> LiveState:
    """A fork of the host's state, told the revision that is asked about (or who is in trouble there would not be looked
    for) and what people decided. One query and a copy of the tables."""
    fork = _fork()
    fork.published(snapshot)
    tell(fork, now)
    return fork


def told(
    snapshot: Snapshot, now: float, decisions: Decisions | None = None, wall: float | None = None
) -> TableState | None:
    """The host's state itself, for reading, told the revision and what people decided; None where no gateway has ever
    run. One query, none where the caller has read ``decisions``."""
    if not get_env().live_path.exists():
        return None
    state = live.current()
    publish(state, snapshot)
    tell(state, now, decisions, wall)
    return state


#: What each view of a live state was told last: installation and number of a revision, and its heads.
_published: WeakKeyDictionary[LiveState, tuple[str, int, str]] = WeakKeyDictionary()


def publish(state: LiveState, snapshot: Snapshot) -> None:
    """Tell a process's view of the live state which targets there are, when that is news to it."""
    known = (snapshot.installation, snapshot.number, snapshot.heads_digest)
    if _published.get(state) != known:
        state.published(snapshot)
        _published[state] = known


def tell(state: LiveState, now: float, decisions: Decisions | None = None, wall: float | None = None) -> None:
    """Hand over what the overlay tells gateways: admin states, circuits held by people, and which quarantines are void.
    One query unless ``decisions`` have been read. ``now`` is the clock of ``state``, ``wall`` the time of day then."""
    wall = time.time() if wall is None else wall  # before the query, or it would be later than ``now`` by as much
    found = decided.decisions() if decisions is None else decisions
    state.set_admin_states(decided.admin_states(found), now, wall)
    state.set_forced(decided.circuits(found), now, wall)
    state.set_credentials(decided.generations(found))


def key_usage(key_id: str) -> KeyUsage | None:
    """What an access key with limits uses now. No query; zeros where no gateway has ever run; None where this process
    could not open the host's state, so that nobody takes its own empty one for the truth."""
    if not get_env().live_path.exists():
        return UNUSED
    state = live.current()
    return state.key_usage(key_id, time.monotonic(), time.time()) if isinstance(state, live.SharedLiveState) else None


def usage_of(key: AccessKey) -> KeyUsage | None:
    """The same of a key as it is configured: what nobody counts for want of a limit is zero, also where a record of
    earlier limits is left."""
    limits = KeyLimits.from_document(key.limits)
    if limits is None:
        return UNUSED
    usage = key_usage(str(key.pk))
    return usage if usage is None or any(limits.money) else usage._replace(money=UNUSED.money)


def seed_spent() -> int:
    """Tell the host's state what keys with a budget have spent in windows that began before it knew of them (its file
    is new, or the budget is), as far as history goes; how many windows that were. A query for each of them, over the
    rows since the window, or the key, began."""
    if not get_env().live_path.exists():
        return 0
    state, wall = live.current(), time.time()
    unseeded = state.unseeded(wall)
    made = dict(AccessKey.objects.filter(pk__in=unseeded).values_list("pk", "created_at")) if unseeded else {}
    told = 0
    for key_id, windows in unseeded.items():
        key = UUID(key_id)
        for window in windows:
            start = datetime.fromtimestamp(begins(window, wall), UTC)
            amount = ports.spent(key, max(start, made.get(key, start)))
            if amount is not None:
                state.seed_spent(key_id, window, amount, wall)
                told += 1
    return told


def _fork() -> LiveState:
    """Where no gateway has ever run there is no state, and none is made for the sake of a question."""
    if not get_env().live_path.exists():
        return LocalLiveState()
    return live.current().fork()
