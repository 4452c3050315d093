"""Whose key it is although the database may be away: access keys by the overlay's copy on disk, as gateways know them.

A key that the copy does not know is looked up in the database, so that one made a moment ago, or where nothing is
delivered, works too; that raises DatabaseError while it is away. Refusals are those of the rest of the API.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING

from rest_framework.exceptions import AuthenticationFailed

from health.heads.known import known
from routes.api.auth import BearerAuthentication, KeyPrincipal
from routes.scopes import effective

if TYPE_CHECKING:
    from routes.models import AccessKey


class KnownBearer(BearerAuthentication):
    """``request.auth`` is None for a key that was recognised without a query."""

    def recognise(self, value: str) -> tuple[KeyPrincipal, AccessKey | None]:
        found = self.known(value)
        return super().recognise(value) if found is None else (found, None)

    def known(self, value: str) -> KeyPrincipal | None:
        """Whose it is by the copy; None when that does not know it. Never a query."""
        key = known().keys.get(sha256(value.encode("utf-8", "surrogateescape")).hexdigest())
        if key is None:
            return None
        if not key.enabled:
            raise AuthenticationFailed("this access key is revoked")
        if key.expires is not None and key.expires <= time.time():
            raise AuthenticationFailed("this access key has expired")
        return KeyPrincipal(key.id, key.name, effective(key.scopes))
