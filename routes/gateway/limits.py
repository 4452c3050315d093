"""What an access key and a profile let a request take: counted in when it begins, given back when it is over.

``enter`` (before the body is read: requests a minute, requests at once), ``reserve`` (when it is known: tokens a
minute, money, a seat on the profile) and ``Admission.end`` (once the request's cost is known, whatever it came to).
All but the wait for a seat is memory, and synchronous. Without any limits it costs two look-ups.

A request reserves the input tokens it is estimated to have, plus the output it allows: what it says itself, else
``DEFAULT_OUTPUT``, or less where the key may not use so much in a minute at all. In the end it counts what was used.

Must not import the application, or anything that does I/O.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Final

from routes.engine.limits import Exceeded, Meters
from routes.engine.types import COUNTED, GENERATING
from routes.gateway.errors import NoTargetAvailable, RateLimited
from routes.gateway.route_request import expected_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routes.engine.limits import Crossing, KeyLimits, Meter
    from routes.engine.live import LiveState, Permit, Seat
    from routes.gateway.auth import AccessKey
    from routes.gateway.errors import Headers
    from routes.gateway.exchange import Exchange
    from routes.gateway.state import GatewayState

#: Output tokens reserved for a request that does not limit them.
DEFAULT_OUTPUT: Final = 1024
#: A process lets so many requests wait for every seat of a profile; more are refused at once.
WAITING_PER_SEAT: Final = 4
#: How often those who wait look for seats that other processes have given back.
LOOK_SECONDS: Final = 0.02
RETRY_SOON: Final = 1.0

_WORDS: Final = {
    "rpm": "may make {:,.0f} requests a minute",
    "tpm": "may use {:,.0f} tokens a minute",
    "concurrency": "may have {:,.0f} requests under way at once",
    "usd_day": "has spent its {:,.2f} US dollars of this day (UTC)",
    "usd_week": "has spent its {:,.2f} US dollars of this week (UTC)",
    "usd_month": "has spent its {:,.2f} US dollars of this month (UTC)",
}

logger = logging.getLogger(__name__)


class Admission:
    """What one request holds. ``end`` gives all of it back, once."""

    __slots__ = ("_clock", "_live", "_queues", "_reserved_input", "meters", "permit", "seat")

    def __init__(self, state: GatewayState) -> None:
        self._live: LiveState = state.live
        self._clock = state.clock
        self._queues = state.queues
        self._reserved_input = 0
        self.permit: Permit | None = None
        self.seat: Seat | None = None
        self.meters = Meters()

    def reserve(self, key: AccessKey, limits: KeyLimits, permit: Permit, given: int, output: int) -> Exceeded | None:
        self._reserved_input = given
        exceeded, crossings = self._live.reserve(permit, given + output, self._clock(), time.time())
        self.meters = permit.meters if exceeded is None else exceeded.meters
        _tell(self._live, key, limits, crossings, self._clock())
        return exceeded

    def end(self, exchange: Exchange, cost: int | None) -> None:
        """``cost``: in millionths of a dollar, where it is known. Synchronous, idempotent, from any place that ends a
        request; call it before the client gets the last bytes, so that its next request is not one too many."""
        permit, seat = self.permit, self.seat
        self.permit = self.seat = None
        if permit is not None:
            crossings = self._live.leave_key(permit, self._used(exchange), cost or 0, self._clock(), time.time())
            key = exchange.key
            if crossings and key is not None and key.limits is not None:
                _tell(self._live, key, key.limits, crossings, self._clock())
        if seat is not None:
            assert exchange.profile is not None
            self._live.leave_profile(seat)
            self._queues.seat_is_free(exchange.profile.id)

    def _used(self, exchange: Exchange) -> int:
        """Tokens, as reported or estimated. A client that leaves before its answer has begun was not told what it
        used; its input was sent all the same."""
        usage = exchange.usage
        if exchange.operation == "count_tokens":
            return 0  # it is told how many there would be
        if usage.input is None and usage.output is None:
            return self._reserved_input if exchange.client_gone and exchange.attempts else 0
        return (usage.input or 0) + (usage.output or 0)

    def headers(self, wire: str) -> Headers:
        """The key's limits by the minute, as the client's SDK knows such headers."""
        found: Headers = []
        for name, meter in zip((b"requests", b"tokens"), self.meters, strict=True):
            if meter is not None:
                found += _anthropic(name, meter) if wire == "anthropic" else _openai(name, meter)
        return found


def enter(state: GatewayState, exchange: Exchange) -> None:
    """Count a request that is about to be read. Raises RateLimited."""
    key = exchange.key
    assert key is not None
    limits = key.limits
    if limits is None:
        return
    exchange.admission = admission = Admission(state)
    answer = state.live.enter_key(key.id, limits, state.clock())
    admission.meters = answer.meters
    if isinstance(answer, Exceeded):
        raise _refusal(key, limits, answer)
    admission.permit = answer


async def reserve(state: GatewayState, exchange: Exchange, output_limit: int | None) -> None:
    """Take what the request is expected to use, and its seat on the profile. Raises RateLimited or, when there is no
    seat, NoTargetAvailable. Waits for a seat only."""
    key, profile, admission = exchange.key, exchange.profile, exchange.admission
    assert key is not None
    assert profile is not None
    limits = key.limits
    if limits is not None and admission is not None and admission.permit is not None:
        given = output = 0
        if limits.tpm and exchange.operation in COUNTED:
            given = expected_tokens(state, exchange)
            if exchange.operation in GENERATING:
                output = output_limit or max(0, min(DEFAULT_OUTPUT, int(limits.tpm) - given))
        if limits.tpm or any(limits.money):
            exceeded = admission.reserve(key, limits, admission.permit, given, output)
            if exceeded is not None:
                raise _refusal(key, limits, exceeded, given + output)
    if profile.limits.concurrency:
        if admission is None:
            exchange.admission = admission = Admission(state)
        await state.queues.take(state, exchange, admission)


def _refusal(key: AccessKey, limits: KeyLimits, exceeded: Exceeded, tokens: int = 0) -> RateLimited:
    name = exceeded.limit
    if name.startswith("usd_"):
        window = name.removeprefix("usd_")
        amount = getattr(limits, window) / 1e6
        return RateLimited(f"access key {key.name!r} {_WORDS[name].format(amount)}", code="insufficient_quota")
    message = f"access key {key.name!r} {_WORDS[name].format(getattr(limits, name))}"
    if exceeded.retry_after is None and tokens:
        message += f", and this request may use {tokens:,}"
    return RateLimited(message, retry_after=exceeded.retry_after)


def _tell(live: LiveState, key: AccessKey, limits: KeyLimits, crossings: Sequence[Crossing], now: float) -> None:
    """In this process's log and in the host's, from which alerts are made."""
    for window, percent in crossings:
        amount = getattr(limits, window) / 1e6
        detail = {"key": key.name, "window": window, "usd": amount}
        live.note("budget", key.id, "", str(percent), f"usd_{window}", "traffic", detail, now)
        logger.warning(
            "access key %r has spent %d %% of its %.2f US dollars of this %s%s",
            key.name,
            percent,
            amount,
            window,
            "; its requests are refused until the next" if percent == 100 else "",
        )


# -- headers -------------------------------------------------------------------------------------------------


def _openai(name: bytes, meter: Meter) -> Headers:
    return [
        (b"x-ratelimit-limit-" + name, b"%d" % meter.limit),
        (b"x-ratelimit-remaining-" + name, b"%d" % meter.remaining),
        (b"x-ratelimit-reset-" + name, _span(meter.reset)),
    ]


def _span(seconds: float) -> bytes:
    """As OpenAI writes it: ``1s``, ``6m0s``."""
    minutes, rest = divmod(ceil(seconds), 60)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest


def _anthropic(name: bytes, meter: Meter) -> Headers:
    reset = datetime.now(UTC) + timedelta(seconds=ceil(meter.reset))
    return [
        (b"anthropic-ratelimit-%b-limit" % name, b"%d" % meter.limit),
        (b"anthropic-ratelimit-%b-remaining" % name, b"%d" % meter.remaining),
        (b"anthropic-ratelimit-%b-reset" % name, reset.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
    ]


# -- seats on profiles ---------------------------------------------------------------------------------------


class _Waiting:
    """Those who wait for a seat on one profile, first come first served within this process."""

    def __init__(self, live: LiveState, profile_id: str, state: GatewayState) -> None:
        self._live = live
        self._profile_id = profile_id
        self._clock = state.clock
        self._timer: asyncio.TimerHandle | None = None
        self.line: deque[tuple[asyncio.Future[Seat | None], float]] = deque()  # with the limit each came under

    def serve(self) -> None:
        """Give seats to those in front while there are any."""
        line = self.line
        while line:
            future, limit = line[0]
            if future.done():
                line.popleft()
                continue
            seat = self._live.enter_profile(self._profile_id, limit, self._clock())
            if seat is None:
                break
            line.popleft()
            future.set_result(seat)

    def watch(self) -> None:
        """Look again and again for seats that other processes give back, while somebody waits."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        self.serve()
        if self.line:
            self.watch()


