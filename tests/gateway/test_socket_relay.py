"""The relay between two WebSockets alone: real connections, the ends of both sides held by the test."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from routes.gateway import socket_relay
from routes.gateway.socket_relay import MAX_MESSAGE_BYTES, Ending, Tunnel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Many of a kind.
pytestmark = pytest.mark.thorough

SOON = 0.1


class End:
    """The far end of one side. It reads only when told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: Side) -> None:
        self._reader = reader
        self._writer = writer
        self.frames = Protocol(side, state=State.OPEN, max_size=None)
        self.unread: list[Frame] = []

    async def flush(self) -> None:
        self._writer.write(b"".join(self.frames.data_to_send()))
        await self._writer.drain()

    async def say(self, data: bytes) -> None:
        self.frames.send_binary(data)
        await self.flush()

    async def hear(self, opcode: Opcode, *, answers: bool = True) -> Frame:
        """The next frame of that kind; others are dropped. ``answers``: pings and close frames."""
        async with asyncio.timeout(10):
            while True:
                while self.unread:
                    frame = self.unread.pop(0)
                    if frame.opcode is opcode:
                        return frame
                data = await self._reader.read(65536)
                assert data, "the connection is closed"
                self.frames.receive_data(data)
                self.unread += [event for event in self.frames.events_received() if isinstance(event, Frame)]
                if answers:
                    with suppress(ConnectionError):  # cut off for having been slow; what was heard before counts
                        await self.flush()

    async def closed(self) -> int:
        """The code of the close frame that comes."""
        await self.hear(Opcode.CLOSE)
        assert self.frames.close_rcvd is not None
        return int(self.frames.close_rcvd.code)

    def leave(self) -> None:
        self._writer.transport.abort()


class Lab:
    """A tunnel between two ends, and what was told of its end."""

    tunnel: Tunnel
    client: End
    upstream: End

    def __init__(self) -> None:
        self.endings: list[Ending] = []

    async def open(self) -> None:
        self.tunnel = Tunnel(self.endings.append)
        (client, near_client), (upstream, near_upstream) = await _connected(), await _connected()
        self.client = End(*client, Side.CLIENT)
        self.upstream = End(*upstream, Side.SERVER)
        self.tunnel.upstream.open(near_upstream)
        self.tunnel.client.open(near_client)
        self.tunnel.begin(b"", b"")

    async def over(self) -> Ending:
        async with asyncio.timeout(10):
            await asyncio.shield(self.tunnel.over)
        [ending] = self.endings
        return ending


async def _connected() -> tuple[tuple[asyncio.StreamReader, asyncio.StreamWriter], asyncio.Transport]:
    """A connection on loopback: the far end's streams, the near end's transport."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # so that little is in the kernel's hands
        far.connect(listener.getsockname())
        far.setblocking(False)
        near, _ = listener.accept()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)
    return await asyncio.open_connection(sock=far), transport


@pytest.fixture
async def lab(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setattr(socket_relay, "PING_SECONDS", SOON)
    monkeypatch.setattr(socket_relay, "CLOSE_SECONDS", SOON)
    made = Lab()
    await made.open()
    yield made
    made.tunnel.stop(CloseCode.GOING_AWAY, "")
    for end in (made.client, made.upstream):
        end.leave()
    async with asyncio.timeout(10):
        await made.tunnel.over


async def test_a_provider_that_answers_no_ping_is_lost_and_the_client_gets_1011(lab: Lab) -> None:
    listening = asyncio.create_task(lab.client.closed())  # answers its own
    await lab.upstream.hear(Opcode.PING, answers=False)
    assert await listening == CloseCode.INTERNAL_ERROR
    ending = await lab.over()
    assert (ending.by, ending.how) == ("upstream", "silent")


async def test_a_client_that_answers_no_ping_is_lost_and_the_provider_gets_1001(lab: Lab) -> None:
    assert await lab.upstream.closed() == CloseCode.GOING_AWAY
    ending = await lab.over()
    assert (ending.by, ending.how) == ("client", "silent")


async def test_who_answers_pings_may_be_silent_for_long(lab: Lab) -> None:
    listening = [asyncio.create_task(end.closed()) for end in (lab.client, lab.upstream)]
    await asyncio.sleep(SOON * 8)
    assert not lab.endings
    lab.tunnel.stop(CloseCode.GOING_AWAY, "enough")
    assert await asyncio.gather(*listening) == [CloseCode.GOING_AWAY, CloseCode.GOING_AWAY]


async def test_who_waits_for_a_slow_reader_is_not_taken_for_dead(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client takes what comes, but slowly, and its pongs come late; the provider is not read meanwhile."""
    monkeypatch.setattr(socket_relay, "PING_SECONDS", SOON * 5)
    flood = asyncio.create_task(_flood(lab.upstream))
    try:
        for _ in range(40):
            await lab.client.hear(Opcode.BINARY)
            await asyncio.sleep(SOON / 2)
        assert not lab.endings
    finally:
        flood.cancel()


