"""One WebSocket of the control plane, from handshake to close: who it is, messages in, answers out, nothing unbounded.

A subclass names the scopes it needs and its messages:

    class Heads(Socket):
        needs = frozenset({"operate"})

        @handles("get_heads")
        async def list_heads(self, payload: dict[str, Any]) -> Any:
            return {"heads": await in_thread(read_heads)}

What a handler returns is the payload of ``get_heads_response``; ``NO_ANSWER`` sends none. What it raises of actions and
history becomes an ``error`` with the question's id, and the socket stays open. Messages of one client are taken one
after the other, so a client that sends faster than we answer is slowed down by its own connection. A client that does
not read what we send for ``SEND_SECONDS`` is closed with 1013.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.db import DatabaseError, InterfaceError
from rest_framework.exceptions import Throttled

from history.errors import BadQuery, HistoryError
from routes.actions.errors import ActionError, Invalid
from routes.api.auth import BearerAuthentication
from routing_project.console.metrics.counting import SWITCHING_PROTOCOLS, count_answer
from routing_project.console.sockets import envelope
from routing_project.console.sockets.access import CLOSE_TRY_LATER, Refused, admit
from routing_project.console.sockets.opened import WATCHERS, TooMany, opened
from routing_project.feed.batch import Gap
from routing_project.feed.reader import reader
from routing_project.feed.where import EVERYTHING, BadFilter
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from routing_project.console.sockets.access import Visitor
    from routing_project.console.sockets.opened import Bound
    from routing_project.feed.watcher import Watcher
    from routing_project.feed.where import Where

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[Mapping[str, Any]], Awaitable[None]]
    Handler = Callable[..., Awaitable[Any]]

SEND_SECONDS: Final = 15.0
#: The close frame of a client that does not read would wait for ever, too.
CLOSE_SECONDS: Final = 2.0
#: How often a quiet feed is looked at; it wakes its watchers itself.
IDLE_SECONDS: Final = 60.0
CLOSE_TOO_SLOW: Final = CLOSE_TRY_LATER
CLOSE_INTERNAL: Final = 1011
NO_ANSWER: Final = object()

log = get_logger(__name__)


def handles(kind: str) -> Callable[[Handler], Handler]:
    """Marks the method that takes messages of this type."""

    def mark(method: Handler) -> Handler:
        method.handles = kind  # type: ignore[attr-defined]
        return method

    return mark


class Socket:
    """One connection. ``Subclass.serve`` is its ASGI application."""

    kind: Final = "websocket"
    needs: frozenset[str] = frozenset()  # any of these scopes; none = nobody
    bearer: ClassVar[type[BearerAuthentication]] = BearerAuthentication  # recognises access keys
    bound: ClassVar[Bound] = WATCHERS
    handlers: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        own = {method.handles: name for name, method in vars(cls).items() if hasattr(method, "handles")}
        cls.handlers = {**cls.handlers, **own}

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.scope = scope
        self.visitor: Visitor
        self._receive = receive
        self._asgi_send = send
        self._tasks: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None
        self._watching: AsyncExitStack | None = None
        self._end: asyncio.Future[tuple[int, str] | None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def serve(cls, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await cls(scope, receive, send)._run()

    # -- what subclasses use ---------------------------------------------------------------------------
    async def push(self, kind: str, payload: Any) -> None:
        """Send what nobody asked for."""
        await self.send(envelope.message(kind, payload))

    async def send(self, text: str) -> None:
        """Send a finished message; returns when the connection has taken it. Ends the socket when it does not."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._asgi_send({"type": "websocket.send", "text": text})
        except TimeoutError:
            self.close(CLOSE_TOO_SLOW, "this client does not read what it is sent")
        except OSError:  # it has gone; reading tells
            self._finish(None)

    def close(self, code: int, reason: str = "") -> None:
        """End the socket with a close code, soon; the first call counts."""
        self._finish((code, reason))

    def refuse(self, refusal: Refused) -> None:
        self.close(refusal.close_code, refusal.message)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run beside the messages until it is done or the socket ends; cancel it through the task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def left(self) -> None:
        """Called once when the socket has ended, whoever ended it."""

    async def follow(self, feed: str, kind: str, where: Where = EVERYTHING, after: int | None = None) -> Watcher:
        """From now on push what comes on a feed, and with ``after`` what came after that number too: ``{type: kind,
        payload: {seq, events}}``, and gaps as ``{type: "gap", payload: {from, to}}``. Another call takes the place of
        the one before. The watcher is for pausing."""
        await self.unfollow()
        watching = AsyncExitStack()
        watcher = await watching.enter_async_context(reader(feed).watch(where, after))
        self._watching = watching
        # Last, and nothing awaited behind it: the answer to whoever asked for this goes first.
        self._following = self.start(self._push_on(watcher, kind))
        return watcher

    async def unfollow(self) -> None:
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
        watching, self._watching = self._watching, None
        if watching is not None:
            await watching.aclose()

    async def _push_on(self, watcher: Watcher, kind: str) -> None:
        while True:
            item = await watcher.next(IDLE_SECONDS)
            if isinstance(item, Gap):
                await self.push("gap", item.payload)
                if item.last_word:
                    self.close(CLOSE_TOO_SLOW, "this client falls too far behind")
                    return
            elif item is not None:
                await self.send(item.socket_frame(kind))

    # -- life ------------------------------------------------------------------------------------------
    async def _run(self) -> None:
        await self._receive()  # websocket.connect
        count_answer("GET", self.scope["path"].rstrip("/"), SWITCHING_PROTOCOLS)
        try:
            self.visitor = await admit(self.scope, self.needs, self.bearer)
        except Refused as refusal:
            # Accepted first: refused in the handshake, a browser would only see 1006.
            await self._asgi_send({"type": "websocket.accept"})
            await self._send_close(refusal.close_code, refusal.message)
            return
        await self._asgi_send({"type": "websocket.accept"})
        end: tuple[int, str] | None
        try:
            with opened.hold(self):
                end = await self._live()
        except TooMany as refusal:
            end = (refusal.close_code, refusal.message)
        if end is not None:
            await self._send_close(*end)

    async def _live(self) -> tuple[int, str] | None:
        try:
            self.start(self._read())
            return await self._end
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.unfollow()
            await self.left()

    async def _send_close(self, code: int, reason: str) -> None:
        # A frame holds 123 bytes of reason, and ours are ASCII.
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._asgi_send({"type": "websocket.close", "code": code, "reason": reason[:120]})

    def _finish(self, end: tuple[int, str] | None) -> None:
        if not self._end.done():
            self._end.set_result(end)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a socket ended because of an error", path=self.scope["path"], exc_info=error)
            self.close(CLOSE_INTERNAL, "internal error")

    # -- messages ----------------------------------------------------------------------------------------
    async def _read(self) -> None:
        while True:
            received = await self._receive()
            if received["type"] == "websocket.disconnect":
                self._finish(None)
                return
            text = received.get("text")
            if text is None:
                await self.send(envelope.error("invalid", "messages are text"))
            else:
                await self._take(text)

    async def _take(self, text: str) -> None:
        try:
            question = envelope.read(text)
        except Invalid as error:
            await self.send(envelope.error(error.code, error.message, error.fields, envelope.id_of(text)))
            return
        name = self.handlers.get(question.type)
        if name is None:
            known = ", ".join(sorted(self.handlers))
            unknown = {"type": [f"must be one of {known}"]}
            await self.send(envelope.error("invalid", "there is no such message here", unknown, question.id))
            return
        try:
            payload = await getattr(self, name)(question.payload)
        except Exception as error:
            await self.send(_problem(error, question))
            return
        if payload is not NO_ANSWER:
            await self.send(envelope.answer(question, payload))


def _problem(error: Exception, question: envelope.Envelope) -> str:
    """What a handler raised, as a message; what nobody foresaw is logged and told as such."""
    if isinstance(error, ActionError):
        return envelope.error(error.code, error.message, error.fields, question.id)
    if isinstance(error, BadFilter):
        return envelope.error("invalid", str(error), {f"filter.{error.field}": [error.message]}, question.id)
    if isinstance(error, HistoryError):
        fields = {error.field: [error.message]} if isinstance(error, BadQuery) else {}
        return envelope.error(error.code, str(error), fields, question.id)
    if isinstance(error, Refused):
        return envelope.error(error.code, error.message, {}, question.id)
    if isinstance(error, Throttled):
        wait = math.ceil(getattr(error, "wait", None) or 1)  # not in the stubs
        return envelope.error("throttled", str(error.detail), {}, question.id, retry_after=wait)
    if isinstance(error, (DatabaseError, InterfaceError)):
        text = "the database does not answer; try again in a moment"
        return envelope.error("database_unavailable", text, {}, question.id)
    log.error("a message of a socket failed", type=question.type, exc_info=error)
    return envelope.error("internal", "something went wrong here; it is in the console's log", {}, question.id)
