"""What is open in this process: counted by kind, bounded for each key and person, looked at again every second, ended
when it may not be open any more.

A key that is revoked, a session that is signed out, a scope or role that is taken away end the connections that live by
them, in about two seconds. While the database is away nothing is ended: nobody can have changed anything in it. One
task per process, started with the first connection, over with the last.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import Context
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from django.db import DatabaseError, InterfaceError

from routing_project.console.metrics.counting import count_refused, show_open
from routing_project.console.sockets.access import Refused, identify, in_thread
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any

    from routing_project.console.sockets.access import Visitor

    Look = tuple[dict[str, Any], frozenset[str]]  # a handshake, and the scopes it needs

RECHECK_SECONDS: Final = 1.0
KINDS: Final = ("sse", "websocket")
#: Whoever comes back is told what it may now.
CHANGED: Final = Refused(409, "changed", "what this key or person may do has changed: connect again")

log = get_logger(__name__)


class Bound(NamedTuple):
    """How many connections of a sort one key or person may have open in a process: a brake on clients that open and
    never close, far above what anybody watches."""

    sort: str
    most: int


WATCHERS: Final = Bound("streams and sockets", 600)


class TooMany(Refused):
    def __init__(self, bound: Bound) -> None:
        text = f"this key or person has {bound.most} {bound.sort} open already: close one first"
        super().__init__(429, "too_many_connections", text)


class Open(Protocol):
    """One connection. ``scope`` is its handshake."""

    visitor: Visitor

    @property
    def bound(self) -> Bound: ...

    @property
    def kind(self) -> str: ...

    @property
    def scope(self) -> dict[str, Any]: ...

    @property
    def needs(self) -> frozenset[str]: ...

    def refuse(self, refusal: Refused) -> None:
        """End it; called in the loop's thread, any number of times."""


class Opened:
    """The connections of one process."""

    def __init__(self) -> None:
        self._open: dict[str, set[Open]] = {kind: set() for kind in KINDS}
        self._owned: Counter[tuple[tuple[str, str], Bound]] = Counter()
        self._task: asyncio.Task[None] | None = None

    def counts(self) -> dict[str, int]:
        """How many are open, by kind (``sse``, ``websocket``)."""
        return {kind: len(connections) for kind, connections in self._open.items()}

    def hold(self, connection: Open) -> Hold:
        """``with opened.hold(connection):`` for as long as it is open. Raises TooMany."""
        return Hold(self, connection)

    def add(self, connection: Open) -> None:
        owner = (connection.visitor.owner, connection.bound)
        if self._owned[owner] >= connection.bound.most:
            count_refused(connection.kind)
            raise TooMany(connection.bound)
        self._owned[owner] += 1
        self._open[connection.kind].add(connection)
        show_open(**self.counts())
        if self._task is None or self._task.done():
            # For all of them: not with the request id of the one that came first.
            self._task = asyncio.create_task(self._recheck_on(), context=Context())

    def remove(self, connection: Open) -> None:
        self._open[connection.kind].discard(connection)
        show_open(**self.counts())
        owner = (connection.visitor.owner, connection.bound)
        self._owned[owner] -= 1
        if not self._owned[owner]:
            del self._owned[owner]
        if not any(self._open.values()) and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _recheck_on(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            try:
                await self.recheck()
            except (DatabaseError, InterfaceError) as error:
                log.info("who is connected cannot be looked up at the moment", error=type(error).__name__)
            except Exception:
                log.exception("looking up who is connected failed")

    async def recheck(self) -> None:
        """Look up every credential once, however many connections have it, all in one go in a thread."""
        groups: dict[tuple[tuple[str, str], frozenset[str]], list[Open]] = {}
        for connection in chain.from_iterable(self._open.values()):
            groups.setdefault((connection.visitor.credential, connection.needs), []).append(connection)
        found = await in_thread(_look_up, [(group[0].scope, group[0].needs) for group in groups.values()])
        for group, visitor in zip(groups.values(), found, strict=True):
            for connection in group:
                if isinstance(visitor, Refused):
                    connection.refuse(visitor)
                elif visitor.scopes >= connection.visitor.scopes and visitor.name == connection.visitor.name:
                    connection.visitor = connection.visitor.seen_again(visitor)
                else:  # what it follows was chosen by what it was
                    connection.refuse(CHANGED)


def _look_up(wanted: Sequence[Look]) -> list[Visitor | Refused]:
    """Who each is now; by the database, whatever let them in."""
    found: list[Visitor | Refused] = []
    for scope, needs in wanted:
        try:
            found.append(identify(scope, needs))
        except Refused as refusal:
            found.append(refusal)
    return found


class Hold:
    __slots__ = ("connection", "opened")

    def __init__(self, opened: Opened, connection: Open) -> None:
        self.opened = opened
        self.connection = connection

    def __enter__(self) -> None:
        self.opened.add(self.connection)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.opened.remove(self.connection)


#: Of this process.
opened: Final = Opened()
