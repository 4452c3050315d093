"""The HTTP edge: uvicorn's httptools protocol with what it lacks. One instance per connection.

Adds a header limit (64 KB) and time-out (10 s), a time-out for the request body, error documents in JSON, head and
body of an answer in one write, a lingering close for answers given before the body was read, and a disconnect that
cancels the request's task even while reading is otherwise paused. Knows nothing of routing: the app gets the
``Cycle`` of its request as ``scope["signalbox"]``.

A client that closes its sending side (half-close) counts as gone, as in uvicorn.
"""

from __future__ import annotations

import asyncio
import logging
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from routes.gateway.errors import BadRequest, BodyTooLarge, Refusal, RequestTimeout, render

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent

    from routes.gateway.exchange import Exchange

MAX_HEADER_BYTES: Final = 64 * 1024
HEADER_TIMEOUT: Final = 10.0
BODY_TIMEOUT: Final = 30.0
#: How long bytes of a refused body are read and thrown away, so that the client gets to read the answer.
LINGER_SECONDS: Final = 5.0
#: Unread body bytes after which reading pauses, for apps that stream.
HIGH_WATER: Final = 64 * 1024
#: Requests sent ahead on one connection before reading pauses. Not 0: while reading is paused nobody sees the
#: client leave.
MAX_PIPELINED: Final = 16

IDLE, HEADERS, BODY = 0, 1, 2

logger = logging.getLogger(__name__)


class HeadersTooLarge(Refusal):
    """431: only the edge refuses this, before there is a request."""

    status = 431
    code = "headers_too_large"
    default_message = "the request's headers are larger than 64 KB"


class HeaderTimeout(RequestTimeout):
    default_message = "the request's headers did not arrive in time"


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


class GatewayProtocol(HttpToolsProtocol):
    cycle: Cycle

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._phase = IDLE
        self._header_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_phase = IDLE
        self._lingering = False
        self._idle_since: float | None = None
        self._running: Cycle | None = None  # not always the newest: requests may be sent ahead

    # -- connection ------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # A connection that never sends anything must not stay either.
        self._become_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        self.pipeline.clear()
        if self._running is not None:
            self._running.client_left()
            self._running.message_event.set()
        if self.flow is not None:
            self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        self._idle_since = None
        if self._phase != BODY:
            self._header_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data, upgrade.args[0])
            return
        except httptools.HttpParserError as error:
            refusal = error.__context__
            self._reject(refusal if isinstance(refusal, Refusal) else BadRequest("this is not valid HTTP/1.1"))
            return
        phase = self._phase
        if phase == HEADERS and self._header_bytes > MAX_HEADER_BYTES:
            self._reject(HeadersTooLarge())
        elif phase != self._timer_phase:
            self._stop_timer()
            if phase != IDLE:
                seconds = HEADER_TIMEOUT if phase == HEADERS else BODY_TIMEOUT
                self._timer = self.loop.call_later(seconds, self._too_slow)
                self._timer_phase = phase

    # One timer a connection that looks again when it fires costs less than one a request, set and cancelled.
    def _become_idle(self) -> None:
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again(self.timeout_keep_alive)

    def _look_again(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has been idle for the keep-alive time."""
        self.timeout_keep_alive_task = None
        idle = 0.0 if self._idle_since is None else self.loop.time() - self._idle_since
        if idle < self.timeout_keep_alive:
            self._look_again(self.timeout_keep_alive - idle)
        elif not self.transport.is_closing():
            self.transport.close()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._become_idle()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_phase = IDLE

    def _too_slow(self) -> None:
        self._timer = None
        if self._phase == HEADERS:
            self._reject(HeaderTimeout())
        else:
            self._reject(RequestTimeout())

    def _reject(self, refusal: Refusal) -> None:
        """What comes in can be understood no further: answer that, and close."""
        self._stop_timer()
        cycle = self.cycle
        if self._phase == BODY and not cycle.response_complete:
            # The request is under way: whoever reads its body is told, and answers.
            self._lingering = True
            cycle.keep_alive = False
            cycle.broken = refusal
            cycle.message_event.set()
            return
        if cycle is not None and not cycle.response_complete:
            self.transport.close()
            return
        status, headers, body = render(refusal, None)
        lines = [STATUS_LINE[status], *(b"%b: %b\r\n" % header for header in self.server_state.default_headers)]
        lines += [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([*lines, b"connection: close\r\n\r\n", body]))
        self.linger()

    def linger(self) -> None:
        """Close our side, read and drop what still comes: closing over unread bytes would reset the connection
        and take the answer with it."""
        self._lingering = True
        self._stop_timer()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    # -- parser ----------------------------------------------------------------------------------------
    def on_message_begin(self) -> None:
        self._phase = HEADERS
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._header_bytes = 0
        headers = self.headers
        if sum([len(name) + len(value) + 4 for name, value in headers]) + len(self.url) > MAX_HEADER_BYTES:
            raise HeadersTooLarge
        parser = self.parser
        if parser.should_upgrade():
            return  # the parser stops here: _upgrade takes over
        http_version = parser.get_http_version()
        url = self.url
        if url.startswith(b"/") and b"#" not in url:
            raw_path, _, query = url.partition(b"?")
        else:
            parsed = httptools.parse_url(url)
            raw_path, query = parsed.path or b"/", parsed.query or b""
        path = raw_path.decode("ascii")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": http_version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": headers,
            "method": parser.get_method().decode("ascii"),
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
        }
        self.scope = scope  # type: ignore[assignment]
        self._phase = BODY
        before = self.cycle
        cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=http_version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        cycle.protocol = self
        scope["signalbox"] = cycle
        self.cycle = cycle
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.pipeline.appendleft((cycle, self.app))
            if len(self.pipeline) >= MAX_PIPELINED:
                self.flow.pause_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        assert isinstance(cycle, Cycle)
        self._running = cycle
        task = cycle.task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > cycle.body_limit:
            self.flow.pause_reading()
        elif cycle.body_limit > HIGH_WATER:
            return  # read_body waits for the end, not for pieces
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._phase = IDLE
        if self._timer is not None:
            self._stop_timer()
        cycle = self.cycle
        if self.parser.should_upgrade() or cycle.response_complete:
            return
        cycle.more_body = False
        cycle.message_event.set()

    def _upgrade(self, data: bytes, offset: int) -> None:
        """The parser stopped behind the head of a request that asks for an upgrade."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        self._phase = IDLE
        method = self.parser.get_method()
        if method == b"CONNECT" or (self.cycle is not None and not self.cycle.response_complete):
            self._reject(BadRequest("this request cannot be upgraded"))
        elif self._should_upgrade():
            self.scope = {"method": method.decode("ascii"), "headers": self.headers}  # type: ignore[typeddict-item]
            self.handle_websocket_upgrade()
        else:
            # An upgrade we do not offer (h2c) may be ignored: the same request again, without the wish.
            lines = [method, b" ", self.url, b" HTTP/1.1\r\n"]
            for name, value in self.headers:
                if name not in (b"upgrade", b"connection", b"http2-settings"):
                    lines += [name, b": ", value, b"\r\n"]
            self.parser = httptools.HttpRequestParser(self)
            self.data_received(b"".join([*lines, b"\r\n", data[offset:]]))
