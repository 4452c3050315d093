"""Times that circuits and quarantines promise, for `bench.faults`: how soon a dead provider is left alone, by processes
and by hosts, and how it comes back. Their counts and states are tests of the fault suite."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.machine import on_core
from bench.promises import Promise, bench
from routing_project.processes import spawn, valkey_command, wait_for_socket
from tests.documents import document, provider
from tests.faults.circuits import Burst, looking
from tests.gateways import KEY, Gateways, wait_until
from tests.load import Load
from tests.simulators import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.promises import Bench, Cores
    from history.records import Attempt
    from tests.gateways import Answer
    from tests.simulators import ProviderHandle

SLOTS = 3


# -- one of three dies, and comes back --------------------------------------------------------
def killed(cores: Cores, scale: float) -> list[Promise]:
    """One of three providers dies under 100 requests/s with two gateway processes, and comes back."""
    return asyncio.run(_killed(cores, scale))


async def _killed(cores: Cores, scale: float) -> list[Promise]:
    slow_start = max(6.0, 30 * scale)
    circuit = {
        "recovery_timeout": 2,
        "recovery_timeout_max": 2,
        "half_open_max_calls": SLOTS,
        "slow_start": slow_start,
    }
    entries: dict[str, dict[str, Any]] = {"dying": {"circuit": circuit}, "second": {}, "third": {}}
    with bench(cores, entries, processes=2, strategy="round_robin") as running:
        dying = running.providers["dying"]
        driver = Load(running.gateway.url, KEY, rate=100, streams=False, keep_alive=False)
        with looking(running.gateway.data, running.gateway.document) as look:

            async def until(true: Callable[[], bool]) -> None:
                await asyncio.to_thread(wait_until, true, slow_start + 30)

            loading = asyncio.create_task(driver.run())
            await driver.until(100)
            await asyncio.to_thread(dying.stop)
            await until(lambda: look.changes("dying").count(("half_open", "open")) >= 3)
            await asyncio.to_thread(dying.start)
            before = len(look.changes("dying"))
            await until(lambda: ("half_open", "closed") in look.changes("dying"))
            first = await _shares(running, 5)
            await until(lambda: look.circuit("dying").admitted == 1.0)
            full = await _shares(running, 5)
            driver.stop()
            seen = await loading
            reopened = look.changes("dying")[before:].count(("half_open", "open"))
        failed = sum(each.status != 200 or not each.complete for each in seen)
        late, windows = _after_opening(running)
    return [
        Promise(
            "client errors while one of three providers dies and comes back, 2 processes, 100 requests/s",
            "0",
            f"{failed} of {len(seen):,}",
            failed == 0,
        ),
        Promise(
            "its circuit opened to the last request begun there, by worker",
            "≤ 1 s",
            ", ".join(f"{each:.0f} ms" for each in late),
            max(late) <= 1000,
        ),
        Promise(
            "requests to it per recovery window, both workers",
            f"≤ {SLOTS}",
            f"{', '.join(map(str, windows))}",
            max(windows) <= SLOTS,
        ),
        Promise("times it opened again after it was back", "≤ 1", str(reopened), reopened <= 1),
        Promise("its share of requests in the first 5 s after", "≤ 20 %", f"{first:.1%}", first <= 0.2),
        Promise(
            f"its share in 5 s when slow start ({slow_start:.0f} s) is over", "a third", f"{full:.1%}", full >= 0.3
        ),
    ]


def _tried(running: Bench) -> dict[int, list[Attempt]]:
    """The attempts at the provider that dies, by process, oldest first."""
    found: dict[int, list[Attempt]] = {}
    for pid, records in running.gateway.records_by_process().items():
        attempts = [attempt for record in records for attempt in getattr(record, "attempts", ())]
        found[pid] = sorted(
            (each for each in attempts if each.provider == "dying"), key=lambda attempt: attempt.started_ms
        )
    return found


def _ended(attempt: Attempt) -> float:
    return attempt.started_ms + attempt.latency_us / 1000


def _after_opening(running: Bench) -> tuple[list[float], list[int]]:
    """(by worker, ms from the circuit's opening to the last attempt before the first trial; attempts by window)"""
    tried = _tried(running)
    every = sorted((each for some in tried.values() for each in some), key=lambda attempt: attempt.started_ms)

    def caused(attempt: Attempt, change: tuple[str, str]) -> bool:
        return change in [each[:2] for each in attempt.transitions]

    opened = min(_ended(each) for each in every if caused(each, ("closed", "open")))
    closed = max(_ended(each) for each in every if caused(each, ("half_open", "closed")))
    trials = [each.started_ms for each in every if caused(each, ("open", "half_open"))]
    late = [
        max(0.0, max(each.started_ms for each in some if each.started_ms < trials[0]) - opened)
        for some in tried.values()
    ]
    ends = [*trials[1:], closed]
    windows = [sum(begin <= each.started_ms < end for each in every) for begin, end in zip(trials, ends, strict=True)]
    return late, windows


async def _shares(running: Bench, seconds: float) -> float:
    """The share of the provider that died in what was sent during so many seconds from now."""
    for handle in running.providers.values():
        await asyncio.to_thread(handle.forget)
    await asyncio.sleep(seconds)
    counts = {name: await asyncio.to_thread(handle.count) for name, handle in running.providers.items()}
    return counts["dying"] / sum(counts.values())


# -- a rate limit that names its time ----------------------------------------------------------
def retry_after(cores: Cores, scale: float) -> list[Promise]:
    """How long after a 429 with ``Retry-After: 2`` its provider is asked again, at 50 requests/s."""
    rounds = max(1, round(3 * scale))
    waits = [asyncio.run(_retry_after(cores)) for _ in range(rounds)]
    measured = f"{median(waits):.2f} s ({min(waits):.2f} to {max(waits):.2f}, {rounds} times)"
    kept = all(1.5 <= wait <= 2.5 for wait in waits)
    return [Promise("first request after a 429 with Retry-After: 2, 2 processes", "2 s ± 0.5", measured, kept)]


async def _retry_after(cores: Cores) -> float:
    with bench(cores, {"limited": {}, "other": {}}, processes=2) as running:
        limited = running.providers["limited"]
        limited.fail("rate_limited", retry_after=2, times=1)
        driver = Load(running.gateway.url, KEY, rate=50, streams=False, keep_alive=False)
        loading = asyncio.create_task(driver.run())
        refused, back, *_ = await asyncio.to_thread(limited.wait_for, lambda requests: len(requests) >= 2, 20)
        driver.stop()
        await loading
    return back.received_at - refused.received_at


# -- fifty at half-open --------------------------------------------------------------------------
def half_open(cores: Cores, scale: float) -> list[Promise]:
    """Fifty requests at once when a provider may be tried again: who reaches it, and how long the others wait."""
    circuit = {
        "failure_threshold": 1,
        "recovery_timeout": 1,
        "recovery_timeout_max": 1,
        "half_open_max_calls": SLOTS,
    }
    took: list[float] = []
    del scale  # there is nothing to make smaller
    with bench(cores, {"weak": {"circuit": circuit}, "strong": {}}, processes=2) as running:
        weak, gateway = running.providers["weak"], running.gateway

        def ask(_: int) -> Answer:
            began = time.perf_counter()
            answer = gateway.chat()
            took.append(time.perf_counter() - began)
            return answer

        with ThreadPoolExecutor(50) as pool:  # both processes and all their connections are warm
            list(pool.map(ask, range(200)))
        weak.fail("status", status=500, times=1)
        wait_until(lambda: gateway.chat().headers["x-route-provider"] == "strong")
        with looking(gateway.data, gateway.document) as look:
            look.wait_for("weak", "half_open")
        took.clear()
        burst = Burst(ask, weak, 50)
        reached = burst.settled(SLOTS)
        others = sorted(took)
        answers = burst.end()
    waited = f"p50 {median(others) * 1000:.0f}, longest {others[-1] * 1000:.0f} ms"
    measured = f"{reached}; the other {len(others)} answered by another, {waited}"
    kept = reached == SLOTS and answers == {200: 50}
    return [Promise("of 50 requests at once at half-open, 2 processes: reach the provider", str(SLOTS), measured, kept)]


# -- another host ----------------------------------------------------------------------------------
def hosts(cores: Cores, scale: float) -> list[Promise]:
    """How long after a circuit opened on one host it is open on another one, over Redis."""
    rounds = max(2, round(10 * scale))
    with (
        tempfile.TemporaryDirectory() as folder,
        Simulator(process=True) as simulator,
        _redis(Path(folder)) as url,
        _host(Path(folder) / "north", url, cores) as north,
        _host(Path(folder) / "south", url, cores) as south,
    ):
        delays = sorted(_told(simulator.add(f"bad-{number}"), north, south) for number in range(rounds))
    measured = f"p50 {median(delays):.0f}, longest {delays[-1]:.0f} ms of {rounds}"
    return [Promise("a circuit opened on one host, open on another one", "≤ 1 s", measured, delays[-1] <= 1000)]


def _told(bad: ProviderHandle, north: Gateways, south: Gateways) -> float:
    """Milliseconds from the end of the attempt that opened a circuit to when the other host has it open."""
    bad.fail("status", status=500)
    for each in (north, south):
        each.publish(document([provider(bad.name, base_url=bad.base_url, circuit={"failure_threshold": 1})]))
    north.forget()
    with looking(south.data, south.document) as there:
        north.chat()
        deadline = time.monotonic() + 10
        while there.circuit(bad.name).state != "open":
            if time.monotonic() > deadline:
                raise SystemExit("bench: the other host was never told")
            time.sleep(0.001)
        now = time.time() * 1000
    (row,) = wait_until(north.finished)
    return now - max(_ended(attempt) for attempt in row.attempts if attempt.transitions)


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    path = folder / "redis.sock"
    child = spawn(valkey_command(path, folder), death_signal=signal.SIGKILL, stdout=subprocess.DEVNULL)
    try:
        if not wait_for_socket(path, child, 30):
            raise SystemExit("bench: Redis did not start")
        yield f"unix://{path}?db=0"
    finally:
        child.kill()
        child.wait()


@contextmanager
def _host(data: Path, url: str, cores: Cores) -> Iterator[Gateways]:
    data.mkdir(mode=0o700)
    host = Gateways(data, environment={"REDIS_URL": url})
    try:
        with on_core(cores[0]):
            host.start()
        yield host
    finally:
        host.stop()
