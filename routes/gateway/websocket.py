"""WebSockets of the data plane: which target a handshake goes to, and what is recorded of the connection.

An attempt is a connection and a handshake; it may fail over until a target has accepted, and only then is the client's
handshake answered. From there ``socket_relay`` carries messages and this waits for the end. A handshake that was
accepted is a success of its target, a connection that is cut later one failure. Nothing is translated: realtime goes
to OpenAI's format, a service to whatever takes its messages. The row says who ended it, and what went through.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
from math import inf
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote_to_bytes

import orjson
from websockets.utils import accept_key

from routes.engine import retry
from routes.engine.types import REALTIME
from routes.gateway import headers
from routes.gateway.attempts import Route
from routes.gateway.auth import presented_value
from routes.gateway.errors import Unauthenticated
from routes.gateway.prepare import Outgoing
from routes.gateway.recorder import SWITCHING_PROTOCOLS
from routes.gateway.relay import after, as_failure
from routes.gateway.socket_relay import Ending, Tunnel
from routes.gateway.trial import Trial
from routes.gateway.upstream import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routes.engine.live import Claim
    from routes.engine.types import Ranked
    from routes.gateway.deadlines import Watch
    from routes.gateway.exchange import Exchange
    from routes.gateway.headers import RawHeaders
    from routes.gateway.socket_edge import SocketProtocol
    from routes.gateway.state import GatewayState
    from routes.gateway.upstream import Reply

#: How a browser, which can set no header of a handshake, presents its key.
KEY_SUBPROTOCOL: Final = "openai-insecure-api-key."
#: Subprotocols that name the client's own account; they are not offered to the provider and never agreed on.
_ACCOUNT_SUBPROTOCOLS: Final = (KEY_SUBPROTOCOL, "openai-organization.", "openai-project.")
#: Headers of a handshake that are written anew for each side.
_HANDSHAKE: Final = frozenset(
    {
        b"sec-websocket-key",
        b"sec-websocket-version",
        b"sec-websocket-extensions",
        b"sec-websocket-protocol",
        b"sec-websocket-accept",
    }
)
GOING_AWAY: Final = 1001
SERVICE_RESTART: Final = 1012
MESSAGE_TOO_BIG: Final = 1009
#: In the event that tells what an answer used.
_ANSWERED: Final = b'"response.done"'


def presented_key(subprotocols: Sequence[str], index: dict[bytes, bytes]) -> bytes | None:
    """The key's value in a subprotocol; None = it is in a header, or nowhere. Raises Unauthenticated."""
    values = {each.removeprefix(KEY_SUBPROTOCOL) for each in subprotocols if each.startswith(KEY_SUBPROTOCOL)}
    if not values:
        return None
    value = values.pop().encode()
    header = presented_value(index.get(b"authorization"), index.get(b"x-api-key"))
    if values or (header and not hmac.compare_digest(header, value)):
        raise Unauthenticated("more than one access key is given")
    return value


async def run(state: GatewayState, exchange: Exchange, edge: SocketProtocol, subprotocols: Sequence[str]) -> None:
    """Hold the connection from its first attempt to its end, or raise the Refusal that answers its handshake."""
    watch = state.sweeper.watch()
    try:
        await _Socket(state, exchange, watch, edge, subprotocols).run()
    finally:
        watch.close()


