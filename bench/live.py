"""The live feed under many watchers: `python -m bench.live`. Exit code 1 when a promise was broken.

The whole product (`serve`), a simulated provider, and requests at a steady rate through the gateways, first without
watchers, then with them, then without again. Half of the watchers are event streams and half WebSockets; a fifth of
either filter; some never read. Everybody else must get every route, in order, soon; routing must not notice; who does
not read must be let go; and all of it must be over when they have left. Then Redis is killed, and the feed must go on
by itself. Loads only 127.0.0.1.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis

from bench import machine
from bench.machine import ROOT
from bench.promises import Promise, markdown
from bench.scenarios import body
from tests.gateways import wait_until
from tests.simulators import Simulator
from tests.stack import Stack, document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

#: As many as an access key may have open are 100.
PER_KEY = 80
PROFILES = ("default", "other")
#: A filtered watcher's: by profile, and what never happens here.
FILTERS: tuple[dict[str, str], ...] = ({"profile": "other"}, {"profile": "default"}, {"status": "failures"})
PROCESSES = ("gateway", "console", "redis", "shipper")
#: Enough for the console to notice who does not read, and to let go of them.
LET_GO_SECONDS = 120.0


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.live", description="Measure the live feed under watchers.")
    parser.add_argument("--watchers", type=int, default=500, metavar="N", help="how many (default 500)")
    parser.add_argument("--silent", type=int, default=20, metavar="N", help="of which never read (default 20)")
    parser.add_argument("--rate", type=int, default=50, metavar="N", help="requests a second (default 50)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each of the three loads (default 30)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="gateway processes (default 2)")
    return parser.parse_args(given)


# -- watchers --------------------------------------------------------------------------------
def specification(watchers: int, silent: int, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Who watches: kinds in turns, every fifth reader with a filter, the silent ones last."""
    found = []
    for number in range(watchers):
        one: dict[str, Any] = {"kind": ("sse", "websocket")[number % 2], "key": keys[number // PER_KEY]}
        if number >= watchers - silent:
            one["silent"] = True
        elif number % 10 in (4, 5):
            one["filter"] = FILTERS[number // 10 % len(FILTERS)]
        found.append(one)
    return found


class Watchers:
    """A process of watchers (`bench.watchers`), open when entered; ``result`` ends it."""

    def __init__(self, port: int, watchers: Sequence[dict[str, Any]]) -> None:
        self._spec = {"address": "127.0.0.1", "port": port, "watchers": watchers}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.watchers"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._say(json.dumps(self._spec))
        self.opened_in: float = self._hear()["seconds"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def result(self, routes: int) -> dict[str, Any]:
        """Close everything as soon as so many routes have been heard of, or nothing came for a while; what they have
        seen."""
        self._say(json.dumps({"routes": routes}))
        return self._hear()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the watchers did not get in")
        found: dict[str, Any] = json.loads(line)
        return found


def keys_for(stack: Stack, watchers: int) -> list[str]:
    names = [f"watches {number}" for number in range(-(-watchers // PER_KEY))]
    made = [stack.request("POST", "/api/v1/access-keys/", {"name": name, "scopes": ["read"]}) for name in names]
    return [str(answer.json()["value"]) for answer in made]


def gauges(stack: Stack) -> dict[str, int]:
    """What is open now, by kind."""
    found = re.findall(r"^(sse|websocket)_connections (\S+)$", stack.metrics(), re.M)
    return {kind: int(float(value)) for kind, value in found}


def open_now(stack: Stack) -> int:
    return sum(gauges(stack).values())


# -- routes ----------------------------------------------------------------------------------
def routes(stack: Stack) -> dict[str, tuple[str, str]]:
    """Profile and status of every route in the history, by id as watchers name it, oldest first."""
    rows = stack.query("SELECT id, profile, status FROM route_history ORDER BY id")
    return {identifier: (profile, status) for identifier, profile, status in rows}


def _settled(stack: Stack) -> dict[str, tuple[str, str]]:
    """As ``routes``, when no more are on their way."""
    found = routes(stack)
    time.sleep(2)
    while len(again := routes(stack)) > len(found):
        found = again
        time.sleep(2)
    return found


def wrong(result: dict[str, Any], happened: dict[str, tuple[str, str]]) -> list[str]:
    """Where what watchers had is not what happened: in words, empty when all is well."""
    whole = next((each["routes"] for each in result["filters"] if not each["filter"]), None)
    if whole is None:
        return ["watchers without a filter had different routes or another order"]
    found = []
    if len(whole) != len(set(whole)) or set(whole) != happened.keys():
        found.append(f"{len(whole)} routes, {len(set(whole))} of them different, of {len(happened)}")
    for each in result["filters"]:
        profile = each["filter"].get("profile")
        failures = each["filter"].get("status") == "failures"
        wanted = [
            route
            for route in whole
            if (profile is None or happened.get(route, ("", ""))[0] == profile)
            and (not failures or happened.get(route, ("", ""))[1] != "routed")
        ]
        if each["routes"] != wanted:
            found.append(f"watchers with the filter {each['filter']} had not what it lets through")
    if result["lost"] or result["gaps"]:
        found.append(f"{result['lost']} connections and {result['gaps']} gaps of those that read")
    return found


# -- load ------------------------------------------------------------------------------------
class Load:
    """Requests at a steady rate to both profiles in turns, from a process of its own."""

    def __init__(self, stack: Stack, rate: int, seconds: float) -> None:
        content = body(1024).decode()
        spec = {
            "mode": "scheduled",
            "host": "127.0.0.1",
            "port": stack.port,
            "bodies": [_request(stack, profile, content) for profile in PROFILES],
            "schedule": [[number / rate, number % len(PROFILES)] for number in range(round(rate * seconds))],
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(spec))
        self._process.stdin.close()
        self._process.stdin = None

    def figures(self) -> dict[str, Any]:
        out, _ = self._process.communicate()
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found


def _request(stack: Stack, profile: str, content: str) -> str:
    return (
        f"POST /p/{profile}/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{stack.port}\r\n"
        f"Authorization: Bearer {stack.key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n{content}"
    )


def measured(stack: Stack, rate: int, seconds: float) -> dict[str, Any]:
    """One load, with the CPU that the product's processes used meanwhile, in shares of a core."""
    before, begun = _cpu(stack), time.perf_counter()
    figures = Load(stack, rate, seconds).figures()
    took = time.perf_counter() - begun
    after = _cpu(stack)
    return {**figures, "cpu": {name: (after[name] - before[name]) / took for name in before}}


def _cpu(stack: Stack) -> dict[str, float]:
    pids = stack.pids()
    found = dict.fromkeys(PROCESSES, 0.0)
    for name, pid in pids.items():
        if (kind := name.partition("-")[0]) in found:
            found[kind] += machine.cpu_seconds([pid]) or 0.0
    return found


# -- the product -----------------------------------------------------------------------------
@contextlib.contextmanager
def product(workers: int) -> Iterator[Stack]:
    """Everything that `serve` runs, over one simulated provider in another process."""
    with Simulator(process=True) as simulator, tempfile.TemporaryDirectory() as folder:
        [provider] = simulator.add_all([{"name": "acme", "behaviour": {"log": False}}])
        tree = document(provider)
        tree["profiles"].append({**tree["profiles"][0], "slug": PROFILES[1], "name": "Other"})
        with Stack(Path(folder), workers=workers) as stack:
            stack.import_config(tree)
            yield stack


def watched(stack: Stack, options: argparse.Namespace) -> list[Promise]:
    """Three loads, the second one watched."""
    readers = options.watchers - options.silent
    keys = keys_for(stack, options.watchers)
    Load(stack, options.rate, 3).figures()  # warms up
    without = [measured(stack, options.rate, options.seconds)]
    before = set(_settled(stack))  # and told of: what is still on its way is not for watchers
    memory = machine.resident_mb([stack.pids()["console"]]) or 0.0
    with Watchers(stack.port, specification(options.watchers, options.silent, keys)) as watchers:
        everybody = open_now(stack)
        figures = measured(stack, options.rate, options.seconds)
        grown = (machine.resident_mb([stack.pids()["console"]]) or 0.0) - memory
        begun = time.perf_counter()
        more = Load(stack, options.rate, options.seconds)
        gone = _until(lambda: open_now(stack) <= readers, LET_GO_SECONDS)
        let_go = time.perf_counter() - begun + options.seconds
        figures["errors"] += more.figures()["errors"]
        happened = {route: of for route, of in _settled(stack).items() if route not in before}
        result = watchers.result(len(happened))
        over = _until(lambda: open_now(stack) == 0, 20)
        left = gauges(stack)
    problems = wrong(result, happened)
    without.append(measured(stack, options.rate, options.seconds))
    late = f"p50 {result['late_p50_ms']:.0f}, p99 {result['late_p99_ms']:.0f}, longest {result['late_max_ms']:.0f} ms"
    title = f"{options.watchers} watchers, {options.silent} of which never read, {options.rate} routes/s"
    latency = " → ".join(f"{each['p50_ms']:.2f} / {each['p99_ms']:.2f}" for each in (without[0], figures, without[1]))
    cpu = {name: " → ".join(f"{each['cpu'][name]:.0%}" for each in (without[0], figures)) for name in PROCESSES}
    errors = figures["errors"] + sum(each["errors"] for each in without)
    return [
        Promise(
            f"{title}: every route, in order, for everybody who reads",
            "all",
            "; ".join(problems)
            or f"{result['events']:,} events, {len(result['filters'][0]['routes']):,} of them different",
            not problems,
        ),
        Promise("from the request's acceptance to the watcher", "≤ 1 s", late, result["late_max_ms"] <= 1000),
        Promise("requests answered otherwise than 200", "0", str(errors), errors == 0),
        Promise("p50 / p99 of requests, ms: without watchers → with → without", "unharmed", latency),
        *(Promise(f"CPU of {name}, shares of a core: without → with", "", told) for name, told in cpu.items()),
        Promise("memory of the console with them", "", f"{grown:+.0f} MB for {everybody}"),
        Promise("getting in, all of them", "", f"{watchers.opened_in:.1f} s"),
        Promise("those who do not read are let go", "yes", f"within {let_go:.0f} s" if gone else "not in time", gone),
        Promise("gauges when they have left", "0, 0", f"{left['sse']}, {left['websocket']}", over),
    ]


def restarted(stack: Stack) -> list[Promise]:
    """Redis is killed under a watcher and under load: how long after its return until a route is told again."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)
    connection.request("GET", "/events/routing-decisions", headers={"Authorization": f"Bearer {stack.key}"})
    stream = connection.getresponse()
    load = Load(stack, 20, 15)
    _read_until(stream, b"event: route")
    pid = stack.kill("redis")
    store = redis.Redis(unix_socket_path=str(stack.folder / "run" / "redis.sock"))
    stack.wait_replaced(redis=pid)
    wait_until(lambda: _answers(store), 20, "the new Redis answers")
    back = time.perf_counter()
    before = _read_until(stream, b"event: gap")
    _read_until(stream, b"event: route")
    took = time.perf_counter() - back
    connection.close()
    store.close()
    errors = load.figures()["errors"]
    return [
        Promise("Redis is back to the next route told, with a gap before it", "≤ 5 s", f"{took:.1f} s", took <= 5),
        Promise("routes told after it was killed and before the gap: those on their way", "", str(before)),
        Promise("requests answered otherwise than 200 meanwhile", "0", str(errors), errors == 0),
    ]


def _answers(store: redis.Redis) -> bool:
    try:
        return bool(store.ping())
    except redis.RedisError:
        return False


def _read_until(stream: http.client.HTTPResponse, wanted: bytes) -> int:
    """Read on behind the next such line; how many routes came before it."""
    count = 0
    while wanted not in (line := stream.readline()):
        if not line:
            raise RuntimeError("the stream ended")
        count += line.startswith(b"event: route")
    return count


def _until(condition: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.25)
    return True


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    facts = machine.facts() | {"pinned": False}
    with product(options.workers) as stack:
        promises = [*watched(stack, options), *restarted(stack)]
    command = shlex.join(["python", "-m", "bench.live", *(given if given is not None else sys.argv[1:])])
    sys.stdout.write(markdown(facts, command, promises))
    return int(any(each.kept is False for each in promises))


if __name__ == "__main__":
    sys.exit(main())
