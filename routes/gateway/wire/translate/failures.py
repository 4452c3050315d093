"""Errors of an upstream in the words of the client's format: documents and the events of streams. Pure.

The upstream's message is kept as it is; what kind of error it is follows from the status and from what
``wire/problems`` recognises, since neither format has words for all of the other's.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from routes.gateway.errors import anthropic_type
from routes.gateway.wire import problems, sse
from routes.gateway.wire.reading import NOT_JSON

#: (type, code) of OpenAI by status.
_OPENAI_KINDS: Final = {
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("invalid_request_error", "permission_denied"),
    404: ("invalid_request_error", "not_found"),
    408: ("timeout", "timeout"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("server_error", "overloaded"),
    504: ("timeout", "timeout"),
    529: ("server_error", "overloaded"),
}
#: The status that Anthropic's errors have, for those that come inside a stream.
_STATUSES: Final = {
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "invalid_request_error": 400,
}
_CAUSES: Final = {
    "context_length": "context_length_exceeded",
    "content_filter": "content_filter",
    "billing": "insufficient_quota",
}


_anything = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def to_openai(status: int, body: bytes) -> bytes:
    """An upstream's error document, or whatever came in its place, as OpenAI writes one."""
    return _openai(status, _error_of(body), body)


def to_anthropic(status: int, body: bytes, request_id: str) -> bytes:
    """An upstream's error document, or whatever came in its place, as Anthropic writes one."""
    error = _error_of(body)
    made = {"type": anthropic_type(status), "message": _message(error, status)}
    # What OpenAI says beyond that helps whoever reads it.
    for name in ("code", "param"):
        if type(error.get(name)) is str:
            made[name] = error[name]
    return _encode({"type": "error", "error": made, "request_id": request_id or None})


def event_to_openai(data: bytes) -> bytes:
    """The event that ends a stream of Anthropic's with an error."""
    error = _error_of(data)
    kind = error.get("type")
    status = _STATUSES.get(kind, 500) if type(kind) is str else 500
    return sse.event(_openai(status, error, data))


def event_to_anthropic(data: bytes) -> bytes:
    """The event that ends a stream of OpenAI's with an error: its document has no status."""
    error = _error_of(data)
    code = error.get("code")
    status = code if type(code) is int and 400 <= code < 600 else 500
    if {error.get("type"), code} & {"rate_limit_exceeded", "rate_limit_error"}:
        status = 429
    elif error.get("type") == "invalid_request_error":
        status = 400
    return sse.event(to_anthropic(status, data, ""), b"error")


def _openai(status: int, error: dict[Any, Any], body: bytes) -> bytes:
    default = "invalid_request_error" if status < 500 else "server_error"
    kind, code = _OPENAI_KINDS.get(status, (default, None))
    if (cause := problems.recognise(body).cause) is not None:
        code = _CAUSES[cause]
    return _encode({"error": {"message": _message(error, status), "type": kind, "param": None, "code": code}})


def _error_of(body: bytes) -> dict[Any, Any]:
    """The error in a document of either format or of neither; {} when there is none to be read."""
    try:
        document = _anything(body)
    except NOT_JSON:
        return {}
    if type(document) is not dict:
        return {}
    error = document.get("error")
    if type(error) is str:
        return {"message": error}
    return error if type(error) is dict else document


def _message(error: dict[Any, Any], status: int) -> str:
    for name in ("message", "detail", "type", "code"):
        if type(error.get(name)) is str and error[name]:
            return str(error[name])
    return f"the upstream answered with HTTP {status} and no message"
