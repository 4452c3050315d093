"""The attempt loop: walks a decision's ranking until an answer is delivered or nothing is left to try.

Takes a claim per attempt, sends, rules on what came (``routes.engine.retry`` is the table), tells the live state, and
either lets the relay deliver or goes on. Failing over costs the client nothing but time until the relay has committed.
Raises the Refusal that ends a request, its row already written. Cancelled at any await by a client that leaves, a
shutdown, or a time limit of ours; only the last is caught here. ``Route`` is the loop itself, whatever an attempt is:
``_Request`` makes HTTP requests of it, ``websocket`` connections.
"""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import TYPE_CHECKING, Any, Final, NoReturn

from routes.engine import retry
from routes.engine.context import context_window
from routes.engine.live import CLAIM_LEASE
from routes.engine.retry import NOT_MODIFIED, Keep, Ruling, Step, Walk
from routes.engine.types import SERVICE
from routes.gateway.admission import RETRY_SOON, any_is_busy
from routes.gateway.deadlines import SOFT
from routes.gateway.errors import AllTargetsFailed, BadRequest, NoTargetAvailable, RateLimited, Refusal, TotalTimeout
from routes.gateway.prepare import prepare
from routes.gateway.relay import Relay, after, as_failure
from routes.gateway.route_request import estimate_tokens
from routes.gateway.stream import StreamRelay
from routes.gateway.trial import Trial
from routes.gateway.upstream import Reply, UpstreamError
from routes.gateway.wire import problems
from routes.gateway.wire.translate import Untranslatable

if TYPE_CHECKING:
    from routes.engine.live import Claim
    from routes.engine.types import Decision, Ranked
    from routes.gateway.deadlines import Watch
    from routes.gateway.exchange import Exchange
    from routes.gateway.prepare import Outgoing
    from routes.gateway.relay import Send
    from routes.gateway.state import GatewayState

#: Requests that think may be silent for longer: first-event limits are this many times as long for them.
THINKING_FACTOR: Final = 6
#: How long the body of an error answer may take; its status alone says enough.
ERROR_BODY_SECONDS: Final = 5.0
#: Methods of service requests that may be sent twice.
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
#: Errors that mean the same whichever target they came from: they name the refusal when no other kind occurred.
_TELLING: Final = frozenset({"upstream_redirect", "upstream_framing", "auth_failed", "quota_exhausted"})
_TIMEOUTS: Final = frozenset({"connect_timeout", "timeout_first_byte", "timeout_first_event", "timeout_idle"})


async def run(state: GatewayState, exchange: Exchange, receive: Any, send: Send) -> None:
    """Answer the request, or raise the Refusal that does. ``receive`` is not used: the edge cancels us when the
    client leaves."""
    watch = state.sweeper.watch()
    try:
        await _Request(state, exchange, watch, send).run()
    finally:
        watch.close()


