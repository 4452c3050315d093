"""What hosts tell one another over a real Redis; two hosts are two data folders, each with a clock of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager, closing
from math import inf
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from routes.engine.provider import Heads, head_key
from routes.engine.snapshot import Snapshot
from routes.engine.types import Outcome
from routes.live import SharedLiveState
from routes.live.exchange import CHANNEL, KEY, PIN_BUCKET, Exchange, share_of
from routes.live.redis_feed import RedisConnection
from tests.documents import an_id, document, head, provider
from tests.live.hosts import attempt, revision, targets
from tests.servers import own_redis, start_own_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from routes.engine.live import HeadState

REVISION = revision(success_threshold=1)
A, B, C = targets(REVISION).values()
PROFILE = REVISION.profiles["default"].id
KEYS = [bytes([number]) * 16 for number in range(1, 4)]


class Host:
    """A data folder, a clock that started at another time than the others', a wall clock that may be wrong, and the
    process that leads."""

    def __init__(self, folder: Path, url: str, ahead: float) -> None:
        folder.mkdir(exist_ok=True)
        self.ahead = ahead
        self.wrong = 0.0
        self.live = SharedLiveState(folder / "live.state", folder.name, clock=self.clock, wall=self.wall)
        self.live.published(REVISION)
        self.degraded: dict[str, str] = {}
        self.exchange = Exchange(self.live, url, self.degraded, clock=self.clock, wall=self.wall)

    def wall(self) -> float:
        return time.time() + self.wrong

    def clock(self) -> float:
        return time.monotonic() + self.ahead

    def open(self) -> None:
        for _ in range(5):
            attempt(self.live, A, "failure", self.clock())

    def state(self) -> str:
        return self.live.circuit(A, self.clock()).state

    def pin(self, key: bytes) -> str | None:
        pin = self.live.pin(key, self.clock())
        return None if pin is None else pin.target_id

    def set_pin(self, key: bytes, target_id: str = A.id) -> None:
        self.live.set_pin(key, target_id, self.clock(), 600.0, profile_id=PROFILE, session="s")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.task = asyncio.create_task(self.exchange.run())
        try:
            yield
        finally:
            await self.stop()

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task  # an error of its own comes out here


async def until(true: Callable[[], bool], seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to pass"
        await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with own_redis() as url:
        yield url


@pytest.fixture
def hosts(tmp_path: Path, redis: str) -> Iterator[tuple[Host, Host]]:
    asyncio.run(_emptied(redis))
    one, two = Host(tmp_path / "one", redis, 0.0), Host(tmp_path / "two", redis, 5000.0)
    with closing(one.live), closing(two.live):
        yield one, two


async def _emptied(url: str) -> None:
    async with RedisConnection(url) as connection:
        await connection.command("FLUSHALL")


def together(hosts: tuple[Host, ...], what: Callable[[], Awaitable[None]]) -> None:
    """Run ``what`` while all hosts are connected."""

    async def body() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for host in hosts:
                await stack.enter_async_context(host.running())
            await until(lambda: all(len(host.exchange._hosts) >= 1 for host in hosts))
            await what()

    asyncio.run(body())


def test_a_circuit_that_opens_and_closes_on_one_host_does_so_on_the_other(hosts: tuple[Host, Host]) -> None:
    one, two = hosts

    async def what() -> None:
        one.open()
        await until(lambda: two.state() == "open", 1.5)
        here, there = (host.live.circuit(A, host.clock()).until - host.clock() for host in hosts)
        assert here == pytest.approx(there, abs=0.1), "times travel between clocks"
        assert A.id in two.live.suspects(two.clock())
        later = two.live.circuit(A, two.clock()).until
        (moved, closed) = attempt(two.live, A, "success", later)
        assert (moved.after, closed.after) == ("half_open", "closed")
        await until(lambda: one.live._records.of(A.id).circuit.state == "closed", 1.5)

    together(hosts, what)


def test_quarantines_and_pins_and_drops_of_pins_are_known_to_the_other_host(hosts: tuple[Host, Host]) -> None:
    one, two = hosts

    def quarantined() -> bool:
        return two.live.quarantined_until(B, "gpt-4o", two.clock()) is not None

    async def what() -> None:
        one.live.quarantine(B, "gpt-4o", 60.0, "rate_limited", one.clock(), told=True)
        one.set_pin(KEYS[0])
        one.set_pin(KEYS[1], B.id)
        await until(lambda: quarantined() and two.pin(KEYS[0]) == A.id and two.pin(KEYS[1]) == B.id)
        found = two.live.quarantined_until(B, "gpt-4o", two.clock())
        assert found is not None
        assert (found.cause, found.told) == ("rate_limited", True)
        assert found.until - two.clock() == pytest.approx(60.0, abs=2.0)
        assert two.live.quarantined_until(B, "another", two.clock()) is None
        two.set_pin(KEYS[0], C.id)
        await until(lambda: one.pin(KEYS[0]) == C.id)
        assert two.live.drop_pins(two.clock(), target_id=C.id) == 1
        await until(lambda: one.pin(KEYS[0]) is None)
        assert one.pin(KEYS[1]) == B.id

    together(hosts, what)


@pytest.mark.slow
def test_a_host_that_comes_later_reads_how_things_stand(hosts: tuple[Host, Host]) -> None:
    one, two = hosts

    async def what() -> None:
        one.open()
        one.live.quarantine(B, None, 60.0, "auth_failed", one.clock())
        one.set_pin(KEYS[0])
        one.set_pin(KEYS[1], B.id)
        await asyncio.sleep(0.05)
        one.live.drop_pins(one.clock(), target_id=B.id)
        await asyncio.sleep(0.6)
        assert two.state() == "closed"
        async with two.running():
            await until(lambda: two.state() == "open" and two.pin(KEYS[0]) == A.id)
            assert two.live.quarantined_until(B, "x", two.clock()) is not None
            assert two.pin(KEYS[1]) is None

    together((one,), what)


@pytest.mark.slow
def test_an_older_word_changes_nothing(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    one.open()
    time.sleep(0.05)
    two.open()
    (moved, closed) = attempt(two.live, A, "success", two.live.circuit(A, two.clock()).until)
    assert closed.after == "closed"
    assert moved.after == "half_open"

    async def what() -> None:
        await until(lambda: one.live._records.of(A.id).circuit.state == "closed")
        await asyncio.sleep(0.6)
        assert two.live._records.of(A.id).circuit.state == "closed"

    together(hosts, what)


@pytest.mark.faults
@pytest.mark.parametrize(("at_first", "then"), [(3600.0, 3600.0), (-3600.0, -3600.0), (0.0, 3600.0), (0.0, -3600.0)])
def test_a_clock_that_is_an_hour_wrong_or_jumps_moves_nothing(
    hosts: tuple[Host, Host], at_first: float, then: float
) -> None:
    one, two = hosts
    two.wrong = at_first

    def left(host: Host) -> float:
        return host.live.circuit(A, host.clock()).until - host.clock()

    async def what() -> None:
        await until(lambda: all(len(host.exchange._hosts) == 2 for host in hosts))
        two.wrong = then
        one.open()
        await until(lambda: two.state() == "open")
        assert left(one) == pytest.approx(left(two), abs=0.5)
        (_, closed) = attempt(two.live, A, "success", two.live.circuit(A, two.clock()).until)
        assert closed.after == "closed"
        await until(lambda: one.live._records.of(A.id).circuit.state == "closed")
        two.live.quarantine(B, None, 60.0, "auth_failed", two.clock())
        two.set_pin(KEYS[0])
        await until(lambda: one.live.quarantined_until(B, "m", one.clock()) is not None and one.pin(KEYS[0]) == A.id)
        found = one.live.quarantined_until(B, "m", one.clock())
        assert found is not None
        assert found.until - one.clock() == pytest.approx(60.0, abs=5.0)
        for host in hosts:  # nobody was taken for gone
            host.exchange._heard = -inf
        await until(lambda: all(host.exchange._heard > -inf for host in hosts))
        assert [len(host.exchange._hosts) for host in hosts] == [2, 2]

    together(hosts, what)


@pytest.mark.parametrize(("verdict", "after"), [("failure", "open"), ("success", "closed")])
def test_of_two_changes_in_quick_succession_the_later_one_counts_although_both_were_told(
    hosts: tuple[Host, Host], verdict: Any, after: str
) -> None:
    north, south = (host.live for host in hosts)
    telling, hearing = north.sharing(), south.sharing()
    heard: list[tuple[str, str]] = []
    south.hear_moves(lambda moved: heard.append((moved.after, moved.reason)))
    now = 1000.0
    for _ in range(5):
        attempt(north, A, "failure", now)
    due = north.circuit(A, now).until
    claim = north.claim(A, due)  # half-open, and told as such
    assert claim is not None
    assert [hearing.take_circuit(news, 0.0) for news in telling.new_circuits()] == [True]
    north.finish(claim, A, Outcome(verdict, None, 0.001), due + 0.004)

    assert [hearing.take_circuit(news, 0.0) for news in telling.new_circuits()] == [True]

    assert south._records.of(A.id).circuit.state == after
    assert heard == [("half_open", "another_host"), (after, "another_host")]
    telling.tell_all()
    assert [hearing.take_circuit(news, 0.0) for news in telling.new_circuits()] == [False]  # it is no news


@pytest.mark.slow
def test_half_open_slots_are_split_between_hosts(hosts: tuple[Host, Host]) -> None:
    one, two = hosts

    async def what() -> None:
        await until(lambda: all(len(host.exchange._hosts) == 2 for host in hosts))
        one.open()
        await until(lambda: two.state() == "open")
        await asyncio.sleep(0.6)  # shares are renewed at every tick

        def granted(host: Host) -> int:
            # Claims count for the clock of the caller; the shares are of now, and so is everything that holds them.
            record = host.live._records.of(A.id)
            record.circuit.cells[3] = host.clock()  # due
            return sum(host.live.claim(A, host.clock()) is not None for _ in range(10))

        assert granted(one) + granted(two) == A.provider.circuit.half_open_max_calls

    together(hosts, what)


@pytest.mark.parametrize("slots", range(1, 12))
def test_shares_add_up_and_move_on(slots: int) -> None:
    names = ["h1", "h2", "h3"]
    seen = set()
    for turn in range(40):
        shares = [share_of(name, names, A.id, slots, turn) for name in names]
        assert sum(shares) == slots
        assert max(shares) - min(shares) <= 1
        seen.add(tuple(shares))
    assert len(seen) == (1 if slots % 3 == 0 else 3), "in time every host has one more"


def test_without_redis_each_host_goes_on_and_they_agree_when_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = start_own_redis(folder)
    url = f"unix://{folder / 'redis.sock'}?db=0"
    one, two = Host(tmp_path / "one", url, 0.0), Host(tmp_path / "two", url, 5000.0)

    async def what() -> None:
        nonlocal server
        server.kill()
        server.wait()
        await until(lambda: "exchange" in one.degraded and "exchange" in two.degraded)
        assert one.live.file.exchange_down
        one.open()
        two.set_pin(KEYS[0])
        assert (one.state(), two.state()) == ("open", "closed")
        (folder / "redis.sock").unlink(missing_ok=True)
        server = start_own_redis(folder)
        await until(lambda: not one.degraded and not two.degraded)
        await until(lambda: two.state() == "open" and one.pin(KEYS[0]) == A.id)
        assert not one.live.file.exchange_down

    try:
        with closing(one.live), closing(two.live):
            together((one, two), what)
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
def test_one_process_of_a_host_leads_and_another_takes_over(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    one, two = hosts
    second = Host(tmp_path / "one", one.exchange._url, 0.0)

    async def what() -> None:
        async with second.running():
            await asyncio.sleep(0.3)
            assert second.exchange._hosts == [], "it waits"
            one.live.file.exchange_down = True
            await until(lambda: "exchange" in second.degraded)
            one.live.file.exchange_down = False
            await until(lambda: not second.degraded)
            await one.stop()
            one.live.close()
            await until(lambda: second.exchange._hosts != [])
            two.open()
            await until(lambda: second.state() == "open")

    with closing(second.live):
        together(hosts, what)


def test_what_strangers_say_is_left_out(hosts: tuple[Host, Host], redis: str) -> None:
    one, _ = hosts
    stranger = "12345678-0000-4000-8000-000000000000"

    async def what() -> None:
        wall = time.time()
        circuit = {"target": A.id, "state": "open", "at": wall, "until": wall + 60, "reopened": 0}
        said = [
            b"no JSON",
            b"[]",
            orjson.dumps({"host": "x"}),
            orjson.dumps({"host": "x", "kind": "circuit", "entries": 3}),
            orjson.dumps({"host": "x", "kind": "weather", "entries": [{}]}),
            orjson.dumps({"host": one.exchange._host, "kind": "circuit", "entries": [circuit]}),
            orjson.dumps(
                {
                    "host": "x",
                    "kind": "circuit",
                    "entries": [
                        None,
                        {},
                        {**circuit, "state": "ajar"},
                        {**circuit, "target": "?"},
                        {**circuit, "target": stranger},
                    ],
                }
            ),
            orjson.dumps({"host": "x", "kind": "pin", "entries": [{"key": "zz"}, {"key": "00", "target": stranger}]}),
            orjson.dumps({"host": "x", "kind": "quarantine", "entries": [{"provider": stranger}]}),
        ]
        async with RedisConnection(redis) as connection:
            for message in said:
                await connection.command("PUBLISH", CHANNEL, message.decode())
            await connection.command(
                "PUBLISH",
                CHANNEL,
                orjson.dumps({"host": "x", "kind": "circuit", "entries": [{**circuit, "target": B.id}]}).decode(),
            )
        await until(lambda: one.live.circuit(B, one.clock()).state == "open")
        assert one.state() == "closed"
        assert one.live._records.find(stranger) is None
        assert not one.degraded

    together((one,), what)


@pytest.mark.slow
def test_hashes_expire_and_lose_what_is_old(hosts: tuple[Host, Host], redis: str) -> None:
    one, two = hosts

    async def what() -> None:
        one.open()
        one.set_pin(KEYS[0])
        bucket = f"{KEY}pins:{int(time.time() // PIN_BUCKET)}"
        async with RedisConnection(redis) as connection:
            old = orjson.dumps({"target": B.id, "state": "open", "at": 1.0, "until": 2.0, "reopened": 0}).decode()
            await connection.command("HSET", KEY + "circuits", B.id, old, "broken", "{", "odd", "[]")
            await connection.command("HSET", KEY + "hosts", "gone", "1.0")
            await asyncio.sleep(0.6)
            for key in ("circuits", "hosts"):
                assert 0 < await connection.command("TTL", KEY + key) <= 86_400
            assert 0 < await connection.command("TTL", bucket) <= 7_200
            async with two.running():
                await until(lambda: two.state() == "open" and two.exchange._hosts != [])
            assert await connection.command("HEXISTS", KEY + "circuits", B.id) == 0
            assert await connection.command("HEXISTS", KEY + "hosts", "gone") == 0
            assert two.live.circuit(B, two.clock()).state == "closed"

    together((one,), what)


# -- heads -----------------------------------------------------------------------------------------------------
def with_heads(*names: str) -> Snapshot:
    entry = provider("a")
    heads = [{**head(name), "provider": entry["id"], "generation": 1, "approved": True} for name in names]
    return Snapshot.from_document(document([entry]), Heads.of(heads))


def key_of(name: str) -> str:
    return head_key(an_id("provider", "a"), name)


def test_a_heartbeat_on_one_host_keeps_the_head_alive_on_the_other(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    for host in hosts:
        host.live.published(with_heads("first", "second"))

    def there(name: str) -> HeadState:
        return two.live.head_state(key_of(name), two.clock())

    async def what() -> None:
        one.live.hear_head(key_of("first"), 7.0, True, one.clock() + 15.0, one.clock())
        await until(lambda: there("first").online, 2.0)
        state = there("first")
        assert (state.draining, state.load) == (True, 7.0)
        assert state.until - two.clock() == pytest.approx(15.0, abs=1.0), "what is left travels, not a time"
        two.live.hear_head(key_of("first"), 8.0, False, two.clock() + 15.0, two.clock())
        await until(lambda: one.live.head_state(key_of("first"), one.clock()).load == 8.0, 2.0)
        assert there("second") == one.live.head_state(key_of("second"), one.clock())
        one.live.hear_head(key_of("nobody's"), 1.0, False, one.clock() + 15.0, one.clock())
        one.live.hear_head(key_of("second"), None, False, one.clock() + 15.0, one.clock())
        await until(lambda: there("second").online, 2.0)
        assert there("second").load is None
        assert there("nobody's").heard_at is None

    together(hosts, what)


def test_a_host_that_learns_of_a_head_later_asks_who_is_alive(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    one.live.published(with_heads("first"))

    async def what() -> None:
        one.live.hear_head(key_of("first"), 7.0, False, one.clock() + 15.0, one.clock())
        await asyncio.sleep(0.6)  # told, and not known over there
        two.live.published(with_heads("first"))
        await until(lambda: two.live.head_state(key_of("first"), two.clock()).online, 2.0)

    together(hosts, what)


@pytest.mark.parametrize(
    "wrong",
    [{"left": 1e9}, {"ago": -5}, {"left": "nan"}, {"load": "inf"}, {"load": -1}, {"head": 5}, {"draining": "x" * 9}],
)
def test_what_is_no_heartbeat_is_left_out(hosts: tuple[Host, Host], wrong: dict[str, object]) -> None:
    one, _ = hosts
    one.live.published(with_heads("first"))
    entry = {"head": key_of("first"), "ago": 0, "left": 15, "draining": False, "load": 1.0}
    one.exchange._take("head", [{**entry, **wrong}])
    state = one.live.head_state(key_of("first"), one.clock())
    assert (state.online, state.load) in ((False, None), (True, 1.0))
    assert state.until <= one.clock() + 16
    one.exchange._take("head", [entry])
    assert one.live.head_state(key_of("first"), one.clock()).online
