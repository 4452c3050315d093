"""Which WebSocket and which event stream lives at which address: one line each, with and without a trailing slash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.urls import re_path

from routing_project.console.metrics.counting import SWITCHING_PROTOCOLS, count_answer
from routing_project.console.sockets.decisions import DecisionSocket
from routing_project.console.sockets.events import EventStream
from routing_project.console.sockets.heads import HeadSocket
from routing_project.console.sockets.live import LiveSocket
from routing_project.feed.names import HEADS, ROUTES
from routing_project.feed.where import HEAD_FIELDS, ROUTE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

CLOSE_UNKNOWN: Final = 4404


async def unknown_socket(
    _scope: dict[str, Any],
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    """Accept and close: refused before accepting, a browser would only see 1006."""
    await receive()
    count_answer("GET", "other", SWITCHING_PROTOCOLS)
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": CLOSE_UNKNOWN, "reason": "no such socket"})


def at(path: str, application: Any) -> Any:
    """An ASGI application in the place of a view, as Channels' router takes them."""
    return re_path(rf"^{path}/?$", application)


socket_urls: Final[list[Any]] = [
    at("ws/live", LiveSocket.serve),
    at("ws/head-management", HeadSocket.serve),
    at("ws/routing-decisions", DecisionSocket.serve),
    re_path(r"", unknown_socket),  # type: ignore[arg-type]  # an ASGI application
]
stream_urls: Final[list[Any]] = [
    at(stream.path.strip("/"), stream)
    for stream in (
        EventStream("/events/routing-decisions", ROUTES, "route", ROUTE_FIELDS),
        EventStream("/events/head-status", HEADS, "head", HEAD_FIELDS),
    )
]
