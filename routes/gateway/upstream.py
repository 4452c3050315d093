"""The seam to the network: send one request to a provider, get its head and a reader of its body, cancel at any time.

Connections come from aiohttp's connector (pool, DNS, TLS, happy eyeballs, proxies) and answers are read by its
parser, but requests are written here as bytes: a third of the CPU of its session, and every header arrives as it was
meant. Nothing is decoded, followed, added or retried behind the caller's back, except that a request whose *kept-alive*
connection died without one byte of an answer is sent once more on a fresh one (the server had closed it; it is
not an attempt). A WebSocket is a request whose connection is handed over after a 101. Time limits are the caller's:
cancelling is always safe. Knows nothing of profiles and history.

Of aiohttp this uses ``TCPConnector.connect`` and ``ResponseHandler`` below its public surface; the fault suite guards
both, and the version is pinned.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ssl
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import strip_auth_from_url
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from routes.gateway import guard, headers

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from aiohttp.connector import Connection
    from aiohttp.streams import StreamReader

    from routes.engine.snapshot import Target
    from routes.gateway.overlay import Credential

#: Endpoints kept ready; revisions and heads come and go.
MAX_ENDPOINTS: Final = 4096
#: Servers on uvicorn and many others close idle connections after 5 s: stay below it.
KEEP_ALIVE_SECONDS: Final = 4.0
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 256
#: What one read of an upstream's socket brings at most. uvloop would take 256 KB at once by itself.
READ_BYTES: Final = 32 * 1024
#: Reading from the upstream pauses when twice this is waiting for the client.
READ_BUFFER_BYTES: Final = 8 * 1024
#: Bodies above this are written apart from their head.
LARGE_BODY: Final = 64 * 1024
#: How often connections are looked for that have been idle for too long.
TIDY_SECONDS: Final = 0.5

_NO_LIMIT: Final = ClientTimeout(total=None)
_NO_HEADERS: Final[frozenset[bytes]] = frozenset()
#: Methods whose requests say how long they are even when they are empty.
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class UpstreamError(Exception):
    """No complete answer came. ``error_class`` is one of the closed list; the message is for operators (it may
    name hosts, never credentials)."""

    def __init__(self, error_class: str, message: str = "") -> None:
        super().__init__(message)
        self.error_class = error_class
        self.message = message


class _Died(Exception):
    """The connection ended before the head of an answer. ``silent``: without one byte of it; ``written``: after the
    request was sent, or some of it."""

    def __init__(self, message: str, silent: bool, written: bool) -> None:
        super().__init__(message)
        self.message = message
        self.silent = silent
        self.written = written


class _Protocol(ResponseHandler):
    """aiohttp's protocol, which also knows whether it was used before, whether the server has said anything, and
    whether a header was folded (the parser joins those silently)."""

    used = False
    heard = False
    folded = False
    _head: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).set_protocol(_SmallReads(self))

    def begin(self, method: str) -> None:
        """A request is about to be written."""
        self.heard = self.folded = False
        self._head = b""
        self.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
            max_headers=MAX_HEADERS,
        )

    def data_received(self, data: bytes) -> None:
        self.heard = True
        if self._head is not None:
            self._look_at_head(data)
        super().data_received(data)

    def _look_at_head(self, data: bytes) -> None:
        head = self._head + data if self._head else data
        end = head.find(b"\r\n\r\n")
        while end >= 0 and head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
            head = head[end + 4 :]  # early hints and the like: another head follows
            end = head.find(b"\r\n\r\n")
        self._head = head if end < 0 else None
        if len(head) > MAX_HEAD_BYTES and (end < 0 or end > MAX_HEAD_BYTES):
            self._head = None
            self.set_exception(HttpProcessingError(message="the head of the answer is larger than 64 KB"))
            if self.transport is not None:
                self.transport.abort()
        if head.find(b"\n ", 0, end) >= 0 or head.find(b"\n\t", 0, end) >= 0:
            self.folded = True


#: What every upstream socket is read into; its content is taken before anything else can run.
_buffer = memoryview(bytearray(READ_BYTES))


class _SmallReads(asyncio.BufferedProtocol):
    """Stands between a transport and its protocol, so that no read brings more than ``READ_BYTES``: together with the
    pauses in reading that bounds what waits for a client."""

    def __init__(self, inner: _Protocol) -> None:
        self._inner = inner
        self.connection_lost = inner.connection_lost  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._inner.data_received(bytes(_buffer[:nbytes]))


class Reply:
    """An answer whose head has arrived. Names in ``headers`` are lower-case; values as they came.

    Read to the end or call ``close``; ``release`` keeps the connection if the body was read to its end.
    """

    __slots__ = ("_connection", "_payload", "headers", "received", "status")

    def __init__(
        self, connection: Connection, status: int, raw_headers: list[tuple[bytes, bytes]], payload: StreamReader
    ) -> None:
        self._connection = connection
        self._payload = payload
        self.status = status
        self.headers = raw_headers
        self.received = 0  # body bytes read so far

    def header(self, name: bytes) -> bytes | None:
        for each, value in self.headers:
            if each == name:
                return value
        return None

    def switch(self, take_over: Callable[[asyncio.Transport], None]) -> bytes:
        """After a 101: ``take_over`` gives the connection its new protocol. Returns what followed the head. Raises
        UpstreamError when the connection is gone already. ``close`` stays to be called."""
        protocol: Any = self._connection.protocol
        transport = protocol.transport if protocol is not None else None
        if transport is None or transport.is_closing():
            raise UpstreamError("reset_before_headers", "closed as soon as it was accepted")
        take_over(transport)
        tail: bytes = protocol._tail
        return tail

    async def read(self) -> bytes:
        """Whatever has arrived, at least one byte; b"" at the end. Raises UpstreamError when the body is cut."""
        payload = self._payload
        try:
            data = await payload.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError) as error:
            # readany() prefers the error over what arrived before it; the client shall have those bytes.
            if not payload._buffer:
                raise UpstreamError("truncated", _words(error)) from None
            data = payload._read_nowait(-1)
        self.received += len(data)
        return data

    @property
    def ended(self) -> bool:
        """Whether the end of the body has arrived and been read."""
        return self._payload.at_eof()

    def release(self) -> None:
        """Done. The connection goes back to the pool if it is clean, and is closed otherwise."""
        self._connection.release()

    def close(self) -> None:
        """Done before the end, or of no more use: the upstream sees the connection close. Idempotent."""
        self._connection.close()


class Endpoint:
    """One target as of one credential: everything about a request to it that is not the client's."""

    __slots__ = ("_dropped", "_lines", "_prefix", "_query", "connector", "fresh", "generation", "provider", "request")

    def __init__(self, target: Target, credential: Credential | None, pool: _Pool) -> None:
        self.provider = provider = target.provider
        self.generation = credential.generation if credential is not None else 0
        self.connector = pool.kept
        self.fresh = pool.fresh
        url = URL(target.endpoint)
        proxy, proxy_auth = strip_auth_from_url(URL(provider.proxy)) if provider.proxy else (None, None)
        #: what the connector needs to find or make a connection; never sent
        self.request = ClientRequest(
            "POST", url, loop=asyncio.get_running_loop(), proxy=proxy, proxy_auth=proxy_auth, ssl=True
        )
        host = url.host_subcomponent or ""
        authority = host if url.is_default_port() else f"{host}:{url.port}"
        self._prefix = url.raw_path.rstrip("/").encode("ascii")
        own = {"host": authority, "accept-encoding": "identity"}
        if provider.auth is not None and credential is not None:
            header, prefix = provider.auth
            own[header.lower()] = f"{prefix}{credential.value}"
        for name, value in provider.headers.items():
            own[name.lower()] = value
        if proxy is not None and url.scheme == "http":
            # A plain request through a proxy names its destination itself.
            self._prefix = b"http://%b%b" % (authority.encode("ascii"), self._prefix)
            if proxy_auth is not None:
                own["proxy-authorization"] = proxy_auth.encode()
        self._lines = b"".join(_line(name, value) for name, value in own.items())
        self._dropped = headers.REQUEST_DROPPED | {name.encode() for name in own}
        self._query = urlencode(provider.query, quote_via=quote).encode("ascii")

    def head(
        self,
        method: str,
        resource: str,
        query: bytes,
        client_headers: list[tuple[bytes, bytes]],
        length: int,
        dropped: frozenset[bytes] = _NO_HEADERS,
        added: tuple[tuple[bytes, bytes], ...] = (),
        upgrade: tuple[tuple[bytes, bytes], ...] = (),
        traceparent: bytes = b"",
    ) -> bytes:
        """The head of a request. ``query`` is the client's, as it came; ``resource`` follows the base URL. ``dropped``
        and ``added``: headers that belong to the format of one side only. ``upgrade``: those of a handshake.
        ``traceparent``: this attempt's, where there are traces."""
        if self._query:
            query = b"%b&%b" % (query, self._query) if query else self._query
        path = self._prefix + resource.encode("ascii") or b"/"
        if added:
            dropped |= {name for name, _ in added}
        lines = headers.forwarded(client_headers, self._dropped | dropped if dropped else self._dropped)
        lines += [b"%b: %b\r\n" % header for header in added if header[0] not in self._dropped]
        lines += [b"%b: %b\r\n" % header for header in upgrade]
        if traceparent and b"traceparent" not in self._dropped:
            lines.append(b"traceparent: %b\r\n" % traceparent)
        if length or method in _WITH_BODY:
            lines.append(b"content-length: %d\r\n" % length)
        return b"".join(
            [
                b"%b %b?%b HTTP/1.1\r\n" % (method.encode("ascii"), path, query)
                if query
                else b"%b %b HTTP/1.1\r\n" % (method.encode("ascii"), path),
                self._lines,
                *lines,
                b"\r\n",
            ]
        )


