"""The loads of the fault suite at full size: `python -m bench.soak`. Exit code 1 when a promise was broken.

Streams: 200 at once, 50 events a second each, for a minute: nothing lost or altered, and nothing left behind. Replay:
the arrivals of a trace twenty times as fast (or made-up ones of the same rate) over three providers, one of which is
killed and revived every minute while another is rate-limited for five seconds of it and one answer in a hundred is cut:
all that can be saved is served, and every request has its row. Kept connections: 10,000 requests over connections that
die at random. Prints a table of what is promised and what was measured. Loads only 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import hashlib
import http.client
import json
import random
import shlex
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from bench import machine
from bench.load import VARYING
from bench.promises import Promise, bench, load, markdown
from bench.scenarios import TEXT, WORDS, body
from routes.live import SharedLiveState
from tests.documents import an_id
from tests.gateways import KEY, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.promises import Bench, Cores

MINUTE = 60.0
#: Requests a second when no trace is given, as the Azure trace of 2023 has them at twenty times its speed.
RATE = 107.0
SPEED = 20.0


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="The fault suite's loads at full size.")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="how much of each load, in number and time (default 1)"
    )
    parser.add_argument("--only", default="", metavar="A,B", help=f"loads: {', '.join(LOADS)}")
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="arrivals to replay (TIMESTAMP, ContextTokens, GeneratedTokens)"
    )
    return parser.parse_args(given)


# -- streams ---------------------------------------------------------------------------------
def streams(cores: Cores, options: argparse.Namespace) -> list[Promise]:
    """Many streams at once; then the process is as it was."""
    count, rate = max(4, round(200 * options.scale)), 50
    seconds = max(4.0, MINUTE * options.scale)
    words = round(rate * seconds)
    text = " ".join(islice(cycle(WORDS), words))
    content = body(1024, stream=True)
    with bench(cores, {"only": {}}, behaviour={"text": text, "log": False}) as running:
        gateway, only = running.gateway, running.providers["only"]
        expected = _reference(only.base_url, content)
        # Everything that is made once, and buffers at the size that so many streams need.
        load(cores, running, "streams", content, streams=count, interval=1 / rate, seconds=0.1)
        pids = [process.pid for process in gateway.processes]
        time.sleep(1)
        before = machine.resident_mb(pids) or 0.0
        files = _descriptors(pids) - _connections(only.port)
        only.behave(tokens_per_second=rate)
        figures = load(cores, running, "streams", content, streams=count, interval=1 / rate, seconds=seconds)
        time.sleep(5)
        grown = (machine.resident_mb(pids) or 0.0) - before
        more = _descriptors(pids) - files - (pooled := _connections(only.port))
        under_way = _under_way(running)
        rows = Counter(row.status for row in gateway.finished())
    events = count * (words + 3)  # role, finish reason, [DONE]
    whole = figures["requests"] == count and figures["all_events"] == events and figures["digests"] == [expected]
    told = f"{figures['requests']} of {count} whole, {figures['all_events']:,} of {events:,} events"
    same = "byte for byte the provider's" if figures["digests"] == [expected] else "BYTES DIFFER"
    late = f"p50 {figures['late_p50_ms']:.1f}, p99 {figures['late_p99_ms']:.1f} ms"
    return [
        Promise(
            f"{count} streams × {rate} events/s × {seconds:.0f} s", "none lost or altered", f"{told}, {same}", whole
        ),
        Promise("lateness of their events", "", late),
        Promise("memory 5 s after them, against before", "back", f"{grown:+.1f} MB", grown < 8),
        Promise("open descriptors 5 s after them", "back", f"{more:+d}, and {pooled} kept for reuse", more <= 2),
        Promise("requests under way 5 s after them", "none", str(under_way), under_way == 0),
        Promise("rows of them", f"{2 * count} routed", str(dict(rows)), rows == {"routed": 2 * count}),
    ]


def _reference(base_url: str, content: bytes) -> str:
    """The digest of the same stream read straight from the provider."""
    host, _, path = base_url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("POST", f"/{path}/chat/completions", content, {"content-type": "application/json"})
    raw = connection.getresponse().read()
    connection.close()
    return hashlib.sha256(VARYING.sub(b"", raw)).hexdigest()


def _descriptors(pids: list[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids) if machine.LINUX else 0


def _connections(port: int) -> int:
    """Established connections to a port of this machine."""
    if not machine.LINUX:
        return 0
    fields = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(each[2].endswith(f":{port:04X}") and each[3] == "01" for each in fields)


def _under_way(running: Bench) -> int:
    """Requests that the gateways' live state still counts as under way."""
    with contextlib.closing(SharedLiveState(running.gateway.data / "live.state", "bench")) as live:
        return sum(live.in_flight(an_id("provider", name)) for name in running.providers)


