"""``/events/*``: a feed as an event stream (``text/event-stream``), for browsers' EventSource and for curl.

``retry: 3000`` first, a comment every 15 seconds, then events with their number as id. ``Last-Event-ID`` goes on where
the client stopped, as far back as the feed reaches, and what is gone is one ``gap``. Needs the scope ``read``; errors
have the control API's shape. An access key is recognised by the overlay's copy, so that new ones get in while the
database is away.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import orjson

from health.heads.auth import KnownBearer
from routes.api import errors
from routing_project.console.metrics.counting import count_answer
from routing_project.console.sockets.access import Refused, admit
from routing_project.console.sockets.base import SEND_SECONDS
from routing_project.console.sockets.opened import WATCHERS, opened
from routing_project.feed.batch import Gap
from routing_project.feed.reader import reader
from routing_project.feed.where import BadFilter, Where

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from routing_project.console.sockets.access import Visitor
    from routing_project.feed.watcher import Watcher
    from routing_project.feed.where import Fields

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[Mapping[str, Any]], Awaitable[None]]

BEAT_SECONDS: Final = 15.0
RETRY: Final = b"retry: 3000\n\n"
BEAT: Final = b": still here\n\n"
MAX_PARAMETERS: Final = 20
HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
    (b"x-content-type-options", b"nosniff"),
]


class EventStream:
    """The ASGI application of one address."""

    def __init__(self, path: str, feed: str, event: str, fields: Fields) -> None:
        self.path = path
        self.feed = feed
        self.event = event
        self.fields = fields

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            if scope["method"] != "GET":
                raise Refused(405, "method_not_allowed", "an event stream is read with GET")
            visitor = await admit(scope, Stream.needs, KnownBearer)
            where = self._where(scope["query_string"])
            stream = Stream(scope, visitor, send)
            with opened.hold(stream):
                count_answer(scope["method"], self.path, 200)
                async with reader(self.feed).watch(where, _last_event_id(scope)) as watcher:
                    await stream.run(watcher, self.event, receive)
        except (Refused, BadFilter) as refusal:
            await self._refuse(scope, send, refusal)

    def _where(self, query: bytes) -> Where:
        try:
            pairs = parse_qsl(
                query.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict"
            )
        except ValueError:
            raise BadFilter("query", "cannot be read") from None
        given = dict(pairs)
        if len(given) != len(pairs):
            raise BadFilter("query", "gives a parameter twice")
        return Where.parse(given, self.fields)

    async def _refuse(self, scope: dict[str, Any], send: Send, refusal: Refused | BadFilter) -> None:
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        if isinstance(refusal, BadFilter):
            status, document = 400, errors.document("invalid", str(refusal), {refusal.field: [refusal.message]})
        else:
            status, document = refusal.status, errors.document(refusal.code, refusal.message)
        match status:
            case 401:
                headers.append((b"www-authenticate", b'Bearer realm="signalbox"'))
            case 405:
                headers.append((b"allow", b"GET"))
            case 429 | 503:
                headers.append((b"retry-after", b"2"))
        count_answer(scope["method"], self.path, status)
        body = orjson.dumps(document)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class Stream:
    """One open stream."""

    kind: Final = "sse"
    needs: Final = frozenset({"read"})
    bound: Final = WATCHERS

    def __init__(self, scope: dict[str, Any], visitor: Visitor, send: Send) -> None:
        self.scope = scope
        self.visitor = visitor
        self._send = send
        self._over = asyncio.Event()

    def refuse(self, _refusal: Refused) -> None:
        """A stream has no word for it: it ends, and who comes back is told."""
        self._over.set()

    async def run(self, watcher: Watcher, event: str, receive: Receive) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        sending = asyncio.create_task(self._send_on(watcher, event))
        leaving = asyncio.create_task(_gone(receive))
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({sending, leaving, over}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving, over):
                task.cancel()
            await asyncio.gather(sending, leaving, over, return_exceptions=True)
        if over.done() and not over.cancelled():
            await self._write(b"", more=False)

    async def _send_on(self, watcher: Watcher, event: str) -> None:
        """Until the client is too slow: then the stream is cut, and it comes back for what it missed."""
        loop = asyncio.get_running_loop()
        beat = loop.time() + BEAT_SECONDS
        alive = await self._write(RETRY)
        while alive:
            item = await watcher.next(max(0.0, beat - loop.time()))
            if item is not None:
                frame = item.stream_frame() if isinstance(item, Gap) else item.stream_frame(event)
                alive = await self._write(frame)
                if isinstance(item, Gap) and item.last_word:
                    self._over.set()
                    return
            if loop.time() >= beat:
                beat = loop.time() + BEAT_SECONDS
                alive = alive and await self._write(BEAT + _place(watcher))

    async def _write(self, piece: bytes, *, more: bool = True) -> bool:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send({"type": "http.response.body", "body": piece, "more_body": more})
        except (TimeoutError, OSError):
            return False
        return True


def _place(watcher: Watcher) -> bytes:
    """How far a filtered stream is, though it had nothing to say: who comes back asks from there. An id without data
    is no event."""
    return b"id: %d\n\n" % watcher.position if watcher.where.conditions and watcher.idle else b""


def _last_event_id(scope: dict[str, Any]) -> int | None:
    """None without one. What is none of our numbers is older than all of them."""
    given = next((value for name, value in scope["headers"] if name == b"last-event-id"), b"")
    if not given:
        return None
    return int(given) if given.isdigit() and len(given) <= 16 else 0


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
