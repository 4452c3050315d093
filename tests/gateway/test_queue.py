"""The line before a profile whose seats are all taken: its order, its bounds, and who leaves it."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from routes.engine.local_live import LocalLiveState
from routes.engine.settings import ProfileLimits
from routes.gateway import limits
from routes.gateway.errors import NoTargetAvailable
from routes.gateway.exchange import Exchange
from routes.gateway.limits import WAITING_PER_SEAT, Admission, Queues
from tests.documents import profile, provider, snapshot, target

#: Many of a kind.
pytestmark = pytest.mark.thorough

PROFILE = snapshot([provider("a")], [profile("default", [target("a")])]).profiles["default"]


class Line:
    """One process before one profile; ``asks`` are its requests."""

    def __init__(self, concurrency: int = 1, queue_ms: int = 60_000) -> None:
        self.live = LocalLiveState()
        self.queues = Queues()
        self.state = cast("Any", SimpleNamespace(live=self.live, clock=time.monotonic, queues=self.queues))
        self.profile = cast(
            "Any", SimpleNamespace(id=PROFILE.id, slug="default", limits=ProfileLimits(concurrency, queue_ms))
        )
        self.order: list[int] = []

    def admission(self) -> tuple[Exchange, Admission]:
        exchange = Exchange(bytes(16), "", 0.0, 0, "POST", "/", b"", [], profile=self.profile)
        exchange.admission = admission = Admission(self.state)
        return exchange, admission

    async def ask(self, number: int) -> tuple[Exchange, Admission]:
        exchange, admission = self.admission()
        await self.queues.take(self.state, exchange, admission)
        self.order.append(number)
        return exchange, admission

    def taken(self) -> int:
        record = self.live._keys.find(PROFILE.id)
        return 0 if record is None else record.in_flight.sum()


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_seats_are_given_first_come_first_served_the_moment_they_are_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "LOOK_SECONDS", 3600.0)
    line = Line()
    holding, seat = await line.ask(0)
    waiting = [asyncio.create_task(line.ask(number)) for number in (1, 2, 3)]
    await turns()
    for number in (1, 2, 3):
        seat.end(holding, None)
        seat.end(holding, None)
        async with asyncio.timeout(5):
            holding, seat = await waiting[number - 1]
        assert line.order == list(range(number + 1))
        assert line.taken() == 1
    seat.end(holding, None)
    assert line.taken() == 0
    assert line.queues._waiting == {}


async def test_who_leaves_the_line_is_out_of_it_at_once() -> None:
    line = Line()
    holding, seat = await line.ask(0)
    staying, leaving = (asyncio.create_task(line.ask(number)) for number in (1, 2))
    await turns()
    leaving.cancel()
    await turns()
    assert len(line.queues._waiting[PROFILE.id].line) == 1
    seat.end(holding, None)
    await staying
    assert line.order == [0, 1]
    assert line.taken() == 1


async def test_a_seat_that_comes_as_its_client_leaves_is_the_next_ones() -> None:
    line = Line()
    holding, seat = await line.ask(0)
    leaving, staying = (asyncio.create_task(line.ask(number)) for number in (1, 2))
    await turns()
    seat.end(holding, None)  # it is the first one's now, who has not heard of it
    leaving.cancel()
    await staying
    assert leaving.cancelled()
    assert line.order == [0, 2]
    assert line.taken() == 1


async def test_the_line_is_bounded_and_without_a_wait_there_is_none() -> None:
    line = Line(concurrency=2)
    await line.ask(0)
    await line.ask(1)
    waiting = [asyncio.create_task(line.ask(number)) for number in range(2 * WAITING_PER_SEAT)]
    await turns()
    with pytest.raises(NoTargetAvailable) as refused:
        await line.ask(99)
    assert refused.value.retry_after == 1.0
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert line.queues._waiting == {}
    at_once = Line(queue_ms=0)
    await at_once.ask(0)
    with pytest.raises(NoTargetAvailable):
        await at_once.ask(1)


async def test_who_waited_long_enough_is_refused() -> None:
    line = Line(queue_ms=10)
    await line.ask(0)
    with pytest.raises(NoTargetAvailable):
        await line.ask(1)
    assert line.queues._waiting == {}


async def test_a_seat_that_another_process_gives_back_is_found() -> None:
    line = Line()
    elsewhere = line.live.enter_profile(PROFILE.id, 1, 0.0)
    assert elsewhere is not None
    waiting = asyncio.create_task(line.ask(0))
    await turns()
    line.live.leave_profile(elsewhere)
    async with asyncio.timeout(5):
        await waiting
    assert line.taken() == 1
