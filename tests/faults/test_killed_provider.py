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


def changes(gateway: Gateways) -> list[tuple[str, str]]:
    """The circuit's history, in order: a state is left by an attempt that ended there, and entered before the next."""
    found = [(each.ended, change) for each in steps(gateway) for change in each.changes]
    return [change for _, change in sorted(found, key=lambda each: each[0])]


def when(gateway: Gateways, change: tuple[str, str]) -> float:
    """The end of the attempt that last caused this change."""
    return max(each.ended for each in steps(gateway) if change in each.changes)


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
                await asyncio.to_thread(
                    wait_until, lambda: changes(gateway).count(("half_open", "open")) >= 2, 20, "two windows"
                )
                await asyncio.to_thread(dying.start)
                returned = len(changes(gateway))
                closed = ("half_open", "closed")
                await asyncio.to_thread(wait_until, lambda: closed in changes(gateway), 20, "it is back")
                # Slow start is over.
                await asyncio.to_thread(wait_until, lambda: look.circuit("dying").admitted == 1.0, 20)
                for each in handles:
                    await asyncio.to_thread(each.forget)
                await asyncio.to_thread(wait_until, lambda: handles[1].count() >= 50, 20)
                shares = [await asyncio.to_thread(each.count) for each in handles]
            both = [records for records in gateway.records_by_process().values() if len(records) > 100]

    history = changes(gateway)
    opened = min(each.ended for each in steps(gateway) if ("closed", "open") in each.changes)
    back = when(gateway, ("half_open", "closed"))
    while_open = [each for each in steps(gateway) if opened < each.began < back]
    windows = history.count(("open", "half_open"))
    assert history[0] == ("closed", "open")
    assert history.count(("closed", "open")) == history.count(("half_open", "closed")) == 1
    assert windows <= len(while_open) <= SLOTS * windows
    assert history[returned:].count(("half_open", "open")) <= 1
    rows = [row for row in gateway.finished() if back < row.attempts[-1].started_ms <= back + 5000]
    assert sum(row.provider == "dying" for row in rows) <= 0.2 * len(rows)
    assert len(rows) > 100
    assert max(shares) - min(shares) <= 5, shares
    assert len(both) == 2
