"""How often one caller may call: a brake on runaway scripts, not a quota. Counted in the database cache.

The rates are ``DEFAULT_THROTTLE_RATES``, of the scope ``caller`` for all calls together, and of scopes of their own for
calls that cost more; a caller is an access key or a person, else an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.throttling import SimpleRateThrottle

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView


class CallerThrottle(SimpleRateThrottle):
    scope = "caller"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        ident = str(request.user.pk) if request.user.is_authenticated else self.get_ident(request)
        return self.cache_format % {"scope": self.scope, "ident": ident}
