"""A feed gives every event a number that never goes back, and tells every watcher what it wants or what it missed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
import pytest
import redis

from history import filters as history_filters
from history.errors import BadQuery
from history.models import FAILURE_STATUSES, RouteStatus, RouteType
from routing_project import feed
from routing_project.feed import publisher as publisher_module
from routing_project.feed import reader as reader_module
from routing_project.feed import watcher as watcher_module
from routing_project.feed import where
from routing_project.feed.batch import Batch, Gap
from routing_project.feed.names import CAPACITY, key_of
from routing_project.feed.publisher import Publisher
from routing_project.feed.reader import Reader
from routing_project.feed.watcher import Watcher
from routing_project.feed.where import HEAD_FIELDS, ROUTE_FIELDS, BadFilter, Where
from tests import servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Redis:
    """A Redis of one test's own that can be taken away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder / 'redis.sock'}?db=0"
        self.child = servers.start_own_redis(folder)
        self.client = redis.Redis.from_url(self.url)

    def stop(self) -> None:
        self.child.kill()
        self.child.wait()

    def start(self) -> None:
        """Another one, empty, at the same address."""
        (self.folder / "redis.sock").unlink(missing_ok=True)
        self.child = servers.start_own_redis(self.folder)

    @contextmanager
    def mute(self) -> Iterator[None]:
        """It accepts and never answers."""
        self.child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.child.send_signal(signal.SIGCONT)

    def numbers(self) -> list[int]:
        entries: Any = self.client.xrange(key_of("routes"))
        return [int(identifier.split(b"-")[0]) for identifier, _ in entries]


@pytest.fixture
def store() -> Iterator[Redis]:
    running = Redis(Path(tempfile.mkdtemp(prefix="redis-", dir=servers.FOLDER)))
    yield running
    running.client.close()
    running.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def publisher(store: Redis, clock: Clock) -> Publisher:
    return Publisher("routes", store.url, clock)


@pytest.fixture
def reader(store: Redis) -> Reader:
    return Reader("routes", store.url)


def events(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"n": place, **fields} for place in range(count)]


def content(item: Batch | Gap | None) -> list[Any]:
    assert isinstance(item, Batch), item
    return [orjson.loads(text) for _, text in item.events]


async def take(watcher: Watcher, count: int) -> list[Any]:
    """So many events, and no gap among them."""
    found: list[Any] = []
    while len(found) < count:
        found += content(await watcher.next(20))
    return found


async def gap(watcher: Watcher) -> Gap:
    item = await watcher.next(20)
    assert isinstance(item, Gap), content(item)
    return item


# -- numbers ---------------------------------------------------------------------------------------------
def test_numbers_follow_each_other_over_publishers_and_only_the_newest_are_kept(store: Redis) -> None:
    one, other = Publisher("routes", store.url), Publisher("routes", store.url)
    one.publish(events(3))
    other.publish(events(CAPACITY - 1))
    one.publish(events(1))
    numbers = store.numbers()
    assert len(numbers) == CAPACITY
    assert all(after == before + 1 for before, after in pairwise(numbers))


def test_a_feed_that_is_lost_begins_above_what_it_was(store: Redis) -> None:
    Publisher("routes", store.url).publish(events(5))
    last = store.numbers()[-1]
    store.client.flushall()
    Publisher("routes", store.url).publish(events(1))
    assert store.numbers()[0] > last


