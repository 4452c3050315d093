"""A client that sees bytes: what arrived on a socket, and whether it ended with FIN, RST or not at all."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators import ProviderHandle

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
MESSAGE = {"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}]}


def request(provider: ProviderHandle, document: Any = None, *, path: str | None = None, headers: str = "") -> bytes:
    """A POST with a JSON body, a chat (or message) unless said otherwise."""
    anthropic = provider.wire == "anthropic"
    body = json.dumps(document if document is not None else MESSAGE if anthropic else CHAT).encode()
    path = path or ("/v1/messages" if anthropic else "/v1/chat/completions")
    version = "anthropic-version: 2023-06-01\r\n" if anthropic else ""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"{version}{headers}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def streamed(provider: ProviderHandle, **fields: Any) -> bytes:
    """The same, asking for a stream."""
    base = MESSAGE if provider.wire == "anthropic" else CHAT
    return request(provider, {**base, "stream": True, **fields})


@dataclass
class Seen:
    """Everything that came. `ending` is `fin`, `reset` or `open` (nothing more within the time)."""

    data: bytes = b""
    ending: str = "open"

    @property
    def head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        return int(self.data[9:12])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def chunks(self) -> list[bytes]:
        """The chunks that arrived whole; a whole body ends with an empty one."""
        found, rest = [], self.body
        while b"\r\n" in rest:
            size_line, _, rest = rest.partition(b"\r\n")
            size = int(size_line, 16)
            if len(rest) < size + 2:
                break
            found.append(rest[:size])
            rest = rest[size + 2 :]
        return found

    @property
    def stream(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def events(self) -> list[Any]:
        """The stream's data lines, decoded; what is no JSON stays bytes."""
        found = []
        for line in self.stream.split(b"\n"):
            if line.startswith(b"data: "):
                data = line.removeprefix(b"data: ")
                try:
                    found.append(json.loads(data))
                except ValueError:
                    found.append(data)
        return found

    @property
    def complete(self) -> bool:
        """Whether the body ended as its framing promised."""
        length = self.headers.get("content-length")
        if length is not None:
            return len(self.body) == int(length)
        return bool(self.chunks) and self.chunks[-1] == b""

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Wire:
    """One client connection."""

    port: int
    timeout: float = 5.0
    socket: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=self.timeout)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, *, until: bytes | None = None, seconds: float | None = None, limit: int = 1 << 30) -> Seen:
        """Read to the end, to a mark, to a limit, or for so long."""
        seen = Seen()
        self.socket.settimeout(self.timeout if seconds is None else seconds)
        parts, size, tail = [], 0, b""
        while size < limit:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                seen.ending = "reset"
                break
            except TimeoutError:
                break
            if not data:
                seen.ending = "fin"
                break
            parts.append(data)
            size += len(data)
            if until is not None:
                tail = tail[-len(until) :] + data
                if until in tail:
                    break
        seen.data = b"".join(parts)
        return seen

    def exchange(self, data: bytes) -> Seen:
        """One kept-alive exchange: read until the answer is whole, or the connection ends."""
        self.send(data)
        seen = Seen()
        while True:
            try:
                more = self.socket.recv(1 << 16)
            except ConnectionResetError:
                seen.ending = "reset"
                return seen
            if not more:
                seen.ending = "fin"
                return seen
            seen.data += more
            if b"\r\n\r\n" in seen.data and seen.complete:
                return seen

    def close(self) -> None:
        self.socket.close()


@contextlib.contextmanager
def connected(provider: ProviderHandle, timeout: float = 5.0) -> Iterator[Wire]:
    wire = Wire(provider.port, timeout)
    try:
        yield wire
    finally:
        wire.close()


def ask(provider: ProviderHandle, data: bytes | None = None, *, seconds: float | None = None) -> Seen:
    """One request on a connection of its own (`connection: close`), read to the end."""
    data = request(provider) if data is None else data
    with connected(provider) as wire:
        wire.send(data.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        return wire.read(seconds=seconds)
