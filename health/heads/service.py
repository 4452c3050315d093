"""What REST, sockets and webhooks do with what heads send: one function per message, alike for all three.

Heartbeats are judged by the overlay's copy on disk and end in memory, so that heads stay alive while the database is
away. Knows neither HTTP nor sockets; raises ``ActionError`` and ``HeadsError``.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import DatabaseError, InterfaceError

from health.heads import actions, liveness, metrics, throttle
from health.heads.errors import HeadMissing, OldGeneration, OutOfOrder, Unknowable
from health.heads.known import KnownHead, known
from routes import live
from routes.engine.provider import head_key
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from health.heads.documents import HeadRegistration, HeadStatus, NamedHead
    from health.models import Head
    from routes.actions.actor import Actor

#: A database that could not be asked is left alone for so long.
REST_SECONDS: Final = 10.0

log = get_logger("heads")


class Answer(NamedTuple):
    """``created``: the head was not known before."""

    body: dict[str, Any]
    created: bool = False


class HeadDesk:
    """One per console process: it remembers who spoke how often, and in which order."""

    def __init__(self) -> None:
        self._throttle = throttle.Throttle()
        self._lock = threading.Lock()
        self._stamps: dict[str, tuple[int, float]] = {}  # (generation, timestamp) of the newest update, by head
        self._database_rests_until = 0.0

    # -- rare: the database is needed ----------------------------------------------------------------------
    def register(self, wanted: HeadRegistration, actor: Actor) -> Answer:
        actor.require("operate")
        self._throttle.take(throttle.CHANGES_OF_CALLER, _caller(actor))
        self._throttle.take(throttle.CHANGES_OF_HEAD, wanted.head_id)
        row, created = actions.register(wanted, actor=actor)
        metrics.registrations.inc()
        return Answer(_told(row.head_id, row.generation, row.approved, "active"), created)

    def deregister(self, named: NamedHead, actor: Actor) -> None:
        actor.require("operate")
        self._throttle.take(throttle.CHANGES_OF_CALLER, _caller(actor))
        actions.deregister(named.head_id, actor=actor, generation=named.generation)
        with self._lock:
            self._stamps.pop(named.head_id, None)

    # -- every few seconds from every head: memory only ----------------------------------------------------
    def update(self, head_id: str, said: HeadStatus, actor: Actor) -> Answer:
        """A heartbeat. Raises HeadMissing, OldGeneration, OutOfOrder, Flooded, Unknowable."""
        actor.require("operate")
        self._throttle.take(throttle.UPDATES_OF_CALLER, _caller(actor))
        head = self._find(head_id, said.generation, actor)
        self._throttle.take(throttle.UPDATES_OF_HEAD, head_id)
        if said.generation is not None and said.generation != head.generation:
            raise OldGeneration(said.generation, head.generation)
        self._in_order(head, said)
        draining = said.status == "draining"
        before = liveness.hear(head.provider_id, head_id, said.load, draining)
        metrics.updates.inc()
        if not before.online or before.draining != draining:
            self._notice(head, actor)
        return Answer(_told(head_id, head.generation, head.approved, said.status))

    def _find(self, head_id: str, generation: int | None, actor: Actor) -> KnownHead:
        """From the overlay's copy; from the database when that may be behind: another host's heads reach this host's
        disk some seconds later."""
        head = known().heads.get(head_id)
        if head is not None and (generation is None or generation <= head.generation):
            return head
        self._throttle.take(throttle.STRANGERS_OF_CALLER, _caller(actor))
        try:
            row = self._asked(lambda: actions.find(head_id))
        except (DatabaseError, InterfaceError):
            if head is not None:
                return head
            raise Unknowable("the database is away, and this head is not known without it", REST_SECONDS) from None
        return KnownHead(row.head_id, str(row.provider_id), row.generation, row.approved)

    def _in_order(self, head: KnownHead, said: HeadStatus) -> None:
        if said.timestamp is None:
            return
        # A clock that ran ahead and was set right must not keep its head out until the old time comes.
        latest = time.time() + liveness.ttl()
        with self._lock:
            generation, newest = self._stamps.get(head.head_id, (0, 0.0))
            if generation == head.generation and said.timestamp < newest:
                raise OutOfOrder
            if len(self._stamps) >= 2 * actions.MAX_HEADS:  # of heads that are gone
                self._stamps = {name: stamp for name, stamp in self._stamps.items() if name in known().heads}
            self._stamps[head.head_id] = (head.generation, min(said.timestamp, latest))

    def _notice(self, head: KnownHead, actor: Actor) -> None:
        """Tell at once that it is back or drains. Where the database cannot be asked, ``health.heads`` tells later."""
        key = head_key(head.provider_id, head.head_id)
        try:
            row = self._asked(lambda: actions.find(head.head_id))
            liveness.notice(row, live.current().head_state(key, time.monotonic()), actor)
        except (DatabaseError, InterfaceError, HeadMissing) as error:
            log.warning("head_change_not_told_yet", head=head.head_id, error=type(error).__name__)

    def _asked(self, question: Callable[[], Head]) -> Head:
        """Raises DatabaseError, at once while the database rests."""
        if time.monotonic() < self._database_rests_until:
            raise DatabaseError("the database was away just now")
        try:
            return question()
        except (DatabaseError, InterfaceError):
            self._database_rests_until = time.monotonic() + REST_SECONDS
            raise


def _caller(actor: Actor) -> str:
    return f"{actor.kind}:{actor.id or actor.name}"


def _told(head_id: str, generation: int, approved: bool, status: str) -> dict[str, Any]:
    return {
        "head_id": head_id,
        "generation": generation,
        "ttl": liveness.ttl(),
        "status": status,
        "approved": approved,
    }


#: The one of this process.
desk = HeadDesk()