def test_a_publisher_never_goes_below_what_it_has_seen_even_when_the_clock_has(
    store: Redis, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(events(5))
    last = store.numbers()[-1]
    store.client.flushall()
    monkeypatch.setattr(publisher_module.time, "time_ns", lambda: 1_000_000)
    publisher.publish(events(1))
    assert store.numbers() == [last + 1]


# -- publishing never hurts --------------------------------------------------------------------------------
@pytest.mark.faults
def test_while_redis_is_down_events_are_dropped_counted_and_seen_as_a_gap(
    store: Redis, publisher: Publisher, clock: Clock
) -> None:
    publisher.publish(events(1))
    last = store.numbers()[-1]
    store.stop()
    for _ in range(3):
        publisher.publish(events(2))
    store.start()
    clock.now += publisher_module.RETRY_SECONDS
    publisher.publish(events(1))
    assert (publisher.published, publisher.dropped) == (2, 6)
    assert store.numbers()[0] > last + 6
    publisher.publish(events(1))
    assert len(store.numbers()) == 2


def test_a_redis_that_was_restarted_costs_no_event(store: Redis, publisher: Publisher) -> None:
    publisher.publish(events(1))
    store.stop()
    store.start()
    publisher.publish(events(1))
    assert (publisher.published, publisher.dropped) == (2, 0)


@pytest.mark.faults
def test_a_mute_redis_is_asked_once_a_second(store: Redis, publisher: Publisher, clock: Clock) -> None:
    publisher.publish(events(1))
    first = store.numbers()[0]
    with store.mute():
        asked = []
        for _ in range(5):
            begun = publisher._retry_at
            publisher.publish(events(1))
            asked.append(publisher._retry_at != begun)
        assert asked == [True, False, False, False, False]
        assert publisher.dropped == 5
    clock.now += publisher_module.RETRY_SECONDS
    publisher.publish(events(1))
    assert publisher.published == 2
    assert store.numbers()[-1] >= first + 6


def test_what_is_no_json_is_dropped_alone(store: Redis, publisher: Publisher) -> None:
    publisher.publish([{"n": 1}, {"n": object()}, {"n": 3}])
    assert (publisher.published, publisher.dropped) == (2, 1)
    assert len(store.numbers()) == 2


def test_there_are_two_feeds() -> None:
    with pytest.raises(ValueError, match="there is no feed"):
        feed.publish("other", [{}])
    assert set(feed.published()) == {"routes", "heads"}


# -- watching ----------------------------------------------------------------------------------------------
async def test_every_watcher_gets_every_event_once_and_in_order(publisher: Publisher, reader: Reader) -> None:
    publisher.publish(events(1, before=True))
    async with reader.watch() as one, reader.watch() as other:
        for _ in range(3):
            publisher.publish(events(700))
        assert await take(one, 2100) == await take(other, 2100) == events(700) * 3


async def test_who_comes_while_a_batch_is_handed_out_begins_behind_it_and_who_goes_keeps_nobody_from_it(
    publisher: Publisher, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "GROUP", 1)
    monkeypatch.setattr(reader_module, "SPREAD_SECONDS", 60.0)
    monkeypatch.setattr(reader_module, "MOMENT", 0.02)
    async with AsyncExitStack() as others:
        watchers = [await others.enter_async_context(reader.watch()) for _ in range(8)]
        async with reader.watch() as leaving:
            publisher.publish(events(3))
            taken = [asyncio.create_task(take(watcher, 3)) for watcher in [*watchers, leaving]]
            await asyncio.wait(taken, return_when=asyncio.FIRST_COMPLETED)
            taken.pop().cancel()
        async with reader.watch() as late:
            assert await asyncio.gather(*taken) == [events(3)] * 8
            publisher.publish(events(1, late=True))
            for watcher in (*watchers, late):
                assert await take(watcher, 1) == events(1, late=True)


async def test_one_connection_serves_all_watchers_and_ends_with_the_last(
    store: Redis, publisher: Publisher, reader: Reader
) -> None:
    before = len(store.client.client_list())
    async with reader.watch() as one:
        async with reader.watch(), reader.watch():
            publisher.publish(events(1))
            await take(one, 1)
            assert len(store.client.client_list()) == before + 2  # the reader's, and the publisher's
        assert reader.running
    assert not reader.running
    assert len(store.client.client_list()) == before + 1
    async with reader.watch() as again:
        publisher.publish(events(2))
        assert await take(again, 2) == events(2)


async def test_a_filter_lets_through_what_equals_it(publisher: Publisher, reader: Reader) -> None:
    where = Where.parse({"profile": "a", "session": "talk"})
    async with reader.watch(where) as watcher, reader.watch() as all_of_it:
        publisher.publish(
            [
                {"n": 1, "profile": "a", "session_key": "talk"},
                {"n": 2, "profile": "b", "session_key": "talk"},
                {"n": 3, "profile": "a", "session_key": "other"},
                {"n": 4, "profile": "a", "session_id": "talk", "session_key": None},
            ]
        )
        assert [event["n"] for event in await take(watcher, 2)] == [1, 4]
        assert len(await take(all_of_it, 4)) == 4


SESSION = "0197a1b2-0000-7000-8000-00000000abcd"
ROW = {
    "profile": "a",
    "provider": "acme",
    "model": "m",
    "requested_model": "r",
    "strategy": "weighted",
    "rule": "long",
    "source": "rule",
    "error_code": "dns",
    "access_key": "app",
    "session_key": "talk",
    "session_id": SESSION,
    "status": "failed",
    "route_type": "inference",
    "recovered": True,
    "degraded": False,
}


@pytest.mark.parametrize("name", sorted(ROUTE_FIELDS))
def test_every_field_narrows_as_it_does_in_the_history(name: str) -> None:
    value = ROW["session_key" if name == "session" else name]
    other = {
        "recovered": False,
        "degraded": True,
        "status": "routed",
        "route_type": "service",
        "session_id": UUID(int=1),
    }
    assert Where.parse({name: str(value)}).matches(ROW)
    assert not Where.parse({name: str(other.get(name, "other"))}).matches(ROW)
    assert name in {*history_filters.FIELDS, history_filters.SESSION}
    for condition in (f"{name}={value}", f"{name}__in={value}"):
        parameter, _, wanted = condition.partition("=")
        if name in ("recovered", "degraded") and "__in" in parameter:
            with pytest.raises(BadQuery):
                history_filters.from_parameters({parameter: wanted})
            with pytest.raises(BadFilter):
                Where.parse({parameter: wanted})
        else:
            history_filters.from_parameters({parameter: wanted})
            assert Where.parse({parameter: wanted}).matches(ROW)


def test_the_docs_name_every_field_that_may_be_filtered_by() -> None:
    docs = (Path(__file__).parent.parent.parent / "docs" / "live.md").read_text()
    filters = docs.partition("## Filters")[2].partition("\n## ")[0]
    assert [name for name in {**ROUTE_FIELDS, **HEAD_FIELDS} if f"`{name}`" not in filters] == []


def test_what_is_any_failure_is_what_the_history_page_calls_so() -> None:
    assert set(where.STATUSES) == set(RouteStatus.values)
    assert set(where.ROUTE_TYPES) == set(RouteType.values)
    found = {status for status in RouteStatus.values if Where.parse({"status": "failures"}).matches({"status": status})}
    assert found == set(FAILURE_STATUSES)
    assert Where.parse({"status": "failures"}) == Where.parse({"status__in": ",".join(FAILURE_STATUSES)})


def test_a_list_lets_through_any_of_its_values_and_two_conditions_on_a_field_both_hold() -> None:
    listed = Where.parse({"provider__in": "acme,other", "status__in": ["failed", "cancelled"]})
    assert listed.matches(ROW)
    assert listed.matches({**ROW, "provider": "other", "status": "cancelled"})
    assert not listed.matches({**ROW, "status": "routed"})
    assert Where.parse({"provider__in": "acme,other", "provider": "acme"}) == Where.parse({"provider": "acme"})
    assert not Where.parse({"provider": "acme"}).also("provider", frozenset({"other"})).matches(ROW)


def test_a_session_goes_by_the_clients_name_and_by_ours() -> None:
    for name in ("talk", SESSION, SESSION.upper()):
        assert Where.parse({"session": name}).matches(ROW)
    assert Where.parse({"session_id": SESSION.replace("-", "")}).matches(ROW)
    assert not Where.parse({"session_key": SESSION}).matches(ROW)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"colour": "x"}, "colour"),
        ({"status": 7}, "status"),
        ({"status": ""}, "status"),
        ({"status": "fail"}, "status"),
        ({"status__in": "failed,fail"}, "status__in"),
        ({"status__in": "failures,routed"}, "status__in"),
        ({"status__ne": "failed"}, "status__ne"),
        ({"model__contains": "gpt"}, "model__contains"),
        ({"model__in": ""}, "model__in"),
        ({"model__in": []}, "model__in"),
        ({"model__in": {"a": 1}}, "model__in"),
        ({"model__in": ["a", None]}, "model__in"),
        ({"model__in": ",".join("a" * 101)}, "model__in"),
        ({"model": "x" * 257}, "model"),
        ({"model": ["gpt"]}, "model"),
        ({"recovered": "perhaps"}, "recovered"),
        ({"recovered": None}, "recovered"),
        ({"session_id": "talk"}, "session_id"),
        ({"session_id": 7}, "session_id"),
    ],
)
def test_a_filter_that_cannot_work_is_refused_by_name(given: dict[str, Any], field: str) -> None:
    with pytest.raises(BadFilter) as refused:
        Where.parse(given)
    assert refused.value.field == field


