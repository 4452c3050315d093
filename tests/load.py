"""Load for tests: chat requests at a steady rate, none ever sent twice, each with what the client saw of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import aiohttp


@dataclass(frozen=True, slots=True)
class Seen:
    """One request from the client's side. ``complete``: its last byte was read, so it counts as answered."""

    number: int
    stream: bool
    status: int | None  # None: no head came
    route_id: str | None
    complete: bool
    error: str = ""


class Load:
    """``rate`` requests a second until ``total`` were sent or ``stop`` is called; every third one streams.

    ``streams=False``: none does, for a provider that dies may cut a stream visibly, and nothing else.
    ``keep_alive=False``: each on a connection of its own, so that all processes of a gateway get some."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        rate: float,
        total: int = 1_000_000,
        model: str = "gpt-4o",
        streams: bool = True,
        keep_alive: bool = True,
    ) -> None:
        self.url = f"{url}/v1/chat/completions"
        self.key = key
        self.rate = rate
        self.total = total
        self.model = model
        self.streams = streams
        self.keep_alive = keep_alive
        self.sent = 0
        self.seen: list[Seen] = []
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Send no more; those under way are waited for."""
        self._stopping.set()

    async def run(self) -> list[Seen]:
        """Drive the whole load; what every request saw, in the order of their ends."""
        timeout = aiohttp.ClientTimeout(total=60)
        connector = aiohttp.TCPConnector(limit=0, force_close=not self.keep_alive)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as tasks:
            begun = asyncio.get_running_loop().time()
            while self.sent < self.total and not self._stopping.is_set():
                tasks.create_task(self._one(session, self.sent))
                self.sent += 1
                wait = begun + self.sent / self.rate - asyncio.get_running_loop().time()
                await asyncio.sleep(max(wait, 0))
        return self.seen

    async def until(self, count: int, seconds: float = 30) -> None:
        """Wait until so many requests have ended."""
        async with asyncio.timeout(seconds):
            while len(self.seen) < count:  # noqa: ASYNC110 - a tick is exact enough, and costs the load nothing
                await asyncio.sleep(0.02)

    async def _one(self, session: aiohttp.ClientSession, number: int) -> None:
        stream = self.streams and number % 3 == 0
        body = {"model": self.model, "stream": stream, "messages": [{"role": "user", "content": f"request {number}"}]}
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        status, route_id, complete, error = None, None, False, ""
        try:
            async with session.post(self.url, data=json.dumps(body), headers=headers) as response:
                status, route_id = response.status, response.headers.get("x-route-id")
                content = await response.read()
                complete = not stream or status != 200 or content.endswith(b"data: [DONE]\n\n")
                if not complete or status != 200:
                    error = content[-300:].decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as failure:
            error = repr(failure)
        self.seen.append(Seen(number, stream, status, route_id, complete, error))
