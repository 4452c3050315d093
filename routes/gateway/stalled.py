"""Clients of the console that take nothing of what they are sent, or have vanished without a word. The console lets
them go by itself, but that is not seen here while sending waits for them: their connection, the one to the console and
what was read for them would stay for as long as they like. No I/O of its own; imports nothing of the project.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

#: For one piece; far more than any client needs that reads at all.
STALLED_SECONDS = 60.0
#: For one watcher, in the kernel. By itself it would grow to megabytes for each that does not read, and it would take
#: minutes to notice.
KERNEL_BYTES: Final = 128 * 1024


class Stalled(Exception):
    """The client took nothing for too long; its connection is cut."""


def watch_over(scope: Any) -> None:
    """Bound what waits for a connection that stays open, and have the kernel end it when nothing it was sent is taken
    for ``STALLED_SECONDS``: a peer that is gone without a word would be noticed after a quarter of an hour only."""
    connection = scope["signalbox"].transport.get_extra_info("socket")
    with suppress(OSError):  # it is gone already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT") and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_SECONDS * 1000))


async def send_or_cut(scope: Any, send: Any, message: Any) -> None:
    """``send``, until the client has room for it. Raises Stalled."""
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            await send(message)
    except TimeoutError:
        # To close it would wait for what is left to be taken.
        scope["signalbox"].transport.abort()
        raise Stalled from None