def _line(name: str, value: str) -> bytes:
    line = f"{name}: {value}\r\n".encode()
    if line.count(b"\r") != 1 or line.count(b"\n") != 1 or b"\0" in line:
        raise UpstreamError("internal", f"the provider's header {name!r} holds a line break or NUL")
    return line


class _Pool:
    """Connections that were checked against one set of networks. Providers that may reach different networks must
    not share any: a name can lead to an address one of them may not use."""

    __slots__ = ("_timer", "fresh", "kept")

    def __init__(self, allowed: frozenset[str]) -> None:
        make_socket = guard.socket_factory(allowed)
        self.kept = _connector(make_socket, keepalive_timeout=KEEP_ALIVE_SECONDS)
        self.fresh = _connector(make_socket, force_close=True)
        self._timer = self._soon()

    def _soon(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(TIDY_SECONDS, self._tidy)

    def _tidy(self) -> None:
        """By itself the connector looks as seldom as connections live, so that some live twice as long."""
        self.kept._cleanup()
        self._timer = self._soon()

    async def close(self) -> None:
        self._timer.cancel()
        await self.kept.close()
        await self.fresh.close()


def _connector(make_socket: Callable[[tuple[Any, ...]], socket.socket], **options: Any) -> TCPConnector:
    connector = TCPConnector(limit=0, socket_factory=make_socket, **options)
    connector._factory = functools.partial(_Protocol, loop=asyncio.get_running_loop())  # type: ignore[assignment]
    return connector


class Upstream:
    """All upstream connections of a process. ``networks`` is the ceiling for every provider's ``network``.

    Through a proxy the gateway connects to the proxy, so that is what is checked, against the ceiling alone: the
    proxy is the operator's, and what it may reach is its own affair.
    """

    def __init__(self, networks: frozenset[str]) -> None:
        self._networks = networks
        self._pools: dict[frozenset[str], _Pool] = {}
        self._endpoints: dict[str, Endpoint] = {}

    def endpoint(self, target: Target, credential: Credential | None) -> Endpoint:
        """The target's endpoint, its provider's or a head's; built when the provider or its credential has changed."""
        provider = target.provider
        known = self._endpoints.get(target.id)
        generation = credential.generation if credential is not None else 0
        if known is not None and known.provider is provider and known.generation == generation:
            return known
        allowed = self._networks if provider.proxy else guard.ALLOWED[provider.network] & self._networks
        pool = self._pools.get(allowed)
        if pool is None:
            pool = self._pools[allowed] = _Pool(allowed)
        if len(self._endpoints) >= MAX_ENDPOINTS:
            self._endpoints.clear()  # mostly of targets that are gone; what is in use comes back at once
        endpoint = self._endpoints[target.id] = Endpoint(target, credential, pool)
        return endpoint

    async def send(
        self,
        endpoint: Endpoint,
        method: str,
        head: bytes,
        body: bytes,
        connected: Callable[[], None],
        *,
        again: bool = True,
    ) -> Reply:
        """Send a request and wait for the head of its answer. Raises UpstreamError. ``connected`` is called when
        there is a connection: the limit for connecting is over. ``again``: the request may be written a second time
        when a kept connection died under it; if not, nobody knows whether the server has acted on it."""
        connection = await _connect(endpoint.connector, endpoint)
        connected()
        protocol = connection.protocol
        reused = protocol.used  # type: ignore[union-attr]
        try:
            return await _ask(connection, method, head, body)
        except _Died as death:
            if not (reused and death.silent and (again or not death.written)):
                raise UpstreamError("reset_before_headers", death.message) from None
        connection = await _connect(endpoint.fresh, endpoint)
        try:
            return await _ask(connection, method, head, body)
        except _Died as death:
            raise UpstreamError("reset_before_headers", death.message) from None

    async def upgrade(self, endpoint: Endpoint, head: bytes, connected: Callable[[], None]) -> Reply:
        """Send a WebSocket handshake, on a connection of its own, and wait for the head of the answer: see
        ``Reply.switch`` for a 101. Raises UpstreamError."""
        connection = await _connect(endpoint.fresh, endpoint)
        connected()
        try:
            return await _ask(connection, "GET", head, b"", upgrades=True)
        except _Died as death:
            raise UpstreamError("reset_before_headers", death.message) from None

    async def reach(self, endpoint: Endpoint) -> None:
        """Connect, with TLS where the address asks for it, and close again; through a proxy, as far as the proxy says
        that it got there (https) or is there itself (http). Raises UpstreamError."""
        (await _connect(endpoint.fresh, endpoint)).close()

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
        self._pools.clear()
        self._endpoints.clear()


async def _connect(connector: TCPConnector, endpoint: Endpoint) -> Connection:
    try:
        return await connector.connect(endpoint.request, [], _NO_LIMIT)
    except aiohttp.ClientConnectorDNSError as error:
        raise UpstreamError("dns", _words(error)) from None
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise UpstreamError("tls", _words(error)) from None
    except aiohttp.ClientConnectorError as error:
        raise UpstreamError(_class_of(error.os_error), _words(error.os_error)) from None
    except (aiohttp.ClientError, OSError, RuntimeError, ValueError) as error:
        raise UpstreamError(_class_of(error), _words(error)) from None


def _class_of(error: Exception) -> str:
    """The error class of a connection that did not come about, or was gone as soon as it was there."""
    if isinstance(error, TimeoutError):
        return "connect_timeout"
    gone = isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE)
    return "reset_before_headers" if gone else "connect_refused"


