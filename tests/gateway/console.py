"""A console for relay tests: a real uvicorn on the data folder's Unix socket, answering what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Console:
    """``echo`` tells what arrived; ``/events`` sends what the test puts in; sockets echo."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uploads: list[bytes] = []  # pieces of bodies, as they arrived
        self.disconnects = 0
        self.socket_closes: list[int] = []
        self._events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._server = uvicorn.Server(
            uvicorn.Config(self, uds=str(path), lifespan="off", log_config=None, ws="websockets-sansio", loop="asyncio")
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve()

        asyncio.run(serve())

    def event(self, data: bytes | None) -> None:
        """Send this on the open event stream; None ends it."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, data)

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    # -- ASGI ----------------------------------------------------------------------------------------------
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        handler = getattr(self, "on_" + scope["path"].strip("/").partition("/")[0], self.on_echo)
        await handler(scope, receive, send)

    async def on_echo(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        document = {
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [(name.decode(), value.decode()) for name, value in scope["headers"]],
            "body": body.decode(),
        }
        await answer(send, 200, json.dumps(document).encode())

    async def on_upload(self, scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            self.uploads.append(message["body"])
            if not message["more_body"]:
                break
        await answer(send, 200, b"%d" % sum(map(len, self.uploads)))

    async def on_events(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        gone = asyncio.create_task(self._watch(receive))
        while True:
            event = asyncio.create_task(self._events.get())
            await asyncio.wait({event, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                event.cancel()
                return
            data = event.result()
            await send({"type": "http.response.body", "body": data or b"", "more_body": data is not None})
            if data is None:
                gone.cancel()
                return

    async def _watch(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.disconnects += 1

    async def on_broken(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def on_redirect(self, scope: Any, receive: Any, send: Any) -> None:
        cookies = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send({"type": "http.response.start", "status": 302, "headers": [(b"location", b"/admin/"), *cookies]})
        await send({"type": "http.response.body", "body": b""})

    async def on_ws(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/ws/refused":
            await send({"type": "websocket.close", "code": 4403})
            return
        protocols = scope["subprotocols"]
        await send({"type": "websocket.accept", "subprotocol": protocols[-1] if protocols else None})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.socket_closes.append(message["code"])
                return
            if message.get("text") == "close":
                await send({"type": "websocket.close", "code": 4401, "reason": "as asked"})
                return
            if message.get("text") == "headers":
                headers = {name.decode(): value.decode() for name, value in scope["headers"]}
                await send({"type": "websocket.send", "text": json.dumps(headers)})
                continue
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


async def answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def running_console(path: Path) -> Iterator[Console]:
    console = Console(path)
    try:
        yield console
    finally:
        console.stop()
