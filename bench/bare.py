"""The reference in Python: uvicorn and aiohttp with nothing between them, `python -m bench.bare --fd N --upstream URL`.

What the gateway costs beyond this is its own doing: keys, decisions, journal, metrics, framing, failover.
"""

from __future__ import annotations

import argparse
import socket
from typing import Any

import aiohttp
import uvicorn
from yarl import URL

HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"host", b"content-length"})


class Bare:
    """Forwards every request to one upstream and its answer back, piece by piece."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("HTTP only")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"] if name not in HOP_BY_HOP]
        url = URL(self._upstream + scope["raw_path"].decode(), encoded=True)
        async with self._session.request(scope["method"], url, data=body, headers=headers) as answer:
            kept = [(name, value) for name, value in answer.raw_headers if name.lower() not in HOP_BY_HOP]
            if answer.content_length is not None:
                whole = await answer.read()
                kept.append((b"content-length", b"%d" % len(whole)))
                await send({"type": "http.response.start", "status": answer.status, "headers": kept})
                await send({"type": "http.response.body", "body": whole})
                return
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bare")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    config = uvicorn.Config(
        Bare(options.upstream), loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="warning"
    )
    listener = socket.socket(fileno=options.fd)
    listener.setblocking(False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
