"""The gateway's ASGI application: who is asking, for what, decided where, then the attempt loop.

Splits data plane, health answers and everything else (relayed to the console). Runs on ``protocol.GatewayProtocol``
and ``socket_edge.SocketProtocol`` only: it uses what they put into the scope (a request's ``Cycle``, or the socket's
edge) to read bodies and to be cancelled when a client leaves. A WebSocket takes the same steps as a request. No
database, no Redis, no network but the upstream's between accepting a request and sending it on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import orjson

from routes.engine.types import REALTIME, SERVICE
from routes.gateway import admission, attempts, endpoints, intake, limits, models_list, route_request, websocket
from routes.gateway.errors import (
    BadRequest,
    BodyTooLarge,
    MethodNotAllowed,
    NotFound,
    Refusal,
    UpgradeRequired,
    render,
)
from routes.gateway.health import HealthAnswers
from routes.gateway.metrics import METHODS

if TYPE_CHECKING:
    from routes.gateway.console_relay import ConsoleRelay
    from routes.gateway.cycle import Cycle
    from routes.gateway.endpoints import Endpoint, Match
    from routes.gateway.errors import Headers
    from routes.gateway.exchange import Exchange
    from routes.gateway.socket_edge import SocketProtocol
    from routes.gateway.state import Config, GatewayState

#: What WebSockets may be opened for.
SOCKETS: Final = frozenset({REALTIME, SERVICE})

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
            elif refusal := self._unfit(scope):
                await scope["signalbox"].refuse(refusal)
            else:
                await self._relay(self.relay.http, scope, receive, send)
        elif scope["type"] == "websocket":
            if match is not None:
                with contextlib.suppress(asyncio.CancelledError):  # it is recorded, and nothing comes after it
                    await self._data_plane(scope, receive, scope["signalbox"].answer, match)
            elif refusal := self._unfit(scope):
                scope["signalbox"].refuse(refusal)
            else:
                await self._relay(self.relay.websocket, scope, receive, send)

    def _unfit(self, scope: Any) -> Refusal | None:
        """Why a request is not relayed to the console."""
        problem = intake.fault(scope["headers"], intake.index_headers(scope["headers"]), scope["http_version"])
        if problem is None:
            return None
        self.relay.count(scope, 400)
        return BadRequest(problem)

    async def _relay(self, relay: Any, scope: Any, receive: Any, send: Any) -> None:
        try:
            await relay(scope, receive, send)
        except Exception:
            # The edge answers with 500, unless the console's answer has begun: that one it has counted itself.
            if not scope["signalbox"].response_started:
                self.relay.count(scope, 500)
            raise

    # -- one request -------------------------------------------------------------------------------------
    async def _data_plane(self, scope: Any, receive: Any, send: Any, match: Match) -> None:
        state = self.state
        cycle: Cycle | SocketProtocol = scope["signalbox"]
        index = intake.index_headers(scope["headers"])
        exchange = admission.begin(state, scope, match, index, scope["method"])
        if state.tracing is not None:
            state.tracing.join(exchange, index)
        watch = state.recorder.watch
        if watch is not None:
            send = watch(exchange, send)
        endpoint = match.endpoint
        cycle.attach(exchange)
        try:
            if endpoint is not None and endpoint.operation != "models":
                await self._route(scope, receive, send, exchange, endpoint, match, index)
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
            logger.exception("a request failed inside the gateway", extra={"request_id": exchange.route_id})
            if cycle.response_started:
                state.recorder.finish(exchange, status="failed", error_code="internal")
                raise
            await self._refuse(send, exchange, Refusal(), status="failed")
        finally:
            if exchange.admission is not None:
                exchange.admission.end(exchange, None)
            state.metrics.closed(exchange.id)

    async def _route(
        self,
        scope: Any,
        receive: Any,
        send: Any,
        exchange: Exchange,
        endpoint: Endpoint,
        match: Match,
        index: dict[bytes, bytes],
    ) -> None:
        state = self.state
        is_socket = scope["type"] == "websocket"
        config = self._admit(scope, exchange, index)
        if is_socket:
            if endpoint.operation not in SOCKETS:
                raise BadRequest("this endpoint does not take WebSockets")
        elif endpoint.method not in ("", exchange.method):
            raise MethodNotAllowed(headers={"allow": endpoint.method})
        elif exchange.method == "TRACE":
            raise MethodNotAllowed(headers={"allow": ", ".join(sorted(METHODS))})  # answers with our credential in it
        elif endpoint.operation == REALTIME:
            raise UpgradeRequired(headers={"upgrade": "websocket"})
        admission.choose_profile(exchange, match)
        limits.enter(state, exchange)

        if not is_socket:
            limit = state.settings.max_body_bytes
            length = index.get(b"content-length")
            if length is not None and int(length) > limit:
                raise BodyTooLarge(f"the request body is larger than {limit // (1024 * 1024)} MB")
            exchange.body = await scope["signalbox"].read_body(limit)
        exchange.received = time.monotonic()
        head = admission.understand(exchange, endpoint, index)
        exchange.session = route_request.session_of(exchange, head, index, match.session)
        await limits.reserve(state, exchange, head.output_limit)
        admission.decide_route(state, exchange, config, head, index)
        if is_socket:
            await websocket.run(state, exchange, scope["signalbox"], scope["subprotocols"])
        else:
            await attempts.run(state, exchange, receive, send)

    def _admit(self, scope: Any, exchange: Exchange, index: dict[bytes, bytes]) -> Config:
        is_socket = scope["type"] == "websocket"
        presented = websocket.presented_key(scope["subprotocols"], index) if is_socket else None
        return admission.admit(self.state, exchange, index, scope["http_version"], presented)

    async def _answer_here(
        self, scope: Any, send: Any, exchange: Exchange, match: Match, index: dict[bytes, bytes]
    ) -> None:
        """The model list, which alone leaves no history row, and whatever is no endpoint at all."""
        endpoint = match.endpoint
        snapshot = self._admit(scope, exchange, index).snapshot
        key = exchange.key
        assert key is not None
        if endpoint is None:
            raise NotFound
        if scope["type"] == "websocket":
            raise BadRequest("this endpoint does not take WebSockets")
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(headers={"allow": "GET, HEAD"})
        profile = admission.choose_profile(exchange, match)
        exchange.profile = None  # this is no route of it
        if match.model is None:
            document = models_list.many(exchange.wire, models_list.names(profile, key), snapshot)
        else:
            name = unquote(match.model)
            owner = models_list.owner(profile, key, name)
            if owner is None:
                message = f"no target of profile {profile.slug!r} serves model {name!r}"
                raise NotFound(message, code="model_not_found", param="model")
            document = models_list.one(exchange.wire, name, owner, snapshot)
        await _send_json(send, 200, document, head=exchange.method == "HEAD")
        self.state.recorder.answered(exchange, 200, time.monotonic() - exchange.accepted)

    async def _refuse(self, send: Any, exchange: Exchange, refusal: Refusal, status: str = "rejected") -> None:
        code, headers, body = render(refusal, exchange)
        recorder = self.state.recorder
        if exchange.key is not None and not (exchange.operation == "models" and exchange.method in ("GET", "HEAD")):
            # Unless the attempt loop has written the row already.
            recorder.finish(
                exchange,
                status=status,
                http_status=code,
                error_code=refusal.code,
                message=refusal.message,
                fields=headers,
                rest=body,
            )
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