async def test_watchers_with_the_same_filter_share_what_is_written_out(publisher: Publisher, reader: Reader) -> None:
    where = Where.parse({"profile": "a"})
    async with reader.watch(where) as one, reader.watch(Where.parse({"profile": "a"})) as other:
        publisher.publish(events(3, profile="a"))
        first, second = await one.next(20), await other.next(20)
        assert isinstance(first, Batch)
        assert first is second
        assert first.socket_frame("routes") is first.socket_frame("routes")


# -- coming back -------------------------------------------------------------------------------------------
async def test_who_comes_back_gets_what_it_missed_and_then_what_comes(
    store: Redis, publisher: Publisher, reader: Reader
) -> None:
    publisher.publish(events(2500))
    numbers = store.numbers()
    async with reader.watch(after=numbers[99]) as watcher:
        publisher.publish(events(1, late=True))
        assert await take(watcher, 2401) == [*events(2500)[100:], {"n": 0, "late": True}]


async def test_who_was_away_for_too_long_gets_one_gap_and_all_that_is_left(
    store: Redis, publisher: Publisher, reader: Reader
) -> None:
    publisher.publish(events(10))
    first = store.numbers()[0]
    publisher.publish(events(CAPACITY))
    async with reader.watch(after=first) as watcher:
        assert await gap(watcher) == Gap(first + 1, first + 9)
        assert len(await take(watcher, CAPACITY)) == CAPACITY