class _Socket(Route):
    """A WebSocket: an attempt asks a target to accept it, and stays until it is over."""

    __slots__ = ("_edge", "_offered", "_tunnel")

    def __init__(
        self,
        state: GatewayState,
        exchange: Exchange,
        watch: Watch,
        edge: SocketProtocol,
        subprotocols: Sequence[str],
    ) -> None:
        super().__init__(state, exchange, watch, edge.answer)
        self._edge = edge
        self._offered = [each for each in subprotocols if not each.startswith(_ACCOUNT_SUBPROTOCOLS)]
        self._tunnel: Tunnel | None = None

    async def attempt(self, place: Ranked, claim: Claim) -> bool:
        state, exchange = self.state, self.exchange
        self.trial = trial = Trial(state, exchange, place, claim, self.timeouts.first_byte)
        reply: Reply | None = None
        try:
            state.recorder.started(exchange, place)
            secret = base64.b64encode(secrets.token_bytes(16))
            reply = await self._shake(place, secret)
            trial.answered(reply.status)
            if reply.status == SWITCHING_PROTOCOLS:
                subprotocol = self._agreed(reply, secret)
                tunnel = self._open(reply, subprotocol)
                await self._hold(tunnel)
                return True
            if 200 <= reply.status < 300 or reply.status == retry.NOT_MODIFIED:
                raise UpstreamError("invalid_response", f"HTTP {reply.status} instead of an accepted WebSocket")
            return await self.ruled_on_status(
                reply, Outgoing(exchange.resource, b"", exchange.operation, exchange.wire)
            )
        except (UpstreamError, asyncio.CancelledError) as error:
            try:
                failure = as_failure(error, exchange, self.watch)
            except asyncio.CancelledError:
                trial.close("neutral", "cancelled", received=reply.received if reply is not None else 0)
                raise
            if trial.committed:
                return True  # an error answer that the client does not take in time
            self.failed(retry.rule_on_failure(failure.error_class), failure.message, reply)
            return False
        finally:
            trial.close("neutral", "internal")  # closed already, unless something of ours failed
            if reply is not None:
                reply.close()

    # -- the handshake -------------------------------------------------------------------------------------------
    async def _shake(self, place: Ranked, secret: bytes) -> Reply:
        """Ask a place to accept, and wait for the head of its answer."""
        state, exchange, target = self.state, self.exchange, place.target
        endpoint = state.upstream.endpoint(target, state.credential(target.provider.id))
        upgrade = [
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", secret),
        ]
        if self._offered:
            upgrade.append((b"sec-websocket-protocol", ", ".join(self._offered).encode()))
        query = exchange.query
        if exchange.operation == REALTIME and place.model != exchange.model:
            query = with_model(query, place.model)
        head = endpoint.head(
            "GET", exchange.resource, query, exchange.headers, 0, dropped=_HANDSHAKE, upgrade=tuple(upgrade)
        )
        self.watch.limit(after(state.clock(), self.timeouts.connect), "connect_timeout")
        return await state.upstream.upgrade(endpoint, head, self._connected)

    def _connected(self) -> None:
        self.watch.limit(after(self.state.clock(), self.timeouts.first_byte), "timeout_first_byte")

    def _agreed(self, reply: Reply, secret: bytes) -> bytes | None:
        """The subprotocol of an accepted handshake, once everything about it is as it must be."""
        if (reply.header(b"sec-websocket-accept") or b"").strip() != accept_key(secret.decode()).encode():
            raise UpstreamError("upstream_framing", "the handshake was accepted with a wrong Sec-WebSocket-Accept")
        if (reply.header(b"upgrade") or b"").strip().lower() != b"websocket":
            raise UpstreamError("upstream_framing", "the upstream switched to something else than WebSocket")
        if reply.header(b"sec-websocket-extensions"):
            raise UpstreamError("upstream_framing", "the handshake was accepted with an extension nobody offered")
        chosen = [value.strip() for name, value in reply.headers if name == b"sec-websocket-protocol"]
        if not chosen:
            return None
        if len(chosen) > 1 or chosen[0].decode("latin-1") not in self._offered:
            raise UpstreamError("invalid_response", "the handshake was accepted with a subprotocol nobody offered")
        return chosen[0]

    def _open(self, reply: Reply, subprotocol: bytes | None) -> Tunnel:
        """Accept the client's handshake too, and connect the two. Does not await: nobody can leave in between."""
        state, exchange, trial = self.state, self.exchange, self.trial
        assert trial is not None
        self._tunnel = tunnel = Tunnel(self._ended, self._heard if exchange.operation == REALTIME else None)
        from_upstream = reply.switch(tunnel.upstream.open)
        trial.commit()
        fields: RawHeaders = [each for each in headers.received(reply.headers) if each[0] not in _HANDSHAKE]
        if subprotocol is not None:
            fields.append((b"sec-websocket-protocol", subprotocol))
        fields += state.recorder.route_headers(exchange)
        from_client = self._edge.accept(fields, tunnel.client.open)
        tunnel.begin(from_client, from_upstream)
        state.metrics.sockets.add(exchange.id)
        return tunnel

    # -- the connection ------------------------------------------------------------------------------------------
    async def _hold(self, tunnel: Tunnel) -> None:
        """Until both sides have closed. Only we end it from here: at ``stream_max``, or at the end of a shutdown."""
        watch = self.watch
        watch.limit(inf, "")
        watch.ceiling = after(self.state.clock(), self.timeouts.stream_max)
        try:
            try:
                await asyncio.shield(tunnel.over)
            except asyncio.CancelledError as error:
                as_failure(error, self.exchange, watch)
                tunnel.stop(GOING_AWAY, "the connection was open for as long as it may be")
                await asyncio.shield(tunnel.over)
        except asyncio.CancelledError:
            tunnel.stop(SERVICE_RESTART, "the gateway restarts")
            raise
        finally:
            tunnel.cut()
            self._edge.left()

    def _heard(self, message: bytes) -> None:
        """Add up what the answers of a realtime session used."""
        if _ANSWERED not in message:
            return
        try:
            event = orjson.loads(message)
            told = event["response"]["usage"] if event["type"] == "response.done" else None
            counted = None if told is None else (told["input_tokens"], told["output_tokens"])
            cached = 0 if told is None else (told.get("input_token_details") or {}).get("cached_tokens") or 0
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if counted is None or not all(type(number) is int for number in (*counted, cached)):
            return
        usage = self.exchange.usage
        usage.input = (usage.input or 0) + counted[0]
        usage.output = (usage.output or 0) + counted[1]
        usage.cached = (usage.cached or 0) + cached

    def _ended(self, ending: Ending) -> None:
        """The row, before anybody is told."""
        tunnel, trial = self._tunnel, self.trial
        assert tunnel is not None
        assert trial is not None
        client, upstream = tunnel.client, tunnel.upstream
        self.exchange.metrics += [
            ("bytes_from_client", client.bytes_received, "bytes"),
            ("bytes_to_client", client.bytes_sent, "bytes"),
            ("messages_from_client", client.messages_received, "messages"),
            ("messages_to_client", client.messages_sent, "messages"),
        ]
        status, error_class, verdict, message = _told(ending)
        message = self.redacted(message)
        trial.close(verdict, error_class, message if error_class else "", upstream.bytes_received)
        self.state.recorder.finish(
            self.exchange, status=status, http_status=SWITCHING_PROTOCOLS, error_code=error_class, message=message
        )