async def _flood(end: End) -> None:
    while True:
        await end.say(bytes(64 * 1024))


async def test_a_provider_whose_message_is_too_large_and_the_client_get_1009(lab: Lab) -> None:
    sending = asyncio.create_task(lab.upstream.say(bytes(MAX_MESSAGE_BYTES + 1)))
    assert await lab.client.closed() == CloseCode.MESSAGE_TOO_BIG
    assert await lab.upstream.closed() == CloseCode.MESSAGE_TOO_BIG
    with suppress(ConnectionError):  # it may be cut off before all of it is sent
        await sending
    ending = await lab.over()
    assert (ending.by, ending.how, ending.code) == ("upstream", "broke", CloseCode.MESSAGE_TOO_BIG)


async def test_a_message_in_many_pieces_is_limited_as_a_whole(lab: Lab) -> None:
    frames = lab.client.frames
    piece = bytes(1024 * 1024)
    frames.send_binary(piece, fin=False)
    for _ in range(16):
        frames.send_continuation(piece, fin=False)
    sending = asyncio.create_task(lab.client.flush())
    assert await lab.upstream.closed() == CloseCode.MESSAGE_TOO_BIG
    sending.cancel()
    assert lab.tunnel.upstream.messages_sent == 0


async def test_a_provider_that_breaks_the_protocol_ends_the_client_with_1011(lab: Lab) -> None:
    lab.upstream.frames.writes.append(b"\x83\x00")  # an opcode nobody knows
    await lab.upstream.flush()
    assert await lab.client.closed() == CloseCode.INTERNAL_ERROR
    assert await lab.upstream.closed() == CloseCode.PROTOCOL_ERROR
    assert (await lab.over()).how == "broke"


async def test_a_side_that_answers_no_close_frame_is_cut_off(lab: Lab) -> None:
    lab.client.frames.send_close(4000, "bye")
    await lab.client.flush()
    await lab.upstream.hear(Opcode.CLOSE, answers=False)
    ending = await lab.over()
    assert (ending.by, ending.how, ending.code, ending.reason) == ("client", "closed", 4000, "bye")


async def test_a_client_that_still_takes_what_was_sent_gets_all_of_it_before_the_close(lab: Lab) -> None:
    await lab.upstream.say(bytes(8 * 1024 * 1024))
    lab.upstream.frames.send_close(4000)
    await lab.upstream.flush()
    await asyncio.sleep(SOON)
    message = asyncio.create_task(lab.client.hear(Opcode.BINARY))
    assert len((await message).data) == 8 * 1024 * 1024
    assert await lab.client.closed() == 4000


async def test_only_the_last_ping_is_answered_once_somebody_reads_again(lab: Lab) -> None:
    await lab.upstream.say(bytes(8 * 1024 * 1024))  # more than connection and transport take
    async with asyncio.timeout(10):
        while not lab.tunnel.client.messages_sent:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
    for number in range(50):
        lab.client.frames.send_ping(b"%d" % number)
    await lab.client.flush()
    await asyncio.sleep(SOON / 2)
    pong = await lab.client.hear(Opcode.PONG)
    assert bytes(pong.data) == b"49"
