"""One request and its answer at the HTTP edge: uvicorn's cycle with head and body in one write, a body read at once and
within a limit, and a disconnect that cancels the request's task. Made by ``protocol``; knows nothing of routing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from routes.gateway.errors import BodyTooLarge, Refusal, render

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent

    from routes.gateway.exchange import Exchange
    from routes.gateway.protocol import GatewayProtocol

#: Unread body bytes after which reading pauses, for apps that stream.
HIGH_WATER: Final = 64 * 1024

logger = logging.getLogger(__name__)


class Cycle(RequestResponseCycle):
    """One request and its answer, as the app sees them through ``receive`` and ``send``.

    The head of an answer leaves with its first body message; an empty one with ``more_body`` is enough.
    """

    task: asyncio.Task[None] | None = None
    exchange: Exchange | None = None
    cancel_on_disconnect = False
    broken: Refusal | None = None  # why the rest of the body will never come
    lingers = False
    body_limit = HIGH_WATER
    head: bytes | None = None
    protocol: GatewayProtocol

    def attach(self, exchange: Exchange | None) -> None:
        """From here on a client that leaves cancels the task; ``exchange.client_gone`` says why."""
        self.exchange = exchange
        self.cancel_on_disconnect = True

    def client_left(self) -> None:
        """The connection is gone: wake whoever waits, cancel the task if the app asked for it."""
        if self.response_complete:
            return
        self.disconnected = True
        if self.exchange is not None:
            self.exchange.client_gone = True
        if self.cancel_on_disconnect and self.task is not None:
            self.task.cancel()

    async def run_asgi(self, app: ASGI3Application) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self.transport.close()  # the client left or the drain time is over; the app has recorded it
        except Exception:
            logger.exception("a request failed inside the gateway")
            if self.response_started:
                self.transport.close()
            else:
                await self.refuse(Refusal())
        else:
            # An app that returns without the final body message wants the answer to end visibly incomplete.
            if not self.response_complete and not self.disconnected:
                self.transport.close()
        finally:
            # Nothing may be left in a cycle of references: 6,000 of them a second keep the collector busy.
            self.on_response = _nothing
            self.scope.pop("signalbox", None)  # type: ignore[typeddict-item]
            self.task = self.exchange = None

    async def refuse(self, refusal: Refusal, wire: str = "openai") -> None:
        """Answer with an error document that belongs to no exchange."""
        status, headers, body = render(refusal, None, wire)
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    # -- ASGI ------------------------------------------------------------------------------------------
    async def receive(self) -> ASGIReceiveEvent:
        if self.broken is not None:
            return {"type": "http.disconnect"}
        message = await super().receive()
        return message if self.broken is None else {"type": "http.disconnect"}

    def continue_100(self) -> None:
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.waiting_for_100_continue = False

    async def read_body(self, limit: int) -> bytes:
        """The whole body, waking up once. Raises BodyTooLarge as soon as ``limit`` is passed, RequestTimeout when
        it is too slow, BadRequest when its framing breaks."""
        if self.more_body:
            self.continue_100()
            self.body_limit = limit
            event = self.message_event
            while self.more_body and len(self.body) <= limit and self.broken is None:
                event.clear()
                self.flow.resume_reading()
                await event.wait()
                if self.disconnected:
                    raise asyncio.CancelledError
        if len(self.body) > limit:
            self.body = bytearray()
            raise BodyTooLarge(f"the request body is larger than {limit // (1024 * 1024)} MB")
        if self.broken is not None:
            raise self.broken
        body = bytes(self.body)
        self.body = bytearray()
        return body

    async def send(self, message: ASGISendEvent) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            if self.response_started:
                raise RuntimeError("the answer has already begun")
            self.response_started = True
            self.waiting_for_100_continue = False
            self.head = self._head(message["status"], message["headers"])  # type: ignore[arg-type]
        elif message["type"] == "http.response.body":
            if not self.response_started or self.response_complete:
                raise RuntimeError("body outside of an answer")
            self._write(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected ASGI message {message['type']!r}")

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = [STATUS_LINE[status]]
        append = lines.append
        closes = False
        for name, value in self.default_headers:
            append(b"%b: %b\r\n" % (name, value))
        for name, value in headers:
            append(b"%b: %b\r\n" % (name, value))
            lowered = name.lower()
            if lowered == b"content-length":
                if self.chunked_encoding is None:
                    self.expected_content_length = int(value)
                    self.chunked_encoding = False
            elif lowered == b"transfer-encoding":
                if value.lower() == b"chunked":
                    self.expected_content_length = 0
                    self.chunked_encoding = True
            elif lowered == b"connection":
                closes = closes or b"close" in value.lower()
        if self.more_body:
            # The rest of the body is not wanted; read on a little, so that the client can read this answer.
            self.lingers = True
        if closes or self.lingers or self.protocol.server_state.closing:  # type: ignore[attr-defined]
            self.keep_alive = False
        if not self.keep_alive and not closes:
            append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            append(b"transfer-encoding: chunked\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise RuntimeError("a header of the answer holds a line break or NUL")
        return head + b"\r\n"

    def _write(self, body: bytes, more_body: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            data = b""
        elif self.chunked_encoding:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more_body:
                data += b"0\r\n\r\n"
        else:
            if len(body) > self.expected_content_length:
                raise RuntimeError("the body is longer than its Content-Length")
            self.expected_content_length -= len(body)
            data = body
        if self.head is not None:
            data = self.head + data
            self.head = None
        if data:
            self.transport.write(data)
        if more_body:
            return
        if self.expected_content_length:
            raise RuntimeError("the body is shorter than its Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            if self.lingers and self.more_body:
                self.protocol.linger()
            else:
                self.transport.close()
        self.on_response()


def _nothing() -> None:
    """What a finished cycle calls instead of its connection."""
