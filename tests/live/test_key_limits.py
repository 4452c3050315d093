"""Limits over the processes of a host and over hosts: exactly so many over processes and threads, what a killed process
had is free again, and between hosts, over a real Redis, no more than a lease per host too many."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import closing
from threading import Thread
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from routes.engine.limits import KeyLimits, numbers
from routes.engine.tables.keys import Permit
from routes.live import SharedLiveState
from routes.live.exchange import CHANNEL, KEY
from routes.live.redis_feed import RedisConnection
from tests.live.hosts import processes
from tests.live.test_exchange import Host, hosts, redis, together, until
from tests.servers import start_own_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["hosts", "redis"]

A_KEY, A_PROFILE = str(uuid.UUID(int=11)), str(uuid.UUID(int=12))
THREADS = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "live.state"


@pytest.fixture
def live(path: Path) -> Iterator[SharedLiveState]:
    with closing(SharedLiveState(path, "test")) as state:
        yield state


def _wait_for(barrier: Path) -> None:
    deadline = time.monotonic() + 60
    while not barrier.exists():
        assert time.monotonic() < deadline, f"{barrier.name} never came"
        time.sleep(0.001)


def _take(path: Path, start: Path, limits: list[float], number: int) -> list[int]:
    """From four threads, until nothing fits: permits, permits with tokens, seats."""
    limited = KeyLimits(*limits)
    found: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    with closing(SharedLiveState(path, f"gateway-{number}")) as state:

        def take() -> None:
            for _ in range(100):
                permit = state.enter_key(A_KEY, limited, 1000.0)
                if isinstance(permit, Permit):
                    found[0].append(permit)
                    if state.reserve(permit, 3, 1000.0, 1e9)[0] is None:
                        found[1].append(permit)
                if (seat := state.enter_profile(A_PROFILE, 7, 1000.0)) is not None:
                    found[2].append(seat)

        _wait_for(start)
        threads = [Thread(target=take) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        start.with_name(f"took-{number}").touch()
        _wait_for(start.with_name("end"))
    return [len(each) for each in found]


@pytest.mark.parametrize(
    ("limits", "wanted"), [([100, 200, 0], [100, 66, 7]), ([0, 0, 50], [50, 50, 7]), ([90, 0, 1000], [90, 90, 7])]
)
def test_over_four_processes_of_four_threads_exactly_the_limit_is_admitted(
    live: SharedLiveState, path: Path, tmp_path: Path, limits: list[float], wanted: list[int]
) -> None:
    start = tmp_path / "start"
    with processes(4, _take, path, start, limits) as running:
        while len(live.file.attached()) < 5:
            time.sleep(0.001)
        start.touch()
        for number in range(4):  # nobody leaves, and gives back what it took, before all have tried
            _wait_for(tmp_path / f"took-{number}")
        (tmp_path / "end").touch()
        results = [each.result() for each in running]
    assert [sum(column) for column in zip(*results, strict=True)] == wanted


def _hold(path: Path, ready: Path, number: int) -> None:
    state = SharedLiveState(path, f"gateway-{number}")
    limits = KeyLimits(concurrency=3)
    held = [state.enter_key(A_KEY, limits, 1000.0) for _ in range(2)]
    seats = [state.enter_profile(A_PROFILE, 3, 1000.0) for _ in range(2)]
    assert all(isinstance(each, Permit) for each in held)
    assert all(seats)
    ready.touch()
    time.sleep(60)


def test_what_a_killed_process_had_under_way_is_free_again(live: SharedLiveState, path: Path, tmp_path: Path) -> None:
    limits = KeyLimits(concurrency=3)

    def taken() -> tuple[int, int]:
        keys = sum(isinstance(live.enter_key(A_KEY, limits, 1000.0), Permit) for _ in range(5))
        return keys, sum(live.enter_profile(A_PROFILE, 3, 1000.0) is not None for _ in range(5))

    with processes(1, _hold, path, tmp_path / "ready") as (holder,):
        _wait_for(tmp_path / "ready")
        assert taken() == (1, 1)
        holder.kill()
        live._reclaimed = -1.0  # it has looked for dead processes just now
        assert live.enter_key(A_KEY, limits, 1000.0)
        assert taken() == (1, 2)


def test_what_ends_after_a_process_has_left_counts_for_nobody(path: Path, live: SharedLiveState) -> None:
    other = SharedLiveState(path, "other")
    permit = other.enter_key(A_KEY, KeyLimits(concurrency=3), 1000.0)
    seat = other.enter_profile(A_PROFILE, 3, 1000.0)
    assert isinstance(permit, Permit)
    assert seat is not None
    other.close()
    assert other.leave_key(permit, 1, 1, 1000.0, 1e9) == []
    other.leave_profile(seat)
    assert live.key_usage(A_KEY, 1000.0, 1e9).in_flight == 0


# -- between hosts ---------------------------------------------------------------------------------------------


def usage(host: Host) -> Any:
    return host.live.key_usage(A_KEY, host.clock(), time.time())


def take(host: Host, limits: KeyLimits, count: int, tokens: int = 0) -> list[Permit]:
    """What it gets of so many requests, all at once."""
    found = []
    for _ in range(count):
        permit = host.live.enter_key(A_KEY, limits, host.clock())
        if isinstance(permit, Permit):
            refused = tokens and host.live.reserve(permit, tokens, host.clock(), time.time())[0]
            if refused:
                host.live.leave_key(permit, 0, 0, host.clock(), time.time())
            else:
                found.append(permit)
    return found


async def see_each_other(hosts: tuple[Host, ...]) -> None:
    await until(lambda: all(len(host.exchange._hosts) == len(hosts) for host in hosts))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "tokens", "limit"),
    [(KeyLimits(rpm=100), 0, 100), (KeyLimits(tpm=1000), 10, 100), (KeyLimits(concurrency=20), 0, 20)],
)
def test_two_hosts_pass_a_limit_by_a_lease_each_at_most(
    hosts: tuple[Host, Host], limits: KeyLimits, tokens: int, limit: int
) -> None:
    async def what() -> None:
        for host in hosts:
            host.live.set_key_limits({A_KEY: limits}, host.clock(), time.time())
            take(host, limits, 1, tokens)  # so that both know of the key
        await see_each_other(hosts)
        await until(lambda: all(usage(host).requests == 2 for host in hosts))
        begun = time.monotonic()
        admitted = 2
        while time.monotonic() < begun + 4 or admitted < limit * 0.9:
            admitted += sum(len(take(host, limits, 30, tokens)) for host in hosts)
            assert time.monotonic() < begun + 20
            await asyncio.sleep(0.02)
        assert limit * 0.9 <= admitted <= limit + 2 * limit / 10

    together(hosts, what)


@pytest.mark.slow
def test_a_host_that_sees_no_other_has_all_of_the_limit_at_once(hosts: tuple[Host, Host]) -> None:
    one, _ = hosts
    limits = KeyLimits(rpm=50)

    async def what() -> None:
        assert len(take(one, limits, 60)) == 50

    together((one,), what)


@pytest.mark.slow
def test_use_given_back_requests_under_way_and_money_are_known_to_the_other_host(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    limits = KeyLimits(rpm=100, tpm=1000, concurrency=10, day=1000)

    async def what() -> None:
        for host in hosts:
            host.live.set_key_limits({A_KEY: limits}, host.clock(), time.time())
        await see_each_other(hosts)
        first, second = take(one, limits, 2, 100)
        await until(lambda: usage(two)[:3] == (2, 200, 2), 3)
        one.live.leave_key(first, 30, 700, one.clock(), time.time())
        await until(lambda: usage(two) == (2, 130, 1, (700, 700, 700)), 3)
        one.live.leave_key(second, 0, 300, one.clock(), time.time())
        await until(lambda: usage(two) == (2, 30, 0, (1000, 1000, 1000)), 3)
        permit = two.live.enter_key(A_KEY, limits, two.clock())
        assert isinstance(permit, Permit)
        refused, _ = two.live.reserve(permit, 1, two.clock(), time.time())
        assert refused is not None
        assert refused.limit == "usd_day"

    together(hosts, what)


@pytest.mark.slow
def test_who_comes_later_is_told_all_also_of_a_host_that_vanished(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    limits = KeyLimits(rpm=100, tpm=1000, concurrency=10, day=1000)
    two.live.set_key_limits({A_KEY: limits}, two.clock(), time.time())

    async def first() -> None:
        one.live.set_key_limits({A_KEY: limits}, one.clock(), time.time())
        permits = take(one, limits, 3, 50)
        one.live.leave_key(permits[0], 50, 400, one.clock(), time.time())
        await asyncio.sleep(2.7)  # the whole is written every other second

    async def later() -> None:
        await until(lambda: usage(two)[:2] == (3, 150) and usage(two).money[0] == 400)
        assert two.exchange._hosts == sorted([one.exchange._host, two.exchange._host])
        await until(lambda: len(two.exchange._hosts) == 1, 15)
        assert usage(two)[:3] == (3, 150, 0), "what it had under way counts while it is heard of"

    together((one,), first)
    together((two,), later)


def test_without_redis_each_host_has_the_whole_limit(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = start_own_redis(folder)
    url = f"unix://{folder / 'redis.sock'}?db=0"
    one, two = Host(tmp_path / "one", url, 0.0), Host(tmp_path / "two", url, 5000.0)
    limits = KeyLimits(rpm=50)

    async def what() -> None:
        nonlocal server
        for host in (one, two):
            host.live.set_key_limits({A_KEY: limits}, host.clock(), time.time())
            take(host, limits, 1)
        await see_each_other((one, two))
        await until(lambda: usage(one).requests == usage(two).requests == 2)
        server.kill()
        server.wait()
        await until(lambda: "exchange" in one.degraded and "exchange" in two.degraded)
        assert [len(take(host, limits, 60)) for host in (one, two)] == [48, 48]
        (folder / "redis.sock").unlink(missing_ok=True)
        server = start_own_redis(folder)
        await until(lambda: not one.degraded and not two.degraded)
        await until(lambda: usage(one).requests == usage(two).requests == 98)

    try:
        with closing(one.live), closing(two.live):
            together((one, two), what)
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_what_strangers_say_of_use_is_left_out(hosts: tuple[Host, Host], redis: str) -> None:
    one, _ = hosts
    limits = KeyLimits(rpm=100, day=1000)

    async def what() -> None:
        one.live.set_key_limits({A_KEY: limits}, one.clock(), time.time())
        money = [[number, 5.0] for number in numbers(time.time())]
        sound = {
            "key": A_KEY, "host": "x", "at": time.time(), "now": 77.5, "cells": [[77, 4, 40]], "in_flight": 2,
            "money": money,
        }  # fmt: skip
        wrong: list[Any] = [
            None,
            {},
            {**sound, "key": str(uuid.UUID(int=99))},
            {**sound, "key": "?"},
            {**sound, "cells": [[77, "nan", 1]]},
            {**sound, "cells": [[77, -4, 1]]},
            {**sound, "cells": [[77]]},
            {**sound, "now": "inf"},
            {**sound, "in_flight": 1e300},
            {**sound, "money": []},
            {**sound, "money": [[1, "nan"]] * 3},
            {**sound, "host": one.exchange._host},
        ]
        async with RedisConnection(redis) as connection:
            for entry in [*wrong, sound]:
                message = orjson.dumps({"host": "x", "kind": "use", "entries": [entry]})
                await connection.command("PUBLISH", CHANNEL, message.decode())
            await until(lambda: usage(one) == (4, 40, 0, (5, 5, 5)))
            await connection.command("HSET", KEY + "use", "x|y", "{", "old|y", orjson.dumps({"at": 1}).decode())
        assert not one.degraded

    together((one,), what)
