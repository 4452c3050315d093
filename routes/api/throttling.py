"""How often one caller may call: a brake on runaway scripts, not a quota. Counted in the database cache.

The rates are ``DEFAULT_THROTTLE_RATES``, of the scope ``caller`` for all calls together, and of scopes of their own for
calls that cost more; a caller is an access key or a person, else an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import Throttled
from rest_framework.throttling import SimpleRateThrottle

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView


class CallerThrottle(SimpleRateThrottle):
    scope = "caller"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        return self.key_of(str(request.user.pk) if request.user.is_authenticated else self.get_ident(request))

    def key_of(self, ident: str) -> str:
        return self.cache_format % {"scope": self.scope, "ident": ident}


class _Call(CallerThrottle):
    def __init__(self, ident: str) -> None:
        super().__init__()
        self._ident = ident

    def get_cache_key(self, request: Any, view: Any) -> str:
        return self.key_of(self._ident)


def take_call(ident: str) -> None:
    """Count a call that comes as something else than a request (a message of a socket) with the same caller's requests.
    ``ident``: the ``pk`` of the user or ``KeyPrincipal``. A few queries. Raises Throttled."""
    call = _Call(ident)
    if not call.allow_request(None, None):  # type: ignore[arg-type]  # neither is looked at
        raise Throttled(wait=call.wait())
