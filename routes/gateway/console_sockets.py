"""A WebSocket of a client, relayed to the console: subprotocol, text and binary frames, close codes, both ways.

Handshakes the console refuses are refused with its status. Both directions end together.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from uvicorn.protocols.utils import ClientDisconnected

from routes.gateway.stalled import send_or_cut, watch_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import CIMultiDict
    from yarl import URL

#: Ours to write anew for the handshake with the console.
_HANDSHAKE: Final = (
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "content-length",
)
#: Codes that mean "no code was sent"; they must not appear in a frame.
_UNSENT: Final = frozenset({1005, 1006, 1015})
GOING_AWAY: Final = 1001
SERVICE_RESTART: Final = 1012

logger = logging.getLogger(__name__)


async def relay_socket(
    session: aiohttp.ClientSession, url: URL, headers: CIMultiDict[str], scope: Any, receive: Any, send: Any
) -> bool:
    """Run one connection from handshake to close; False if the console never heard of it."""
    await receive()  # websocket.connect
    for name in _HANDSHAKE:
        headers.popall(name, None)
    try:
        console = await session.ws_connect(
            url, protocols=scope["subprotocols"], headers=headers, max_msg_size=0, compress=0, autoclose=False
        )
    except aiohttp.WSServerHandshakeError as error:
        await _refuse(send, error.status, "refused", "The console refused this WebSocket.")
        return True
    except (aiohttp.ClientError, OSError, TimeoutError):
        await _refuse(send, 503, "console_unavailable", "The console is not running at the moment.")
        return False
    try:
        await send({"type": "websocket.accept", "subprotocol": console.protocol})
        watch_over(scope)
        downstream = asyncio.create_task(_console_to_client(console, scope, send))
        upstream = asyncio.create_task(_client_to_console(receive, console))
        await _both(downstream, upstream)
    finally:
        await console.close()
    return True


async def _both(*directions: asyncio.Task[None]) -> None:
    """Until one direction ends, then end the other."""
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in directions:
            task.cancel()
        for outcome in await asyncio.gather(*directions, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, ClientDisconnected):
                logger.info("a relayed WebSocket ended early: %s", type(outcome).__name__)


async def _console_to_client(console: aiohttp.ClientWebSocketResponse, scope: Any, send: Any) -> None:
    while True:
        message = await console.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            await send_or_cut(scope, send, {"type": "websocket.send", "text": message.data})
        elif message.type is aiohttp.WSMsgType.BINARY:
            await send_or_cut(scope, send, {"type": "websocket.send", "bytes": message.data})
        else:
            await send_or_cut(scope, send, {"type": "websocket.close", **_ending(message)})
            return


def _ending(message: aiohttp.WSMessage) -> dict[str, Any]:
    if message.type is not aiohttp.WSMsgType.CLOSE:  # the console died without a close frame
        return {"code": SERVICE_RESTART, "reason": "the console went away"}
    code = message.data or 1000
    return {"code": 1000 if code in _UNSENT else code, "reason": message.extra}


async def _client_to_console(receive: Any, console: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code") or 1000
            reason = message.get("reason") or ""
            await console.close(code=GOING_AWAY if code in _UNSENT else code, message=reason.encode()[:123])
            return
        text: str | None = message.get("text")
        if text is not None:
            await console.send_str(text)
        else:
            await console.send_bytes(message["bytes"])


async def _refuse(send: Any, status: int, code: str, text: str) -> None:
    body = orjson.dumps({"error": {"code": code, "message": text, "fields": {}}})
    headers: Sequence[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