async def test_a_filtered_watcher_that_comes_back_is_caught_up_with_what_it_wants(
    store: Redis, publisher: Publisher, reader: Reader
) -> None:
    publisher.publish([*events(3, profile="a"), *events(3, profile="b")])
    async with reader.watch(Where.parse({"profile": "b"}), store.numbers()[0]) as watcher:
        assert await take(watcher, 3) == events(3, profile="b")


async def test_a_number_the_feed_never_reached_gives_a_gap(store: Redis, publisher: Publisher, reader: Reader) -> None:
    publisher.publish(events(3))
    numbers = store.numbers()
    async with reader.watch(after=numbers[-1] + 1000) as watcher:
        assert await gap(watcher) == Gap(numbers[0], numbers[-1])
        publisher.publish(events(1))
        assert await take(watcher, 1) == events(1)


# -- Redis goes and comes --------------------------------------------------------------------------------
@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(reader_module, "BLOCK_SECONDS", 0.2)
    monkeypatch.setattr(reader_module, "TIMEOUT", 0.4)


@pytest.mark.faults
@pytest.mark.usefixtures("quick")
async def test_watchers_hear_again_by_themselves_when_redis_was_restarted(
    store: Redis, publisher: Publisher, clock: Clock, reader: Reader
) -> None:
    async with reader.watch() as watcher:
        publisher.publish(events(1))
        await take(watcher, 1)
        last = watcher.position
        store.stop()
        publisher.publish(events(3))
        store.start()
        clock.now += 1
        publisher.publish(events(1, after=True))
        missed = await gap(watcher)
        assert missed.first == last + 1
        assert missed.last >= last + 3
        assert await take(watcher, 1) == events(1, after=True)


@pytest.mark.faults
@pytest.mark.usefixtures("quick")
async def test_watchers_hear_again_by_themselves_when_redis_was_mute(
    store: Redis, publisher: Publisher, clock: Clock, reader: Reader
) -> None:
    async with reader.watch() as watcher:
        with store.mute():
            await asyncio.sleep(0.6)  # longer than anybody waits for an answer
        publisher.publish(events(1))
        assert await take(watcher, 1) == events(1)


