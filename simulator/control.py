"""The control endpoint: behaviours, request logs, stop and start of the providers of this process, over loopback HTTP.

`GET /` lists the providers. `/providers/{name}/behaviour`: GET, PATCH (partial), DELETE (as started, log emptied).
`/providers/{name}/requests`: GET, DELETE. `POST /providers/{name}/stop` and `/start`. No authentication, so it listens
on loopback only and answers no web page: neither one that names itself (Origin) nor one that rebinds a name (Host).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from simulator import behaviour as behaviours
from simulator.behaviour import BehaviourError
from simulator.connection import Connection, Request
from simulator.script import Answer, Script, honest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.provider import Provider

_LOOPBACK = frozenset({"127.0.0.1", "localhost"})


class Control:
    """Serves on `host:port`; `url` is known once open."""

    def __init__(self, providers: Mapping[str, Provider], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._providers = providers
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    async def open(self) -> None:
        """Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(partial(Connection, self, loop), self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.reset()

    def connected(self, connection: Connection) -> None:
        self._connections.add(connection)

    def disconnected(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def respond(self, request: Request) -> Script:
        status, document = self._handle(request)
        headers = [(b"content-type", b"application/json")]
        body = b"" if document is None else orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
        return honest(Answer(status, headers, body=body))

    def _handle(self, request: Request) -> tuple[int, Any]:
        host = (request.header(b"host") or b"").decode("latin-1").rpartition(":")[0]
        if request.header(b"origin") is not None or host not in _LOOPBACK:
            return _refused(403, "for programs on this machine only")
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        if parts == [""]:
            return 200, {"providers": [self._summary(provider) for provider in self._providers.values()]}
        if len(parts) != 3 or parts[0] != "providers":
            return _refused(404, "no such path")
        provider = self._providers.get(parts[1])
        if provider is None:
            return _refused(404, f"no provider {parts[1]!r} here")
        match request.method, parts[2]:
            case "GET", "behaviour":
                return 200, behaviours.write(provider.behaviour)
            case "PATCH", "behaviour":
                return self._patched(provider, request.body)
            case "DELETE", "behaviour":
                provider.reset()
                return 200, behaviours.write(provider.behaviour)
            case "GET", "requests":
                return 200, provider.log.as_document()
            case "DELETE", "requests":
                provider.log.clear()
                return 204, None
            case "POST", "stop":
                provider.stop()
                return 200, self._summary(provider)
            case "POST", "start":
                provider.start()
                return 200, self._summary(provider)
            case _, "behaviour" | "requests" | "stop" | "start":
                return _refused(405, "method not allowed here")
        return _refused(404, "no such path")

    def _patched(self, provider: Provider, body: bytes) -> tuple[int, Any]:
        try:
            provider.behave(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            return _refused(400, f"not JSON: {error}")
        except BehaviourError as error:
            return _refused(400, str(error))
        return 200, behaviours.write(provider.behaviour)

    def _summary(self, provider: Provider) -> dict[str, Any]:
        return {
            "name": provider.name,
            "wire": provider.wire_name,
            "base_url": provider.base_url,
            "listening": provider.listening,
            "requests": provider.log.total,
        }


def _refused(status: int, message: str) -> tuple[int, Any]:
    return status, {"error": message}
