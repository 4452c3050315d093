"""Signed webhooks in: who sent it, that it is fresh, that it comes once, and that nobody floods us.

A view of a webhook is a ``WebhookView``; its body is then read like any other's (``routes.api.resources.parse_body``).
The sender signs ``timestamp + "." + raw body`` with a secret of ``SIGNALBOX_WEBHOOK_SECRET``:

    X-Signalbox-Timestamp: <Unix seconds>
    X-Signalbox-Signature: sha256=<hex HMAC-SHA256>

What was accepted once is remembered for longer than a timestamp is good for: in Redis, so that no other process or host
takes it again, and in this process, for the time that Redis is away. Both memories and the one of who called how often
are bounded. Needs no database.
"""

from __future__ import annotations

import hmac
import re
import threading
import time
from collections import OrderedDict
from functools import cache, lru_cache
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, ClassVar, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework import status
from rest_framework.exceptions import APIException, Throttled
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from routes.api import errors
from routing_project.env import get_env
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request

#: How far the sender's clock may be off, either way.
MAX_AGE_SECONDS: Final = 300
#: A timestamp is good for twice that; what was seen is kept as long.
REMEMBER_SECONDS: Final = 2 * MAX_AGE_SECONDS
#: Of one process. Only correctly signed messages get in; when it is full, new ones wait until old ones lapse.
MAX_REMEMBERED: Final = 50_000
#: Calls of one client address in a minute; of whatever kind, because checking them is what costs.
MAX_CALLS: Final = 600
WINDOW_SECONDS: Final = 60.0
MAX_ADDRESSES: Final = 10_000
#: A webhook's sender is waiting: a Redis that is slow is as good as none.
REDIS_SECONDS: Final = 0.25
KEY: Final = "signalbox:webhook:"
TIMESTAMP: Final = "x-signalbox-timestamp"
SIGNATURE: Final = "x-signalbox-signature"
_SECONDS: Final = re.compile(r"[0-9]{1,12}")

log = get_logger(__name__)


class WebhookRefused(APIException):
    """The message was not signed by somebody who knows a secret, not now, or not for the first time."""

    status_code: int = status.HTTP_401_UNAUTHORIZED
    code: ClassVar[str] = "bad_signature"


class WebhooksDisabled(WebhookRefused):
    status_code = status.HTTP_403_FORBIDDEN
    code = "webhooks_disabled"
    default_detail = "webhooks are off until SIGNALBOX_WEBHOOK_SECRET is set"


class WebhookView(APIView):
    """POST of a signed message. Errors have the control API's shape."""

    authentication_classes = ()
    permission_classes = (AllowAny,)  # whoever can sign
    throttle_classes = ()
    #: Calls of one address in a minute. At most MAX_REMEMBERED / REMEMBER_SECONDS are taken of all of them anyway.
    most_calls: ClassVar[int] = MAX_CALLS
    schema = None  # not part of /api/v1; docs/live.md tells

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        wait = calls(self.most_calls).take(request.META.get("REMOTE_ADDR", ""))
        if wait is not None:
            raise Throttled(wait=wait, detail="too many webhooks from this address")
        verify(request)
        super().initial(request, *args, **kwargs)

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, WebhookRefused):
            return Response(errors.document(exc.code, str(exc.detail)), status=exc.status_code)
        return super().handle_exception(exc)