# -- replay ----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that is due so many seconds after the start."""

    due: float
    input_tokens: int
    output_tokens: int


def read_trace(path: Path, speed: float, seconds: float) -> Iterator[Arrival]:
    """The arrivals of a trace, so much faster, so long."""
    first: datetime | None = None
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            when = datetime.fromisoformat(row["TIMESTAMP"][:26])
            first = first or when
            due = (when - first).total_seconds() / speed
            if due > seconds:
                return
            yield Arrival(due, int(row["ContextTokens"]), int(row["GeneratedTokens"]))


def made_up(rate: float, seconds: float) -> Iterator[Arrival]:
    """Random arrivals at a mean rate, always the same ones, of sizes like the trace's."""
    draw = random.Random(20231116)
    due = draw.expovariate(rate)
    while due < seconds:
        yield Arrival(
            due, min(14_000, int(draw.lognormvariate(6.6, 1.0))), min(1000, int(draw.lognormvariate(5.0, 0.8)))
        )
        due += draw.expovariate(rate)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw: ``served`` whole; ``cut`` after its answer had begun; else ``failed``."""

    outcome: str
    word: str = ""


def judge(status: int | None, stream: bool, content: bytes, broken: bool) -> Seen:
    """What became of a request. ``broken``: the body ended without its end."""
    if status != 200:
        return Seen("failed", f"{status}: {content[-200:].decode(errors='replace')}")
    if broken or (stream and not content.endswith(b"data: [DONE]\n\n")):
        return Seen("cut")
    return Seen("served")


def replay(cores: Cores, options: argparse.Namespace) -> list[Promise]:
    """Real arrivals over providers that fail in turns."""
    seconds = 3 * MINUTE * options.scale
    period = min(1.0, options.scale) * MINUTE
    if options.trace is not None:
        arrivals = list(read_trace(options.trace, SPEED, seconds))
        source = f"{options.trace.name} × {SPEED:g}"
    else:
        arrivals = list(made_up(RATE, seconds))
        source = "made-up arrivals"
    behaviour = {"output_tokens": 4000, "log": False, "faults": CUTS}
    # What takes a minute by default takes as much less as the minutes of trouble do.
    circuit = {"recovery_timeout": period, "recovery_timeout_max": 5 * period, "slow_start": period / 2}
    entries: dict[str, dict[str, Any]] = {name: {"circuit": circuit} for name in ("north", "south", "west")}
    with bench(cores, entries, processes=2, behaviour=behaviour, strategy="weighted") as running:
        seen = asyncio.run(_replay(running, arrivals, seconds, period))
        rows = wait_until(lambda: _rows(running, len(arrivals)), 20, "every request has its row")
    outcomes = Counter(each.outcome for each in seen)
    committed = outcomes["cut"]
    share = outcomes["served"] / max(1, len(seen) - committed)
    words = Counter(each.word for each in seen if each.word)
    failed = f"; failed: {words.most_common(2)}" if words else ""
    title = f"{source}: {len(arrivals):,} requests in {seconds:.0f} s over three providers that fail in turns"
    attempts = sum(row.attempt_count for row in rows)
    ids = len({row.id for row in rows})
    return [
        Promise(
            f"{title}: served, of those not cut after their answer began",
            "≥ 99.9 %",
            f"{share:.3%}{failed}",
            share >= 0.999,
        ),
        Promise("cut after their answer began", "", f"{committed} ({committed / len(seen):.1%})"),
        Promise(
            "rows, against requests", "the same", f"{ids:,} of {len(arrivals):,}", ids == len(rows) == len(arrivals)
        ),
        Promise("attempts, against requests", "≤ 1.25", f"{attempts / len(seen):.3f}", attempts <= 1.25 * len(seen)),
        Promise("rows that recovered by failing over", "", f"{sum(row.recovered for row in rows):,}"),
    ]


#: One answer in a hundred is cut: a document before anybody sees it, a stream after its third event.
CUTS = [
    {"name": "cut_mid_stream", "after_events": 3, "stream": True, "probability": 0.01},
    {"name": "cut_mid_body", "stream": False, "probability": 0.01},
]


def _rows(running: Bench, count: int) -> list[Any] | None:
    found = running.gateway.finished()
    return found if len(found) >= count else None


async def _replay(running: Bench, arrivals: list[Arrival], seconds: float, period: float) -> list[Seen]:
    connector = aiohttp.TCPConnector(limit=0)
    seen: list[Seen] = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60), connector=connector) as session:
        begun = time.perf_counter()
        trouble = asyncio.create_task(_trouble(running, seconds, period))
        async with asyncio.TaskGroup() as tasks:
            for number, arrival in enumerate(arrivals):
                wait = arrival.due - (time.perf_counter() - begun)
                if wait > 0:
                    await asyncio.sleep(wait)
                tasks.create_task(_ask(running, session, number, arrival, seen))
        await trouble
    return seen


async def _trouble(running: Bench, seconds: float, period: float) -> None:
    """In every minute one provider is away for a quarter of it, and another one rate-limits for a twelfth."""
    names = list(running.providers)
    begun = time.perf_counter()
    for turn in range(max(1, round(seconds / period))):
        killed, limited = (running.providers[names[(turn + step) % len(names)]] for step in (0, 1))
        await _until(begun, (turn + 1 / 6) * period)
        await asyncio.to_thread(killed.stop)
        await _until(begun, (turn + 5 / 12) * period)
        await asyncio.to_thread(killed.start)
        await _until(begun, (turn + 7 / 12) * period)
        await asyncio.to_thread(limited.behave, faults=[{"name": "rate_limited", "retry_after": 1}, *CUTS])
        await _until(begun, (turn + 8 / 12) * period)
        await asyncio.to_thread(limited.behave, faults=CUTS)


async def _until(begun: float, moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - (time.perf_counter() - begun)))


async def _ask(running: Bench, session: aiohttp.ClientSession, number: int, arrival: Arrival, seen: list[Seen]) -> None:
    stream = number % 2 == 0
    size = max(1, 4 * arrival.input_tokens)
    document = {
        "model": "gpt-4o",
        "stream": stream,
        "max_tokens": max(4, arrival.output_tokens),
        "messages": [{"role": "user", "content": (TEXT * (size // len(TEXT) + 1))[:size]}],
    }
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    url = f"{running.gateway.url}/v1/chat/completions"
    status, content, broken = None, b"", False
    try:
        async with session.post(url, data=json.dumps(document), headers=headers) as response:
            status = response.status
            content = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        content, broken = repr(error).encode(), True
    seen.append(judge(status, stream, content, broken))


# -- kept connections ------------------------------------------------------------------------
def kept(cores: Cores, options: argparse.Namespace) -> list[Promise]:
    """Requests one after another while a fifth of the kept connections die as they are used."""
    count = max(100, round(10_000 * options.scale))
    fault = {"name": "keepalive_race", "probability": 0.2}
    content = body(256)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    seen: Counter[tuple[int, str | None]] = Counter()
    with bench(cores, {"only": {}}, failover={"max_attempts": 1}, behaviour={"faults": [fault]}) as running:
        client = http.client.HTTPConnection("127.0.0.1", running.gateway.port, timeout=30)
        for _ in range(count):
            client.request("POST", "/v1/chat/completions", content, headers)
            response = client.getresponse()
            response.read()
            seen[response.status, response.headers["x-route-attempts"]] += 1
        client.close()
        died = running.providers["only"].count() - count
    good = seen[200, "1"]
    measured = f"{count - good} errors of {count:,}; {died:,} connections died as they were used"
    return [
        Promise("kept connections that die as they are used", "0 client errors", measured, good == count and died > 0)
    ]


LOADS = {"streams": streams, "replay": replay, "kept": kept}


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    names = [name for name in options.only.split(",") if name] or list(LOADS)
    if unknown := set(names) - set(LOADS):
        raise SystemExit(f"bench: no load {', '.join(sorted(unknown))}; there are {', '.join(LOADS)}")
    facts, cores = machine.facts(), machine.cores()
    promises = []
    for name in names:
        sys.stderr.write(f"bench: {name}\n")
        promises += LOADS[name](cores, options)
    command = shlex.join(["python", "-m", "bench.soak", *(given if given is not None else sys.argv[1:])])
    sys.stdout.write(markdown(facts, command, promises))
    return int(any(each.kept is False for each in promises))


if __name__ == "__main__":
    sys.exit(main())
