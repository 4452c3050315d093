"""Just enough of Redis for what travels beside requests: subscribe to a channel, commands. asyncio streams only.

redis-py costs 21 MB of memory in every gateway process (measured; a third of the whole), for what is a few commands
of a plain protocol here. Every wait has a time limit; any trouble is a ``RedisFeedError``.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

#: A Redis that accepts and never answers is as good as none after this long.
TIMEOUT: Final = 1.0
#: Bound of one value, far above any revision.
MAX_VALUE: Final = 256 * 1024 * 1024


class RedisFeedError(Exception):
    """Redis is away, silent, or answered with an error. The message never holds the URL."""


class RedisConnection:
    """One connection, from ``async with``. Once it is used for ``messages`` it takes no commands."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> RedisConnection:
        url = self._url
        try:
            async with asyncio.timeout(TIMEOUT):
                if url.scheme == "unix":
                    self._reader, self._writer = await asyncio.open_unix_connection(unquote(url.path))
                else:
                    secure = ssl.create_default_context() if url.scheme == "rediss" else None
                    host = url.hostname or "localhost"
                    self._reader, self._writer = await asyncio.open_connection(host, url.port or 6379, ssl=secure)
        except (OSError, TimeoutError) as error:
            raise RedisFeedError(f"cannot connect: {type(error).__name__}") from None
        try:
            if url.password:
                user = [unquote(url.username)] if url.username else []
                await self.command("AUTH", *user, unquote(url.password))
            if database := self._database():
                await self.command("SELECT", database)
        except BaseException:
            self._writer.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()

    def _database(self) -> str:
        named = parse_qs(self._url.query).get("db")
        number = named[0] if named else "" if self._url.scheme == "unix" else self._url.path.strip("/")
        return "" if number == "0" else number

    async def command(self, *words: str) -> Any:
        """Send one command and wait for its answer: bytes, int, None or a list of them."""
        try:
            async with asyncio.timeout(TIMEOUT):
                self._send(words)
                return await self._read()
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            raise RedisFeedError(f"{words[0]}: {type(error).__name__}") from None

    async def messages(self, channel: str, ping_seconds: float) -> AsyncGenerator[bytes | None, None]:
        """Subscribe, then every message of the channel; None first (subscribed) and whenever Redis, silent for
        ``ping_seconds``, has shown that it still answers."""
        await self.command("SUBSCRIBE", channel)
        yield None
        reading = asyncio.ensure_future(self._read())
        try:
            while True:
                # The read is never cancelled for being slow: its place in the stream would be lost.
                done, _ = await asyncio.wait({reading}, timeout=ping_seconds)
                if not done:
                    self._send(("PING",))
                    done, _ = await asyncio.wait({reading}, timeout=TIMEOUT)
                if not done:
                    raise RedisFeedError("no answer to PING")
                try:
                    answer = reading.result()
                except (OSError, EOFError, ValueError) as error:
                    raise RedisFeedError(f"{channel}: {type(error).__name__}") from None
                reading = asyncio.ensure_future(self._read())
                yield answer[2] if answer[0] == b"message" else None
        finally:
            reading.cancel()

    def _send(self, words: tuple[str, ...]) -> None:
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            encoded = word.encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(encoded), encoded))
        self._writer.write(b"".join(parts))

    async def _read(self) -> Any:
        line = await self._reader.readuntil(b"\r\n")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"-":
            raise RedisFeedError(rest.split(b" ")[0].decode("ascii", "replace"))
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None
            if size > MAX_VALUE:
                raise ValueError("too large")
            return (await self._reader.readexactly(size + 2))[:-2]
        if kind == b"*":  # no longer than what we asked for
            return [await self._read() for _ in range(int(rest))]
        raise ValueError("not a Redis answer")
