"""The gateway's ASGI application: who is asking, for what, decided where, then the attempt loop.

Splits data plane, health answers and everything else (relayed to the console). Runs on ``protocol.GatewayProtocol``
only: it uses the ``Cycle`` in the scope to read bodies and to be cancelled when a client leaves. No database, no
Redis, no network but the upstream's between accepting a request and sending it on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import orjson
from uuid_utils import uuid7

from routes.engine.pipeline import decide
from routes.gateway import attempts, endpoints, intake, models_list, route_request
from routes.gateway.auth import authenticate, presented_value, require_route_scope
from routes.gateway.errors import (
    BadRequest,
    BodyTooLarge,
    Forbidden,
    MethodNotAllowed,
    NoTargetAvailable,
    NotFound,
    RateLimited,
    Refusal,
    Unauthenticated,
    render,
)
from routes.gateway.exchange import Exchange
from routes.gateway.health import HealthAnswers

if TYPE_CHECKING:
    from routes.engine.types import Decision
    from routes.gateway.console_relay import ConsoleRelay
    from routes.gateway.cycle import Cycle
    from routes.gateway.endpoints import Endpoint, Match
    from routes.gateway.errors import Headers
    from routes.gateway.state import Config, GatewayState

#: Seconds after which a client may come back when nobody knows better.
RETRY_SOON = 1.0

_KEY: Final = ("key",)  # the label of the look-up of an access key

logger = logging.getLogger(__name__)


class Gateway:
    """The application object; one per process."""

    def __init__(self, state: GatewayState, relay: ConsoleRelay) -> None:
        self.state = state
        self.relay = relay
        self.health = HealthAnswers(state)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raw_path: bytes = scope["raw_path"]
        match = endpoints.find(raw_path)
        if scope["type"] == "http":
            if match is not None:
                await self._data_plane(scope, receive, send, match)
            elif (answer := self.health.find(raw_path)) is not None:
                await _send_json(send, *answer(), head=scope["method"] == "HEAD")
            elif problem := intake.fault(
                scope["headers"], intake.index_headers(scope["headers"]), scope["http_version"]
            ):
                await scope["signalbox"].refuse(BadRequest(problem))
            else:
                await self.relay.http(scope, receive, send)
        elif scope["type"] == "websocket":
            if match is not None:
                await _refuse_socket(send, NotFound())
            else:
                await self.relay.websocket(scope, receive, send)

    # -- one request -------------------------------------------------------------------------------------
    async def _data_plane(self, scope: Any, receive: Any, send: Any, match: Match) -> None:
        state = self.state
        cycle: Cycle = scope["signalbox"]
        headers: intake.RawHeaders = scope["headers"]
        index = intake.index_headers(headers)
        uuid = uuid7()
        identifier = uuid.bytes
        endpoint = match.endpoint
        exchange = Exchange(
            id=identifier,
            route_id=str(uuid),
            accepted=time.monotonic(),
            accepted_ms=int.from_bytes(identifier[:6]),
            method=scope["method"],
            path=scope["raw_path"].decode("ascii"),
            query=scope["query_string"],
            headers=headers,
            client_ip=intake.client_address(
                scope["client"], index.get(b"x-forwarded-for"), state.settings.trusted_proxies
            ),
            user_agent=index.get(b"user-agent", b"").decode("utf-8", "replace")[:512],
        )
        if endpoint is not None:
            exchange.operation = endpoint.operation
            exchange.resource = endpoint.resource
            exchange.wire = endpoint.wire
            exchange.endpoint = match.template
        if (endpoint is None or endpoint.operation == "models") and b"anthropic-version" in index:
            exchange.wire = "anthropic"
        cycle.attach(exchange)
        try:
            if endpoint is not None and endpoint.operation != "models":
                await self._route(scope, receive, send, cycle, exchange, endpoint, match, index)
            else:
                await self._answer_here(scope, send, exchange, match, index)
        except Refusal as refusal:
            await self._refuse(send, exchange, refusal)
        except asyncio.CancelledError:
            # Synchronous: after the next await it may be too late to write anything.
            if exchange.key is not None:
                status = "cancelled" if exchange.client_gone else "interrupted"
                state.recorder.finish(exchange, status=status, error_code="cancelled")
            raise
        except Exception:
            logger.exception("request %s failed inside the gateway", exchange.route_id)
            if cycle.response_started:
                state.recorder.finish(exchange, status="failed", error_code="internal")
                raise
            await self._refuse(send, exchange, Refusal(), status="failed")

    def _admit(self, scope: Any, exchange: Exchange, match: Match, index: dict[bytes, bytes]) -> Config:
        """Who is asking and whether their request is one. Sets ``exchange.key`` as soon as it is known."""
        config = self.state.config
        problem = intake.fault(exchange.headers, index, scope["http_version"])
        if config is None:
            raise NoTargetAvailable("no configuration has been published yet", code="not_ready", retry_after=RETRY_SOON)
        try:
            value = presented_value(index.get(b"authorization"), index.get(b"x-api-key"))
            exchange.key = key = authenticate(value, config.overlay.keys)
            self.state.metrics.cache_hits.add(_KEY)
        except Unauthenticated:
            self.state.metrics.cache_misses.add(_KEY)
            if problem is not None:
                raise BadRequest(problem) from None
            raise
        exchange.snapshot = config.snapshot
        if problem is not None:
            raise BadRequest(problem)
        require_route_scope(key)
        return config

    async def _route(
        self,
        scope: Any,
        receive: Any,
        send: Any,
        cycle: Cycle,
        exchange: Exchange,
        endpoint: Endpoint,
        match: Match,
        index: dict[bytes, bytes],
    ) -> None:
        state = self.state
        config = self._admit(scope, exchange, match, index)
        snapshot, key = config.snapshot, exchange.key
        assert key is not None
        if exchange.method != endpoint.method:
            raise MethodNotAllowed(headers={"allow": endpoint.method})
        slug = match.profile or key.profile
        profile = snapshot.profiles.get(slug)
        if profile is None:
            raise NotFound(f"there is no profile {slug!r}", code="profile_not_found")
        if not key.may_use_profile(slug):
            raise Forbidden(f"this access key may not use profile {slug!r}")
        exchange.profile = profile

        limit = state.settings.max_body_bytes
        length = index.get(b"content-length")
        if length is not None and int(length) > limit:
            raise BodyTooLarge(f"the request body is larger than {limit // (1024 * 1024)} MB")
        exchange.body = body = await cycle.read_body(limit)
        exchange.received = time.monotonic()
        head = intake.parse_body(body)
        exchange.model = model = head.model
        exchange.stream = head.stream is True and endpoint.operation not in ("embedding", "count_tokens")
        exchange.thinking = head.thinks
        exchange.session = route_request.session_of(exchange, head, index, match.session)
        if not key.may_use_model(model):
            raise Forbidden(f"this access key may not use model {model!r}")
        request = route_request.build(state, exchange, head, index)
        exchange.debug = key.debug and index.get(b"x-route-debug") == b"1"

        before = time.perf_counter()
        exchange.decision = decision = decide(snapshot, profile, request, state.live, state.clock(), state.rng)
        exchange.selection_us = int((time.perf_counter() - before) * 1e6)
        state.recorder.decided(exchange, decision, config.regions)
        if decision.place(0) is None:
            raise self._nothing_left(exchange, decision)
        await attempts.run(state, exchange, receive, send)

    def _nothing_left(self, exchange: Exchange, decision: Decision) -> Refusal:
        """Why a decision without a target is refused."""
        profile = decision.profile
        if decision.unserved:
            message = f"no target of profile {profile.slug!r} serves model {exchange.model!r} at {exchange.resource}"
            return NotFound(message, code="model_not_found", param="model")
        wait = RETRY_SOON
        if decision.retry_at is not None and not attempts.any_is_busy(decision):
            wait = max(RETRY_SOON, decision.retry_at - self.state.clock())
        if decision.all_rate_limited:
            return RateLimited(retry_after=wait)
        return NoTargetAvailable(f"no target of profile {profile.slug!r} is available", retry_after=wait)

    async def _answer_here(
        self, scope: Any, send: Any, exchange: Exchange, match: Match, index: dict[bytes, bytes]
    ) -> None:
        """The model list, which alone leaves no history row, and whatever is no endpoint at all."""
        endpoint = match.endpoint
        config = self._admit(scope, exchange, match, index)
        key, snapshot = exchange.key, config.snapshot
        assert key is not None
        if endpoint is None:
            raise NotFound
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(headers={"allow": "GET, HEAD"})
        slug = match.profile or key.profile
        profile = snapshot.profiles.get(slug)
        if profile is None:
            raise NotFound(f"there is no profile {slug!r}", code="profile_not_found")
        if not key.may_use_profile(slug):
            raise Forbidden(f"this access key may not use profile {slug!r}")
        if match.model is None:
            document = models_list.many(exchange.wire, models_list.names(profile, key), snapshot)
        else:
            name = unquote(match.model)
            owner = models_list.owner(profile, key, name)
            if owner is None:
                message = f"no target of profile {slug!r} serves model {name!r}"
                raise NotFound(message, code="model_not_found", param="model")
            document = models_list.one(exchange.wire, name, owner, snapshot)
        await _send_json(send, 200, document, head=exchange.method == "HEAD")
        self.state.recorder.answered(exchange, 200, time.monotonic() - exchange.accepted)

    async def _refuse(self, send: Any, exchange: Exchange, refusal: Refusal, status: str = "rejected") -> None:
        code, headers, body = render(refusal, exchange)
        recorder = self.state.recorder
        if exchange.key is not None and not (exchange.operation == "models" and exchange.method in ("GET", "HEAD")):
            # Unless the attempt loop has written the row already.
            recorder.finish(exchange, status=status, http_status=code, error_code=refusal.code, message=refusal.message)
            headers += recorder.route_headers(exchange)
        else:
            recorder.answered(exchange, code, time.monotonic() - exchange.accepted)
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


async def _send_json(send: Any, status: int, document: Any, *, head: bool = False) -> None:
    body = orjson.dumps(document)
    fields: Headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": b"" if head else body, "more_body": False})


async def _refuse_socket(send: Any, refusal: Refusal) -> None:
    """Answer a WebSocket handshake with an error document."""
    status, headers, body = render(refusal, None)
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
