"""One HTTP/1.1 connection: requests parsed by httptools, scripts played byte for byte.

Shared by the simulated providers and the control endpoint: both are an `App` that turns a request into a `Script`.
Owns timing, backpressure, keep-alive and the noticing of clients that hang up. Knows no wire format and no fault. After
a handshake it carries the bytes of a `Session` instead (simulator.websocket).
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections import deque
from itertools import count
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import parse_qs

import httptools

from simulator.script import Ending, Piece, Script, head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.websocket import Session

RESET_PATIENCE = 5.0  # seconds that a slow reader may take for what comes before a reset
MAX_BODY = 256 * 1024 * 1024
GONE_INTERVAL = 0.05  # seconds between looks for a peer that left while nothing is read
TURN = 256 * 1024  # bytes that a connection may write before others get their turn
_TCP_ESTABLISHED = 1
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_numbers = count(1)


class Request:
    """A request as it arrived. `ordinal` counts the requests of its connection from 1; header names keep their case.

    `upgrade`: it asks for a WebSocket.
    """

    __slots__ = (
        "body",
        "connection",
        "headers",
        "keep_alive",
        "method",
        "ordinal",
        "path",
        "query",
        "target",
        "upgrade",
    )

    def __init__(self, connection: int, ordinal: int) -> None:
        self.connection = connection
        self.ordinal = ordinal
        self.method = ""
        self.target = b""
        self.path = ""
        self.query = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.keep_alive = True
        self.upgrade = False

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header; `name` in lower case."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return parse_qs(self.query.decode("latin-1")).get(name, [None])[0]


class App(Protocol):
    """What answers requests."""

    def connected(self, connection: Connection) -> None: ...

    def disconnected(self, connection: Connection) -> None: ...

    def respond(self, request: Request) -> Script: ...


class Connection(asyncio.Protocol):
    """Plays one script at a time; requests that arrive meanwhile wait their turn."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._number = next(_numbers)
        self._ordinal = 0
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._script: Script | None = None
        self._keep_alive = True
        self._pieces: Iterator[Piece] = iter(())
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._write_paused = False
        self._written = 0
        self._rest: asyncio.Handle | None = None
        self._half_read: Request | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._broken = False
        self._over = False
        self._upgrading = False
        self._held = b""
        self._session: Session | None = None
        self.transport: asyncio.Transport

    # -- asyncio -----------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._app.connected(self)

    def data_received(self, data: bytes) -> None:
        if self._session is not None:
            self._session.receive(data)
            return
        if self._upgrading:
            self._held += data  # frames, or the next request: the answer to the handshake decides
            return
        if self._broken:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The parser stops here; whoever reads on depends on what is answered, or was already.
            self._parser = httptools.HttpRequestParser(self)
            rest = data[upgrade.args[0] :]
            if rest:
                self.data_received(rest)
        except httptools.HttpParserError:
            self._broken = True
            self.transport.write(head(400, [(b"content-length", b"0"), (b"connection", b"close")]))
            self.transport.close()

    def eof_received(self) -> None:
        # A client that will send nothing more has gone: asyncio closes the transport after this.
        self._note_disconnect()
        if self._session is not None:
            self._session.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self._note_disconnect()
        self._over = True
        self._cancel_timer()
        if self._rest is not None:
            self._rest.cancel()
        self._pieces = iter(())
        self._waiting.clear()
        if self._session is not None:
            self._session.ended()
        self._app.disconnected(self)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._due = max(self._due, self._loop.time())
        self._go_on()

    # -- httptools ---------------------------------------------------------------------------
    def on_message_begin(self) -> None:
        self._ordinal += 1
        self._half_read = Request(self._number, self._ordinal)
        self._parts = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reading.headers.append((name, value))

    def on_headers_complete(self) -> None:
        for name, value in self._reading.headers:
            if len(name) == 6 and name.lower() == b"expect" and value.lower() == b"100-continue":
                self.transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY:
            raise httptools.HttpParserError("the body is too large")
        self._parts.append(body)

    def on_message_complete(self) -> None:
        request = self._reading
        self._half_read = None
        request.method = self._parser.get_method().decode("latin-1")
        request.keep_alive = self._parser.should_keep_alive()
        target, _, request.query = request.target.partition(b"?")
        request.path = target.decode("latin-1")
        parts = self._parts
        request.body = parts[0] if len(parts) == 1 else b"".join(parts)
        request.upgrade = self._parser.should_upgrade() and (request.header(b"upgrade") or b"").lower() == b"websocket"
        self._upgrading = request.upgrade
        if self._script is None:
            self._play(request)
        else:
            self._waiting.append(request)

    @property
    def _reading(self) -> Request:
        assert self._half_read is not None
        return self._half_read

    # -- playing -----------------------------------------------------------------------------
    def _play(self, request: Request) -> None:
        self._cancel_timer()
        self._keep_alive = request.keep_alive
        script = self._script = self._app.respond(request)
        self._pieces = script.pieces
        self._due = self._loop.time()
        self._advance()

    @property
    def congested(self) -> bool:
        """Whether nothing more may be written now; `_go_on` comes once it may. (For a Link too.)

        A closing transport never says pause: it drops what it is given, and `connection_lost` comes with the loop's
        next turn, which a body without end would never let it have.
        """
        return self._write_paused or self._rest is not None or self.transport.is_closing()

    def _go_on(self) -> None:
        if self._session is not None:
            self._session.pump()
        elif self._script is not None and self._timer is None:
            self._advance()

    def _rested(self) -> None:
        self._rest = None
        self._written = 0
        self._go_on()

    def _advance(self) -> None:
        while not self.congested and not self._over:
            piece = next(self._pieces, None)
            if piece is None:
                self._end()
                return
            if piece.delay > 0:
                self._due += piece.delay
                if self._due > self._loop.time():
                    self._timer = self._loop.call_at(self._due, self._send_later, piece)
                    return
            self._send(piece)

    def _send_later(self, piece: Piece) -> None:
        self._timer = None
        self._send(piece)
        self._advance()

    def _send(self, piece: Piece) -> None:
        self.transport.write(piece.data)
        record = self._script.record if self._script is not None else None
        if record is not None:
            record.bytes_sent += len(piece.data)
            record.events_sent += piece.events
        self._written += len(piece.data)
        if self._written >= TURN and self._rest is None:
            # The kernel takes what a quick peer reads as fast as it is written, so the transport need never say pause.
            self._rest = self._loop.call_soon(self._rested)

    def _end(self) -> None:
        script = self._script
        assert script is not None
        if script.ending is Ending.HANG:
            return
        if script.session is not None:
            self._become(script.session)
            return
        if script.record is not None:
            script.record.finished = True
        self._script = None
        if script.ending is Ending.RESET:
            self._over = True
            self._reset_when_taken(self._loop.time() + RESET_PATIENCE)
        elif script.ending is Ending.CLOSE or not self._keep_alive:
            self._over = True
            self.transport.close()
        elif self._waiting:
            self._play(self._waiting.popleft())
        elif self._upgrading:
            self._refused_upgrade()
        elif script.close_after is not None:
            self._timer = self._loop.call_later(script.close_after, self.transport.close)

    # -- WebSockets (simulator.websocket.Link) -----------------------------------------------
    def _become(self, session: Session) -> None:
        """The handshake is sent: from here on the session speaks."""
        self._session = session
        self._upgrading = False
        session.begin(self)
        held, self._held = self._held, b""
        if held:
            session.receive(held)

    def _refused_upgrade(self) -> None:
        """What came after the handshake is the next request after all."""
        self._upgrading = False
        held, self._held = self._held, b""
        if held:
            self.data_received(held)

    def write(self, data: bytes) -> None:
        if not self._over:
            self._send(Piece(data))

    def count(self, *, received: int = 0, sent: int = 0, close_code: int | None = None) -> None:
        record = self._script.record if self._script is not None else None
        if record is not None:
            record.messages_received += received
            record.messages_sent += sent
            record.close_code = record.close_code if close_code is None else close_code

    def finish(self) -> None:
        self._finished()
        self.transport.close()

    def reset_when_read(self) -> None:
        self._finished()
        self._reset_when_taken(self._loop.time() + RESET_PATIENCE)

    def _finished(self) -> None:
        self._over = True
        self._cancel_timer()
        if self._script is not None and self._script.record is not None:
            self._script.record.finished = True

    def stop_reading(self) -> None:
        """Take nothing more from the socket. Who leaves is then not told by it, so it is asked now and then."""
        if not self.transport.is_closing():
            self.transport.pause_reading()
            self._watch()

    def _watch(self) -> None:
        if self._peer_gone():
            self._note_disconnect()
            self.transport.abort()
        else:
            self._timer = self._loop.call_later(GONE_INTERVAL, self._watch)

    def _peer_gone(self) -> bool:
        raw = self.transport.get_extra_info("socket")
        option = getattr(socket, "TCP_INFO", None)  # Linux; elsewhere the connection ends with the provider
        if raw is None or option is None or raw.fileno() < 0:
            return False
        return bool(raw.getsockopt(socket.IPPROTO_TCP, option, 1)[0] != _TCP_ESTABLISHED)

    def read_on(self) -> None:
        self._cancel_timer()
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def later(self, seconds: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, act)

    def _reset_when_taken(self, deadline: float) -> None:
        """RST once the other side has all that was written: it makes both ends drop what is still on its way."""
        if self._unsent() and self._loop.time() < deadline:
            self._timer = self._loop.call_later(0.001, self._reset_when_taken, deadline)
        else:
            self.reset()

    def _unsent(self) -> int:
        """Bytes that the kernel has not taken, or the other side not acknowledged."""
        waiting = self.transport.get_write_buffer_size()
        raw = self.transport.get_extra_info("socket")
        if waiting or raw is None or raw.fileno() < 0:
            return waiting
        return int.from_bytes(fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def reset(self) -> None:
        """Drop the connection with RST, whatever it was doing."""
        self._over = True
        self._cancel_timer()
        if self.transport.is_closing():
            return
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def _note_disconnect(self) -> None:
        if self._script is None or self._over:
            return
        record = self._script.record
        if record is not None and not record.disconnected:
            record.disconnected = True
            record.disconnected_after = self._loop.time() - record.started

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
