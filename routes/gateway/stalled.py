"""Clients of the console that take nothing of what they are sent. The console lets them go by itself, but that is not
seen here while sending waits for them: their connection, the one to the console and what was read for them would stay
for as long as they like. No I/O of its own; imports nothing of the project.
"""

from __future__ import annotations

import asyncio
from typing import Any

#: For one piece; far more than any client needs that reads at all.
STALLED_SECONDS = 60.0


class Stalled(Exception):
    """The client took nothing for too long; its connection is cut."""


async def send_or_cut(scope: Any, send: Any, message: Any) -> None:
    """``send``, until the client has room for it. Raises Stalled."""
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            await send(message)
    except TimeoutError:
        # To close it would wait for what is left to be taken.
        scope["signalbox"].transport.abort()
        raise Stalled from None
