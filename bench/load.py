"""The load generator, a process of its own: `python -m bench.load JSON`. Raw asyncio, kept-alive connections.

Closed loop (each connection sends its next request when the last is answered), open loop (requests leave on a
schedule whatever became of those before; latency counts from when they were due), and streams (events counted and
timed). Prints `begin` when the warm-up is over, then one line of JSON. It must not become what is measured: it shares
a core with the upstream, never with the gateway.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
from collections import Counter, deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import httptools
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable

# What may differ between two runs of the same stream.
VARYING = re.compile(rb'"id":"[^"]*"|"created":\d+')
_TIMEOUT = 60.0


class Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request under way. `done(status)` is called per answer.

    Status 0 means that the connection broke.
    """

    def __init__(self, on_piece: Callable[[bytes], None] | None = None) -> None:
        self._parser: Any = None
        self._done: Callable[[int], None] | None = None
        self._on_piece = on_piece
        self._status = 0
        self.transport: asyncio.Transport | None = None

    def request(self, data: bytes, done: Callable[[int], None]) -> None:
        assert self.transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._done = done
        self.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._finish(0)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        if self._on_piece is not None:
            self._on_piece(body)

    def on_message_complete(self) -> None:
        self._finish(int(self._parser.get_status_code()))

    def _finish(self, status: int) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(status)


async def connect(spec: dict[str, Any], on_piece: Callable[[bytes], None] | None = None) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(on_piece), spec["host"], spec["port"])
    return connection


def begin() -> None:
    sys.stdout.write("begin\n")
    sys.stdout.flush()


def percentile(ordered: list[float], share: float) -> float | None:
    """The value below which `share` of an ordered list lies, by the nearest rank."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def summary(latencies: list[float], statuses: Counter[int], seconds: float) -> dict[str, Any]:
    latencies.sort()
    good = sum(count for status, count in statuses.items() if status == 200)
    return {
        "seconds": seconds,
        "requests": good,
        "errors": sum(statuses.values()) - good,
        "statuses": {str(status): count for status, count in statuses.items()},
        "rate": good / seconds,
        "p50_ms": _ms(percentile(latencies, 0.50)),
        "p99_ms": _ms(percentile(latencies, 0.99)),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


# -- closed loop -----------------------------------------------------------------------------
async def closed(spec: dict[str, Any]) -> dict[str, Any]:
    """`connections` that each keep one request under way, for `warmup` and then `seconds`."""
    data = spec["request"].encode()
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    running = True
    measuring = False

    def keep_asking(connection: Connection) -> None:
        sent = perf_counter()

        def done(status: int) -> None:
            if measuring:
                latencies.append(perf_counter() - sent)
                statuses[status] += 1
            if running and connection.transport is not None:
                keep_asking(connection)

        connection.request(data, done)

    connections = [await connect(spec) for _ in range(spec["connections"])]
    for connection in connections:
        keep_asking(connection)
    await asyncio.sleep(spec["warmup"])
    measuring = True
    begin()
    started = perf_counter()
    await asyncio.sleep(spec["seconds"])
    measuring = running = False
    seconds = perf_counter() - started
    for connection in connections:
        connection.close()
    return summary(latencies, statuses, seconds)


# -- open loop -------------------------------------------------------------------------------
async def scheduled(spec: dict[str, Any]) -> dict[str, Any]:
    """Requests when `schedule` says ([seconds, index into `bodies`], …), each on a free connection or a new one."""
    bodies = [body.encode() for body in spec["bodies"]]
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    free: deque[Connection] = deque()
    under_way: set[asyncio.Future[None]] = set()
    loop = asyncio.get_running_loop()
    begin()
    started = perf_counter()

    async def send(due: float, data: bytes) -> None:
        connection = free.popleft() if free else await connect(spec)
        answered: asyncio.Future[int] = loop.create_future()
        connection.request(data, lambda status: None if answered.done() else answered.set_result(status))
        try:
            status = await asyncio.wait_for(answered, _TIMEOUT)
        except TimeoutError:
            status = 0
        latencies.append(perf_counter() - started - due)
        statuses[status] += 1
        if status and connection.transport is not None:
            free.append(connection)
        else:
            connection.close()

    for due, index in spec["schedule"]:
        wait = due - (perf_counter() - started)
        if wait > 0:
            await asyncio.sleep(wait)
        task = loop.create_task(send(due, bodies[index]))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    if under_way:
        await asyncio.wait(under_way, timeout=_TIMEOUT)
    seconds = perf_counter() - started
    for connection in free:
        connection.close()
    return summary(latencies, statuses, seconds)


# -- streams ---------------------------------------------------------------------------------
class Stream:
    """One stream's events: how many, when each arrived, and a digest of what was in them."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.parts: list[bytes] = []
        self.status: int | None = None
        self.over = asyncio.Event()
        self._half = False  # the last piece ended between the two newlines of a blank line

    def piece(self, data: bytes) -> None:
        now = perf_counter()
        events = data.count(b"\n\n") + (self._half and data.startswith(b"\n"))
        self._half = data.endswith(b"\n") and not data.endswith(b"\n\n")
        self.times.extend([now] * events)
        self.parts.append(data)

    def ended(self, status: int) -> None:
        self.status = status
        self.over.set()

    def digest(self) -> str:
        return hashlib.sha256(VARYING.sub(b"", b"".join(self.parts))).hexdigest()

    def lateness(self, interval: float) -> list[float]:
        """How much later than the best-timed event each content event came, against an even schedule."""
        content = self.times[1:-2]  # after the role, before the finish reason and [DONE]
        offsets = [when - number * interval for number, when in enumerate(content)]
        best = min(offsets, default=0.0)
        return [offset - best for offset in offsets]


async def streams(spec: dict[str, Any]) -> dict[str, Any]:
    """`streams` at once, each `events` content events `interval` seconds apart, started evenly over one second."""
    data = spec["request"].encode()
    count = spec["streams"]
    opened = [Stream() for _ in range(count)]
    connections = [await connect(spec, stream.piece) for stream in opened]
    for stream, connection in zip(opened, connections, strict=True):
        connection.request(data, stream.ended)
        await asyncio.sleep(1 / count)
    await asyncio.sleep(spec["warmup"])
    begin()
    started = perf_counter()
    before = sum(len(stream.times) for stream in opened)
    await asyncio.sleep(spec["seconds"])
    events = sum(len(stream.times) for stream in opened) - before
    seconds = perf_counter() - started
    sys.stdout.write("end\n")
    sys.stdout.flush()
    await asyncio.wait([asyncio.ensure_future(stream.over.wait()) for stream in opened], timeout=_TIMEOUT)
    for connection in connections:
        connection.close()
    late = sorted(one for stream in opened for one in stream.lateness(spec["interval"]))
    whole = [stream for stream in opened if stream.status == 200 and stream.parts[-1].endswith(b"[DONE]\n\n")]
    return {
        "seconds": seconds,
        "requests": len(whole),
        "errors": count - len(whole),
        "events": events,
        "all_events": sum(len(stream.times) for stream in opened),
        "event_rate": events / seconds,
        "late_p50_ms": _ms(percentile(late, 0.50)),
        "late_p99_ms": _ms(percentile(late, 0.99)),
        "digests": sorted({stream.digest() for stream in opened}),
    }


MODES = {"closed": closed, "scheduled": scheduled, "streams": streams}


def main() -> None:
    spec = json.loads(sys.stdin.read())
    result = uvloop.run(MODES[spec["mode"]](spec))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
