"""What the simulator sends, as a plan: pieces of bytes with the time before each, and how the connection ends.

An `Answer` is what an honest provider says (a status, headers and a JSON body or events); a `Script` is the exact bytes
that go on the wire. Faults turn the one into the other in their own way. Knows nothing of sockets, wires or faults.
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from simulator.record import Record
    from simulator.websocket import Session

Headers = list[tuple[bytes, bytes]]

LAST_CHUNK = b"0\r\n\r\n"
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Ending(Enum):
    """What happens to the connection once every piece is sent."""

    KEEP = "keep"
    CLOSE = "close"  # FIN after what was written
    RESET = "reset"  # RST after what was written
    HANG = "hang"  # nothing: the connection stays open and silent


class Role(Enum):
    """What an event is for in its stream; faults cut by it."""

    OPENING = "opening"  # before any content: a role-only delta, message_start, response.created
    CONTENT = "content"
    FINISH = "finish"  # carries the finish reason or the usage
    TERMINATOR = "terminator"  # [DONE], message_stop, response.completed


class Event(NamedTuple):
    """One server-sent event, complete with its blank line, and the seconds between the one before and it."""

    data: bytes
    role: Role
    delay: float = 0.0


class Piece(NamedTuple):
    """Bytes written at once, `delay` seconds after the piece before was due; `events` counts server-sent events."""

    data: bytes
    delay: float = 0.0
    events: int = 0


class Answer:
    """An honest answer: either `body` or `events`. `delay` is the seconds before the first byte.

    With `block` the body goes out in chunks of so many bytes, as a server sends what it makes as it goes. With
    `session` the answer is a handshake, after whose head the connection is a WebSocket.
    """

    __slots__ = ("block", "body", "delay", "events", "headers", "session", "status")

    def __init__(
        self,
        status: int,
        headers: Headers,
        *,
        body: bytes = b"",
        events: Iterable[Event] | None = None,
        delay: float = 0.0,
        block: int = 0,
        session: Session | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.events = events
        self.delay = delay
        self.block = block
        self.session = session


class Script:
    """Bytes to send and what to do then. `close_after`: seconds a kept connection stays open, None for ever.

    `status` is for the log: 0 when no head is sent. With `session` the connection is a WebSocket from then on.
    """

    __slots__ = ("close_after", "ending", "pieces", "record", "session", "status")

    def __init__(
        self,
        pieces: Iterable[Piece],
        ending: Ending = Ending.KEEP,
        *,
        status: int = 0,
    ) -> None:
        self.pieces: Iterator[Piece] = iter(pieces)
        self.ending = ending
        self.status = status
        self.close_after: float | None = None
        self.record: Record | None = None
        self.session: Session | None = None


def head(status: int, headers: Headers) -> bytes:
    """Status line and header block; the framing header is the caller's."""
    line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Simulated\r\n".encode()
    return line + b"".join([b"%b: %b\r\n" % header for header in headers]) + b"\r\n"


def sized_head(answer: Answer, length: int) -> bytes:
    return head(answer.status, [*answer.headers, (b"content-length", b"%d" % length)])


def chunked_head(answer: Answer) -> bytes:
    return head(answer.status, [*answer.headers, (b"transfer-encoding", b"chunked")])


def own_head(answer: Answer) -> bytes:
    """The head that the answer has when nothing is wrong with it, framing included."""
    if answer.session is not None:
        return head(answer.status, answer.headers)
    if answer.events is not None or answer.block:
        return chunked_head(answer)
    return sized_head(answer, len(answer.body))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def blocks(body: bytes, size: int) -> Iterator[Piece]:
    """A body in chunks of `size` bytes, without the last, empty one."""
    for at in range(0, len(body), size):
        yield Piece(chunk(body[at : at + size]))


def without_body(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same pieces up to the end of the last head, as HEAD is answered; interim heads (1xx) are passed on."""
    seen = b""
    for piece in pieces:
        start = len(seen)
        seen += piece.data
        end = seen.find(b"\r\n\r\n")
        while end >= 0 and seen.startswith(b"HTTP/1.1 1"):
            seen = seen[end + 4 :]
            start -= end + 4
            end = seen.find(b"\r\n\r\n")
        if end >= 0:
            yield piece._replace(data=piece.data[: end + 4 - start])
            return
        yield piece


def event_pieces(events: Iterable[Event]) -> Iterator[Piece]:
    """One chunk for each event."""
    for data, _role, delay in events:
        yield Piece(b"%x\r\n%b\r\n" % (len(data), data), delay, 1)


def honest(answer: Answer) -> Script:
    """The answer as a well-behaved server sends it: Content-Length for a body, chunks for events."""
    if answer.session is not None:
        script = Script((Piece(own_head(answer), answer.delay),), status=answer.status)
        script.session = answer.session
        return script
    if answer.events is None:
        first = own_head(answer)
        if answer.block:
            pieces = chain((Piece(first, answer.delay),), blocks(answer.body, answer.block), (Piece(LAST_CHUNK),))
            return Script(pieces, status=answer.status)
        return Script((Piece(first + answer.body, answer.delay),), status=answer.status)
    return streamed(answer, answer.events)


def streamed(answer: Answer, events: Iterable[Event], ending: Ending = Ending.KEEP) -> Script:
    """The answer's head and these events, with the last chunk only when the connection is to be kept."""
    tail = (Piece(LAST_CHUNK),) if ending is Ending.KEEP else ()
    pieces = chain((Piece(chunked_head(answer), answer.delay),), event_pieces(events), tail)
    return Script(pieces, ending, status=answer.status)
