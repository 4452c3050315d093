"""A connection leaves room for the others of its loop, whatever it plays and whoever reads it.

Played on the connection itself, because only a script can say when its reader is quick or gone: it is asked for the
next piece inside the very loop that must end or rest.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

import uvloop

from simulator.connection import TURN, Connection
from simulator.script import Ending, Piece, Script

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 16 * 1024
ENDLESS = 100 * TURN // BLOCK  # pieces, after which a test that fails ends
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


# uvloop, as the simulator runs it: its transports write at once what the kernel takes.
class Played:
    """An `App` that answers everything with a body without end; `reader` is its only client."""

    def __init__(self) -> None:
        self.over = False
        self.sent = 0
        self.reader: socket.socket

    def connected(self, connection: Connection) -> None:
        pass

    def disconnected(self, connection: Connection) -> None:
        self.over = True

    def respond(self, request: object) -> Script:
        return Script(self.pieces(), Ending.CLOSE, status=200)

    def pieces(self) -> Iterator[Piece]:
        for self.sent in range(1, ENDLESS + 1):
            yield Piece(b"x" * BLOCK)
            self.read()

    def read(self) -> None:
        """Between two pieces."""

    async def play(self) -> int:
        """To its end; how many turns others had meanwhile."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self, loop), "127.0.0.1", 0)
        self.reader = socket.create_connection(server.sockets[0].getsockname())
        self.reader.sendall(REQUEST)
        turns = 0
        while not self.over:
            turns += 1
            await asyncio.sleep(0)
        self.reader.close()
        server.close()
        return turns


def test_others_get_their_turn_though_the_reader_takes_everything_at_once() -> None:
    class Quick(Played):
        def read(self) -> None:
            left = BLOCK
            while left:
                left -= len(self.reader.recv(left))

    played = Quick()
    turns = uvloop.run(played.play())

    assert played.sent == ENDLESS
    assert turns >= ENDLESS * BLOCK // TURN


def test_a_reader_that_hangs_up_ends_what_is_played_for_it() -> None:
    class Fickle(Played):
        def read(self) -> None:
            if self.sent == 2:  # while nothing has made the transport pause
                self.reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.reader.close()

    played = Fickle()
    uvloop.run(played.play())

    assert played.sent <= 4