# -- signatures --------------------------------------------------------------------------------------
def sign(secret: str, timestamp: str, body: bytes) -> str:
    """What the header holds, from ``sha256=`` on."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, sha256).hexdigest()


def verify(request: Request, now: float | None = None) -> None:
    """Take the message, once. Raises WebhooksDisabled, WebhookRefused, or Throttled when the memory is full."""
    secrets = get_env().webhook_secret
    if not secrets:
        raise WebhooksDisabled
    now = time.time() if now is None else now
    timestamp, given = request.headers.get(TIMESTAMP, ""), request.headers.get(SIGNATURE, "")
    if not timestamp or not given:
        raise WebhookRefused(f"the headers {TIMESTAMP.title()} and {SIGNATURE.title()} are needed")
    if not _SECONDS.fullmatch(timestamp):
        raise WebhookRefused(f"{TIMESTAMP.title()} must be Unix time in seconds")
    body = request._request.body
    # All of them, whichever fits: how long it takes says nothing.
    if sum(hmac.compare_digest(sign(secret, timestamp, body).encode(), given.encode()) for secret in secrets) == 0:
        raise WebhookRefused("the signature does not fit timestamp and body")
    if abs(now - int(timestamp)) > MAX_AGE_SECONDS:
        raise WebhookRefused(f"the timestamp is more than {MAX_AGE_SECONDS} seconds away from this host's clock")
    # Of what was said, not of the signature: the same message may be signed by the old secret and by the new one.
    if not seen().first(sha256(timestamp.encode() + b"." + body).hexdigest(), now):
        raise WebhookRefused("this message was received before")


# -- once ----------------------------------------------------------------------------------------------
class Seen:
    """Messages that were taken. ``tell`` marks one on every host: False if another was first, None if nobody knows."""

    def __init__(self, tell: Callable[[str], bool | None], limit: int = MAX_REMEMBERED) -> None:
        self._tell = tell
        self._limit = limit
        self._until: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def first(self, digest: str, now: float) -> bool:
        """Whether this one was never taken before; it is from now on. Raises Throttled when nothing more fits."""
        with self._lock:
            while self._until and next(iter(self._until.values())) <= now:
                self._until.popitem(last=False)
            if digest in self._until:
                return False
            if len(self._until) >= self._limit:
                raise Throttled(wait=WINDOW_SECONDS, detail="too many webhooks; try again in a minute")
            self._until[digest] = now + REMEMBER_SECONDS
        return self._tell(digest) is not False


def _tell_redis(digest: str) -> bool | None:
    try:
        return bool(_client(get_env().effective_redis_url).set(KEY + digest, b"1", nx=True, ex=REMEMBER_SECONDS))
    except redis.RedisError as error:
        log.warning("what webhooks were seen is known to this process only", error=type(error).__name__)
        return None


@lru_cache(maxsize=2)
def _client(url: str) -> redis.Redis:
    # Once more when the connection turns out to be an old one of a Redis that was restarted since.
    again = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return redis.Redis.from_url(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, retry=again)


# -- not too often ---------------------------------------------------------------------------------------
class Calls:
    """How often each address called within the window, as a sliding count of two half-open windows: the share of the
    one before that is still inside counts. The addresses heard longest ago are forgotten first."""

    def __init__(self, limit: int = MAX_CALLS, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._counts: OrderedDict[str, tuple[int, int, int]] = OrderedDict()  # window, calls in it, in the one before
        self._lock = threading.Lock()

    def take(self, address: str) -> float | None:
        """Count a call; None if it may go on, else the seconds to wait."""
        who = _network(address)
        window, inside = divmod(self._clock(), WINDOW_SECONDS)
        with self._lock:
            last, here, before = self._counts.get(who, (int(window), 0, 0))
            if last != window:
                here, before = 0, here if last == window - 1 else 0
            left = WINDOW_SECONDS - inside
            if here + before * left / WINDOW_SECONDS >= self._limit:
                return left
            self._counts[who] = (int(window), here + 1, before)
            self._counts.move_to_end(who)
            if len(self._counts) > MAX_ADDRESSES:
                self._counts.popitem(last=False)
        return None


def _network(address: str) -> str:
    """One host has one IPv4 address, but a whole /64 of IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    return parsed.exploded[:19] if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None else str(parsed)


@lru_cache(maxsize=1)
def seen() -> Seen:
    """Of this process."""
    return Seen(_tell_redis)


@cache
def calls(limit: int) -> Calls:
    """Of this process, for the webhooks that take so many."""
    return Calls(limit)