class Route:
    """One request on its way through its ranking; what an attempt is, a subclass says (``attempt``)."""

    __slots__ = (
        "_index",
        "_refused",
        "_told",
        "_window",
        "_windows",
        "decision",
        "exchange",
        "failover",
        "send",
        "state",
        "timeouts",
        "trial",
        "walk",
        "watch",
    )

    def __init__(self, state: GatewayState, exchange: Exchange, watch: Watch, send: Send) -> None:
        assert exchange.decision is not None
        assert exchange.profile is not None
        self.state = state
        self.exchange = exchange
        self.watch = watch
        self.send = send  # takes the messages of an HTTP answer
        self.decision: Decision = exchange.decision
        self.failover = exchange.profile.failover
        self.timeouts = exchange.profile.timeouts
        self.walk = Walk(self.failover, single=self.decision.panic > 0)
        self.trial: Trial | None = None
        self._index = -1
        self._window = 0  # a target said that this request needs a larger one
        self._windows: set[str] = set()  # models that said so
        self._refused: Untranslatable | None = None  # why no target so far could be told the request
        self._told = False  # one could

    async def attempt(self, place: Ranked, claim: Claim) -> bool:
        """True when the client was answered. False = go on with the next."""
        raise NotImplementedError

    def ready(self, place: Ranked) -> bool:
        """Whether a place can be tried at all; False = it is passed over, and that is no attempt."""
        return True

    async def run(self) -> None:
        state, walk, watch = self.state, self.walk, self.watch
        watch.ceiling = after(self.exchange.accepted, self.timeouts.total)
        watch.ceiling_name = "timeout_total"
        state.retry_budget.request(state.clock())
        index: int | None = -1
        while not walk.exhausted:
            index = walk.following(index)
            place = None if index is None else self.decision.place(index)
            if index is None or place is None:
                pause = walk.another_pass(state.clock(), state.rng)
                if pause is None:
                    break
                await self._pause(pause)
                index = -1
                continue
            if (self._window and not self._is_larger(place)) or not self.ready(place):
                continue
            claim = self._claim(place, index)
            if claim is None:
                continue
            if walk.attempts and not state.retry_budget.take(state.clock()):
                state.live.release(claim, state.clock())
                break
            walk.began()
            self._index = index
            if await self.attempt(place, claim):
                return
        self.refuse(self._nothing_left())

    def _claim(self, place: Ranked, index: int) -> Claim | None:
        """Permission to try a place now; None = its circuit, its slots or a quarantine say no."""
        state, decision = self.state, self.decision
        now = state.clock()
        if (
            index > 0
            and self.walk.first_pass
            and not decision.panic
            and state.live.quarantined_until(place.target, place.model, now) is not None
        ):
            return None  # since the decision another request found out
        return state.live.claim(place.target, now, decision.panic, self.timeouts.total or CLAIM_LEASE)

    async def _pause(self, seconds: float) -> None:
        self.watch.limit(inf, "")  # the last attempt's limits are over with it
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError as error:
            as_failure(error, self.exchange, self.watch)
            self.refuse(TotalTimeout(attempts=self.tried()))

    # -- larger context windows --------------------------------------------------------------------------------
    def _is_larger(self, place: Ranked) -> bool:
        window = self._window_of(place)
        return window is not None and window > self._window and place.model not in self._windows

    def _window_of(self, place: Ranked) -> int | None:
        exchange, target = self.exchange, place.target
        assert exchange.snapshot is not None
        return context_window(exchange.snapshot, target.provider, target.model or exchange.model, place.model)

    def needs_larger(self, place: Ranked) -> bool:
        """A target said that the request is too long for it: from now on only larger ones count. Whether one of them is
        left."""
        self._windows.add(place.model)
        self._window = max(self._window, self._window_of(place) or estimate_tokens(self.state.live, self.exchange), 1)
        if self.walk.exhausted or not self.walk.first_pass:
            return False
        return any(self._is_larger(other) for other in self.decision.full_ranking()[self._index + 1 :])

    # -- what became of an attempt -------------------------------------------------------------------------------
    def redacted(self, message: str) -> str:
        """Some providers repeat the credential they refuse."""
        assert self.trial is not None
        credential = self.state.credential(self.trial.place.target.provider.id)
        return message.replace(credential.value, "***") if credential is not None else message

    async def ruled_on_status(self, reply: Reply, outgoing: Outgoing) -> bool:
        """An answer that is not a 2xx: to the client as it is, or on to the next target."""
        trial = self.trial
        assert trial is not None
        relay = Relay(self.state, self.exchange, self.send, self.watch, trial, reply, outgoing)
        body, whole, failure = b"", False, None
        self.watch.limit(self.state.clock() + ERROR_BODY_SECONDS, "timeout_idle")
        try:
            body, whole = await relay.hold(paced=False)
        except (UpstreamError, asyncio.CancelledError) as error:
            failure = as_failure(error, self.exchange, self.watch)
            if failure.error_class == "timeout_total":
                raise failure from None
        problem = problems.recognise(body) if whole else problems.Problem(None, "")
        # What a service says of money or of filters is its own business.
        cause = problem.cause if self.exchange.operation != SERVICE else None
        ruling = retry.rule_on_status(reply.status, cause, self.failover)
        message = f"HTTP {reply.status}: {problem.message}" if problem.message else f"HTTP {reply.status}"
        message = self.redacted(message)
        if ruling.step is Step.SURFACE or (ruling.step is Step.LARGER and not self.needs_larger(trial.place)):
            if failure is not None:
                raise failure
            await relay.surface(body, whole, ruling.error_class, message)
            return True
        if whole:
            reply.release()
        self.failed(ruling, message, reply)
        return False

    def failed(self, ruling: Ruling, message: str, reply: Reply | None) -> None:
        """Write an attempt off: record, circuit, quarantine, and whether it may be tried again."""
        trial, state = self.trial, self.state
        assert trial is not None
        trial.close(ruling.verdict, ruling.error_class, message, reply.received if reply is not None else 0)
        now = state.clock()
        wait = (
            retry.retry_after(reply.headers, time.time())
            if reply is not None and ruling.keep is not Keep.NONE
            else None
        )
        retry.keep_away(state.live, trial.place.target, trial.place.model, ruling, wait, now)
        self.walk.failed(self._index, ruling.again, now, wait)
        if ruling.step is Step.REFUSE:
            if ruling.error_class == "timeout_total":
                self.refuse(TotalTimeout(attempts=self.tried()))
            message = "the provider does not accept the gateway's credential"
            self.refuse(AllTargetsFailed(message, code="auth_failed", attempts=self.tried()))

    # -- the end ---------------------------------------------------------------------------------------------
    def _nothing_left(self) -> Refusal:
        """What to tell the client when no attempt brought an answer."""
        attempts = self.exchange.attempts
        if not attempts and self._refused is not None and not self._told:
            return self._cannot_be_told(self._refused)
        if not attempts:
            limited = self.decision.all_rate_limited
            return (RateLimited if limited else NoTargetAvailable)(retry_after=self._soonest())
        classes = {attempt.error_class for attempt in attempts}
        count = len(attempts)
        if classes == {"rate_limited"}:
            return RateLimited(retry_after=self._soonest(), attempts=self.tried())
        if classes == {"context_length"}:
            # Something larger was left, and could not be tried after all.
            message = "the request is longer than the context window of every target that can be tried"
            return BadRequest(message, code="context_length", attempts=self.tried())
        told = "; ".join(f"{attempt.provider}: {attempt.error_class}" for attempt in attempts)
        message = f"no answer after {count} attempt{'s' if count > 1 else ''} ({told})"
        only = next(iter(classes)) if len(classes) == 1 else None
        return AllTargetsFailed(message, code=only if only in _TELLING else None, attempts=self.tried())

    def _cannot_be_told(self, refused: Untranslatable) -> Refusal:
        """No target that was left can be told the request: the client's mistake, unless one that can comes back."""
        if not refused.param:
            return BadRequest(refused.message, code="invalid_json")
        decision = self.decision
        for target, stage, code, _ in decision.excluded:
            if target.provider.wire == self.exchange.wire and (stage == "health" or code == "at_capacity"):
                until = self.state.clock() if decision.retry_at is None else decision.retry_at
                wait = max(RETRY_SOON, until - self.state.clock())
                return NoTargetAvailable(f"no target that takes '{refused.param}' is available", retry_after=wait)
        return BadRequest(refused.message, code="unsupported_field", param=refused.param)

    def tried(self) -> list[dict[str, object]]:
        """The attempts as the client may read them: nothing of hosts and messages."""
        return [
            {
                "provider": attempt.provider,
                "model": attempt.model,
                "error_class": attempt.error_class,
                "http_status": attempt.http_status,
            }
            for attempt in self.exchange.attempts
        ]

    def _soonest(self) -> float:
        """Seconds until some target of this ranking, or one left out of it, may serve again."""
        live, decision, now = self.state.live, self.decision, self.state.clock()
        if any_is_busy(decision):
            return RETRY_SOON
        moments = [] if decision.retry_at is None else [decision.retry_at]
        for place in decision.full_ranking():
            quarantine = live.quarantined_until(place.target, place.model, now)
            if quarantine is not None:
                moments.append(quarantine.until)
            elif not self.exchange.attempts:
                return RETRY_SOON  # nothing but its seats or half-open slots refused us
        return max(RETRY_SOON, min(moments) - now) if moments else RETRY_SOON

    def refuse(self, refusal: Refusal) -> NoReturn:
        """Write the row and raise."""
        attempts = self.exchange.attempts
        error_code: str | None
        if not attempts:
            status, error_code = "rejected", refusal.code
        elif refusal.status == 504:
            status, error_code = "timeout", refusal.code
        else:
            all_timed_out = all(attempt.error_class in _TIMEOUTS for attempt in attempts)
            status, error_code = "timeout" if all_timed_out else "failed", attempts[-1].error_class
        self.state.recorder.finish(
            self.exchange,
            status=status,
            http_status=refusal.status,
            error_code=error_code,
            message=refusal.message,
            refusal=refusal,
        )
        raise refusal


