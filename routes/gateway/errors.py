"""What the gateway refuses, and how a refusal is written in the client's wire format. Pure: no I/O.

    Refusal
    ├── BadRequest 400            invalid_request · invalid_json · invalid_form · missing_field · invalid_field
    │                             unsupported_field
    ├── Unauthenticated 401       invalid_api_key
    ├── Forbidden 403             permission_denied
    ├── NotFound 404              not_found · profile_not_found · model_not_found
    ├── MethodNotAllowed 405      method_not_allowed
    ├── RequestTimeout 408        request_timeout
    ├── BodyTooLarge 413          request_too_large
    ├── UpgradeRequired 426       upgrade_required
    ├── RateLimited 429           rate_limited · insufficient_quota
    ├── HeadersTooLarge 431       headers_too_large (in ``protocol``)
    ├── AllTargetsFailed 502      all_targets_failed · auth_failed · upstream_redirect …
    ├── NoTargetAvailable 503     no_target_available · not_ready
    └── TotalTimeout 504          timeout_total

``code`` is stable: the same word in the answer, the history row and the documentation. Messages name what the
client sent or an operator configured, never an upstream address, host or secret.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routes.gateway.exchange import Exchange

Headers = list[tuple[bytes, bytes]]


class Refusal(Exception):
    """An answer of ours instead of an upstream's. ``retry_after`` is in seconds, ``attempts`` what was
    tried, in order, as the client may read it (None = does not apply), ``param`` the field of the request that is
    wrong."""

    status: int = 500
    code: str = "internal"
    default_message: ClassVar[str] = "internal error"

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        status: int | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        attempts: Sequence[Mapping[str, object]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or self.default_message)
        self.message = message or self.default_message
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        self.param = param
        self.retry_after = retry_after
        self.attempts = attempts
        self.headers = headers


class BadRequest(Refusal):
    status = 400
    code = "invalid_request"
    default_message = "the request is not valid"


class Unauthenticated(Refusal):
    status = 401
    code = "invalid_api_key"
    default_message = "missing, unknown, expired or revoked access key"


class Forbidden(Refusal):
    status = 403
    code = "permission_denied"
    default_message = "this access key may not do that"


class NotFound(Refusal):
    status = 404
    code = "not_found"
    default_message = "there is no such endpoint"


class MethodNotAllowed(Refusal):
    status = 405
    code = "method_not_allowed"
    default_message = "this endpoint does not take that method"


class RequestTimeout(Refusal):
    status = 408
    code = "request_timeout"
    default_message = "the request body did not arrive in time"


class BodyTooLarge(Refusal):
    status = 413
    code = "request_too_large"
    default_message = "the request body is too large"


class UpgradeRequired(Refusal):
    status = 426
    code = "upgrade_required"
    default_message = "this address takes WebSockets only"


class RateLimited(Refusal):
    status = 429
    code = "rate_limited"
    default_message = "every target is rate-limited"


class AllTargetsFailed(Refusal):
    status = 502
    code = "all_targets_failed"
    default_message = "every attempt failed"


class NoTargetAvailable(Refusal):
    status = 503
    code = "no_target_available"
    default_message = "no target is available"


class TotalTimeout(Refusal):
    status = 504
    code = "timeout_total"
    default_message = "no answer within the time limit"


#: Anthropic's error types by status; others: 4xx invalid_request_error, 5xx api_error.
ANTHROPIC_TYPES: dict[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def anthropic_type(status: int) -> str:
    """Anthropic's ``error.type`` for an HTTP status."""
    return ANTHROPIC_TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")


def document(wire: str, refusal: Refusal, request_id: str | None) -> bytes:
    """The error document alone: also what ends a stream that was cut (as one event's data)."""
    error: dict[str, object]
    if wire == "anthropic":
        error = {"type": anthropic_type(refusal.status), "message": refusal.message, "code": refusal.code}
        if refusal.attempts is not None:
            error["attempts"] = refusal.attempts
        return orjson.dumps({"type": "error", "error": error, "request_id": request_id})
    error = {"message": refusal.message, "type": refusal.code, "param": refusal.param, "code": refusal.code}
    if refusal.attempts is not None:
        error["attempts"] = refusal.attempts
    return orjson.dumps({"error": error})


def should_not_retry(refusal: Refusal) -> bool:
    """Whether SDKs must be told not to retry by themselves: our own 4xx, and anything after two attempts;
    never a 408 or a 429 that says when to come back (a spent money budget apart)."""
    if refusal.code == "insufficient_quota":
        return True
    if refusal.status == 408 or (refusal.status == 429 and refusal.retry_after is not None):
        return False
    return 400 <= refusal.status < 500 or len(refusal.attempts or ()) >= 2


def render(refusal: Refusal, exchange: Exchange | None, wire: str = "openai") -> tuple[int, Headers, bytes]:
    """Status, headers and body of a refusal in the client's wire format, without the ``x-route-*`` headers
    (the recorder adds those). ``wire`` is used only when there is no exchange."""
    if exchange is not None:
        wire = exchange.wire
    body = document(wire, refusal, exchange.route_id if exchange is not None else None)
    headers: Headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if exchange is not None:
        # Where the client's SDK looks for the name of a request.
        headers.append((b"request-id" if wire == "anthropic" else b"x-request-id", exchange.route_id.encode()))
    if refusal.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(refusal.retry_after))))
    if should_not_retry(refusal):
        headers.append((b"x-should-retry", b"false"))
    if refusal.headers:
        headers.extend((name.encode(), value.encode()) for name, value in refusal.headers.items())
    return refusal.status, headers, body
