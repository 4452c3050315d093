"""Makes spans of the journal's records: one for a request (SERVER), one below it for each of its attempts (CLIENT).

Names and attributes follow OpenTelemetry's conventions for generative AI and for HTTP as far as those have one; ours
are ``signalbox.*``. ``docs/tracing.md`` lists them all. Nothing that a client said or was answered is among them, no
message of a provider, no credential, and of a session only the id that history gives it. Needs the ``otel`` extra; no
Django, no I/O.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from history.ids import milliseconds, session_id
from history.records import Finished, Started
from history.tracing.ids import TRACE_SIZE, span_id
from routes.engine.types import SERVICE
from routes.gateway import endpoints

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from history.records import Attempt

#: Our operations by the convention's names; others keep ours. Services have none: they are HTTP and nothing more.
_OPERATIONS: Final = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "completion": "text_completion",
    "embedding": "embeddings",
}
#: The convention's names of providers, by the host they answer at. Others are named by what they speak.
_PROVIDERS: Final = {
    "openai": r"api\.openai\.com",
    "anthropic": r"api\.anthropic\.com",
    "azure.ai.openai": r".+\.openai\.azure\.com",
    "azure.ai.inference": r".+\.ai\.azure\.com",
    "aws.bedrock": r"bedrock-.+\.amazonaws\.com",
    "gcp.gemini": r"generativelanguage\.googleapis\.com",
    "gcp.vertex_ai": r"(.+-)?aiplatform\.googleapis\.com",
    "mistral_ai": r"(.+\.)?mistral\.ai",
    "groq": r"api\.groq\.com",
    "deepseek": r"api\.deepseek\.com",
    "x_ai": r"(.+\.)?api\.x\.ai",
    "cohere": r"api\.cohere\.(com|ai)",
    "perplexity": r"api\.perplexity\.ai",
}
#: Longer values are cut: a record may hold whatever was sent.
MAX_VALUE: Final = 256
_INT_MAX: Final = 2**63 - 1
_MS: Final = 1_000_000  # nanoseconds


class _GivenIds(IdGenerator):
    """The ids that the next span gets."""

    trace = 0
    span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class Spans:
    """Hands finished spans to a processor, those of attempts before their request's. For one thread.

    ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES`` say whose they are; unnamed, we are ``signalbox``.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "signalbox"}))
        self._ids = _GivenIds()
        # Which requests have spans was decided when they came in.
        provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("signalbox")

    def make(self, record: Finished | Started) -> None:
        """The spans of a record that says where they belong (``trace``)."""
        if isinstance(record, Started):
            self._interrupted(record)
        else:
            self._finished(record)

    def _finished(self, record: Finished) -> None:
        start = milliseconds(record.id) * _MS
        end = start + max(0, record.latency_us) * 1000
        last = record.attempts[-1] if record.attempts else None
        answered = record.http_status is not None and record.http_status < 400
        attributes = _about_request(record) | {
            "gen_ai.response.model": record.model if record.status == "routed" and answered else "",
            "gen_ai.request.stream": record.stream or None,
            "gen_ai.usage.input_tokens": record.input_tokens,
            "gen_ai.usage.output_tokens": record.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
            "http.request.method": record.method,
            "http.response.status_code": record.http_status,
            "error.type": record.error_code,
            "signalbox.status": record.status,
            "signalbox.wire": record.wire,
            "signalbox.source": record.source,
            "signalbox.rule": record.rule,
            "signalbox.region": record.region,
            "signalbox.head": record.head_id,
            "signalbox.attempts": record.attempt_count,
            "signalbox.recovered": record.recovered,
            "signalbox.degraded": record.degraded,
            "signalbox.usage_estimated": record.usage_estimated or None,
            "signalbox.selection_ms": record.selection_us / 1000,
            "signalbox.ttfb_ms": _thousandth(record.ttfb_us),
            "signalbox.cost_usd": None if record.cost_micro_usd is None else record.cost_micro_usd / 1e6,
        }
        if record.operation != SERVICE:
            provider = record.wire if last is None else _provider(last.endpoint, last.wire)
            attributes["gen_ai.provider.name"] = provider
        context = self._begin(record, _name(record, record.method, record.requested_model), attributes, start)
        for ordinal, attempt in enumerate(record.attempts, 1):
            self._attempt(record, ordinal, attempt, context, start, end)
        context.end(end, _is_failure(record))

    def _interrupted(self, record: Started) -> None:
        """Of a request whose process died: when, nobody knows, so its spans end where they begin."""
        start = milliseconds(record.id) * _MS
        attributes = _about_request(record) | {"error.type": "interrupted", "signalbox.status": "interrupted"}
        context = self._begin(record, _name(record, "", record.requested_model), attributes, start)
        # The upstream was told of this one at least.
        first = {
            "gen_ai.operation.name": attributes["gen_ai.operation.name"],
            "gen_ai.request.model": record.model,
            "error.type": "interrupted",
            "signalbox.route_id": attributes["signalbox.route_id"],
            "signalbox.attempt": 1,
            "signalbox.provider": record.provider,
            "signalbox.target": attributes["signalbox.target"],
        }
        context.child(_name(record, "", record.model), 1, first, start, start, failed=True)
        context.end(start, failed=True)

    def _attempt(
        self, record: Finished, ordinal: int, attempt: Attempt, context: _Open, begun: int, ended: int
    ) -> None:
        host, port = _address(attempt.endpoint)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": _operation(record),
            "gen_ai.request.model": attempt.model,
            "http.request.method": record.method,
            "http.response.status_code": attempt.http_status,
            "server.address": host,
            "server.port": port,
            "error.type": attempt.error_class,
            "signalbox.route_id": str(UUID(bytes=record.id)),
            "signalbox.attempt": ordinal,
            "signalbox.provider": attempt.provider,
            "signalbox.target": attempt.target,
            "signalbox.bytes": attempt.bytes,
            "signalbox.ttfb_ms": _thousandth(attempt.ttfb_us),
            "signalbox.circuit_transitions": [
                f"{before} -> {after} ({reason})" for before, after, reason in attempt.transitions
            ],
        }
        if record.operation != SERVICE:
            attributes["gen_ai.provider.name"] = _provider(attempt.endpoint, attempt.wire)
            attributes["gen_ai.request.stream"] = record.stream or None
            if record.stream and attempt.ttfb_us is not None:
                attributes["gen_ai.response.time_to_first_chunk"] = attempt.ttfb_us / 1e6
        # Its beginning is of the wall clock, its length is not: whatever was done to the clock, it lies in its request.
        length = min(max(0, attempt.latency_us) * 1000, ended - begun)
        start = min(max(attempt.started_ms * _MS, begun), ended - length)
        failed = attempt.error_class not in (None, "cancelled")
        name = _name(record, record.method, attempt.model)
        context.child(name, ordinal, attributes, start, start + length, failed=failed)

    def _begin(self, record: Finished | Started, name: str, attributes: dict[str, Any], start: int) -> _Open:
        trace, parent = record.trace[:TRACE_SIZE], record.trace[TRACE_SIZE:]
        self._ids.trace, self._ids.span = int.from_bytes(trace, "big"), span_id(record.id)
        context = Context()
        if parent:
            state = TraceState.from_header([record.trace_state] if record.trace_state else [])
            client = SpanContext(
                self._ids.trace, int.from_bytes(parent, "big"), True, TraceFlags(TraceFlags.SAMPLED), state
            )
            context = set_span_in_context(NonRecordingSpan(client), context)
        span = self._tracer.start_span(
            name, context, SpanKind.SERVER, _told(attributes), start_time=start, record_exception=False
        )
        return _Open(self, span, record.id)


