"""Puts events on a feed: at once or not at all, for callers that must not wait and cannot do anything about it.

``publish`` never raises and takes at most ``TIMEOUT`` (two of them when it must connect first); while Redis is away it
tries once a second and drops the rest, counted. What was dropped takes its numbers: watchers see the gap. Any thread.
"""

from __future__ import annotations

import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from routing_project.env import get_env
from routing_project.feed.names import CAPACITY, FEEDS, FIELD, key_of
from routing_project.logs import get_logger
from routing_project.metrics.instruments import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TIMEOUT: Final = 0.25
RETRY_SECONDS: Final = 1.0
#: Events of one call to Redis.
BATCH: Final = 500

# The stream itself knows its last number, so number and event cannot part. A stream that is not there (any more) begins
# at ARGV[2], the time; never below ARGV[3], what this publisher has seen; ARGV[4] numbers are left out, for what was
# dropped.
_APPEND: Final = """
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local number = tonumber(ARGV[2])
if newest[1] then number = tonumber(string.match(newest[1][1], '^%d+')) end
number = math.max(number, tonumber(ARGV[3])) + tonumber(ARGV[4])
for place = 6, #ARGV do
  number = number + 1
  redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], string.format('%.0f-0', number), ARGV[5], ARGV[place])
end
return string.format('%.0f', number)
"""

log = get_logger("feed")


class Published(NamedTuple):
    """Events of this process since it started."""

    published: int
    dropped: int


class Publisher:
    """One feed, as this process publishes it."""

    def __init__(self, feed: str, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key = key_of(feed)
        self._feed = feed
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0
        self._untold = 0  # dropped, and not yet to be seen as a gap
        self._retry_at = 0.0
        self._down = False
        # A connection that the Redis before has left behind is known by its first use: once more, with a new one.
        again = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        self._redis = redis.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=again)
        self.published = 0
        self.dropped = 0

    def publish(self, events: Sequence[Mapping[str, Any]]) -> None:
        encoded = [text for event in events if (text := self._encode(event)) is not None]
        with self._lock:
            self._drop(len(events) - len(encoded), "failed")
            for start in range(0, len(encoded), BATCH):
                batch = encoded[start : start + BATCH]
                if self._clock() < self._retry_at or not self._append(batch):
                    self._drop(len(batch))

    def _encode(self, event: Mapping[str, Any]) -> bytes | None:
        try:
            return orjson.dumps(event)
        except (TypeError, ValueError):  # a bug of the caller's, which must not become its failure
            log.exception("an event cannot be published", feed=self._feed)
            return None

    def _append(self, batch: list[bytes]) -> bool:
        # Microseconds: no feed gets a million events a second, so one that begins anew begins above what it was.
        floor = time.time_ns() // 1000
        try:
            number = self._redis.eval(_APPEND, 1, self._key, CAPACITY, floor, self._last, self._untold, FIELD, *batch)
        except redis.RedisError as error:
            self._retry_at = self._clock() + RETRY_SECONDS
            if not self._down:
                log.warning("nothing can be told to watchers for now", feed=self._feed, error=type(error).__name__)
            self._down = True
            return False
        if self._down:
            log.info("watchers hear again", feed=self._feed, dropped=self._untold)
        self._last, self._untold, self._down = int(cast("bytes", number)), 0, False
        self.published += len(batch)
        messages("live", "published").inc(len(batch))
        return True

    def _drop(self, count: int, fate: str = "dropped") -> None:
        if count:
            self.dropped += count
            self._untold += count
            messages("live", fate).inc(count)


@cache
def _publisher(feed: str, url: str) -> Publisher:
    return Publisher(feed, url)


def publish(feed: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Tell whoever is watching, in this order. Events are JSON documents; see ``feed.names`` for the feeds."""
    if feed not in FEEDS:
        raise ValueError(f"there is no feed {feed!r}")
    if events:
        _publisher(feed, get_env().effective_redis_url).publish(events)


def published() -> dict[str, Published]:
    """By feed: what this process has published and dropped."""
    url = get_env().effective_redis_url
    return {feed: Published(each.published, each.dropped) for feed in FEEDS for each in [_publisher(feed, url)]}
