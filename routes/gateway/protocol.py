"""The HTTP edge: uvicorn's httptools protocol with what it lacks. One instance per connection.

Adds a header limit (64 KB) and time-out (10 s), a time-out for the request body, error documents in JSON, head and
body of an answer in one write, a lingering close for answers given before the body was read, and a disconnect that
cancels the request's task even while reading is otherwise paused. Knows nothing of routing: the app gets the
``Cycle`` of its request as ``scope["signalbox"]``.

A client that closes its sending side (half-close) counts as gone, as in uvicorn.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from routes.gateway.cycle import HIGH_WATER, Cycle
from routes.gateway.errors import BadRequest, Refusal, RequestTimeout, render

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

MAX_HEADER_BYTES: Final = 64 * 1024
#: What waits for a client to take it before whoever writes has to wait too.
WRITE_BUFFER_BYTES: Final = 32 * 1024
HEADER_TIMEOUT: Final = 10.0
BODY_TIMEOUT: Final = 30.0
#: How long bytes of a refused body are read and thrown away, so that the client gets to read the answer.
LINGER_SECONDS: Final = 5.0
#: Requests sent ahead on one connection before reading pauses. Not 0: while reading is paused nobody sees the
#: client leave.
MAX_PIPELINED: Final = 16

IDLE, HEADERS, BODY = 0, 1, 2


class HeadersTooLarge(Refusal):
    """431: only the edge refuses this, before there is a request."""

    status = 431
    code = "headers_too_large"
    default_message = "the request's headers are larger than 64 KB"


class HeaderTimeout(RequestTimeout):
    default_message = "the request's headers did not arrive in time"


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
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
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
        self.server_state.refused(refusal.status)  # type: ignore[attr-defined]
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