class _Open:
    """A request's span while its attempts are told."""

    def __init__(self, spans: Spans, span: Any, route: bytes) -> None:
        self._spans = spans
        self._span = span
        self._route = route
        self._context = set_span_in_context(span, Context())

    def child(self, name: str, ordinal: int, attributes: dict[str, Any], start: int, end: int, *, failed: bool) -> None:
        self._spans._ids.span = span_id(self._route, ordinal)
        span = self._spans._tracer.start_span(
            name, self._context, SpanKind.CLIENT, _told(attributes), start_time=start, record_exception=False
        )
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def end(self, end: int, failed: bool) -> None:
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(end)


def _about_request(record: Finished | Started) -> dict[str, Any]:
    """What is known from the beginning."""
    return {
        "gen_ai.operation.name": _operation(record),
        "gen_ai.request.model": record.requested_model if record.operation != SERVICE else "",
        "gen_ai.conversation.id": None
        if record.session_key is None
        else str(session_id(record.key_id, record.session_key)),
        "http.route": _route(record.path),
        "signalbox.route_id": str(UUID(bytes=record.id)),
        "signalbox.profile": record.profile,
        "signalbox.access_key": record.key_name,
        "signalbox.strategy": record.strategy,
        "signalbox.revision": record.revision,
        "signalbox.provider": record.provider,
        "signalbox.target": None if record.endpoint_id is None else str(UUID(bytes=record.endpoint_id)),
    }


def _operation(record: Finished | Started) -> str:
    operation = record.operation
    return "" if operation == SERVICE else _OPERATIONS.get(operation, operation)


def _name(record: Finished | Started, method: str, model: str) -> str:
    operation = _operation(record)
    if operation:
        return f"{operation} {_cut(model)}" if model else operation
    return " ".join(part for part in (method, _route(record.path)) if part) or "request"


def _is_failure(record: Finished) -> bool:
    """What a client asked wrongly, or too much of, and what it left itself is no error of a server."""
    if record.status in ("routed", "cancelled", "decided"):
        return False
    return record.http_status is None or not 400 <= record.http_status < 500


def _told(attributes: dict[str, Any]) -> dict[str, Any]:
    """Without what is not known; nothing that cannot be sent."""
    return {
        name: _cut(value) if type(value) is str else min(value, _INT_MAX) if type(value) is int else value
        for name, value in attributes.items()
        if value is not None and value != "" and value != []
    }


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _thousandth(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


@lru_cache(maxsize=1024)
def _route(path: str) -> str:
    """The address without anything a client chose; "" where there is no such endpoint."""
    match = endpoints.find(path.encode())
    return "" if match is None or match.endpoint is None else match.template


@lru_cache(maxsize=1024)
def _address(endpoint: str) -> tuple[str, int | None]:
    """Host and port of a target's base URL, which heads choose for themselves."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        return parts.hostname or "", port if parts.hostname else None
    except ValueError:
        return "", None


@lru_cache(maxsize=1024)
def _provider(endpoint: str, wire: str) -> str:
    host = _address(endpoint)[0]
    return next((name for name, pattern in _PROVIDERS.items() if re.fullmatch(pattern, host)), wire)
