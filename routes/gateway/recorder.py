"""Turns exchanges into journal records and counts them, each exactly once. Synchronous: safe to call while cancelled.

``started`` goes before the first attempt is sent, ``finish`` before the bytes that end the answer are handed to
the transport: what a client has read is in the journal. Also writes the ``x-route-*`` answer headers, because
they tell the same facts. Must not await and must not import the control plane.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import UUID

from history.records import Finished, Started
from routes.engine.cost import cost_micro_usd, price_for
from routes.engine.explain import pack_decision
from routes.engine.types import MODEL_TYPES, SERVICE
from routes.gateway.metrics import METHODS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from history.journal import JournalWriter
    from routes.engine.types import Decision, Ranked
    from routes.gateway.errors import Headers, Refusal
    from routes.gateway.exchange import Exchange
    from routes.gateway.metrics import Metrics

#: Status label of a request whose client left before it was answered (nginx's convention).
CLIENT_GONE = 499
#: Status of a WebSocket that was open.
SWITCHING_PROTOCOLS = 101
#: Labels of look-ups in memory.
_AFFINITY = ("affinity",)
_PRICE = ("price",)


class Recorder:
    """The one place that writes history in a gateway process."""

    #: What puts itself between an answer and the edge, where copies are kept (``payloads.recorder``).
    watch: Callable[[Exchange, Callable[[Any], Awaitable[None]]], Callable[[Any], Awaitable[None]]] | None = None

    def __init__(self, journal: JournalWriter, metrics: Metrics) -> None:
        self.journal = journal
        self.metrics = metrics
        self._id_bytes: dict[str, bytes] = {}  # configured ids only: as many as the revisions name

    # -- history -------------------------------------------------------------------------------------
    def started(self, exchange: Exchange, ranked: Ranked) -> None:
        """Before the first attempt is sent to ``ranked``; further calls do nothing."""
        if exchange.started_written:
            return
        exchange.started_written = True
        exchange.first_sent = now = time.monotonic()
        self.metrics.overhead.add((), now - exchange.received)
        key, profile, decision, trace = exchange.key, exchange.profile, exchange.decision, exchange.trace
        target = ranked.target
        exchange.announced = self.journal.append(
            Started(
                id=exchange.id,
                profile_id=self._bytes(profile.id) if profile is not None else None,
                profile=profile.slug if profile is not None else "",
                key_id=key.id_bytes if key is not None else None,
                key_name=key.name if key is not None else "",
                route_type=_route_type(exchange),
                session_key=exchange.session,
                requested_model=exchange.model,
                strategy=decision.strategy if decision is not None else "",
                endpoint_id=self._bytes(target.id),
                provider=target.provider.slug,
                model=ranked.model,
                revision=decision.revision if decision is not None else 0,
                operation=exchange.operation,
                path=exchange.path,
                client_ip=exchange.client_ip,
                trace=trace.recorded if trace is not None else b"",
                trace_state=trace.state if trace is not None else "",
            )
        )

    def finish(
        self,
        exchange: Exchange,
        *,
        status: str,
        http_status: int | None = None,
        error_code: str | None = None,
        message: str = "",
        fields: Sequence[tuple[bytes, bytes]] = (),
        rest: bytes = b"",
        refusal: Refusal | None = None,
    ) -> None:
        """The route's row: the first call wins, any later one does nothing.

        ``http_status`` is what the client was answered, None when it got no answer. Call it before handing the
        last bytes to ``send`` and, in a ``CancelledError`` path, before the next await. ``rest`` is these bytes,
        ``fields`` the head of the answer if that goes with them, ``refusal`` what both will be made of: for copies.
        """
        if exchange.finished:
            return
        exchange.finished = True
        latency_s = time.monotonic() - exchange.accepted
        key, profile, decision, snapshot = exchange.key, exchange.profile, exchange.decision, exchange.snapshot
        attempts, place, usage, trace = exchange.attempts, exchange.place, exchange.usage, exchange.trace
        target = place.target if place is not None else None
        cost = None
        if place is not None and snapshot is not None and usage.output is not None:
            provider = place.target.provider
            price = price_for(snapshot, provider, place.target.model or exchange.model, place.model)
            (self.metrics.cache_misses if price is None else self.metrics.cache_hits).add(_PRICE)
            if price is not None:
                cost = cost_micro_usd(price, usage.input or 0, usage.output, usage.cached or 0)
        self.journal.append(
            Finished(
                id=exchange.id,
                status=status,
                profile_id=self._bytes(profile.id) if profile is not None else None,
                profile=profile.slug if profile is not None else "",
                key_id=key.id_bytes if key is not None else None,
                key_name=key.name if key is not None else "",
                route_type=_route_type(exchange),
                session_key=exchange.session,
                operation=exchange.operation,
                wire=exchange.wire,
                stream=exchange.stream,
                path=exchange.path,
                client_ip=exchange.client_ip,
                user_agent=exchange.user_agent,
                http_status=http_status,
                error_code=error_code,
                message=f"{message}; {exchange.note}" if message and exchange.note else message or exchange.note,
                latency_us=int(latency_s * 1e6),
                selection_us=exchange.selection_us,
                ttfb_us=exchange.ttfb_us,
                endpoint_id=self._bytes(target.id) if target is not None else None,
                endpoint=target.endpoint if target is not None else "",
                region=(target.region or "") if target is not None else "",
                head_id=target.head.id if target is not None and target.head is not None else "",
                provider=target.provider.slug if target is not None else "",
                model=place.model if place is not None else "",
                requested_model=exchange.model,
                strategy=decision.strategy if decision is not None else "",
                source=decision.source if decision is not None else "",
                rule=decision.matched_rule if decision is not None else None,
                attempt_count=len(attempts),
                attempts=attempts,
                recovered=status == "routed" and len(attempts) > 1,
                degraded=decision.degraded if decision is not None else False,
                input_tokens=usage.input,
                output_tokens=usage.output,
                cached_tokens=usage.cached,
                usage_estimated=usage.estimated,
                cost_micro_usd=cost,
                revision=snapshot.number if snapshot is not None else 0,
                metrics=exchange.metrics,
                decision=pack_decision(decision) if decision is not None else None,
                method=exchange.method,
                trace=trace.recorded if trace is not None else b"",
                trace_state=trace.state if trace is not None else "",
            ),
            owed=exchange.announced,
        )
        if exchange.admission is not None:
            exchange.admission.end(exchange, cost)
        self._count(exchange, status, http_status, latency_s, cost)

    def _count(
        self, exchange: Exchange, status: str, http_status: int | None, latency_s: float, cost: int | None
    ) -> None:
        metrics = self.metrics
        if http_status == SWITCHING_PROTOCOLS and exchange.ttfb_us is not None:
            latency_s = exchange.ttfb_us / 1e6  # how long a WebSocket stays open says nothing of how quick we are
        self.answered(exchange, http_status or CLIENT_GONE, latency_s)
        if exchange.profile is not None:
            metrics.profiles.add((exchange.profile.slug, status))
        place = exchange.place
        if place is None:
            return
        slug = place.target.provider.slug
        metrics.latency.add((), latency_s)
        if exchange.ttfb_us is not None:
            metrics.ttfb.add((slug,), exchange.ttfb_us / 1e6)
        for attempt in exchange.attempts:
            outcome = attempt.error_class
            called = str(attempt.http_status) if attempt.http_status is not None else outcome or "none"
            metrics.attempts.add((attempt.provider, outcome or "ok"))
            metrics.service_calls.add((attempt.provider, called))
        usage = exchange.usage
        if usage.input:
            metrics.tokens.add((slug, "input"), usage.input)
        if usage.output:
            metrics.tokens.add((slug, "output"), usage.output)
        if usage.cached:
            metrics.tokens.add((slug, "cached"), usage.cached)
        if cost:
            metrics.cost.add((slug,), cost / 1e6)

    # -- counters of what leaves no row ----------------------------------------------------------------
    def answered(self, exchange: Exchange, http_status: int, latency_s: float) -> None:
        """Count an answer; called by ``finish``, and by itself for what has no history row."""
        method = exchange.method if exchange.method in METHODS else "other"
        self.metrics.requests.add((method, exchange.endpoint, str(http_status)))
        self.metrics.durations.add((method, exchange.endpoint), latency_s)

    def unrouted(self, method: str, http_status: int) -> None:
        """Count an answer of ours to what is no request of the data plane: in the console's stead (what it answers
        itself, it counts), or to what is no request at all, whose method nobody knows ("")."""
        self.metrics.requests.add((method if method in METHODS else "other", "other", str(http_status)))

    def decided(self, exchange: Exchange, decision: Decision, regions: frozenset[str]) -> None:
        """Count one run of the pipeline."""
        region = exchange.region
        region = self.metrics.few_regions.name(region) if region and region in regions else "none"
        kind = MODEL_TYPES.get(exchange.operation, "other")
        strategy = decision.would_rank if decision.source != "none" else "none"
        self.metrics.decisions.add((strategy, kind, region))
        if decision.pin is not None:
            (self.metrics.cache_hits if decision.pin.honoured else self.metrics.cache_misses).add(_AFFINITY)
        for entry in decision.stages:
            self.metrics.stages.add((entry.stage,), entry.us / 1e6)

    # -- answer headers --------------------------------------------------------------------------------
    def route_headers(self, exchange: Exchange) -> Headers:
        """``x-route-*`` for an answer that has a history row; the target's once something was tried (so the
        attempt that answers is in ``exchange.attempts`` and ``exchange.place`` when this is called)."""
        headers: Headers = [(b"x-route-id", exchange.route_id.encode())]
        if exchange.admission is not None:
            headers += exchange.admission.headers(exchange.wire)
        place = exchange.place
        if place is not None:
            headers += (
                (b"x-route-provider", place.target.provider.slug.encode()),
                *(((b"x-route-model", header_value(place.model)),) if place.model else ()),
                (b"x-route-attempts", b"%d" % len(exchange.attempts)),
            )
        decision = exchange.decision
        if exchange.debug and decision is not None:
            stages = ",".join([entry.stage for entry in decision.stages])
            headers += (
                (b"x-route-source", decision.source.encode()),
                (b"x-route-stages", stages.encode()),
                (b"x-route-rule", header_value(decision.matched_rule or "none")),
                (b"x-route-strategy", decision.strategy.encode()),
                (b"x-route-revision", b"%d" % decision.revision),
            )
        return headers

    def _bytes(self, identifier: str) -> bytes:
        known = self._id_bytes.get(identifier)
        if known is None:
            known = self._id_bytes[identifier] = UUID(identifier).bytes
        return known


def _route_type(exchange: Exchange) -> str:
    return "service" if exchange.operation == SERVICE else "inference"


def header_value(text: str) -> bytes:
    """``text`` as a header value: what is not visible ASCII is percent-encoded (a model's name may be anything)."""
    return text.encode() if text.isascii() and text.isprintable() else quote(text, safe=" !#$&'()*+,/:;=?@[]~").encode()
