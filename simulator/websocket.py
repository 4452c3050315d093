"""A WebSocket after its handshake: frames in and out, closing, and the ways it can be told to misbehave.

Frames are read and written by the `websockets` package without its I/O. What is said is up to a `Talker` of the wire;
the bytes go through a `Link`, which is the connection. Knows no wire format and no fault.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from websockets.datastructures import Headers
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from simulator.script import Answer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from websockets.protocol import Event
    from websockets.typing import Subprotocol

    from simulator.connection import Request

Message = str | bytes

MAX_MESSAGE = 64 * 1024 * 1024
CLOSE_PATIENCE = 5.0  # seconds in which the peer may answer a close frame


class HandshakeError(Exception):
    """An upgrade request that is not as it must be; the message says why."""


class Talker(Protocol):
    """What is at the other end: hears messages, speaks through the session."""

    def begin(self, session: Session) -> None:
        """The connection is open."""

    def hear(self, session: Session, message: Message) -> None:
        """A whole message arrived."""

    def hear_pong(self, session: Session, payload: bytes) -> None:
        """A pong arrived."""


class Link(Protocol):
    """The connection below a session."""

    @property
    def congested(self) -> bool:
        """Whether the peer reads too slowly for more to be written now."""

    def write(self, data: bytes) -> None: ...

    def count(self, *, received: int = 0, sent: int = 0, close_code: int | None = None) -> None:
        """Add to the record of the request."""

    def finish(self) -> None:
        """FIN once all is written."""

    def reset_when_read(self) -> None:
        """RST once all that was written has arrived."""

    def stop_reading(self) -> None: ...

    def read_on(self) -> None: ...

    def later(self, seconds: float, act: Callable[[], None]) -> asyncio.TimerHandle: ...


class _Frames(ServerProtocol):
    """Frames after the handshake; `mute` leaves pings unanswered."""

    def __init__(self) -> None:
        super().__init__(state=State.OPEN, max_size=MAX_MESSAGE)
        self.mute = False

    def send_frame(self, frame: Frame) -> None:
        if not (self.mute and frame.opcode is Opcode.PONG):
            super().send_frame(frame)


class Session:
    """One open WebSocket. `subprotocol` is the negotiated one.

    Messages to send wait in a queue while the peer reads slowly, and nothing more is read meanwhile. A fault is laid on
    it before it begins: `strike_after(n, act)` lets `act` happen once n messages are received and answered.
    """

    def __init__(self, talker: Talker, request: Request, subprotocol: str | None) -> None:
        self.request = request
        self.subprotocol = subprotocol
        self._talker = talker
        self._frames = _Frames()
        self._parts: list[bytes] = []
        self._is_text = False
        self._queue: deque[Iterator[Message]] = deque()
        self._events: deque[Event] = deque()
        self._late = b""
        self._heard = 0
        self._strike_at: int | None = None
        self._strike: Callable[[], None] = lambda: None
        self._holding = False
        self._silent = False
        self._ended = False
        self._closing: asyncio.TimerHandle | None = None
        self._link: Link

    # -- what faults lay on it ---------------------------------------------------------------
    def strike_after(self, messages: int, act: Callable[[], None]) -> None:
        self._strike_at = messages
        self._strike = act

    def mute(self) -> None:
        """Answer no ping."""
        self._frames.mute = True

    def reset(self) -> None:
        """RST, no close frame."""
        self._silent = self._ended = True
        self._link.reset_when_read()

    def stall(self, seconds: float | None) -> None:
        """Read and send nothing, for ever or for so long."""
        self._silent = True
        self._link.stop_reading()
        if seconds is not None:
            self._link.later(seconds, self._wake)

    def _wake(self) -> None:
        if not self._ended:
            self._silent = False
            self._link.read_on()
            self._work()
            late, self._late = self._late, b""
            if late:
                self.receive(late)
            self.pump()

    def half_close(self, code: int, reason: str) -> None:
        """Send the close frame, then keep the connection open and read nothing."""
        self._frames.send_close(code, reason)
        self._flush()
        self.stall(None)

    # -- what talkers do ---------------------------------------------------------------------
    def say(self, message: Message) -> None:
        self.say_all((message,))

    def say_all(self, messages: Iterable[Message]) -> None:
        """Queue messages; they are taken from the iterable as the peer reads."""
        self._queue.append(iter(messages))

    def ping(self, payload: bytes) -> None:
        self._frames.send_ping(payload)
        self._flush()

    def close(self, code: int, reason: str = "") -> None:
        """Begin to close. A code or reason that cannot be sent raises ValueError."""
        if self._frames.state is not State.OPEN:
            return
        try:
            self._frames.send_close(code, reason)
        except ProtocolError as error:
            raise ValueError(str(error)) from None
        self._queue.clear()
        self._flush()
        self._closing = self._link.later(CLOSE_PATIENCE, self._link.finish)

    # -- the connection's side ---------------------------------------------------------------
    def begin(self, link: Link) -> None:
        self._link = link
        self._talker.begin(self)
        self.pump()

    def receive(self, data: bytes) -> None:
        if self._ended:
            return
        if self._silent:
            self._late += data
            return
        self._frames.receive_data(data)
        self._events += self._frames.events_received()
        self._work()

    def ended(self) -> None:
        """The connection is gone."""
        self._ended = True
        self._queue.clear()
        if self._closing is not None:
            self._closing.cancel()

    def pump(self) -> None:
        """Send what is queued for as long as the peer takes it; strike when the time has come."""
        while self._queue and not self._link.congested and not self._silent:
            message = next(self._queue[0], None)
            if message is None:
                self._queue.popleft()
            elif self._frames.state is State.OPEN:
                self._send(message)
        if self._silent or self._ended:
            return
        if self._queue:
            if not self._holding:
                self._holding = True
                self._link.stop_reading()
        else:
            if self._holding:
                self._holding = False
                self._link.read_on()
            if self._strike_at is not None and self._heard >= self._strike_at:
                self._strike_at = None
                self._strike()

    def _work(self) -> None:
        while self._events and not self._silent:
            event = self._events.popleft()
            if isinstance(event, Frame):
                self._take(event)
        if not self._silent:
            self._flush()

    def _send(self, message: Message) -> None:
        if isinstance(message, str):
            self._frames.send_text(message.encode())
        else:
            self._frames.send_binary(message)
        self._link.count(sent=1)
        self._flush()

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._parts.append(bytes(frame.data))
            if frame.fin:
                self._hear()
        elif frame.opcode is Opcode.PONG:
            self._talker.hear_pong(self, bytes(frame.data))
            self.pump()
        elif frame.opcode is Opcode.CLOSE and self._frames.close_rcvd is not None:
            self._link.count(close_code=int(self._frames.close_rcvd.code))

    def _hear(self) -> None:
        data = b"".join(self._parts)
        self._parts = []
        self._heard += 1
        self._link.count(received=1)
        if self._frames.state is not State.OPEN:
            return  # the peer had not seen our close frame yet
        try:
            message = data.decode() if self._is_text else data
        except UnicodeDecodeError:
            self.close(1007)
            return
        self._talker.hear(self, message)
        self.pump()

    def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if data:
                self._link.write(data)
            else:
                self._link.finish()  # both close frames were sent, or the peer broke the protocol


def handshake(request: Request, talker: Talker, subprotocols: tuple[str, ...] | None) -> Answer:
    """The answer that accepts. `subprotocols`: what may be agreed on, None for whatever is offered first.

    Raises HandshakeError.
    """

    def choose(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return next((one for one in offered if subprotocols is None or one in subprotocols), None)

    checking = ServerProtocol(select_subprotocol=choose)
    headers = Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers])
    accepted = checking.accept(Handshake(request.target.decode("latin-1"), headers, method=request.method))
    if accepted.status_code != 101:
        raise HandshakeError(bytes(accepted.body).decode().strip().partition("\n")[0])
    kept = [(name.lower().encode(), value.encode()) for name, value in accepted.headers.raw_items() if name != "Date"]
    return Answer(101, kept, session=Session(talker, request, checking.subprotocol))
