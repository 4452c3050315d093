"""A provider dies under load and comes back, with two gateway processes: no client notices, and it is let in slowly."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.documents import document, provider
from tests.faults.circuits import looking
from tests.gateways import KEY, wait_until
from tests.load import Load
from tests.simulators import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.gateways import Gateways

#: A hundred requests a second for a quarter of a minute.
pytestmark = [pytest.mark.faults, pytest.mark.slow]

NAMES = ("dying", "second", "third")
SLOTS = 3
#: Tried again every second; let in over six.
CIRCUIT = {
    "recovery_timeout": 1,
    "recovery_timeout_max": 1,
    "half_open_max_calls": SLOTS,
    "success_threshold": 2,
    "slow_start": 6,
}


class Step(NamedTuple):
    """An attempt at the provider that dies; Unix milliseconds."""

    began: float
    ended: float
    changes: list[tuple[str, str]]


def steps(gateway: Gateways) -> list[Step]:
    found = [
        Step(each.started_ms, each.started_ms + each.latency_us / 1000, [change[:2] for change in each.transitions])
        for row in gateway.finished()
        for each in row.attempts
        if each.provider == "dying"
    ]
    return sorted(found, key=lambda each: each.began)


def when(gateway: Gateways, change: tuple[str, str]) -> float:
    """The end of the attempt that caused this change."""
    (moment,) = (each.ended for each in steps(gateway) if change in each.changes)
    return moment


async def until(true: Callable[[], bool]) -> None:
    await asyncio.to_thread(wait_until, true, 20)


@asynccontextmanager
async def loaded(gateway: Gateways) -> AsyncIterator[None]:
    """Requests while the block runs; afterwards, none of them may have failed."""
    driver = Load(gateway.url, KEY, rate=100, streams=False, keep_alive=False)
    running = asyncio.create_task(driver.run())
    try:
        await driver.until(20)
        yield
    finally:
        driver.stop()
        seen = await running
    assert [each for each in seen if each.status != 200 or not each.complete] == []


async def test_a_killed_provider_is_left_alone_by_both_processes_and_takes_its_share_again(
    start_gateways: Callable[..., Gateways],
) -> None:
    gateway = start_gateways(2)
    with Simulator(process=True) as simulator:
        handles = [simulator.add(name, latency=0.005) for name in NAMES]
        entries = [provider(each.name, base_url=each.base_url, circuit=CIRCUIT) for each in handles]
        gateway.publish(document(entries, strategy="round_robin"))
        dying = handles[0]

        with looking(gateway.data, gateway.document) as look:
            async with loaded(gateway):
                await asyncio.to_thread(dying.stop)
                # Two trials that fail: it is really gone.
                await until(lambda: look.changes("dying").count(("half_open", "open")) >= 2)
                await asyncio.to_thread(dying.start)
                returned = len(look.changes("dying"))
                await until(lambda: ("half_open", "closed") in look.changes("dying"))
                await until(lambda: look.circuit("dying").admitted == 1.0)  # slow start is over
                for each in handles:
                    await asyncio.to_thread(each.forget)
                await until(lambda: handles[1].count() >= 50)
                shares = [await asyncio.to_thread(each.count) for each in handles]
            history = look.changes("dying")
        both = [records for records in gateway.records_by_process().values() if len(records) > 100]

    assert len(both) == 2
    assert history[0] == ("closed", "open")
    assert history.count(("closed", "open")) == history.count(("half_open", "closed")) == 1
    assert history[returned:].count(("half_open", "open")) <= 1
    opened, back = when(gateway, ("closed", "open")), when(gateway, ("half_open", "closed"))
    windows = history.count(("open", "half_open"))
    trials = [each for each in steps(gateway) if opened < each.began < back]
    assert windows <= len(trials) <= SLOTS * windows
    rows = [row for row in gateway.finished() if back < row.attempts[-1].started_ms <= back + 5000]
    assert len(rows) > 100
    assert sum(row.provider == "dying" for row in rows) <= 0.2 * len(rows)
    assert max(shares) - min(shares) <= 5, shares
