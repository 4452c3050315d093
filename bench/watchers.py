"""Watchers of the live feed, hundreds of them in a process of their own: `python -m bench.watchers`, driven by
`bench.live` and by the test of the same promise.

Reads its specification as a line of JSON, opens everything and says so; reads another line with the number of routes
that there are to hear of, and when every watcher without a filter has heard of so many (or nothing came for a while)
closes everything and prints what was seen: for each filter the routes in the order in which all its watchers had them
(or that they differ), and how late they came. Silent watchers stop reading as soon as they are in. Raw asyncio: 2,000
of them must not be what is measured.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

import httptools
import uvloop
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from bench.load import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A row begins with its id; a UUIDv7 begins with the milliseconds at which its request was accepted.
ROW = re.compile(rb'\{"id":"([0-9a-f-]{36})"')
GAP = re.compile(rb'event: gap|"type":"gap"')
AT_ONCE = 40
OPEN_SECONDS = 60.0
#: Nothing more is expected after so long.
QUIET_SECONDS = 5.0
#: Pieces whose routes are kept; they come to everybody within a moment.
REMEMBERED = 64


class Seen:
    """What all watchers have in common: the routes there were, by number, and when whoever heard of which. Most of them
    are sent the same bytes, so these are read once."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {}
        self._accepted: list[float] = []  # Unix time, by number
        self._heard: list[tuple[float, array[int]]] = []
        self._read: dict[bytes, tuple[array[int], int]] = {}

    def take(self, data: bytes) -> tuple[array[int], int]:
        """The routes that are in it, and how many gaps."""
        found = self._read.get(data)
        if found is None:
            if len(self._read) == REMEMBERED:
                self._read.clear()
            routes = array("L", [self._number(match[1]) for match in ROW.finditer(data)])
            found = self._read[data] = (routes, len(GAP.findall(data)))
        self._heard.append((time.time(), found[0]))
        return found

    def _number(self, identifier: bytes) -> int:
        route = identifier.replace(b"-", b"")
        if route not in self.numbers:
            self.numbers[route] = len(self.numbers)
            self._accepted.append(int(route[:12], 16) / 1000)
        return self.numbers[route]

    def late(self) -> list[float]:
        """Seconds from the acceptance of a request to each watcher's hearing of it, in order."""
        return sorted(at - self._accepted[number] for at, routes in self._heard for number in routes)


class Watcher(asyncio.Protocol):
    """One connection. ``opened`` is done when it follows the feed."""

    def __init__(self, spec: dict[str, Any], seen: Seen) -> None:
        self.filter: dict[str, str] = spec.get("filter", {})
        self.silent: bool = spec.get("silent", False)
        self.had: array[int] = array("L")
        self.gaps = 0
        self.closed = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed before it was open"))

    def take(self, data: bytes) -> None:
        routes, gaps = self._seen.take(data)
        self.had.extend(routes)
        self.gaps += gaps

    def is_open(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)
            if self.silent:
                self.transport.pause_reading()


class Stream(Watcher):
    def __init__(self, spec: dict[str, Any], seen: Seen) -> None:
        super().__init__(spec, seen)
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        query = f"?{urlencode(self.filter)}" if self.filter else ""
        self._request = (
            f"GET /events/routing-decisions{query} HTTP/1.1\r\nHost: {spec['host']}\r\n"
            f"Authorization: Bearer {spec['key']}\r\n\r\n"
        ).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() != 200:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        data = self._rest + body
        end = data.rfind(b"\n\n") + 2
        self._rest = data[end:] if end > 1 else data
        if end > 1:
            self.is_open()  # with `retry:`, which comes when the feed is followed
            self.take(data[:end])


class Socket(Watcher):
    def __init__(self, spec: dict[str, Any], seen: Seen) -> None:
        super().__init__(spec, seen)
        self._frames = ClientProtocol(parse_uri(f"ws://{spec['host']}/ws/live"), max_size=None)
        self._key = spec["key"]
        self._text = b""
        self._subscribed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        request = self._frames.connect()
        request.headers["Authorization"] = f"Bearer {self._key}"
        self._frames.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif self._frames.handshake_exc is None:
                subscribe = {"type": "subscribe", "payload": {"filter": self.filter}}
                self._frames.send_text(json.dumps(subscribe).encode())
        self._flush()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._text += frame.data
            if frame.fin:
                text, self._text = self._text, b""
                if self._subscribed:
                    self.take(text)
                elif b'"subscribe_response"' in text:
                    self._subscribed = True
                    self.is_open()

    def _flush(self) -> None:
        for piece in self._frames.data_to_send():
            if piece:
                self.transport.write(piece)
            else:
                self.transport.close()


KINDS = {"sse": Stream, "websocket": Socket}


async def watch(spec: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    seen = Seen()
    watchers: list[Watcher] = []
    gate = asyncio.Semaphore(AT_ONCE)

    async def open_one(one: dict[str, Any]) -> None:
        async with gate, asyncio.timeout(OPEN_SECONDS):
            make = KINDS[one["kind"]]
            _, watcher = await loop.create_connection(lambda: make(one, seen), spec["address"], spec["port"])
            watchers.append(watcher)
            await watcher.opened

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as opening:
        for one in spec["watchers"]:
            opening.create_task(open_one({**one, "host": f"{spec['address']}:{spec['port']}"}))
    sys.stdout.write(json.dumps({"open": len(watchers), "seconds": time.perf_counter() - begun}) + "\n")
    sys.stdout.flush()
    wanted = json.loads(await loop.run_in_executor(None, sys.stdin.readline))["routes"]
    readers = [watcher for watcher in watchers if not watcher.silent]
    await _heard([watcher for watcher in readers if not watcher.filter], wanted)
    lost = sum(watcher.closed for watcher in readers)
    for watcher in watchers:
        watcher.transport.abort()
    return {
        "readers": len(readers),
        "lost": lost,
        "gaps": sum(watcher.gaps for watcher in readers),
        "events": sum(len(watcher.had) for watcher in readers),
        "filters": _by_filter(readers, [route.decode() for route in seen.numbers]),
        **_lateness(seen.late()),
    }


async def _heard(readers: list[Watcher], routes: int) -> None:
    """Until each has heard of so many, or they have heard of nothing for a while."""
    patience, before = QUIET_SECONDS, -1
    while patience > 0 and any(len(reader.had) < routes for reader in readers):
        await asyncio.sleep(0.1)
        now = sum(len(reader.had) for reader in readers)
        patience = patience - 0.1 if now == before else QUIET_SECONDS
        before = now


def _by_filter(readers: Iterable[Watcher], routes: list[str]) -> list[dict[str, Any]]:
    """For each filter the routes that all its watchers had, in their order; None where two of them differ."""
    groups: dict[str, list[Watcher]] = {}
    for reader in readers:
        groups.setdefault(json.dumps(reader.filter, sort_keys=True), []).append(reader)
    return [
        {
            "filter": json.loads(name),
            "watchers": len(group),
            "routes": [routes[number] for number in group[0].had]
            if all(each.had == group[0].had for each in group)
            else None,
        }
        for name, group in groups.items()
    ]


def _lateness(late: list[float]) -> dict[str, float | None]:
    named = {"p50": percentile(late, 0.5), "p99": percentile(late, 0.99), "max": late[-1] if late else None}
    return {f"late_{name}_ms": None if value is None else value * 1000 for name, value in named.items()}


def main() -> None:
    result = uvloop.run(watch(json.loads(sys.stdin.readline())))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
