"""What a gateway or the console writes to the journal, and its encoding. No Django, no I/O.

A record is a msgspec struct encoded as MessagePack with field names, defaults left out: a shipper of a newer
version reads segments of an older one. Framing, files and locks are ``history.journal``'s.
Ids are 16 bytes; times ``*_ms`` are Unix milliseconds UTC; durations ``*_us`` are microseconds.
"""

from __future__ import annotations

from typing import Any

import msgspec

STATUSES = ("routed", "failed", "timeout", "rejected", "cancelled", "interrupted", "decided")


class Attempt(msgspec.Struct, omit_defaults=True):
    """One try against one target, in the order they were made."""

    provider: str
    model: str  # u: what was sent upstream
    target: str  # target id
    endpoint: str = ""  # base URL without credentials; shown to operators only
    http_status: int | None = None
    error_class: str | None = None
    message: str = ""
    started_ms: int = 0
    ttfb_us: int | None = None  # first response byte; streams: first content event
    latency_us: int = 0
    bytes: int = 0
    #: circuit transitions this attempt caused: [before, after, reason]
    transitions: list[tuple[str, str, str]] = []
    wire: str = "openai"  # what the provider speaks


class Started(msgspec.Struct, tag="started", omit_defaults=True):
    """Written before the first attempt is sent: becomes an ``interrupted`` row if its process dies."""

    id: bytes
    profile_id: bytes | None = None
    profile: str = ""
    key_id: bytes | None = None
    key_name: str = ""
    route_type: str = "inference"
    session_key: str | None = None
    requested_model: str = ""
    strategy: str = ""
    endpoint_id: bytes | None = None  # target tried first
    provider: str = ""
    model: str = ""
    revision: int = 0
    operation: str = ""
    path: str = ""
    client_ip: str = ""
    trace: bytes = b""  # as in ``Finished``
    trace_state: str = ""


class Announced(msgspec.Struct, tag="started"):
    """The part of ``Started`` that nearly every reader needs: most requests end soon, and then the rest is moot."""

    id: bytes


class Finished(msgspec.Struct, tag="finished", omit_defaults=True):
    """The whole route. Exactly one per request with a valid key, whatever came of it."""

    id: bytes
    status: str
    profile_id: bytes | None = None
    profile: str = ""
    key_id: bytes | None = None
    key_name: str = ""
    route_type: str = "inference"
    session_key: str | None = None
    operation: str = ""
    wire: str = ""
    stream: bool = False
    path: str = ""
    client_ip: str = ""
    user_agent: str = ""
    http_status: int | None = None
    error_code: str | None = None
    message: str = ""
    latency_us: int = 0
    selection_us: int = 0
    ttfb_us: int | None = None
    endpoint_id: bytes | None = None  # target that answered, or was tried last
    endpoint: str = ""
    region: str = ""  # region of that target
    head_id: str = ""  # head of that target; "" where it has none
    provider: str = ""
    model: str = ""
    requested_model: str = ""
    strategy: str = ""
    source: str = ""
    rule: str | None = None
    attempt_count: int = 0
    attempts: list[Attempt] = []
    recovered: bool = False
    degraded: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    usage_estimated: bool = False
    cost_micro_usd: int | None = None
    revision: int = 0
    #: what was measured of this route alone, and is kept with it: [name, value, unit]
    metrics: list[tuple[str, float, str]] = []
    #: packed decision, see ``pack_decision`` in ``routes.engine.explain``
    decision: dict[str, Any] | None = None
    method: str = "POST"
    #: where its spans belong: the trace's id (16 bytes) and, unless it begins there, the span that the client named
    #: (8); empty = there are to be none (``history.tracing``)
    trace: bytes = b""
    trace_state: str = ""  # the client's ``tracestate``


class Update(msgspec.Struct, tag="update", omit_defaults=True):
    """A later word about a route that is already recorded (status of a reported decision, added metrics)."""

    id: bytes
    status: str | None = None
    http_status: int | None = None
    error_code: str | None = None
    message: str | None = None
    latency_us: int | None = None
    ttfb_us: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    #: [name, value, unit]
    metrics: list[tuple[str, float, str]] = []


class Excerpt(msgspec.Struct, omit_defaults=True):
    """What is kept of one body: all of a short text, else its beginning and its end; secrets are out already."""

    content_type: str = ""
    size: int | None = 0  # bytes, of the whole; None = it was never here in full
    text: str = ""
    tail: str = ""
    cut: bool = False  # something between text and tail is left out


class Payload(msgspec.Struct, tag="payload", omit_defaults=True):
    """Copies of what a client sent and was answered, while ``SIGNALBOX_HISTORY_PAYLOADS`` asks for them. Written just
    before its route's ``Finished``."""

    id: bytes
    request: Excerpt
    response: Excerpt
    redactions: int = 0  # secrets that were taken out


Record = Started | Finished | Update | Payload


def scrub(value: Any) -> Any:
    """``value`` with what MessagePack or a database column cannot hold replaced: lone surrogates by ``?``, integers
    beyond 64 bits by the nearest that fits. Only for records that failed to encode; slow."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return max(-(2**63), min(2**63 - 1, value))
    if isinstance(value, list | tuple):
        return type(value)(scrub(part) for part in value)
    if isinstance(value, dict):
        return {scrub(key): scrub(part) for key, part in value.items()}
    if isinstance(value, msgspec.Struct):
        return type(value)(**{name: scrub(getattr(value, name)) for name in value.__struct_fields__})
    return value


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Record).decode
#: As ``decode``, but of ``Started`` only its id, at a fifth of the cost.
decode_brief = msgspec.msgpack.Decoder(Announced | Finished | Update | Payload).decode
