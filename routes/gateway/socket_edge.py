"""The WebSocket edge: uvicorn's sans-I/O protocol for the handshake, with what the data plane needs of it.

Handshakes that are none get our error document. Where the app attaches an exchange (the data plane does, sockets of the
console do not), the rest is ours: a client that leaves before it is answered cancels the task, an answer other than
101 is written as of any HTTP request, and ``accept`` hands the connection over to another protocol. Such sockets
drain at a shutdown; the console's get 1001 at once. Knows nothing of routing and of messages.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import CloseCode
from websockets.protocol import State

from routes.gateway.errors import BadRequest, Headers, Refusal, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.http11 import Request

    from routes.gateway.exchange import Exchange

#: How long a refused client may take to read why.
LINGER_SECONDS: Final = 5.0
#: What a client may send ahead of the answer to its handshake; then reading pauses.
MAX_EARLY_BYTES: Final = 64 * 1024


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection from its upgrade request to the answer; ``scope["signalbox"]`` for the app."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._count_refused: Callable[[int], None] = server_state.refused
        self.response_started = False
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[Any] | None = None
        self._early = b""
        self._refused = False
        self._head: bytes | None = None

    # -- what the app calls ----------------------------------------------------------------------------------
    def attach(self, exchange: Exchange) -> None:
        """From here on the connection is the data plane's, and a client that leaves cancels the current task."""
        self._exchange = exchange
        self._task = asyncio.current_task()

    async def answer(self, message: Any) -> None:
        """``send`` of an HTTP request: any answer but 101. The connection closes behind it."""
        await self.writable.wait()
        if self.disconnected:
            return  # and our task is being cancelled
        if message["type"] == "http.response.start":
            self._head = self._written(message["status"], [*message["headers"], (b"connection", b"close")])
            return
        self.response_started = True
        head, self._head = self._head or b"", None
        self.transport.write(head + message.get("body", b""))
        if not message.get("more_body", False):
            self._end()

    def accept(self, headers: Headers, take_over: Callable[[asyncio.Transport], None]) -> bytes:
        """Answer 101. ``take_over`` gives the connection its new protocol. Returns what the client has sent ahead."""
        accepted = self.response.headers["Sec-WebSocket-Accept"].encode()
        ours = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-accept", accepted)]
        head = self._written(101, [*ours, *headers])
        self.response_started = self.handshake_complete = True
        take_over(self.transport)
        self.transport.write(head)
        return self._early

    def left(self) -> None:
        """The connection that was handed over is no more."""
        self.disconnected = True
        self.connections.discard(self)

    # -- uvicorn's side ----------------------------------------------------------------------------------------
    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # what still comes is dropped
        if self.handshake_initiated and self._exchange is not None:
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES:
                self.transport.pause_reading()
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._no_handshake("this is no WebSocket handshake")

    def handle_connect(self, event: Request) -> None:
        try:
            self.conn.process_request(event)
        except InvalidHandshake as error:
            self._no_handshake(f"this is no WebSocket handshake: {error}")
            return
        super().handle_connect(event)
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["signalbox"] = self
        scope["method"] = "GET"  # the only one of handshakes

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self._refused and self._exchange is not None and self._task is not None:
            self._exchange.client_gone = True
            self._task.cancel()

    def shutdown(self) -> None:
        if self._exchange is not None:
            return
        if self.handshake_complete and self.conn.state is State.OPEN:  # or uvicorn would say 1012
            self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.GOING_AWAY})
            self.conn.send_close(CloseCode.GOING_AWAY, "the gateway is shutting down")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        super().shutdown()

    def _no_handshake(self, why: str) -> None:
        self._count_refused(BadRequest.status)
        self.refuse(BadRequest(why))

    # -- writing -----------------------------------------------------------------------------------------------
    def refuse(self, refusal: Refusal) -> None:
        self.handshake_initiated = True
        status, headers, body = render(refusal, None)
        self.transport.write(self._written(status, [*headers, (b"connection", b"close")]) + body)
        self._end()

    def _written(self, status: int, headers: Headers) -> bytes:
        lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in (*self.default_headers, *headers))]
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise RuntimeError("a header of the answer holds a line break or NUL")
        return head + b"\r\n"

    def _end(self) -> None:
        """Close our side and give the client a while to read: closing over unread bytes would reset the connection and
        take the answer with it."""
        self._refused = self.handshake_complete = self.close_sent = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