@pytest.mark.faults
@pytest.mark.usefixtures("quick")
async def test_a_flushed_feed_goes_on_with_a_gap(store: Redis, publisher: Publisher, reader: Reader) -> None:
    async with reader.watch() as watcher:
        publisher.publish(events(2))
        await take(watcher, 2)
        last = watcher.position
        store.client.flushall()
        publisher.publish(events(1))
        assert (await gap(watcher)).first == last + 1
        assert await take(watcher, 1) == events(1)


@pytest.mark.usefixtures("quick")
async def test_a_feed_that_begins_anew_with_lower_numbers_is_heard_too(
    store: Redis, publisher: Publisher, reader: Reader
) -> None:
    async with reader.watch() as watcher:
        publisher.publish(events(2))
        await take(watcher, 2)
        pipeline = store.client.pipeline()
        pipeline.flushall()
        pipeline.xadd(key_of("routes"), {"e": b"{}"}, id="1000-0")
        pipeline.execute()
        assert await gap(watcher) == Gap(1000, 1000)
        store.client.xadd(key_of("routes"), {"e": b'{"n":1}'}, id="1001-0")
        assert await take(watcher, 1) == [{"n": 1}]


@pytest.mark.usefixtures("quick")
async def test_a_watcher_that_comes_while_redis_is_down_begins_when_it_is_back(
    store: Redis, publisher: Publisher, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "JOIN_SECONDS", 0.01)
    store.stop()
    async with reader.watch() as watcher:
        assert watcher.joined is None
        store.start()
        while watcher.joined is None:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)
        publisher.publish(events(1))
        assert await take(watcher, 1) == events(1)


# -- slow and paused watchers ----------------------------------------------------------------------------
async def no_past(_watcher: Watcher, _after: int, _newest: int) -> AsyncIterator[Batch | Gap]:
    return
    yield


def batch(first: int, last: int) -> Batch:
    return Batch(tuple((number, b"{}") for number in range(first, last + 1)))


def joined(**options: Any) -> Watcher:
    watcher = Watcher(Where(), None, no_past, **options)
    watcher.join(10)
    return watcher


async def test_a_watcher_that_falls_too_far_behind_loses_what_waits_and_gets_nothing_more() -> None:
    watcher = joined(max_waiting=5)
    watcher.offer(11, 13, batch(11, 13))
    watcher.offer(14, 16, batch(14, 16))
    watcher.offer(17, 17, batch(17, 17))
    assert await watcher.next(0) == Gap(11, 16, last_word=True)
    assert await watcher.next(0) is None


async def test_a_watcher_that_keeps_up_may_get_any_number() -> None:
    watcher = joined(max_waiting=5)
    for start in range(11, 100, 5):
        watcher.offer(start, start + 4, batch(start, start + 4))
        assert isinstance(await watcher.next(0), Batch)


async def test_a_pause_holds_what_waits_and_ends_with_a_gap_for_what_came() -> None:
    watcher = joined()
    watcher.offer(11, 12, batch(11, 12))
    watcher.pause()
    assert await watcher.next(0) is None
    for number in (13, 14):
        watcher.offer(number, number, batch(number, number))
    watcher.offer(15, 15, None)
    assert watcher.missed == 2
    assert watcher.resume() == 2
    assert watcher.missed == 0
    assert isinstance(await watcher.next(0), Batch)
    assert await watcher.next(0) == Gap(13, 14)
    watcher.offer(16, 16, batch(16, 16))
    assert isinstance(await watcher.next(0), Batch)


async def test_a_pause_in_which_nothing_wanted_came_leaves_no_gap() -> None:
    watcher = joined()
    watcher.pause()
    watcher.offer(11, 40, None)
    assert watcher.resume() == 0
    assert await watcher.next(0) is None
    assert watcher.position == 40


def test_a_watcher_may_be_as_far_behind_as_the_feed_reaches() -> None:
    assert watcher_module.MAX_WAITING == CAPACITY


def test_reading_a_feed_loads_neither_django_nor_the_database() -> None:
    code = "import sys, routing_project.feed.reader; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
