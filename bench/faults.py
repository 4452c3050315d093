"""The times that the fault suite promises: `python -m bench.faults`. Its counts and states are tests.

Prints a table of what is promised and what was measured, ratios of the same run where the promise is one; exit code 1
when a promise was broken. Loads only 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import circuits, machine
from bench.promises import Promise, bench, load, markdown
from bench.scenarios import body, request
from tests.gateways import KEY, wait_until
from tests.load import Load

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from bench.promises import Bench, Cores
    from tests.simulators import ProviderHandle, Received

HUNG = 200
CONTENT = body(1024)
OPEN_AT_ONCE = {"failure_threshold": 1, "recovery_timeout": 60}


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description="Measure the fault suite's times.")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of each load (default 1)")
    parser.add_argument("--only", default="", metavar="A,B", help=f"measurements: {', '.join(MEASUREMENTS)}")
    return parser.parse_args(given)


# -- one provider hangs ----------------------------------------------------------------------
def hangs(cores: Cores, scale: float) -> list[Promise]:
    """p99 of requests to one provider, in turns without and with requests that hang at another, at a steady rate."""
    rate, seconds, rounds = 100, max(2.0, 8 * scale), max(2, round(6 * scale))
    entries = {"hanging": {"models": {"stuck": "stuck"}}, "other": {"models": {"gpt-4o": "gpt-4o"}}}
    p99: dict[bool, list[float]] = {False: [], True: []}
    with bench(cores, entries, behaviour={"log": False}) as running:
        hanging = running.providers["hanging"]
        hanging.behave(log=True)
        hanging.fail("hang_before_headers")
        schedule = [[number / rate, 0] for number in range(round(rate * seconds))]
        load(cores, running, "scheduled", CONTENT, schedule=schedule)  # warms up
        for number in range(2 * rounds):
            stuck = number % 2 == 1
            connections = _hang(running, hanging) if stuck else []
            figures = load(cores, running, "scheduled", CONTENT, schedule=schedule)
            if figures["errors"]:
                raise SystemExit(f"bench: {figures['errors']} requests to the healthy provider failed")
            p99[stuck].append(figures["p99_ms"])
            for connection in connections:
                connection.close()
            hanging.wait_for(lambda requests: all(each.disconnected for each in requests))
            hanging.forget()
    without, with_hung = median(p99[False]), median(p99[True])
    ratio = with_hung / without
    measured = f"{without:.2f} → {with_hung:.2f} ms, {ratio - 1:+.0%}"
    return [Promise(f"p99 of others while {HUNG} requests hang at one provider", "≤ +20 %", measured, ratio <= 1.2)]


def _hang(running: Bench, hanging: ProviderHandle) -> list[socket.socket]:
    data = request(running.running, CONTENT.replace(b'"gpt-4o"', b'"stuck"')).encode()
    connections = []
    for _ in range(HUNG):
        connection = running.gateway.connect()
        connection.sendall(data)
        connections.append(connection)
    hanging.wait_for(lambda requests: len(requests) == HUNG, 20)
    return connections


# -- all providers down ----------------------------------------------------------------------
def down(cores: Cores, scale: float) -> list[Promise]:
    """How long a client waits for its 503."""
    rate, seconds = 100, max(1.0, 10 * scale)
    entries = {name: {"circuit": OPEN_AT_ONCE} for name in ("one", "two", "three")}
    with bench(cores, entries, failover={"when_all_unhealthy": "reject", "same_target_retries": 0}) as running:
        for handle in running.providers.values():
            handle.stop()
        wait_until(lambda: running.gateway.chat().status == 503)
        schedule = [[number / rate, 0] for number in range(round(rate * seconds))]
        figures = load(cores, running, "scheduled", CONTENT, schedule=schedule)
    told = figures["statuses"].get("503", 0)
    measured = f"p50 {figures['p50_ms']:.2f}, p99 {figures['p99_ms']:.2f} ms; {told:,} of {len(schedule):,} were 503"
    kept = figures["p99_ms"] <= 20 and told == len(schedule)
    return [Promise("503 when all providers are down", "≤ 20 ms", measured, kept)]


# -- recovery --------------------------------------------------------------------------------
def recovery(cores: Cores, scale: float) -> list[Promise]:
    """The share of a provider in the first five seconds after its circuit closed, beside an equal one."""
    rounds = max(1, round(3 * scale))
    shares = [asyncio.run(_recovery(cores)) for _ in range(rounds)]
    measured = f"{median(shares):.1%} (highest of {rounds}: {max(shares):.1%})"
    return [Promise("share of a recovered provider in its first 5 s, of 50 %", "≤ 20 %", measured, max(shares) <= 0.2)]


async def _recovery(cores: Cores) -> float:
    circuit = {"recovery_timeout": 1, "recovery_timeout_max": 1}
    with bench(cores, {"back": {"circuit": circuit}, "steady": {}}, strategy="weighted") as running:
        back, steady = running.providers["back"], running.providers["steady"]
        driver = Load(running.gateway.url, KEY, rate=100)
        loading = asyncio.create_task(driver.run())
        await driver.until(20)
        await asyncio.to_thread(back.stop)
        await driver.until(driver.sent + 100)
        await asyncio.to_thread(back.start)
        await asyncio.to_thread(back.forget)
        # The circuit closes with its second success.
        await asyncio.to_thread(back.wait_for, lambda requests: sum(each.finished for each in requests) >= 2, 20)
        await asyncio.to_thread(back.forget)
        await asyncio.to_thread(steady.forget)
        await asyncio.sleep(5)
        mine, theirs = await asyncio.to_thread(back.count), await asyncio.to_thread(steady.count)
        driver.stop()
        seen = await loading
    if failed := sum(each.status != 200 for each in seen):
        raise SystemExit(f"bench: {failed} requests failed while a provider was away")
    return mine / (mine + theirs)


# -- clients that leave ----------------------------------------------------------------------
WINDOWS: dict[str, dict[str, Any]] = {
    "before the headers": {"name": "hang_before_headers"},
    "before the first event": {"name": "slow_first_content", "seconds": 60, "pings": 60},
    "mid-stream": {"name": "idle_stall", "after_events": 5},
}


def cancel(cores: Cores, scale: float) -> list[Promise]:
    """How long after its client left an upstream learns of it, many at once."""
    count = max(5, round(100 * scale))
    content = body(1024, stream=True)
    promises = []
    with bench(cores, {"only": {}}, timeouts={"idle": 60}) as running:
        only = running.providers["only"]
        for window, fault in WINDOWS.items():
            only.forget()
            only.behave(faults=[fault])
            connections = [running.gateway.connect() for _ in range(count)]
            for connection in connections:
                connection.sendall(request(running.running, content).encode())
            only.wait_for(lambda requests: len(requests) == count, 20)
            if window == "mid-stream":
                for connection in connections:
                    connection.recv(1024)
            left = time.time()
            for connection in connections:
                connection.close()
            requests = only.wait_for(_all_left, 20)
            delays = sorted(each.received_at + (each.disconnected_after or 0.0) - left for each in requests)
            measured = f"p50 {median(delays) * 1000:.0f}, longest {delays[-1] * 1000:.0f} ms of {count} at once"
            promises.append(Promise(f"upstream cancelled, client left {window}", "≤ 1 s", measured, delays[-1] <= 1.0))
    return promises


def _all_left(requests: list[Received]) -> bool:
    return all(each.disconnected for each in requests)


MEASUREMENTS: dict[str, Callable[[Cores, float], list[Promise]]] = {
    "hangs": hangs,
    "down": down,
    "recovery": recovery,
    "killed": circuits.killed,
    "retry_after": circuits.retry_after,
    "half_open": circuits.half_open,
    "hosts": circuits.hosts,
    "cancel": cancel,
}


def main(given: Sequence[str] | None = None) -> int:
    options = arguments(given)
    names = [name for name in options.only.split(",") if name] or list(MEASUREMENTS)
    if unknown := set(names) - set(MEASUREMENTS):
        raise SystemExit(f"bench: no measurement {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    facts, cores = machine.facts(), machine.cores()
    promises = []
    for name in names:
        sys.stderr.write(f"bench: {name}\n")
        promises += MEASUREMENTS[name](cores, options.scale)
    command = shlex.join(["python", "-m", "bench.faults", *(given if given is not None else sys.argv[1:])])
    sys.stdout.write(markdown(facts, command, promises))
    return int(any(each.kept is False for each in promises))


if __name__ == "__main__":
    sys.exit(main())