async def _ask(connection: Connection, method: str, head: bytes, body: bytes, *, upgrades: bool = False) -> Reply:
    """One request on one connection. Whatever goes wrong, the connection is closed."""
    protocol: Any = connection.protocol
    try:
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise _Died("closed before the request was sent", silent=True, written=False)
        protocol.begin(method)
        protocol.used = True
        # Two writes of a large request cost less than copying it into one.
        if len(body) > LARGE_BODY:
            transport.write(head)
            transport.write(body)
        else:
            transport.write(head + body)
        while True:
            message, payload = await protocol.read()
            if message.code >= 200 or (message.code == 101 and upgrades):
                break
            if message.code == 101:
                raise UpstreamError("upstream_framing", "the upstream switched protocols without being asked to")
        if message.code > 599:
            raise UpstreamError("upstream_framing", "the status of the answer is none")
        if protocol.folded:
            raise UpstreamError("upstream_framing", "a header of the answer is folded")
        fields = [(name.lower(), value) for name, value in message.raw_headers]
        for name, value in fields:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                raise UpstreamError("upstream_framing", "the answer has a transfer encoding other than chunked")
        return Reply(connection, message.code, fields, payload)
    except HttpProcessingError as error:
        connection.close()
        raise UpstreamError("upstream_framing", _words(error)) from None
    except (aiohttp.ClientError, OSError) as error:
        silent = not protocol.heard
        connection.close()
        raise _Died(_words(error), silent, written=True) from None
    except BaseException:
        connection.close()
        raise


def _words(error: BaseException) -> str:
    """An error in one short line, for operators."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__