class Queues:
    """Of one process, by profile; a profile without anybody waiting has none."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}

    def seat_is_free(self, profile_id: str) -> None:
        waiting = self._waiting.get(profile_id)
        if waiting is not None:
            waiting.serve()

    async def take(self, state: GatewayState, exchange: Exchange, admission: Admission) -> None:
        """A seat for ``admission``, at once or after a wait. Raises NoTargetAvailable."""
        profile = exchange.profile
        assert profile is not None
        limit, seconds = profile.limits.concurrency, profile.limits.queue_ms / 1000
        waiting = self._waiting.get(profile.id)
        if waiting is None:
            admission.seat = state.live.enter_profile(profile.id, limit, state.clock())
            if admission.seat is not None:
                return
        waits = 0 if waiting is None else len(waiting.line)
        if seconds > 0 and waits < WAITING_PER_SEAT * limit:
            admission.seat = await self._wait(state, profile.id, limit, seconds)
        if admission.seat is None:
            message = f"profile {profile.slug!r} takes {limit:,.0f} requests at once, and all are under way"
            raise NoTargetAvailable(message, retry_after=RETRY_SOON)

    async def _wait(self, state: GatewayState, profile_id: str, limit: float, seconds: float) -> Seat | None:
        """None when the time is over. Whoever is cancelled leaves the line at once."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.get(profile_id)
        if waiting is None:
            waiting = self._waiting[profile_id] = _Waiting(state.live, profile_id, state)
        future: asyncio.Future[Seat | None] = loop.create_future()
        entry = (future, limit)
        waiting.line.append(entry)
        waiting.watch()
        timer = loop.call_later(seconds, _give_up, future)
        try:
            return await future
        except asyncio.CancelledError:
            seat = future.result() if future.done() and not future.cancelled() else None
            if seat is not None:  # it came in the same moment
                state.live.leave_profile(seat)
            raise
        finally:
            timer.cancel()
            if entry in waiting.line:
                waiting.line.remove(entry)
            waiting.serve()
            if not waiting.line and self._waiting.get(profile_id) is waiting:
                del self._waiting[profile_id]


def _give_up(future: asyncio.Future[Seat | None]) -> None:
    if not future.done():
        future.set_result(None)
