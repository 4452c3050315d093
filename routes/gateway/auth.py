"""Who is asking: access keys of the live overlay and the check of one request's credentials. Memory only.

A key's value is never kept: the overlay brings its SHA-256, a request's value is hashed, found in a dict and
compared again in constant time. Must not import the control plane.
"""

from __future__ import annotations

import fnmatch
import hmac
import re
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID

from routes.engine.facts import KeyFacts
from routes.engine.limits import KeyLimits
from routes.gateway.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_PATTERN = re.compile(rb"sbx_[A-Za-z0-9_-]{32,}")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One access key as the gateway knows it. ``models`` None = any model; ``profiles`` None = any profile."""

    id: str
    id_bytes: bytes
    name: str
    digest: bytes
    profile: str
    scopes: frozenset[str]
    enabled: bool
    expires: float | None  # Unix time
    region: str | None
    models: re.Pattern[str] | None
    profiles: frozenset[str] | None
    debug: bool
    overrides: bool
    facts: KeyFacts  # what rules may know of it
    limits: KeyLimits | None = None  # None = nothing is limited, and nothing counted

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> AccessKey:
        allow = document.get("allow") or ()
        models = document.get("models")
        profiles = document.get("profiles")
        return cls(
            id=document["id"],
            id_bytes=UUID(document["id"]).bytes,
            name=document["name"],
            digest=bytes.fromhex(document["hash"]),
            profile=document["profile"],
            scopes=frozenset(document.get("scopes") or ("route",)),
            enabled=document.get("enabled", True),
            expires=document.get("expires"),
            region=document.get("region"),
            models=None if models is None else _globs(models),
            profiles=None if profiles is None else frozenset(profiles),
            debug="debug" in allow,
            overrides="overrides" in allow,
            facts=KeyFacts(document["name"], frozenset(document.get("tags") or ())),
            limits=KeyLimits.from_document(document.get("limits")),
        )

    @property
    def counts_usage(self) -> bool:
        """Tokens or money are limited: what streams used must be known."""
        limits = self.limits
        return limits is not None and bool(limits.tpm or any(limits.money))

    def may_use_model(self, model: str) -> bool:
        return self.models is None or self.models.fullmatch(model) is not None

    def may_use_profile(self, slug: str) -> bool:
        return self.profiles is None or slug in self.profiles or slug == self.profile


def _globs(patterns: list[str]) -> re.Pattern[str]:
    """One case-sensitive expression for all globs; matches nothing when there is none."""
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns) or r"(?!)")


def presented_value(authorization: bytes | None, api_key: bytes | None) -> bytes:
    """The key a client presents in ``Authorization: Bearer`` or ``x-api-key``; b"" when there is none.
    Both and different: refused, because whose request it is would depend on our reading order."""
    bearer: bytes | None = None
    if authorization is not None:
        scheme, _, value = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthenticated("the Authorization header must be a bearer token")
        bearer = value.strip()
    if bearer is not None and api_key is not None and not hmac.compare_digest(bearer, api_key.strip()):
        raise Unauthenticated("Authorization and x-api-key are both given and differ")
    return bearer if bearer is not None else (api_key or b"").strip()


def authenticate(value: bytes, keys: Mapping[bytes, AccessKey]) -> AccessKey:
    """The valid key behind ``value``. Raises Unauthenticated; scopes are checked by ``require_route_scope``."""
    digest = sha256(value).digest()
    key = keys.get(digest)
    if key is None or not hmac.compare_digest(key.digest, digest):
        raise Unauthenticated("missing access key" if not value else "unknown access key")
    if not key.enabled:
        raise Unauthenticated("this access key is revoked")
    if key.expires is not None and key.expires <= time.time():
        raise Unauthenticated("this access key has expired")
    return key


def require_route_scope(key: AccessKey) -> None:
    if "route" not in key.scopes:
        raise Forbidden("this access key has no scope 'route'")
