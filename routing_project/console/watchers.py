"""Ends event streams when the console is told to stop: they would hold it up for the whole drain time.

An ASGI middleware, because a server's lifespan shutdown comes only after every connection is closed. Answers that
are not ``text/event-stream`` are left alone and drain. Knows nothing of what the streams carry.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[Mapping[str, Any]], Awaitable[None]]
    Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class EndWatchers:
    """Wraps the application; ``end()`` finishes every open event stream cleanly, and those that come after it."""

    def __init__(self, app: Application) -> None:
        self.app = app
        self.ending = asyncio.Event()

    def end(self) -> None:
        """Called from the signal handler, inside the event loop's thread."""
        self.ending.set()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        streaming = asyncio.Event()
        finished = False

        async def watched_send(message: Mapping[str, Any]) -> None:
            nonlocal finished
            if message["type"] == "http.response.start" and _is_event_stream(message):
                streaming.set()
            elif message["type"] == "http.response.body":
                finished = not message.get("more_body", False)
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
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await _cancel(end)
            await _cancel(work)

    async def _end_of_a_stream(self, streaming: asyncio.Event) -> None:
        await streaming.wait()
        await self.ending.wait()


def _is_event_stream(message: Mapping[str, Any]) -> bool:
    return any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in message["headers"]
    )


async def _cancel(task: asyncio.Future[None]) -> None:
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
