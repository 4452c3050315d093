"""The loads: what is sent, how, and which upstream answers. Each turns into one measurement per subject and round."""

from __future__ import annotations

import csv
import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

from bench import subjects

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.subjects import Running, Upstream

PATH = "/v1/chat/completions"
TEXT = "the line is clear and the signal at the junction shows green so the next train may pass over the points"
WORDS = TEXT.split()


@dataclass(frozen=True)
class Scenario:
    """`generator` wrk is used when it is there; the own one otherwise, and always for streams and open loops."""

    name: str
    title: str
    mode: str = "closed"
    connections: int = 64
    body_bytes: int = 1024
    streams: int = 0
    events_per_second: int = 0
    rate: int = 0
    trace: Path | None = None
    speed: float = 1.0
    seconds: float = 5.0
    warmup: float = 1.5

    @property
    def saturating(self) -> bool:
        """Whether the load is meant to be more than any subject can take."""
        return self.mode == "closed" and self.connections > 1

    @contextmanager
    def upstream(self, core: int | None, *, fast: bool) -> Iterator[Upstream]:
        """The simulated upstream, or for whole answers nginx with one fixed document when `fast`."""
        if self.mode == "streams":
            events = round(self.events_per_second * (self.seconds + self.warmup + 2))
            text = " ".join(islice(cycle(WORDS), events))
            with subjects.simulated(core, text=text, tokens_per_second=self.events_per_second) as upstream:
                yield upstream
        elif fast:
            with subjects.static_nginx(core) as upstream:
                yield upstream
        else:
            with subjects.simulated(core) as upstream:
                yield upstream

    def specification(self, running: Running) -> dict[str, Any]:
        """What the load generator is told."""
        spec: dict[str, Any] = {
            "mode": self.mode,
            "host": "127.0.0.1",
            "port": running.port,
            "seconds": self.seconds,
            "warmup": self.warmup,
        }
        if self.mode == "scheduled":
            spec["schedule"], sizes = self._schedule()
            spec["bodies"] = [request(running, body(size)) for size in sizes]
            return spec
        spec["request"] = request(running, body(self.body_bytes, stream=self.mode == "streams"))
        if self.mode == "streams":
            spec |= {"streams": self.streams, "interval": 1 / self.events_per_second}
        else:
            spec["connections"] = self.connections
        return spec

    def _schedule(self) -> tuple[list[tuple[float, int]], list[int]]:
        """When requests are due, and which of the sizes each has."""
        if self.trace is None:
            return [(number / self.rate, 0) for number in range(round(self.rate * self.seconds))], [self.body_bytes]
        arrivals = list(read_trace(self.trace, self.speed, self.seconds))
        # Sizes in steps, so that thousands of bodies are not all kept.
        sizes = sorted({_rounded(tokens) for _, tokens in arrivals})
        places = {size: index for index, size in enumerate(sizes)}
        return [(due, places[_rounded(tokens)]) for due, tokens in arrivals], sizes


def _rounded(tokens: int) -> int:
    """Body bytes for a prompt of so many tokens: four bytes a token, in steps of 512, at least one."""
    return max(512, -(-tokens * 4 // 512) * 512)


def read_trace(path: Path, speed: float, seconds: float) -> Iterator[tuple[float, int]]:
    """Arrival times and prompt tokens of a trace (columns TIMESTAMP, ContextTokens), so much faster, so long."""
    first: datetime | None = None
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            when = datetime.fromisoformat(row["TIMESTAMP"][:26])
            first = first or when
            due = (when - first).total_seconds() / speed
            if due > seconds:
                return
            yield due, int(row["ContextTokens"])


def body(size: int, *, stream: bool = False) -> bytes:
    """A chat request of exactly `size` bytes."""
    document: dict[str, Any] = {
        "model": "gpt-4o",
        "temperature": 0.7,
        "messages": [{"role": "system", "content": "You are a signaller."}, {"role": "user", "content": ""}],
    }
    if stream:
        document["stream"] = True
    space = size - len(json.dumps(document))
    text = " ".join(islice(cycle(WORDS), space // 2 + 1))
    document["messages"][1]["content"] = text[: max(0, space)]
    return json.dumps(document).encode()


def request(running: Running, content: bytes) -> str:
    """The bytes a client sends."""
    headers = {
        "host": f"127.0.0.1:{running.port}",
        "user-agent": "bench",
        "accept": "application/json",
        "content-type": "application/json",
        "content-length": str(len(content)),
        **running.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {PATH} HTTP/1.1\r\n{lines}\r\n{content.decode()}"


CHAT = Scenario("chat", "Whole answers, 1 KB chat, 64 connections")
SINGLE = Scenario("single", "Whole answers, 1 KB chat, 1 connection", connections=1)
STREAMS = Scenario(
    "streams", "Streams, 256 at once, 100 events/s each", mode="streams", streams=256, events_per_second=100, warmup=2.0
)
LARGE_32K = Scenario("32k", "Whole answers, 32 KB chat, 16 connections", connections=16, body_bytes=32 * 1024)
LARGE_256K = Scenario("256k", "Whole answers, 256 KB chat, 16 connections", connections=16, body_bytes=256 * 1024)
OPEN = Scenario("open", "Open loop, 1 KB chat, 2,000 requests/s", mode="scheduled", rate=2000)

ALL = {one.name: one for one in (CHAT, SINGLE, STREAMS, LARGE_32K, LARGE_256K, OPEN)}


def quick(scenario: Scenario) -> Scenario:
    """The same at a size that shows only whether everything works."""
    return replace(
        scenario,
        seconds=1.0,
        warmup=0.5,
        streams=min(scenario.streams, 32),
        rate=min(scenario.rate, 300),
        title=scenario.title + " (quick)",
    )


def traced(path: Path, speed: float, seconds: float) -> Scenario:
    """The load shape of a trace, replayed in an open loop."""
    title = f"Open loop, {path.name} × {speed:g} for {seconds:g} s"
    return Scenario("trace", title, mode="scheduled", trace=path, speed=speed, seconds=seconds)