def _told(ending: Ending) -> tuple[str, str | None, Any, str]:
    """(status of the route, error class, what the target's circuit hears, message)"""
    who = "provider" if ending.by == "upstream" else ending.by
    match ending.how:
        case "closed":
            said = f": {ending.reason}" if ending.reason else ""
            return "routed", None, "success", f"closed by the {who} with {ending.code}{said}"
        case "stopped" if ending.code == GOING_AWAY:
            return "timeout", "timeout_total", "neutral", "closed by the gateway with 1001 after stream_max"
        case "stopped":
            return "interrupted", "cancelled", "neutral", f"closed by the gateway with {ending.code} at its shutdown"
        case "broke" if ending.code == MESSAGE_TOO_BIG:
            return "failed", "too_large", "neutral", f"a message of the {who} was larger than 16 MB: closed with 1009"
        case "broke" if ending.by == "client":
            return "failed", "client_error", "neutral", f"the client broke the protocol: {ending.reason}"
        case "broke":
            return "failed", "upstream_framing", "failure", f"the provider broke the protocol: {ending.reason}"
        case "silent" if ending.by == "client":
            return "cancelled", "cancelled", "neutral", "the client answered no ping"
        case "silent":
            return "failed", "timeout_idle", "failure", "the provider answered no ping"
        case _ if ending.by == "client":
            return "cancelled", "cancelled", "neutral", "the client left without a close frame"
    return "failed", "reset_midstream", "failure", "the provider's connection ended without a close frame"


def with_model(query: bytes, model: str) -> bytes:
    """``query`` with its ``model`` replaced, otherwise byte for byte as it was."""
    parts = query.split(b"&")
    for place, part in enumerate(parts):
        name, _, _ = part.partition(b"=")
        if unquote_to_bytes(name) == b"model":
            parts[place] = name + b"=" + quote(model, safe="").encode()
    return b"&".join(parts)
