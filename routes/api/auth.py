"""Authentication of the control API: an access key as bearer, or the browser's session with CSRF.

After it ``request.user`` is a Django user or a ``KeyPrincipal``; both are asked for scopes through
``scopes_of`` and become an ``Actor`` through ``actor_of``. One query per request for a key.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, ClassVar

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed

from routes.actions.actor import Actor
from routes.models import AccessKey
from routes.scopes import effective, scopes_of_user

if TYPE_CHECKING:
    from rest_framework.request import Request


@dataclass(frozen=True, slots=True)
class KeyPrincipal:
    """A bearer key in the place of a user: enough of a user's face for DRF."""

    key_id: str
    name: str
    scopes: frozenset[str]  # with everything they include
    is_authenticated: ClassVar[bool] = True
    is_anonymous: ClassVar[bool] = False
    is_active: ClassVar[bool] = True

    @property
    def pk(self) -> str:
        return f"key:{self.key_id}"

    def get_username(self) -> str:
        return self.name


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer sbx_…``. Any other scheme is left to other classes."""

    def authenticate(self, request: Request) -> tuple[KeyPrincipal, AccessKey | None] | None:
        value = self.presented(request)
        return None if value is None else self.recognise(value)

    def presented(self, request: Request) -> str | None:
        """The value that the request brings as a bearer; None when it brings none."""
        authorization = request.headers.get("authorization")
        if authorization is None:
            return None
        scheme, _, value = authorization.partition(" ")
        value = value.strip()
        if scheme.lower() != "bearer":
            raise AuthenticationFailed("the Authorization header must be a bearer token")
        other = request.headers.get("x-api-key")
        if other is not None and not hmac.compare_digest(other.strip().encode(), value.encode()):
            raise AuthenticationFailed("Authorization and x-api-key are both given and differ")
        return value

    def recognise(self, value: str) -> tuple[KeyPrincipal, AccessKey | None]:
        """Whose it is, with the row. One query."""
        digest = sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
        key = AccessKey.objects.filter(digest=digest).first()
        if key is None or not hmac.compare_digest(key.digest, digest):
            raise AuthenticationFailed("unknown access key")
        if not key.enabled:
            raise AuthenticationFailed("this access key is revoked")
        if key.expired:
            raise AuthenticationFailed("this access key has expired")
        return KeyPrincipal(str(key.id), key.name, effective(key.scopes)), key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="signalbox"'


class BrowserAuthentication(SessionAuthentication):
    """The admin's session; DRF checks CSRF on every request that authenticates with it."""


def scopes_of(request: Request) -> frozenset[str]:
    """What the caller may do; a person's are read once per request."""
    user: object = request.user
    if isinstance(user, KeyPrincipal):
        return user.scopes
    return scopes_of_user(request.user) if request.user.is_authenticated else frozenset()


def actor_of(request: Request) -> Actor:
    """The caller, for actions."""
    user: object = request.user
    if isinstance(user, KeyPrincipal):
        return Actor.key(user.key_id, user.name, user.scopes, request._request)
    return Actor.user(request.user, request._request)
