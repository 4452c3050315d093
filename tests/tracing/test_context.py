"""Which trace a request joins, which it begins, and how it is decided whether it has spans."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from history.ids import new_id
from history.tracing.ids import span_id, trace_id
from routes.gateway.exchange import Exchange
from routes.gateway.intake import index_headers
from routes.gateway.tracing import MAX_STATE, Sampler, Tracing

if TYPE_CHECKING:
    from routes.gateway.tracing import Trace

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
ALL = Sampler(parent_based=True, ratio=1.0)


def joined(*headers: tuple[bytes, bytes], sampler: Sampler = ALL) -> tuple[Trace, bytes]:
    """The trace of a request with these headers, and its route."""
    route = new_id().bytes
    exchange = Exchange(route, "", 0.0, 0, "POST", "/", b"", list(headers))
    Tracing(sampler).join(exchange, index_headers(exchange.headers))
    assert exchange.trace is not None
    return exchange.trace, route


def parent(text: str) -> tuple[bytes, bytes]:
    return b"traceparent", text.encode()


@pytest.mark.parametrize(
    "text",
    [
        f"00-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01\t",
        f"01-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-comes-later",
        f"00-{TRACE}-{SPAN}-ff",
    ],
)
def test_a_sound_traceparent_is_joined(text: str) -> None:
    trace, route = joined(parent(text))
    assert trace.recorded.hex() == TRACE + SPAN
    flags = "03" if text.endswith("ff") else "01"
    assert trace.traceparent(2).decode() == f"00-{TRACE}-{span_id(route, 2):016x}-{flags}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
    ],
)
def test_one_that_is_not_counts_as_none(text: str) -> None:
    trace, route = joined(parent(text), (b"tracestate", b"a=1"))
    assert trace.recorded == trace_id(route)
    assert trace.state == ""
    assert trace.dropped == {b"traceparent", b"tracestate"}


def test_of_two_none_counts() -> None:
    trace, route = joined(parent(f"00-{TRACE}-{SPAN}-01"), parent(f"00-{TRACE}-{SPAN}-01"))
    assert trace.recorded == trace_id(route)


@given(st.binary(max_size=80), st.binary(max_size=600))
def test_whatever_a_client_sends_upstreams_get_a_sound_one(value: bytes, state: bytes) -> None:
    trace, _ = joined((b"traceparent", value), (b"tracestate", state))
    told = trace.traceparent(1)
    again, _ = joined((b"traceparent", told))
    assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]", told)
    assert again.recorded[:16].hex().encode() == told[3:35]


def test_a_tracestate_goes_on_with_its_trace_and_may_be_repeated() -> None:
    sound = parent(f"00-{TRACE}-{SPAN}-01")
    trace, _ = joined(sound, (b"tracestate", b"a=1"), (b"tracestate", b"b=2"))
    assert (trace.state, trace.dropped) == ("a=1,b=2", {b"traceparent"})
    for bad in (b"x" * (MAX_STATE + 1), "é".encode()):
        trace, _ = joined(sound, (b"tracestate", bad))
        assert (trace.state, trace.dropped) == ("", {b"traceparent", b"tracestate"})


@pytest.mark.parametrize(
    ("sampler", "flags", "sampled"),
    [
        (Sampler(True, 0.0), "01", True),
        (Sampler(True, 1.0), "00", False),
        (Sampler(True, 1.0), None, True),
        (Sampler(True, 0.0), None, False),
        (Sampler(False, 1.0), "00", True),
        (Sampler(False, 0.0), "01", False),
    ],
)
def test_the_clients_word_counts_where_sampling_is_by_parents(
    sampler: Sampler, flags: str | None, sampled: bool
) -> None:
    headers = [] if flags is None else [parent(f"00-{TRACE}-{SPAN}-{flags}"), (b"tracestate", b"a=1")]
    trace, _ = joined(*headers, sampler=sampler)
    assert bool(trace.recorded) is sampled
    assert trace.traceparent(1).endswith(b"-01" if sampled else b"-00")
    assert trace.state == ("a=1" if sampled and flags else "")


@pytest.mark.parametrize("ratio", [0.0, 0.001, 0.25, 0.5, 0.999, 1.0])
def test_a_ratio_takes_the_traces_that_opentelemetry_takes(ratio: float) -> None:
    ours, theirs = Sampler(False, ratio), TraceIdRatioBased(ratio)
    routes = [new_id().bytes for _ in range(2000)]
    for trace in map(trace_id, routes):
        decided = theirs.should_sample(None, int.from_bytes(trace, "big"), "").decision
        assert ours.samples(trace[8:], None) is (decided is Decision.RECORD_AND_SAMPLE)
    taken = sum(ours.samples(trace_id(route)[8:], None) for route in routes)
    assert abs(taken / len(routes) - ratio) < 0.06  # ids made one after the other are spread evenly


def test_spans_of_a_route_differ_and_so_do_those_of_routes_made_one_after_the_other() -> None:
    routes = [new_id().bytes for _ in range(500)]
    assert len({span_id(route, ordinal) for route in routes for ordinal in range(10)}) == 5000
