"""Each request of the console has an id, which its answer names, and, if ``SIGNALBOX_ACCESS_LOG`` says so, a line.

``Requests`` is the outermost of the console's own ASGI application: pages, static files, event streams and sockets all
go through it, and whatever they log, audit or send on has the id. What only Django knows, which address that was and
who asked, ``note_request`` tells it; it makes the id where Django is served without the application (its test client).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

from asgiref.sync import iscoroutinefunction
from django.utils.decorators import sync_and_async_middleware
from django.utils.functional import LazyObject

from routes.api.auth import KeyPrincipal
from routing_project import request_ids
from routing_project.console.metrics.middleware import OTHER, template
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    Receive = Callable[[], Awaitable[Mapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

#: Where the parts of the application put what they know of a request, in its scope.
FACTS: Final = "signalbox.facts"
STATIC: Final = "/static/"
#: Messages that a status, or what stands for one, comes with.
_STARTS: Final = ("http.response.start", "websocket.http.response.start")

access_log = get_logger("signalbox.access")


class Requests:
    """ASGI middleware. ``lines``: write one for each request, when its answer is over."""

    def __init__(self, app: Application, *, lines: bool) -> None:
        self.app = app
        self.lines = lines

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        request_id = request_ids.of_headers(scope["headers"])
        facts: dict[str, Any] = {}
        begun = time.perf_counter()

        async def named_send(message: MutableMapping[str, Any]) -> None:
            kind = message["type"]
            if kind in _STARTS or kind == "websocket.accept":
                kept = [field for field in message.get("headers", ()) if field[0].lower() != request_ids.HEADER]
                message = {**message, "headers": [*kept, (request_ids.HEADER, request_id.encode("latin-1"))]}
                facts["status"] = message.get("status", 101)
            elif kind == "websocket.close":
                facts["close_code"] = message.get("code", 1000)
            await send(message)

        with request_ids.bound(request_id):
            try:
                await self.app({**scope, FACTS: facts}, receive, named_send)
            finally:
                if self.lines:
                    _write_line(scope, facts, time.perf_counter() - begun)


def _write_line(scope: Mapping[str, Any], facts: Mapping[str, Any], seconds: float) -> None:
    """Of the address only its template, and no query: both may hold what is nobody's business."""
    client = scope.get("client")
    more = {name: facts[name] for name in ("actor", "close_code") if name in facts}
    access_log.info(
        "request",
        method=scope.get("method", "WEBSOCKET"),
        endpoint=facts.get("endpoint") or _endpoint(scope["path"]),
        http_status=facts.get("status"),  # None: the client left before there was one
        latency_ms=round(seconds * 1000, 1),
        client=client[0] if client else None,
        **more,
    )


def _endpoint(path: str) -> str:
    return f"{STATIC}…" if path.startswith(STATIC) else OTHER


def note(scope: Mapping[str, Any], **facts: Any) -> None:
    """Tell what is known of the request with this scope: its ``endpoint`` and its ``actor``."""
    scope.get(FACTS, {}).update(facts)


def actor_label(kind: str, name: str) -> str:
    """``user:ada``, ``key:deploy``."""
    return f"{kind}:{name}"


# -- Django ------------------------------------------------------------------------------------------------
@sync_and_async_middleware
def note_request(get_response: Callable[..., object]) -> Callable[..., object]:
    """The outermost of Django's middleware."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            with request_ids.bound(_id(request)):
                return _noted(request, await cast("Awaitable[HttpResponseBase]", get_response(request)))

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        with request_ids.bound(_id(request)):
            return _noted(request, cast("HttpResponseBase", get_response(request)))

    return synchronous


def _id(request: HttpRequest) -> str:
    if FACTS in getattr(request, "scope", {}):
        return request_ids.current()
    given = request.headers.get(request_ids.HEADER.decode())
    return request_ids.of_headers([] if given is None else [(request_ids.HEADER, given.encode("latin-1", "replace"))])


def _noted(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    response[request_ids.HEADER.decode()] = request_ids.current()
    scope = getattr(request, "scope", {})
    if FACTS in scope:
        match = request.resolver_match
        note(scope, endpoint=template(match.route) if match else OTHER)
        user: Any = getattr(request, "user", None)
        if isinstance(user, LazyObject):
            # Looked up already, or not at all: a line is no reason to ask the database.
            user = getattr(request, "_cached_user", None)
        if user is not None and user.is_authenticated:
            kind = "key" if isinstance(user, KeyPrincipal) else "user"
            note(scope, actor=actor_label(kind, user.get_username()))
    return response
