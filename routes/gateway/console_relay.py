"""Relays everything that is not data plane to the console process over its Unix socket: HTTP both ways unbuffered,
and, through ``console_sockets``, WebSockets. Requests to providers never come near this.

The console sees the client through ``X-Forwarded-For``, ``-Proto`` and ``-Host``, which only we set. While the
console is down the answer is a clear 503; the gateway goes on. Both say the same ``X-Request-Id``.
"""

from __future__ import annotations

import asyncio
import html
import logging
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from routes.gateway import intake
from routes.gateway.console_sockets import relay_socket
from routes.gateway.stalled import Stalled, send_or_cut, watch_over
from routing_project import request_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from routes.gateway.state import GatewayState

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
FORWARDED: Final = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"forwarded"}
)
REQUEST_ID: Final = "X-Request-Id"
#: Scraping is not counted, whoever answers.
METRICS_PATH: Final = b"/metrics"
CONNECT_SECONDS: Final = 3.0
DOWN: Final = "The console is not running at the moment. Routing is not affected; it comes back by itself."

logger = logging.getLogger(__name__)


class ConsoleRelay:
    """One HTTP client to the console, made on first use (it belongs to the running loop)."""

    def __init__(self, state: GatewayState) -> None:
        self.state = state
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            path = self.state.settings.console_socket
            assert path is not None
            self._session = aiohttp.ClientSession(
                # Watchers hold their connection for hours, so no limit; idle ones go before uvicorn's 5 s.
                connector=aiohttp.UnixConnector(str(path), limit=0, keepalive_timeout=4),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                max_line_size=64 * 1024,
                max_field_size=64 * 1024,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def forwarded_headers(self, scope: Any) -> CIMultiDict[str]:
        """The client's headers without what belongs to its connection, and with who it is."""
        headers: intake.RawHeaders = scope["headers"]
        index = intake.index_headers(headers)
        trusted = self.state.settings.trusted_proxies
        believed = intake.is_trusted(scope["client"], trusted)
        dropped = HOP_BY_HOP | FORWARDED
        if named := index.get(b"connection"):
            dropped |= {name.strip().lower() for name in named.split(b",")}
        result: CIMultiDict[str] = CIMultiDict()
        for name, value in headers:
            if name not in dropped:
                result.add(name.decode("ascii"), value.decode())
        result["X-Forwarded-For"] = intake.client_address(scope["client"], index.get(b"x-forwarded-for"), trusted)
        proto = index.get(b"x-forwarded-proto") if believed else None
        host = index.get(b"x-forwarded-host") if believed else None
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        result["X-Forwarded-Proto"] = "https" if proto == b"https" else "http" if proto else scheme
        result["X-Forwarded-Host"] = (host or index.get(b"host", b"")).decode()
        # The client's own, or one of ours: the same here, in the console and in the answer.
        result[REQUEST_ID] = request_ids.of_headers(headers)
        return result

    # -- HTTP ----------------------------------------------------------------------------------------------
    async def http(self, scope: Any, receive: Any, send: Any) -> None:
        cycle = scope["signalbox"]
        cycle.attach(None)
        headers = self.forwarded_headers(scope)
        # The console puts bodies on disk before it asks who sends them.
        upload = _Upload(receive, self.state.settings.max_body_bytes)
        has_body = "content-length" in headers or any(name == b"transfer-encoding" for name, _ in scope["headers"])
        if int(headers.get("content-length", 0)) > upload.limit:
            await self._too_large(scope, send, upload.limit, headers[REQUEST_ID])
            return
        headers.popall("expect", None)  # answered by our own edge
        about = {"request_id": headers[REQUEST_ID]}
        try:
            response = await self.session.request(
                scope["method"],
                _url(scope),
                headers=headers,
                data=upload if has_body else None,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if upload.too_large:
                await self._too_large(scope, send, upload.limit, headers[REQUEST_ID])
                return
            logger.warning("the console did not answer: %s", type(error).__name__, extra=about)
            await self._down(scope, send, headers[REQUEST_ID])
            return
        try:
            await self._answer(response, scope, send)
        except Stalled:
            logger.info("a client took nothing of an answer of the console's and was cut off", extra=about)
        except (aiohttp.ClientError, OSError) as error:
            # Returning before the last body message closes the connection: the client sees a cut answer.
            logger.warning("the console broke off an answer: %s", type(error).__name__, extra=about)
        finally:
            response.release() if response.content.at_eof() else response.close()

    async def _answer(self, response: aiohttp.ClientResponse, scope: Any, send: Any) -> None:
        headers = [(name.lower(), value) for name, value in response.raw_headers if name.lower() not in HOP_BY_HOP]
        headers = [header for header in headers if header[0] != b"date"]  # our edge has its own
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        # The head leaves with the first body message: an event stream's must not wait for its first event.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        if response.content_type == "text/event-stream":
            watch_over(scope)
            await self._watch(response, scope, send)
        else:
            await _pass_on(response.content, scope, send)
        await send_or_cut(scope, send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self, response: aiohttp.ClientResponse, scope: Any, send: Any) -> None:
        """Until the stream is over, or this process is told to stop: watchers end at once."""

        async def close() -> None:
            await self.state.closing.wait()
            response.close()

        closing = asyncio.create_task(close())  # one for the whole stream: it costs nothing per piece
        try:
            await _pass_on(response.content, scope, send)
        except aiohttp.ClientError:
            if not self.state.closing.is_set():
                raise
        finally:
            closing.cancel()

    async def _down(self, scope: Any, send: Any, request_id: str) -> None:
        accept = intake.index_headers(scope["headers"]).get(b"accept", b"")
        if b"text/html" in accept:
            body = (
                '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Console unavailable</title></head>'
                f"<body><h1>Console unavailable</h1><p>{html.escape(DOWN)}</p></body></html>"
            ).encode()
            kind = b"text/html; charset=utf-8"
        else:
            body = _error("console_unavailable", DOWN)
            kind = b"application/json"
        self.count(scope, 503)
        await _say(scope, send, 503, kind, body, request_id, [(b"retry-after", b"2")])

    def count(self, scope: Any, status: int) -> None:
        """An answer of this gateway to what would have been the console's."""
        if scope["raw_path"] != METRICS_PATH:
            self.state.recorder.unrouted(scope.get("method", "GET"), status)

    async def _too_large(self, scope: Any, send: Any, limit: int, request_id: str) -> None:
        self.count(scope, 413)
        body = _error("too_large", f"the request body is larger than {limit // (1024 * 1024)} MB")
        await _say(scope, send, 413, b"application/json", body, request_id)

    # -- WebSocket ---------------------------------------------------------------------------------------
    async def websocket(self, scope: Any, receive: Any, send: Any) -> None:
        headers = self.forwarded_headers(scope)
        if not await relay_socket(self.session, _url(scope), headers, scope, receive, send):
            self.count(scope, 503)


async def _pass_on(content: aiohttp.StreamReader, scope: Any, send: Any) -> None:
    while chunk := await content.readany():
        await send_or_cut(scope, send, {"type": "http.response.body", "body": chunk, "more_body": True})


def _url(scope: Any) -> URL:
    """The address inside the Unix socket; path and query byte for byte as the client sent them."""
    target = scope["raw_path"].decode("ascii")
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    return URL(f"http://console{target}", encoded=True)


def _error(code: str, message: str) -> bytes:
    """An error in the shape of the control API's."""
    return orjson.dumps({"error": {"code": code, "message": message, "fields": {}}})


async def _say(
    scope: Any,
    send: Any,
    status: int,
    kind: bytes,
    body: bytes,
    request_id: str,
    more: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (request_ids.HEADER, request_id.encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body, "more_body": False})


class _Upload:
    """The client's body, piece by piece, and broken off where it is longer than ``limit``."""

    def __init__(self, receive: Any, limit: int) -> None:
        self._receive = receive
        self.limit = limit
        self.too_large = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise aiohttp.ClientPayloadError("the client's body ended early")
            size += len(message["body"])
            if size > self.limit:
                self.too_large = True
                raise aiohttp.ClientPayloadError("the client's body is too large")
            if message["body"]:
                yield message["body"]
            if not message["more_body"]:
                return
