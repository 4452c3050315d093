"""Which spans the records of a route make: names, attributes, times, and what is not in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from history.ids import milliseconds, session_id
from history.records import Finished, Started, decode, encode
from history.tracing.ids import trace_id
from history.tracing.spans import MAX_VALUE, Spans
from routes.engine.circuit import REASONS, STATES
from routing_project.metrics.catalogue import FAMILIES
from tests.history import samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

DOCS = Path(__file__).parents[2] / "docs" / "tracing.md"
PARENT = bytes.fromhex("b7ad6b7169203331")


def spans_of(*records: Finished | Started) -> tuple[ReadableSpan, ...]:
    exporter = InMemorySpanExporter()
    spans = Spans(SimpleSpanProcessor(exporter))
    for record in records:
        spans.make(record)
    return exporter.get_finished_spans()


def traced(**values: Any) -> Finished:
    """A finished request that begins its trace."""
    identifier = samples.route()
    return samples.finished(identifier, **{"trace": trace_id(identifier), **values})


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def context(span: ReadableSpan) -> Any:
    found = span.get_span_context()
    assert found is not None
    return found


def test_a_request_says_what_was_asked_who_answered_and_what_it_took() -> None:
    record = traced(
        session_key="chat-1",
        stream=True,
        cached_tokens=8,
        rule="vip",
        head_id="head-1",
        method="POST",
        attempts=[samples.attempt()],
    )
    attempt, request = spans_of(record)
    route = str(UUID(bytes=record.id))
    assert (request.name, request.kind, request.parent) == ("chat gpt-4o", SpanKind.SERVER, None)
    assert attributes(request) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "acme-gpt-4o",
        "gen_ai.conversation.id": str(session_id(record.key_id, "chat-1")),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 34,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/chat/completions",
        "signalbox.route_id": route,
        "signalbox.status": "routed",
        "signalbox.profile": "default",
        "signalbox.access_key": "app",
        "signalbox.wire": "openai",
        "signalbox.strategy": "weighted",
        "signalbox.source": "load_balancer",
        "signalbox.rule": "vip",
        "signalbox.revision": 7,
        "signalbox.provider": "acme-eu",
        "signalbox.target": samples.TARGET,
        "signalbox.region": "eu-west",
        "signalbox.head": "head-1",
        "signalbox.attempts": 1,
        "signalbox.recovered": False,
        "signalbox.degraded": False,
        "signalbox.selection_ms": 0.015,
        "signalbox.ttfb_ms": 95.0,
        "signalbox.cost_usd": 0.00037,
    }
    assert (attempt.name, attempt.kind) == ("chat acme-gpt-4o", SpanKind.CLIENT)
    assert attempt.parent is not None
    assert attempt.parent.span_id == context(request).span_id
    assert attributes(attempt) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "acme-gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.09,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "eu.acme.example",
        "server.port": 443,
        "signalbox.route_id": route,
        "signalbox.attempt": 1,
        "signalbox.provider": "acme-eu",
        "signalbox.target": samples.TARGET,
        "signalbox.bytes": 812,
        "signalbox.ttfb_ms": 90.0,
    }


def test_what_was_used_is_told_once_so_that_a_sum_over_all_spans_is_right() -> None:
    used = [
        span
        for span in spans_of(traced(attempts=[samples.attempt()]))
        if "gen_ai.usage.input_tokens" in attributes(span)
    ]
    assert len(used) == 1


def test_attempts_follow_each_other_and_say_why_they_failed() -> None:
    record = traced(
        recovered=True,
        attempt_count=2,
        attempts=[
            samples.attempt(
                http_status=429,
                error_class="rate_limited",
                transitions=[("closed", "open", "consecutive_failures")],
                ttfb_us=None,
            ),
            samples.attempt(provider="other", wire="anthropic", endpoint="https://api.anthropic.com/v1"),
        ],
    )
    first, second, request = spans_of(record)
    assert first.status.status_code is StatusCode.ERROR
    assert attributes(first)["error.type"] == "rate_limited"
    assert attributes(first)["signalbox.circuit_transitions"] == ("closed -> open (consecutive_failures)",)
    assert second.status.status_code is request.status.status_code is StatusCode.UNSET
    assert attributes(second)["gen_ai.provider.name"] == attributes(request)["gen_ai.provider.name"] == "anthropic"
    assert [attributes(span)["signalbox.attempt"] for span in (first, second)] == [1, 2]


@pytest.mark.parametrize(
    ("values", "failed"),
    [
        ({"status": "failed", "http_status": 502, "error_code": "upstream_5xx"}, True),
        ({"status": "failed", "http_status": 200, "error_code": "reset_midstream"}, True),
        ({"status": "timeout", "http_status": 504, "error_code": "timeout_total"}, True),
        ({"status": "interrupted", "http_status": None, "error_code": "cancelled"}, True),
        ({"status": "rejected", "http_status": 503, "error_code": "no_target_available"}, True),
        ({"status": "rejected", "http_status": 429, "error_code": "rate_limited"}, False),
        ({"status": "failed", "http_status": 400, "error_code": "client_error"}, False),
        ({"status": "cancelled", "http_status": None, "error_code": "cancelled"}, False),
    ],
)
def test_a_request_failed_unless_it_was_the_client(values: dict[str, Any], failed: bool) -> None:
    (request,) = spans_of(traced(attempts=[], message="it said: a secret question", **values))
    assert (request.status.status_code is StatusCode.ERROR) is failed
    assert attributes(request)["error.type"] == values["error_code"]
    assert "gen_ai.response.model" not in attributes(request)
    assert "secret" not in request.to_json()


@pytest.mark.parametrize(
    ("operation", "path", "name"),
    [
        ("messages", "/p/team/v1/messages", "chat gpt-4o"),
        ("responses", "/v1/responses", "chat gpt-4o"),
        ("completion", "/v1/completions", "text_completion gpt-4o"),
        ("embedding", "/v1/embeddings", "embeddings gpt-4o"),
        ("rerank", "/v1/rerank", "rerank gpt-4o"),
        ("service", "/svc/team/some/path", "POST /svc/{profile}/{path}"),
        ("", "/v1/unknown", "POST"),
    ],
)
def test_spans_are_named_by_operation_and_model(operation: str, path: str, name: str) -> None:
    (request,) = spans_of(traced(operation=operation, path=path, attempts=[]))
    assert request.name == name


@pytest.mark.parametrize(
    ("endpoint", "wire", "name"),
    [
        ("https://api.openai.com/v1", "openai", "openai"),
        ("https://acme.openai.azure.com/openai/v1", "openai", "azure.ai.openai"),
        ("https://europe-west4-aiplatform.googleapis.com/v1", "openai", "gcp.vertex_ai"),
        ("https://api.groq.com/openai/v1", "openai", "groq"),
        ("https://api.openai.com.evil.example/v1", "anthropic", "anthropic"),
        ("http://10.1.2.3:8000/v1", "openai", "openai"),
        ("not an address", "generic", "generic"),
        ("http://[broken", "openai", "openai"),
    ],
)
def test_a_provider_is_named_as_the_convention_names_it(endpoint: str, wire: str, name: str) -> None:
    attempt, _ = spans_of(traced(attempts=[samples.attempt(endpoint=endpoint, wire=wire)]))
    assert attributes(attempt)["gen_ai.provider.name"] == name


def test_a_request_of_a_clients_trace_hangs_below_the_clients_span() -> None:
    trace = bytes(range(16))
    (request,) = spans_of(traced(trace=trace + PARENT, trace_state="a=1,b=2", attempts=[]))
    assert context(request).trace_id == int.from_bytes(trace, "big")
    assert request.parent is not None
    assert (request.parent.span_id, request.parent.is_remote) == (int.from_bytes(PARENT, "big"), True)
    assert dict(context(request).trace_state) == {"a": "1", "b": "2"}


def test_the_same_record_makes_the_same_spans_again() -> None:
    record = traced(attempts=[samples.attempt(), samples.attempt()])
    once, again = spans_of(record), spans_of(decode(encode(record)))  # type: ignore[arg-type]
    assert [span.to_json() for span in once] == [span.to_json() for span in again]
    assert len({context(span).span_id for span in once}) == 3


def test_a_request_whose_process_died_and_the_attempt_it_had_sent() -> None:
    identifier = samples.route()
    attempt, request = spans_of(samples.started(identifier, trace=trace_id(identifier)))
    assert request.status.status_code is attempt.status.status_code is StatusCode.ERROR
    assert attributes(request)["error.type"] == attributes(attempt)["error.type"] == "interrupted"
    assert (attempt.name, request.name) == ("chat acme-gpt-4o", "chat gpt-4o")
    assert request.start_time == request.end_time == milliseconds(identifier) * 1_000_000
    finished_later = samples.finished(identifier, trace=trace_id(identifier), attempts=[samples.attempt()])
    assert [context(span).span_id for span in spans_of(finished_later)] == [
        context(attempt).span_id,
        context(request).span_id,
    ]


@given(
    latency=st.integers(-5, 2**40),
    offsets=st.lists(st.tuples(st.integers(-(2**42), 2**42), st.integers(-5, 2**40)), max_size=4),
)
def test_attempts_lie_in_their_request_whatever_the_clock_did(latency: int, offsets: list[tuple[int, int]]) -> None:
    record = traced(latency_us=latency)
    begun = milliseconds(record.id)
    record.attempts = [samples.attempt(started_ms=begun + moved, latency_us=took) for moved, took in offsets]
    *attempts, request = spans_of(record)
    for span in attempts:
        assert request.start_time <= span.start_time <= span.end_time <= request.end_time  # type: ignore[operator]


def test_an_attempts_length_is_what_was_measured() -> None:
    record = traced(latency_us=500_000)
    record.attempts = [samples.attempt(started_ms=milliseconds(record.id) + 100, latency_us=200_000)]
    attempt, request = spans_of(record)
    assert (attempt.start_time or 0) - (request.start_time or 0) == 100_000_000
    assert (attempt.end_time or 0) - (attempt.start_time or 0) == 200_000_000


def test_whatever_a_record_holds_can_be_sent() -> None:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    record = traced(
        requested_model="x" * 10_000,
        rule="\x00" * 300,
        path="/v1/chat/completions/\x7f",
        trace_state="!!!,=,",
        input_tokens=2**64 - 1,
        revision=2**64 - 1,
        http_status=2**63,
        attempts=[samples.attempt(endpoint="http://h:99999999/", bytes=2**64 - 1, target="")],
    )
    spans = spans_of(record)
    assert attributes(spans[1])["gen_ai.usage.input_tokens"] == attributes(spans[0])["signalbox.bytes"] == 2**63 - 1
    assert len(encode_spans(spans).SerializeToString()) < 10_000
    assert all(len(value) <= MAX_VALUE for span in spans for value in attributes(span).values() if type(value) is str)


def _every_kind() -> Sequence[ReadableSpan]:
    identifier = samples.route()
    rich = traced(
        session_key="s",
        stream=True,
        cached_tokens=1,
        rule="r",
        head_id="h",
        error_code="x",
        usage_estimated=True,
        attempts=[samples.attempt(error_class="x", transitions=[("closed", "open", "consecutive_failures")])],
    )
    return spans_of(rich, samples.started(identifier, trace=trace_id(identifier)))


def test_the_documentation_lists_every_attribute_and_no_other() -> None:
    told = {name for span in _every_kind() for name in attributes(span)}
    rows = [
        line for line in DOCS.read_text().splitlines() if line.startswith(("| `gen_", "| `h", "| `se", "| `e", "| `si"))
    ]
    listed = {name for row in rows for name in re.findall(r"`([a-z_]+\.[a-z_.]+)`", row.split(" | ")[0])}
    assert listed == told


def test_the_documentation_quotes_transitions_and_metrics_that_there_are() -> None:
    text = DOCS.read_text()
    transitions = re.findall(r"`(\w+) -> (\w+) \((\w+)\)`", text)
    assert transitions
    for before, after, reason in transitions:
        assert {before, after} <= set(STATES)
        assert reason in REASONS
    counted = {series: family for family in FAMILIES for series in family.series}
    told = re.findall(r"`(\w+_total)`", text)
    assert told
    assert set(told) <= set(counted)
    assert "shipper.json" not in text, "what it holds is for our own processes"


def test_shared_names_are_the_conventions() -> None:
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
    from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes

    known = {
        value
        for module in (gen_ai_attributes, error_attributes, http_attributes, server_attributes)
        for value in vars(module).values()
        if type(value) is str
    }
    ours = {name for span in _every_kind() for name in attributes(span)}
    assert {name for name in ours if not name.startswith("signalbox.")} <= known


def test_a_journal_of_before_there_were_traces_is_read_and_has_none() -> None:
    old = msgspec.msgpack.encode(
        {
            "type": "finished",
            "id": samples.route(),
            "status": "routed",
            "attempts": [{"provider": "acme", "model": "m", "target": samples.TARGET}],
        }
    )
    record = decode(old)
    assert isinstance(record, Finished)
    assert (record.trace, record.trace_state, record.method, record.attempts[0].wire) == (b"", "", "POST", "openai")
    written = msgspec.msgpack.decode(encode(samples.finished(attempts=[samples.attempt()])))
    assert not {"trace", "trace_state", "method"} & set(written)
    assert "wire" not in written["attempts"][0]
