"""Reads a feed for all watchers of this process: one connection to Redis and one task, from the first watcher to the
last, whatever their number.

Events that come together are handed on together, at most four times a second, and not to all watchers in the same
instant: whoever relays them has other things to do. Each distinct filter is applied once.
When Redis goes away, mute or down, reading goes on by itself when it is back, and watchers see as a gap what they
missed. Asyncio; one event loop per reader.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import Context
from functools import cache
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import orjson
import redis
from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from routing_project.env import get_env
from routing_project.feed.batch import Batch, Gap
from routing_project.feed.names import FEEDS, FIELD, key_of
from routing_project.feed.watcher import Watcher
from routing_project.feed.where import EVERYTHING, Where
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    Event = tuple[int, bytes]

BATCH_SECONDS: Final = 0.25
#: Watchers that are handed a batch at once (more where they are many), then a moment for others: SPREAD_SECONDS
#: together at most.
GROUP: Final = 20
MOMENT: Final = 0.005
SPREAD_SECONDS: Final = 0.15
#: Events of one read; more follow at once.
COUNT: Final = 1000
BLOCK_SECONDS: Final = 1.0
#: A Redis that accepts and never answers is given up after this long, and tried anew.
TIMEOUT: Final = BLOCK_SECONDS + 1.0
RETRY_SECONDS: Final = 0.5
#: How long a watcher waits for the feed before it begins without.
JOIN_SECONDS: Final = 1.0

log = get_logger("feed")


class Reader:
    """One feed in one event loop."""

    def __init__(self, feed: str, url: str) -> None:
        self._feed = feed
        self._key = key_of(feed)
        self._url = url
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self._newest: int | None = None  # handed on; None = not heard since the first watcher came
        self._redis: Any  # typed, it allows answers that protocol 2 never gives

    @property
    def running(self) -> bool:
        return self._task is not None

    @asynccontextmanager
    async def watch(self, where: Where = EVERYTHING, after: int | None = None) -> AsyncIterator[Watcher]:
        """A watcher of what comes from now on; with ``after`` of what came after that number too. While Redis is away
        it waits a moment, and then begins without."""
        watcher = Watcher(where, after, self._past)
        self._watchers.add(watcher)
        if self._task is None:
            self._start()
        elif self._newest is not None:
            watcher.join(self._newest)
        try:
            if watcher.joined is None:
                try:
                    async with asyncio.timeout(JOIN_SECONDS):
                        await self._heard.wait()
                except TimeoutError:
                    pass
            yield watcher
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                await self._stop()

    def _start(self) -> None:
        self._newest = None
        self._heard.clear()
        self._redis = Redis.from_url(
            self._url,
            protocol=2,  # answers as lists, whatever the server prefers
            # Time limits are ours, in _ask: redis-py's go through asyncio.wait_for, which in Python 3.11 may swallow a
            # cancellation, and then the task could never be ended.
            socket_timeout=None,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        # For all watchers: not with the request id of the one that came first.
        self._task = asyncio.create_task(self._run(), context=Context())

    async def _stop(self) -> None:
        task, self._task = self._task, None
        connection = self._redis
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await connection.aclose()

    async def _ask(self, command: str, **arguments: Any) -> Any:
        async with asyncio.timeout(TIMEOUT):
            return await getattr(self._redis, command)(self._key, **arguments)

    # -- reading -------------------------------------------------------------------------------------------
    async def _run(self) -> None:
        down = False
        while True:
            try:
                await self._look_at_the_end()
                if down:
                    log.info("the feed is heard again", feed=self._feed)
                down = False
                await self._follow()
            except (redis.RedisError, OSError) as error:
                if not down:
                    log.warning("the feed cannot be heard for now", feed=self._feed, error=type(error).__name__)
                down = True
            except Exception:
                log.exception("reading the feed failed; it starts again", feed=self._feed)
            await asyncio.sleep(RETRY_SECONDS)

    async def _look_at_the_end(self) -> None:
        """Where the feed is: where the first watchers begin, and whether it began anew with lower numbers."""
        newest = _number(await self._ask("xrevrange", count=1))
        if self._newest is None:
            self._newest = newest or 0
            for watcher in self._watchers:
                watcher.join(self._newest)
            self._heard.set()
        elif newest is not None and newest < self._newest:
            oldest = _number(await self._ask("xrange", count=1)) or newest
            self._newest = newest
            for watcher in self._watchers:
                watcher.restart(oldest, newest)

    async def _follow(self) -> None:
        block = int(BLOCK_SECONDS * 1000)
        while True:
            async with asyncio.timeout(TIMEOUT):
                found = await self._redis.xread({self._key: f"{self._newest}-0"}, count=COUNT, block=block)
            if not found:
                await self._look_at_the_end()
                continue
            events = _events(found[0][1])
            began = asyncio.get_running_loop().time()
            await self._hand_on(events)
            if len(events) < COUNT:
                await asyncio.sleep(began + BATCH_SECONDS - asyncio.get_running_loop().time())

    async def _hand_on(self, events: Sequence[Event]) -> None:
        runs = [(run[0][0], run[-1][0], _Chosen(run)) for run in _runs(events)]
        watchers = list(self._watchers)  # who comes meanwhile begins behind these
        self._newest = events[-1][0]
        size = max(GROUP, ceil(len(watchers) * MOMENT / SPREAD_SECONDS))
        moment = MOMENT if len(events) < COUNT else 0.0  # who is behind takes no time off
        for start in range(0, len(watchers), size):
            if start:
                await asyncio.sleep(moment)
            for watcher in watchers[start : start + size]:
                for first, last, wanted in runs:
                    watcher.offer(first, last, wanted.by(watcher.where))

    # -- what was before ---------------------------------------------------------------------------------
    async def _past(self, watcher: Watcher, after: int, newest: int) -> AsyncIterator[Batch | Gap]:
        """What came behind ``after`` up to ``newest``, page by page, with gaps for what is gone."""
        position = after
        try:
            if after > newest:  # of a feed that began anew since
                yield Gap(_number(await self._ask("xrange", count=1)) or newest, newest)
                return
            while position < newest:
                page = _events(await self._ask("xrange", min=f"{position + 1}-0", max=f"{newest}-0", count=COUNT))
                if not page:
                    break
                for run in _runs(page):
                    if run[0][0] > position + 1:
                        yield Gap(position + 1, run[0][0] - 1)
                    position = run[-1][0]
                    batch = _Chosen(run).by(watcher.where)
                    if batch is not None:
                        yield batch
        except (redis.RedisError, OSError) as error:
            log.warning("a watcher cannot be caught up", feed=self._feed, error=type(error).__name__)
        if position < newest:
            yield Gap(position + 1, newest)


class _Chosen:
    """The events of a run by filter; each event is read once, and only if somebody filters."""

    def __init__(self, run: Sequence[Event]) -> None:
        self._run = run
        self._read: list[Any] | None = None
        self._found: dict[Where, Batch | None] = {}

    def by(self, where: Where) -> Batch | None:
        if where not in self._found:
            events = tuple(self._run)
            if where.conditions:
                if self._read is None:
                    self._read = [orjson.loads(text) for _, text in self._run]
                pairs = zip(self._run, self._read, strict=True)
                events = tuple(event for event, tree in pairs if where.matches(tree))
            self._found[where] = Batch(events) if events else None
        return self._found[where]


def _events(entries: Sequence[Any]) -> list[Event]:
    return [(int(identifier.split(b"-")[0]), fields[FIELD.encode()]) for identifier, fields in entries]


def _number(entries: Sequence[Any]) -> int | None:
    return _events(entries)[0][0] if entries else None


def _runs(events: Sequence[Event]) -> list[Sequence[Event]]:
    """Split where numbers are missing."""
    begins = [place for place in range(1, len(events)) if events[place][0] != events[place - 1][0] + 1]
    edges = [0, *begins, len(events)]
    return [events[start:end] for start, end in pairwise(edges) if start < end]


@cache
def _reader(feed: str, url: str, _loop: asyncio.AbstractEventLoop) -> Reader:
    return Reader(feed, url)


def reader(feed: str) -> Reader:
    """The one of this process and event loop."""
    if feed not in FEEDS:
        raise ValueError(f"there is no feed {feed!r}")
    return _reader(feed, get_env().effective_redis_url, asyncio.get_running_loop())
