"""The exchange between hosts over Redis, beside requests: what one host finds out, the others know within a second.

Circuit transitions, quarantines, pins, drops of pins and the use of access keys (``use``) go out on a channel and into
hashes that expire, so that a host that comes later reads how things stand. Heartbeats of heads go out on the channel
only: they come again, and who hears of a head for the first time asks. Half-open slots are split: while a target is
tried, every host has a share of its slots for a while, which moves on so that a host without traffic keeps nobody
waiting. The newest word counts, by the clock of Redis, which is the same for all: those of hosts may be wrong, or jump.
Redis away: each host goes on by itself, ``degraded`` says so, and all is told again when it is back.

One process per host does it, elected by a lock that the kernel gives to another when it dies. Imports no gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from math import inf
from typing import TYPE_CHECKING, Any, Final

import orjson

from routes.live import wire
from routes.live.redis_feed import RedisConnection, RedisFeedError
from routes.live.use import Uses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping

    from routes.live.state import SharedLiveState

CHANNEL: Final = "signalbox:live"
KEY: Final = "signalbox:live:"
#: How often what is new here is told, and how often a process that does not lead looks whether it should.
TICK_SECONDS: Final = 0.25
ELECTION_SECONDS: Final = 1.0
#: How long Redis may be silent before it is asked whether it is still there.
PING_SECONDS: Final = 2.0
RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
#: How long hashes outlive the last word in them.
DAY: Final = 86_400
#: ... that of keys' use: as long as a month's budget runs.
MONTH: Final = 32 * DAY
#: Pins are kept in a hash per ten minutes; a late joiner reads those of two hours, newest first, up to so many.
PIN_BUCKET: Final = 600
PIN_BUCKETS: Final = 12
MAX_PINS: Final = 65_536
#: A host that has not been heard of for so long has no share of slots.
HOST_SECONDS: Final = 6.0
#: A share lapses unless it is renewed; shares move on to the next host this often.
SHARE_SECONDS: Final = 5.0
TURN_SECONDS: Final = 10.0
#: Entries per command or message.
BATCH: Final = 200

logger = logging.getLogger(__name__)


class Exchange:
    """``run`` for the life of the process. ``degraded`` gets an entry "exchange" while Redis is away."""

    def __init__(
        self,
        state: SharedLiveState,
        url: str,
        degraded: MutableMapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``wall`` is for budgets, whose days begin at midnight."""
        self._state = state
        self._sharing = state.sharing()
        self._url = url
        self._degraded = degraded
        self._clock = clock
        self._ahead = 0.0  # add it to a time of ours to get that of Redis
        self._host = state.file.host
        self._uses = Uses(self._sharing.keys, self._host, clock, wall)
        self._hosts: list[str] = []
        self._heard = -inf  # when the list of hosts was read

    async def run(self) -> None:
        """Wait to be elected, then exchange until cancelled."""
        file = self._state.file
        while not file.lead():
            self._show(file.exchange_down)
            await asyncio.sleep(ELECTION_SECONDS)
        try:
            await self._lead()
        finally:
            file.stop_leading()

    async def _lead(self) -> None:
        failures = 0
        while True:
            try:
                async with (
                    RedisConnection(self._url) as commands,
                    RedisConnection(self._url) as feed,
                    contextlib.aclosing(feed.messages(CHANNEL, PING_SECONDS)) as messages,
                ):
                    await anext(messages)  # subscribed: from here on nothing is missed
                    await self._set_clock(commands)
                    await self._catch_up(commands)
                    self._say_down("")
                    failures = 0
                    await self._exchange(commands, messages)
            except RedisFeedError as error:
                self._say_down(str(error))
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1

    async def _exchange(self, commands: RedisConnection, messages: AsyncIterator[bytes | None]) -> None:
        listening = asyncio.create_task(self._listen(messages))
        try:
            while not listening.done():
                await self._tell(commands)
                await asyncio.wait({listening}, timeout=TICK_SECONDS)
            listening.result()  # it ends by an error only
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError, RedisFeedError):
                await listening

    def _say_down(self, reason: str) -> None:
        if reason and "exchange" not in self._degraded:
            logger.warning("no exchange with other hosts (%s); this host goes on by itself", reason)
        self._state.file.exchange_down = bool(reason)
        if reason:
            self._uses.alone()
            self._heard = -inf
        self._show(bool(reason), reason)

    def _show(self, down: bool, reason: str = "no connection to Redis") -> None:
        if down:
            self._degraded["exchange"] = reason
        else:
            self._degraded.pop("exchange", None)

    # -- telling -------------------------------------------------------------------------------------------
    async def _tell(self, redis: RedisConnection) -> None:
        """What is new here since the last tick: into the hashes first, then to whoever listens."""
        sharing, ahead = self._sharing, self._ahead
        circuits = {news.target_id: wire.circuit(news, ahead) for news in sharing.new_circuits()}
        quarantines = {wire.name(row): wire.quarantine(row, ahead) for row in sharing.new_quarantines()}
        drops = {wire.drop_name(drop): wire.drop(drop, ahead) for drop in sharing.new_drops()}
        pins = {pin.key.hex(): wire.pin(pin, ahead) for pin in sharing.new_pins(self._clock())}
        observed = {news.target_id: wire.observed(news, ahead) for news in sharing.new_observed()}
        hashes = (("circuits", circuits), ("quarantines", quarantines), ("observed", observed), ("drops", drops))
        for name, entries in hashes:
            await self._put(redis, KEY + name, entries, DAY)
        await self._put(redis, self._bucket(0), pins, PIN_BUCKET * PIN_BUCKETS)
        news = (
            ("drop", drops),
            ("circuit", circuits),
            ("quarantine", quarantines),
            ("observed", observed),
            ("pin", pins),
        )
        for kind, told in news:
            for part in _batches(told.values()):
                await self._say(redis, kind, part)
        now = self._clock()
        for part in _batches(wire.head(news, now) for news in sharing.new_heads(now)):
            await self._say(redis, "head", part)
        if sharing.strangers():
            await self._say(redis, "who", [])
        await self._share_slots(redis)
        await self._tell_use(redis)

    async def _tell_use(self, redis: RedisConnection) -> None:
        for part in _batches(self._uses.news()):
            await self._say(redis, "use", part)
        await self._put(redis, KEY + "use", self._uses.whole(), MONTH)

    async def _say(self, redis: RedisConnection, kind: str, entries: list[Any]) -> None:
        message = {"host": self._host, "kind": kind, "entries": entries}
        await redis.command("PUBLISH", CHANNEL, orjson.dumps(message).decode())

    async def _put(self, redis: RedisConnection, key: str, entries: dict[str, Any], seconds: int) -> None:
        for part in _batches(entries.items()):
            words = [word for name, entry in part for word in (name, orjson.dumps(entry).decode())]
            await redis.command("HSET", key, *words)
        if entries:
            await redis.command("EXPIRE", key, str(seconds))

    async def _share_slots(self, redis: RedisConnection) -> None:
        """Be known as a host, and take our share of the slots of targets that are tried again."""
        now = self._clock()
        if now - self._heard >= HOST_SECONDS / 3:
            await self._set_clock(redis)
            moment = now + self._ahead
            await redis.command("HSET", KEY + "hosts", self._host, repr(moment))
            await redis.command("EXPIRE", KEY + "hosts", str(DAY))
            heard = _pairs(await redis.command("HGETALL", KEY + "hosts"))
            self._hosts = sorted(host for host, at in heard if moment - float(at) < HOST_SECONDS)
            gone = [host for host, at in heard if moment - float(at) > DAY]
            if gone:
                await redis.command("HDEL", KEY + "hosts", *gone)
            self._heard = now
            self._uses.hosts(self._hosts, now + HOST_SECONDS)
        if len(self._hosts) > 1:
            turn = int((now + self._ahead) // TURN_SECONDS)
            for target_id, slots in self._sharing.in_trouble():
                share = share_of(self._host, self._hosts, target_id, slots, turn)
                self._sharing.share_slots(target_id, share, now + SHARE_SECONDS)

    # -- listening -----------------------------------------------------------------------------------------
    async def _listen(self, messages: AsyncIterator[bytes | None]) -> None:
        async for message in messages:
            if message is None:
                continue
            with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
                told = orjson.loads(message)
                if told["host"] != self._host:
                    self._take(told["kind"], told["entries"])
        raise RedisFeedError("the subscription ended")

    def _take(self, kind: str, entries: Iterable[Any]) -> None:
        """Take over what another host said; what cannot be read is left out."""
        sharing, ahead, now = self._sharing, self._ahead, self._clock()
        if kind == "hello":
            self._uses.tell_all()
            self._heard = -inf
        if kind in ("hello", "who"):
            sharing.tell_heads()
        for entry in entries:
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, OverflowError):
                if kind == "circuit":
                    sharing.take_circuit(wire.read_circuit(entry, ahead), now)
                elif kind == "quarantine":
                    sharing.take_quarantine(wire.read_quarantine(entry, ahead), now)
                elif kind == "observed":
                    sharing.take_observed(wire.read_observed(entry, ahead))
                elif kind == "pin":
                    sharing.take_pin(wire.read_pin(entry, ahead), now)
                elif kind == "drop":
                    sharing.take_drop(wire.read_drop(entry, ahead), now)
                elif kind == "head":
                    sharing.take_head(wire.read_head(entry, now), now)
                elif kind in ("use", "whole use"):
                    self._uses.take(entry, fresh=kind == "use")

    # -- catching up ---------------------------------------------------------------------------------------
    async def _catch_up(self, redis: RedisConnection) -> None:
        """Read how things stand, then tell all that is newer here: after a start, or after Redis was away."""
        hashes = (
            ("circuit", "circuits", DAY),
            ("quarantine", "quarantines", DAY),
            ("observed", "observed", DAY),
            ("whole use", "use", MONTH),
        )
        for kind, name, kept in hashes:
            async for part in self._read(redis, KEY + name):
                since = self._clock() + self._ahead - kept
                old = [field for field, entry in part if wire.when(entry) < since]
                self._take(kind, [entry for _, entry in part if wire.when(entry) >= since])
                if old:
                    await redis.command("HDEL", KEY + name, *old)
        drops = [entry async for part in self._read(redis, KEY + "drops") for _, entry in part]
        left = MAX_PINS
        for age in range(PIN_BUCKETS):
            async for part in self._read(redis, self._bucket(age)):
                self._take("pin", [entry for _, entry in part][:left])
                left -= len(part)
                if left <= 0:
                    break
        self._take("drop", drops)
        self._sharing.tell_all()
        self._uses.tell_all()
        await self._share_slots(redis)
        await self._say(redis, "hello", [])

    async def _read(self, redis: RedisConnection, key: str) -> AsyncIterator[list[tuple[str, Any]]]:
        """A hash, part by part; fields that hold no JSON are left out."""
        cursor = "0"
        while True:
            following, flat = await redis.command("HSCAN", key, cursor, "COUNT", str(BATCH))
            part = []
            for name, value in _pairs(flat):
                with contextlib.suppress(orjson.JSONDecodeError):
                    part.append((name, orjson.loads(value)))
            yield part
            cursor = following.decode()
            if cursor == "0":
                return

    def _bucket(self, age: int) -> str:
        return f"{KEY}pins:{int((self._clock() + self._ahead) // PIN_BUCKET) - age}"

    async def _set_clock(self, redis: RedisConnection) -> None:
        """Ask Redis for its time. Known no better than the answer was quick; a better one is kept until it is off."""
        asked = self._clock()
        seconds, microseconds = await redis.command("TIME")
        answered = self._clock()
        ahead = int(seconds) + int(microseconds) / 1e6 - (asked + answered) / 2
        if abs(ahead - self._ahead) > (answered - asked) / 2:
            self._ahead = ahead


def share_of(host: str, hosts: Iterable[str], target_id: str, slots: int, turn: int) -> int:
    """How many of a target's half-open slots are this host's in a turn. Over all hosts that see the same hosts they
    are exactly ``slots``; whose turn it is to have one more differs by target and moves on."""

    def order(name: str) -> bytes:
        return hashlib.blake2b(f"{name}|{target_id}|{turn}".encode(), digest_size=8).digest()

    ordered = sorted(hosts, key=order)
    each, more = divmod(slots, len(ordered))
    return each + (ordered.index(host) < more)


def _pairs(flat: list[bytes]) -> list[tuple[str, str]]:
    words = [word.decode("utf-8", "replace") for word in flat]
    return list(zip(words[::2], words[1::2], strict=True))


def _batches(entries: Iterable[Any]) -> Iterable[list[Any]]:
    listed = list(entries)
    return (listed[start : start + BATCH] for start in range(0, len(listed), BATCH))
