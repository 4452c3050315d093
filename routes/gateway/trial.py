"""One attempt's books: its line in the route's record, its claim, and what the live state hears of it.

Synchronous throughout, so that it can be closed while the request is being cancelled. Does no I/O.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from history.records import Attempt
from routes.engine.types import Outcome
from routes.gateway import sessions

if TYPE_CHECKING:
    from routes.engine.live import Claim
    from routes.engine.types import Ranked
    from routes.gateway.exchange import Exchange
    from routes.gateway.state import GatewayState


class Trial:
    """From the claim to ``close``, which happens exactly once. ``committed``: the client has been answered."""

    __slots__ = ("_claim", "_closed", "_exchange", "_limit", "_state", "began", "committed", "place", "record")

    def __init__(self, state: GatewayState, exchange: Exchange, place: Ranked, claim: Claim, limit: float) -> None:
        target = place.target
        self._state = state
        self._exchange = exchange
        self._claim = claim
        self._limit = limit  # the time-out a failure counts as
        self._closed = False
        self.place = place
        self.committed = False
        self.began = state.clock()
        self.record = Attempt(
            provider=target.provider.slug,
            model=place.model,
            target=target.id,
            endpoint=target.endpoint,
            started_ms=int(time.time() * 1000),
            wire=target.provider.wire,
        )
        exchange.place = place
        exchange.attempts.append(self.record)

    def answered(self, status: int) -> None:
        """The head of an answer is here."""
        self.record.http_status = status
        self.record.ttfb_us = int((self._state.clock() - self.began) * 1e6)

    def commit(self, output_tokens: int | None = None, answer_id: str = "") -> None:
        """The answer is a good one (a complete document, or a stream's first content event), and the client is
        about to get its first bytes. ``answer_id``: by which a later request may refer to it."""
        exchange, now = self._exchange, self._state.clock()
        self.committed = True
        elapsed = now - self.began
        first_event = None
        if exchange.stream:
            first_event = elapsed
            self.record.ttfb_us = int(elapsed * 1e6)
        exchange.ttfb_us = int((now - exchange.accepted) * 1e6)
        status = self.record.http_status
        outcome = Outcome("success", None, elapsed, first_event, output_tokens, exchange.stream, self._limit, status)
        self._settle(outcome, now)
        self._keep_session(answer_id, now)

    def complete(self, output_tokens: int | None, answer_id: str, received: int) -> None:
        """``commit`` and ``close`` at once: the whole answer is here, and it is a good one."""
        exchange, live, now = self._exchange, self._state.live, self._state.clock()
        self.committed = self._closed = True
        elapsed = now - self.began
        exchange.ttfb_us = int((now - exchange.accepted) * 1e6)
        self.record.bytes = received
        self.record.latency_us = int(elapsed * 1e6)
        status = self.record.http_status
        outcome = Outcome("success", None, elapsed, None, output_tokens, exchange.stream, self._limit, status)
        live.finish(self._claim, self.place.target, outcome, now, output_tokens, self._other_tokens(output_tokens, now))
        self._keep_session(answer_id, now)
        self._note_transitions()

    def _keep_session(self, answer_id: str, now: float) -> None:
        exchange, live, target_id = self._exchange, self._state.live, self.place.target.id
        sessions.answered(live, exchange, target_id, now)
        sessions.learn_response(live, exchange, target_id, answer_id, now)

    def _other_tokens(self, output_tokens: int | None, now: float) -> int:
        """Tokens used beside ``output_tokens``, which were measured: what the upstream did not report is not measured,
        but it was used. What the answer says of the request is learned."""
        exchange = self._exchange
        sessions.remember_input(self._state.live, exchange, now)
        sessions.learn_usage(self._state.calibration, exchange)
        usage = exchange.usage
        return (usage.input or 0) + (usage.output or 0) - (output_tokens or 0)

    def _note_transitions(self) -> None:
        if self._claim.transitions:
            self.record.transitions = [(each.before, each.after, each.reason) for each in self._claim.transitions]

    def surface(self) -> None:
        """An error answer goes to the client as it is: committed, and no word about the target."""
        exchange = self._exchange
        self.committed = True
        exchange.ttfb_us = int((self._state.clock() - exchange.accepted) * 1e6)

    def close(
        self,
        verdict: Literal["success", "failure", "neutral"] = "success",
        error_class: str | None = None,
        message: str = "",
        received: int = 0,
        output_tokens: int | None = None,
    ) -> None:
        """The attempt is over. A failure may follow a commit: the stream was cut."""
        if self._closed:
            return
        self._closed = True
        now = self._state.clock()
        record = self.record
        record.error_class = error_class
        record.message = message
        record.bytes = received
        elapsed = now - self.began
        record.latency_us = int(elapsed * 1e6)
        if verdict == "failure":
            status = record.http_status
            stream = self._exchange.stream
            self._settle(Outcome("failure", error_class, elapsed, None, None, stream, self._limit, status), now)
        used = self._other_tokens(output_tokens, now) if verdict == "success" else None
        self._state.live.release(self._claim, now, output_tokens, used)
        self._note_transitions()

    def _settle(self, outcome: Outcome, now: float) -> None:
        self._state.live.settle(self._claim, self.place.target, outcome, now)
