"""Who is at the other end of a WebSocket or an event stream, by the control API's own rules, and from which page.

An access key as bearer, or the browser's session. A browser sends the session's cookie with whatever page opens a
connection, so a session needs an Origin that is ours; a key needs none, but one that is there must be allowed. With
``KnownBearer`` a key of the overlay's copy on disk is admitted without the database, and so while it is away; sessions
are in the database and nowhere else. The functions that ask it are plain ones: call them through ``in_thread``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from channels.db import DatabaseSyncToAsync
from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, InterfaceError
from django.http.request import validate_host
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from health.heads.auth import KnownBearer
from routes.actions.actor import Actor
from routes.api.auth import BearerAuthentication
from routes.scopes import scopes_of_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    from django.http import HttpRequest

    from routes.api.auth import KeyPrincipal
    from routes.models import AccessKey

    P = ParamSpec("P")
    T = TypeVar("T")

#: What a Refused means as the close code of a WebSocket; anything else is "try again later".
CLOSE_CODES: Final = {400: 4403, 401: 4401, 403: 4403}
CLOSE_TRY_LATER: Final = 1013


class Refused(Exception):
    """Nobody we know, nobody who may, or nobody can say now. The message is for people and quotes nothing secret."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    @property
    def close_code(self) -> int:
        return CLOSE_CODES.get(self.status, CLOSE_TRY_LATER)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is there, as of the last look: connections stay open for hours, and ``opened`` looks again every second."""

    name: str
    scopes: frozenset[str]  # with everything they include
    key: AccessKey | None  # None: a person in a browser, or a key that was recognised without the database
    credential: tuple[str, str]  # what to look at again: ("key", id) or ("session", its key)
    actor: Actor  # for actions
    client_ip: str

    @property
    def owner(self) -> tuple[str, str]:
        """The key or the person: whose connections are counted together, whatever session they belong to."""
        return (self.actor.kind, self.actor.id)

    @property
    def caller(self) -> str:
        """The same, as ``routes.api.throttling`` names who calls."""
        return f"key:{self.actor.id}" if self.actor.kind == "key" else self.actor.id

    def may(self, needs: frozenset[str]) -> bool:
        """Whether one of the scopes is among ours."""
        return bool(self.scopes & needs)

    def seen_again(self, now: Visitor) -> Visitor:
        """With what the credential is worth now; where the connection comes from stays."""
        actor = replace(self.actor, scopes=now.actor.scopes)
        return replace(self, name=now.name, scopes=now.scopes, key=now.key, actor=actor)


async def in_thread(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run what asks the database in a thread of the pool, with a connection that is checked before and after."""
    call: Any = DatabaseSyncToAsync(function, thread_sensitive=False)
    result: T = await call(*arguments, **named)
    return result


async def admit(
    scope: dict[str, Any], needs: frozenset[str], bearer: type[BearerAuthentication] = BearerAuthentication
) -> Visitor:
    """The visitor of a connection that needs one of these scopes; ``bearer`` recognises keys. Raises Refused."""
    if issubclass(bearer, KnownBearer):
        try:
            return identify(scope, needs, AtHand)
        except NotAtHand:
            pass
    try:
        return await in_thread(identify, scope, needs, bearer)
    except (DatabaseError, InterfaceError):
        raise Refused(503, "database_unavailable", "the database does not answer; try again in a moment") from None


class NotAtHand(Exception):
    """Only the database knows."""


class AtHand(KnownBearer):
    """Recognises without a query or not at all, so that neither a slow database nor a full pool of threads keeps keys
    out."""

    def authenticate(self, request: Request) -> tuple[KeyPrincipal, AccessKey | None]:
        value = self.presented(request)
        found = None if value is None else self.known(value)
        if found is None:
            raise NotAtHand
        return found, None


def identify(
    scope: dict[str, Any], needs: frozenset[str], bearer: type[BearerAuthentication] = BearerAuthentication
) -> Visitor:
    """As ``admit``, in this thread: one query for a key, four for a person. Raises Refused and database errors."""
    request = _request(scope)
    visitor = _by_key(request, bearer) or _by_session(request)
    _check_origin(request, scope["type"], by_session=visitor.credential[0] == "session")
    if not visitor.may(needs):
        raise Refused(403, "permission_denied", f"this needs the scope {' or '.join(map(repr, sorted(needs)))}")
    return visitor


def _request(scope: dict[str, Any]) -> HttpRequest:
    """The handshake as Django reads requests: cookies, host, scheme behind a trusted proxy."""
    scheme = {"ws": "http", "wss": "https"}.get(scope.get("scheme", "http"), scope.get("scheme", "http"))
    return ASGIRequest({**scope, "type": "http", "method": "GET", "scheme": scheme}, BytesIO())


def _by_key(request: HttpRequest, bearer: type[BearerAuthentication]) -> Visitor | None:
    try:
        found = bearer().authenticate(Request(request))
    except AuthenticationFailed as error:
        raise Refused(401, "unauthenticated", str(error.detail)) from None
    if found is None:
        return None
    principal, key = found
    actor = Actor.key(principal.key_id, principal.name, principal.scopes, request)
    return _visitor(principal.name, principal.scopes, key, ("key", principal.key_id), actor, request)


def _by_session(request: HttpRequest) -> Visitor:
    session_key = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
    if session_key:
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
        user = get_user(request)
        if user.is_authenticated:
            credential = ("session", session_key)
            actor = Actor.user(user, request)
            return _visitor(user.get_username(), scopes_of_user(user), None, credential, actor, request)
    raise Refused(401, "unauthenticated", "give an access key as bearer token, or sign in")


def _visitor(
    name: str,
    scopes: frozenset[str],
    key: AccessKey | None,
    credential: tuple[str, str],
    actor: Actor,
    request: HttpRequest,
) -> Visitor:
    return Visitor(name, scopes, key, credential, actor, request.META.get("REMOTE_ADDR", ""))


# -- origins -----------------------------------------------------------------------------------------
def _check_origin(request: HttpRequest, kind: str, *, by_session: bool) -> None:
    try:
        host = request.get_host().lower()
    except DisallowedHost:
        raise Refused(400, "invalid", "this host name is not one of SIGNALBOX_ALLOWED_HOSTS") from None
    ours = {f"{request.scheme}://{host}", *(each.lower() for each in settings.CSRF_TRUSTED_ORIGINS)}
    origin = request.headers.get("origin")
    if origin is None:
        if by_session and not (kind == "http" and _own_page(request, ours)):
            raise _refused_origin("a browser session needs the Origin header of one of our own pages")
    elif origin.lower() not in ours and (by_session or not _allowed(origin)):
        raise _refused_origin("this origin is not allowed")


def _own_page(request: HttpRequest, ours: set[str]) -> bool:
    """Browsers send no Origin with an EventSource of the same origin; what they send instead says as much."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    referer = urlsplit(request.headers.get("referer", ""))
    return f"{referer.scheme}://{referer.netloc}".lower() in ours


def _allowed(origin: str) -> bool:
    """Whether a page of that origin may use an access key here: any of the host names that are ours."""
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        return False
    return host is not None and validate_host(f"[{host}]" if ":" in host else host, settings.ALLOWED_HOSTS)


def _refused_origin(message: str) -> Refused:
    return Refused(403, "origin_not_allowed", message)