class _Request(Route):
    """An HTTP request: an attempt sends it and hands its answer on."""

    __slots__ = ("_may_repeat", "_outgoing", "_sent")

    def __init__(self, state: GatewayState, exchange: Exchange, watch: Watch, send: Send) -> None:
        super().__init__(state, exchange, watch, send)
        self._outgoing: Outgoing | None = None
        self._sent = False
        self._may_repeat = (
            exchange.operation != SERVICE or exchange.method in _IDEMPOTENT or self.failover.non_idempotent
        )

    def ready(self, place: Ranked) -> bool:
        try:
            self._outgoing = prepare(self.exchange, place)
        except Untranslatable as error:
            self._refused = self._refused or error
            exchange, slug = self.exchange, place.target.provider.slug
            exchange.note = f"{slug} was passed over: {error.message}"[:500]
            return False
        except BadRequest as refusal:
            self.refuse(refusal)
        self._told = True
        return True

    async def attempt(self, place: Ranked, claim: Claim) -> bool:
        state, exchange, outgoing = self.state, self.exchange, self._outgoing
        assert outgoing is not None
        limit = self._first_event() if exchange.stream else self.timeouts.first_byte
        self._sent = False
        self.trial = trial = Trial(state, exchange, place, claim, limit)
        reply: Reply | None = None
        try:
            state.recorder.started(exchange, place)
            reply = await self._ask(place, outgoing)
            trial.answered(reply.status)
            if 200 <= reply.status < 300 or reply.status == NOT_MODIFIED:
                kind = StreamRelay if exchange.stream and not _is_whole(exchange, reply) else Relay
                await kind(state, exchange, self.send, self.watch, trial, reply, outgoing).deliver()
                return True
            return await self.ruled_on_status(reply, outgoing)
        except (UpstreamError, asyncio.CancelledError) as error:
            try:
                failure = as_failure(error, exchange, self.watch)
            except asyncio.CancelledError:
                trial.close("neutral", "cancelled", received=reply.received if reply is not None else 0)
                raise
            if trial.committed:
                return True  # the client does not take its answer in time; it ends here, cut
            soft = failure.error_class == SOFT
            ruling = retry.TOO_SLOW_SO_FAR if soft else retry.rule_on_failure(failure.error_class)
            self.failed(ruling, failure.message, reply)
            return False
        finally:
            trial.close("neutral", "internal")  # closed already, unless something of ours failed
            if reply is not None:
                reply.close()

    def failed(self, ruling: Ruling, message: str, reply: Reply | None) -> None:
        super().failed(ruling, message, reply)
        if self._sent and not self._may_repeat:
            self.walk.stop()  # it may have done something already, and must not do it twice

    async def _ask(self, place: Ranked, outgoing: Outgoing) -> Reply:
        """Send the request to a place and wait for the head of an answer."""
        state, exchange, target = self.state, self.exchange, place.target
        endpoint = state.upstream.endpoint(target, state.credential(target.provider.id))
        trace = exchange.trace
        head = endpoint.head(
            exchange.method,
            outgoing.resource,
            exchange.query if outgoing.translation is None else b"",  # it is about the client's format
            exchange.headers,
            len(outgoing.body),
            outgoing.dropped if trace is None else outgoing.dropped | trace.dropped,
            outgoing.added,
            traceparent=b"" if trace is None else trace.traceparent(len(exchange.attempts)),
        )
        self.watch.limit(after(state.clock(), self.timeouts.connect), "connect_timeout")
        return await state.upstream.send(
            endpoint, exchange.method, head, outgoing.body, self._connected, again=self._may_repeat
        )

    def _connected(self) -> None:
        """The request goes out: from now on its answer is waited for."""
        self._sent = True
        now, watch, timeouts = self.state.clock(), self.watch, self.timeouts
        if not self.exchange.stream:
            watch.limit(after(now, timeouts.first_byte), "timeout_first_byte")
            return
        limit = self._first_event()
        watch.limit(after(now, limit), "timeout_first_event")
        soft = timeouts.first_event_soft * (THINKING_FACTOR if self.exchange.thinking else 1)
        if soft > 0 and (soft < limit or limit <= 0):
            watch.soften(now + soft, self._another_is_left)

    def _first_event(self) -> float:
        return self.timeouts.first_event * (THINKING_FACTOR if self.exchange.thinking else 1)

    def _another_is_left(self) -> bool:
        """Whether leaving this attempt would lead anywhere."""
        walk, live, now = self.walk, self.state.live, self.state.clock()
        if walk.exhausted or not walk.first_pass:
            return False
        index = self._index + 1
        while (place := self.decision.place(index)) is not None:
            provider = place.target.provider
            if (
                live.circuit(place.target, now).state != "open"
                and live.quarantined_until(place.target, place.model, now) is None
                and not 0 < provider.max_concurrency <= live.in_flight(provider.id)
            ):
                return True
            index += 1
        return False


def _is_whole(exchange: Exchange, reply: Reply) -> bool:
    """Whether an upstream answers at once although a stream was asked for, and may: models that cannot stream what
    they hear or say ignore the wish."""
    events = b"event-stream" in (reply.header(b"content-type") or b"").lower()
    return exchange.answers in ("text", "media") and not events
