"""Two open WebSockets with one conversation: messages, closing and silence of either side reach the other.

Frames are read and written by the ``websockets`` package without its I/O, on both sides, directly on the transports;
no queue and no task lies between them. What one side sends is written to the other as soon as the message is complete,
and while the other does not take it, reading from the first is paused: in each direction there is never more than one
message (16 MB at most) and what one read of a socket brought (64 KB) beside the transport's 64 KB. A client library
with queues and tasks of its own (aiohttp's, or ``websockets`` with its I/O) bounds messages by number or not at all,
and cannot send a close frame as it came.

Text and binary go on unchanged and unread; how a message was cut into frames does not. ``permessage-deflate`` is
offered to nobody. Pings are answered here and not passed on; our own find out who is dead. Knows nothing of history,
targets and HTTP.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side, State

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
READ_BYTES: Final = 64 * 1024
WRITE_BUFFER_BYTES: Final = 64 * 1024
#: A side is pinged this often, and lost when it has neither said nor taken anything until the next.
PING_SECONDS = 20.0
#: How long a side may take to answer a close frame and to close its connection.
CLOSE_SECONDS = 5.0
#: How often that time is given again to one that is still taking what was sent before.
CLOSE_EXTENSIONS: Final = 12

#: What every socket of the process is read into; its content is taken before anything else can run.
_buffer = memoryview(bytearray(READ_BYTES))


class Ending(NamedTuple):
    """Why a conversation is over. ``how``: a close frame, a connection that is gone without one, no answer to pings, or
    frames that are against the protocol or too large (``code`` says which); ``stopped`` by us."""

    by: Literal["client", "upstream", "gateway"]
    how: Literal["closed", "lost", "silent", "broke", "stopped"]
    code: int
    reason: str = ""


class Tunnel:
    """The conversation. ``ended`` is called once, before anybody is told of the end; ``heard`` with every text message
    of the upstream."""

    __slots__ = ("_ended", "_heard", "client", "ending", "over", "upstream")

    def __init__(self, ended: Callable[[Ending], None], heard: Callable[[bytes], None] | None = None) -> None:
        self._ended = ended
        self._heard = heard
        self.ending: Ending | None = None
        #: done when both connections are closed
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.client = Peer(self, Side.SERVER)
        self.upstream = Peer(self, Side.CLIENT)

    def begin(self, from_client: bytes, from_upstream: bytes) -> None:
        """Both connections are open; what each has sent already."""
        self.upstream.feed(from_upstream)
        self.client.feed(from_client)

    def stop(self, code: int, reason: str) -> None:
        """End it from our side."""
        self.end(Ending("gateway", "stopped", code, reason))

    def cut(self) -> None:
        """Wait for nobody any more. What was written may still arrive."""
        self.client.cut()
        self.upstream.cut()

    # -- what the two sides call ---------------------------------------------------------------------------------
    def other(self, peer: Peer) -> Peer:
        return self.upstream if peer is self.client else self.client

    def name(self, peer: Peer) -> Literal["client", "upstream"]:
        return "client" if peer is self.client else "upstream"

    def message(self, peer: Peer, data: bytes, is_text: bool) -> None:
        if self.ending is not None:
            return
        if self._heard is not None and is_text and peer is self.upstream:
            self._heard(data)
        self.other(peer).send(data, is_text)

    def end(self, ending: Ending) -> None:
        if self.ending is not None:
            return
        self.ending = ending
        self._ended(ending)
        by, how, code, reason = ending
        if how == "stopped":
            self.client.close(code, reason)
            self.upstream.close(code, reason)
            return
        here, there = (self.client, self.upstream) if by == "client" else (self.upstream, self.client)
        if how == "silent":
            here.close(CloseCode.INTERNAL_ERROR, "no answer to pings")
        else:
            here.wind_down()
        if how == "closed":
            there.close(None if code == CloseCode.NO_STATUS_RCVD else code, reason)
        elif code == CloseCode.MESSAGE_TOO_BIG:
            there.close(code, "a message of the other side is too big")
        elif by == "client":
            there.close(CloseCode.GOING_AWAY, "the client is gone")
        else:
            there.close(CloseCode.INTERNAL_ERROR, "the provider's connection is gone")

    def lost(self, peer: Peer) -> None:
        self.end(Ending(self.name(peer), "lost", CloseCode.ABNORMAL_CLOSURE))
        if self.client.gone and self.upstream.gone and not self.over.done():
            self.over.set_result(None)


class _Frames(Protocol):
    """Of pings that come while the peer takes nothing, the last is answered once it does: no queue of pongs."""

    choked = False
    owed: Frame | None = None

    def send_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG and self.choked:
            self.owed = frame
        else:
            super().send_frame(frame)


class Peer(asyncio.BufferedProtocol):
    """One side: an open WebSocket on a transport."""

    transport: asyncio.Transport

    def __init__(self, tunnel: Tunnel, side: Side) -> None:
        self.tunnel = tunnel
        self.gone = False
        self.messages_received = self.bytes_received = 0
        self.messages_sent = self.bytes_sent = 0
        self._frames = _Frames(side, state=State.OPEN, max_size=MAX_MESSAGE_BYTES)
        self._message = bytearray()
        self._is_text = False
        self._held = False  # reading is paused, because the other side does not take what comes
        self._alive = True  # it has said something since the last ping
        self._pinged = False
        self._written = 0
        self._unsent = self._taken = 0  # parts of that, as of the last look
        self._extensions = CLOSE_EXTENSIONS
        self._finished = False
        self._timer: asyncio.TimerHandle | None = None

    def open(self, transport: asyncio.Transport) -> None:
        """Take over a connection after its handshake."""
        self.transport = transport
        open_still = not transport.is_closing()
        if open_still:
            transport.pause_reading()  # a transport decides how it reads when reading begins
        transport.set_protocol(self)
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        if open_still:
            transport.resume_reading()
        self._wait(PING_SECONDS, self._beat)

    # -- reading -------------------------------------------------------------------------------------------------
    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.feed(bytes(_buffer[:nbytes]))

    def feed(self, data: bytes) -> None:
        if not data or self.gone:
            return
        self._alive = True
        frames = self._frames
        frames.receive_data(data)
        for event in frames.events_received():
            if isinstance(event, Frame):
                self._take(event)
        if frames.parser_exc is not None and frames.close_sent is not None:
            self.tunnel.end(Ending(self.tunnel.name(self), "broke", frames.close_sent.code, str(frames.parser_exc)))
        self._flush()

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
                if frame.fin:
                    self._received(bytes(frame.data))
                    return
            self._message += frame.data
            if frame.fin:
                message, self._message = bytes(self._message), bytearray()
                self._received(message)
        elif frame.opcode is Opcode.CLOSE and (close := self._frames.close_rcvd) is not None:
            self.tunnel.end(Ending(self.tunnel.name(self), "closed", close.code, close.reason))

    def _received(self, message: bytes) -> None:
        self.messages_received += 1
        self.bytes_received += len(message)
        self.tunnel.message(self, message, self._is_text)

    def hold(self) -> None:
        """The other side takes no more for now."""
        if self.tunnel.ending is None and not self._held and not self.gone and not self.transport.is_closing():
            self._held = True
            self.transport.pause_reading()

    def release(self) -> None:
        if self._held:
            self._held = False
            self._alive = True  # its pong may have been waiting for us to read
            if not self.gone and not self.transport.is_closing():
                self.transport.resume_reading()

    # -- writing -------------------------------------------------------------------------------------------------
    def send(self, data: bytes, is_text: bool) -> None:
        frames = self._frames
        if frames.state is not State.OPEN:
            return
        self.messages_sent += 1
        self.bytes_sent += len(data)
        (frames.send_text if is_text else frames.send_binary)(data)
        self._flush()

    def close(self, code: int | None, reason: str = "") -> None:
        """Begin to close; None = a close frame that says nothing."""
        if self.gone:
            return
        if self._frames.state is State.OPEN:
            self._frames.send_close(code, reason)
            self._flush()
        self.wind_down()

    def wind_down(self) -> None:
        """Its conversation is over: it has a while to close."""
        if not self.gone:
            self.release()
            self._takes()
            self._wait(CLOSE_SECONDS, self._give_up)

    def cut(self) -> None:
        if not self.gone:
            self.transport.close()

    def _flush(self) -> None:
        written = self._frames.data_to_send()
        if self.gone or self.transport.is_closing():
            return
        data = b"".join(written)
        if data:
            self._written += len(data)
            self.transport.write(data)
        if self._frames.eof_sent and not self._finished:
            # Both close frames are there, or it broke the protocol. What it still sends is read and dropped, or the
            # close frame would be lost in a reset.
            self._finished = True
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:
                self.transport.close()

    def pause_writing(self) -> None:
        self._frames.choked = True
        self.tunnel.other(self).hold()

    def resume_writing(self) -> None:
        frames = self._frames
        frames.choked = False
        if frames.owed is not None:
            owed, frames.owed = frames.owed, None
            frames.send_frame(owed)
            self._flush()
        self.tunnel.other(self).release()

    # -- time ----------------------------------------------------------------------------------------------------
    def _wait(self, seconds: float, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, act)

    def _takes(self) -> bool:
        """Whether it has taken something, if slowly, of what was waiting for it at the last look."""
        waited, before = self._unsent, self._taken
        self._unsent = self.transport.get_write_buffer_size()
        self._taken = self._written - self._unsent
        return waited > 0 and self._taken > before

    def _beat(self) -> None:
        takes = self._takes()
        if self._pinged and not (self._alive or takes or self._held):
            self.tunnel.end(Ending(self.tunnel.name(self), "silent", CloseCode.ABNORMAL_CLOSURE))
            return
        self._alive = False
        self._pinged = True
        if not self._frames.choked:
            self._frames.send_ping(b"signalbox")
            self._flush()
        self._wait(PING_SECONDS, self._beat)

    def _give_up(self) -> None:
        if self._takes() and self.transport.get_write_buffer_size() and self._extensions:
            self._extensions -= 1
            self._wait(CLOSE_SECONDS, self._give_up)
        else:
            self.transport.abort()

    # -- the end -------------------------------------------------------------------------------------------------
    def eof_received(self) -> bool:
        return False  # nobody listens any more either: close

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.tunnel.other(self).release()
        self.tunnel.lost(self)
