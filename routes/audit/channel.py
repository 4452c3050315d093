"""The audit log as messages: each entry as one JSON object on the Redis channel ``audit:routing:logs``, in order.

How far they have been told is in the database, one row for all hosts. Nothing there is locked while Redis is talked to:
a script in Redis publishes only what comes after the last it has published itself, so that several processes that look
at once tell nothing twice. Its own note lapses after a minute, by when the row has it; twice is told only what was told
by a process that died at once and by a Redis that lost its memory in the same minute. Who does not listen misses it:
what must not be missed is in the file and in the table.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

import redis
from django.db.models import Q
from redis.backoff import NoBackoff
from redis.retry import Retry

from routes.audit.chain import NOTHING, Link, line_of
from routes.audit.reading import Place, following
from routes.models import AuditDelivery, Installation
from routes.publish import redis_expected
from routing_project.env import get_env
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

log = get_logger("audit")

CHANNEL: Final = "audit:routing:logs"
SINK: Final = "channel"
#: A Redis that accepts and never answers costs a look so long.
TIMEOUT: Final = 0.25
BATCH: Final = 200
BATCH_BYTES: Final = 1024 * 1024
NOTE_SECONDS: Final = 60

# ARGV: the last that was told as the database knows it, whether that counts whatever this Redis noted, how long the
# note lasts; then id and message of each entry, in order.
_PUBLISH: Final = """
local last = tonumber(ARGV[1])
local noted = redis.call('GET', KEYS[1])
if noted and ARGV[2] == '0' then last = math.max(last, tonumber(noted)) end
for place = 4, #ARGV, 2 do
  if tonumber(ARGV[place]) > last then
    redis.call('PUBLISH', KEYS[2], ARGV[place + 1])
    last = tonumber(ARGV[place])
  end
end
redis.call('SET', KEYS[1], string.format('%.0f', last), 'EX', ARGV[3])
return 1
"""


def deliver(seconds: float | None = None) -> int:
    """Publish what has not been, for about ``seconds`` (None = all of it); how many entries. Raises RedisError. Two
    queries when there is nothing. An embedded Redis that does not run is nobody to tell: its turn comes with it."""
    if not redis_expected():
        return 0
    deadline = None if seconds is None else time.monotonic() + seconds
    place, told = _read_place(), 0
    while True:
        found = following(place, BATCH)
        if not found.documents:
            return told
        if found.parted:
            log.error("audit_table_differs_from_channel", last_told=place.link.id)
        documents, lines = _fitting(found.documents)
        _publish(documents[0]["id"] - 1 if found.parted else place.link.id, found.parted, documents, lines)
        last = documents[-1]
        # Whoever is further stays so, unless what it was told of is not there any more.
        ahead = Q() if found.parted else Q(last_id__lt=last["id"])
        told_row = AuditDelivery.objects.filter(ahead, sink=SINK)
        told_row.update(last_id=last["id"], last_hash=last["hash"], last_at=last["at"])
        place, told = _read_place(), told + len(documents)
        if deadline is not None and time.monotonic() >= deadline:
            return told


def reached() -> int:
    """The id of the last entry that was told. One query."""
    return _read_place().link.id


def _read_place() -> Place:
    row, _ = AuditDelivery.objects.get_or_create(sink=SINK, defaults={"last_hash": NOTHING})
    return Place(Link(row.last_id, row.last_hash), row.last_at)


def _fitting(documents: Sequence[dict[str, Any]]) -> tuple[Sequence[dict[str, Any]], list[bytes]]:
    """As many as one call may carry, one at least."""
    lines: list[bytes] = []
    size = 0
    for document in documents:
        line = line_of(document)
        if lines and size + len(line) > BATCH_BYTES:
            break
        lines.append(line)
        size += len(line)
    return documents[: len(lines)], lines


def _publish(last: int, anew: bool, documents: Sequence[dict[str, Any]], lines: Sequence[bytes]) -> None:
    key = f"signalbox:audit:{Installation.get().uuid}"
    pairs = [part for document, line in zip(documents, lines, strict=True) for part in (document["id"], line)]
    client = _client(get_env().effective_redis_url)
    cast("int", client.eval(_PUBLISH, 2, key, CHANNEL, last, int(anew), NOTE_SECONDS, *pairs))


@lru_cache(maxsize=2)
def _client(url: str) -> redis.Redis:
    # A connection that the Redis before has left behind is known by its first use: once more, with a new one.
    again = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return redis.Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=again)
