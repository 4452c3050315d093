"""Ends event streams and WebSockets when the console is told to stop: streams would hold it up for the whole drain
time, and sockets would get the server's own close code.

An ASGI middleware, because a server's lifespan shutdown comes only after every connection is closed. Answers that
are not ``text/event-stream`` are left alone and drain. Knows nothing of what the streams carry.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[Mapping[str, Any]], Awaitable[None]]
    Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

GOING_AWAY: Final = 1001
LAST_WORD_SECONDS: Final = 1.0


class EndWatchers:
    """Wraps the application; ``end()`` finishes every open event stream and socket cleanly, and those that come after
    it."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.ending = asyncio.Event()
        self.watching = 0  # streams and sockets that are open

    def end(self) -> None:
        """Called from the signal handler, inside the event loop's thread."""
        self.ending.set()

    async def ended(self, seconds: float) -> None:
        """Until nothing is open any more, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.watching:  # noqa: ASYNC110 - once in a process's life
                    await asyncio.sleep(0.01)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        streaming = asyncio.Event()
        finished = False

        async def watched_send(message: Mapping[str, Any]) -> None:
            nonlocal finished
            if message["type"] == "websocket.accept" or _begins_a_stream(message):
                self._watch(streaming)
            elif message["type"] == "http.response.body":
                finished = not message.get("more_body", False)
            elif message["type"] == "websocket.close":
                finished = True
            await send(message)

        work = asyncio.ensure_future(self.app(scope, receive, watched_send))
        end = asyncio.ensure_future(self._end_of_a_stream(streaming))
        try:
            await asyncio.wait({work, end}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
            else:
                await _cancel(work)
                if not finished:
                    await _finish(scope["type"], send)
        finally:
            await _cancel(end)
            await _cancel(work)
            self.watching -= streaming.is_set()

    def _watch(self, streaming: asyncio.Event) -> None:
        self.watching += not streaming.is_set()
        streaming.set()

    async def _end_of_a_stream(self, streaming: asyncio.Event) -> None:
        await streaming.wait()
        await self.ending.wait()


async def _finish(kind: str, send: Send) -> None:
    """Say the last word, unless the client does not read or has gone."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(LAST_WORD_SECONDS):
            if kind == "http":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await send({"type": "websocket.close", "code": GOING_AWAY, "reason": "the console is shutting down"})


def _begins_a_stream(message: Mapping[str, Any]) -> bool:
    return message["type"] == "http.response.start" and any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in message["headers"]
    )


async def _cancel(task: asyncio.Future[None]) -> None:
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
