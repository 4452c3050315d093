"""Real processes: a client's trace goes through the gateway to its providers, and a collector gets the spans."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING
from uuid import UUID

import websockets.sync.client

from tests.documents import document, provider
from tests.gateways import KEY, Gateways, wait_until
from tests.tracing.conftest import CREDENTIAL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.lab import Lab
    from tests.gateways import Answer
    from tests.simulators import Simulator
    from tests.tracing.world import World

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "a secret question"}]}


def ask(lab: Lab, **headers: str) -> Answer:
    return lab.gateway.post("/v1/chat/completions", CHAT, **headers)


def route_of(answer: Answer) -> str:
    return answer.headers["x-route-id"]


def test_a_trace_leads_from_the_client_through_request_and_attempts_to_each_provider(world: World, lab: Lab) -> None:
    first, second = lab.provider(), lab.provider("anthropic")
    lab.publish(first, second, max_attempts=2, same_target_retries=0)
    first.fail("status", status=503)
    answer = ask(lab, traceparent=f"00-{TRACE}-{CLIENT_SPAN}-01", tracestate=STATE)
    assert answer.status == 200
    request, failed, answered = world.collector.of_route(route_of(answer), 3)
    assert [span.trace for span in (request, failed, answered)] == [TRACE] * 3
    assert (request.parent, request.state) == (CLIENT_SPAN, STATE)
    assert (failed.parent, answered.parent) == (request.id, request.id)
    assert len({request.id, failed.id, answered.id}) == 3
    assert [span.kind for span in (request, failed, answered)] == ["SERVER", "CLIENT", "CLIENT"]
    assert [span.failed for span in (request, failed, answered)] == [False, True, False]
    for each, span in ((first, failed), (second, answered)):
        (received,) = each.requests()
        assert [value for name, value in received.headers if name.lower() == "traceparent"] == [
            f"00-{TRACE}-{span.id}-01"
        ]
        assert received.header("tracestate") == STATE
        assert request.start <= span.start <= span.end <= request.end
        assert span.attributes["signalbox.provider"] == each.slug
    assert failed.attributes["error.type"] == "upstream_5xx"
    assert failed.attributes["http.response.status_code"] == 503
    assert (failed.attributes["gen_ai.provider.name"], answered.attributes["gen_ai.provider.name"]) == (
        "openai",
        "anthropic",
    )
    assert request.attributes["signalbox.recovered"] is True
    assert request.attributes["gen_ai.usage.output_tokens"] > 0
    assert "a secret question" not in repr(world.collector.spans)


def test_without_a_traceparent_a_request_begins_a_trace_that_its_provider_joins(world: World, lab: Lab) -> None:
    acme = lab.provider()
    lab.publish(acme)
    answer = ask(lab, tracestate=STATE)
    request, attempt = world.collector.of_route(route_of(answer), 2)
    assert (request.parent, request.state, request.service) == ("", "", "signalbox")
    (received,) = acme.requests()
    assert received.header("traceparent") == f"00-{request.trace}-{attempt.id}-01"
    assert received.header("tracestate") is None  # it belongs to no trace


def test_a_traceparent_that_is_none_is_as_good_as_none(world: World, lab: Lab) -> None:
    acme = lab.provider()
    lab.publish(acme)
    answer = ask(lab, traceparent=f"00-{TRACE}-{'0' * 16}-01", tracestate=STATE)
    request, attempt = world.collector.of_route(route_of(answer), 2)
    assert request.trace != TRACE
    assert request.parent == ""
    (received,) = acme.requests()
    assert received.header("traceparent") == f"00-{request.trace}-{attempt.id}-01"


def test_what_the_client_does_not_sample_has_no_spans_and_its_provider_is_told_so(world: World, lab: Lab) -> None:
    acme = lab.provider()
    lab.publish(acme)
    silent = ask(lab, traceparent=f"00-{TRACE}-{CLIENT_SPAN}-00", tracestate=STATE)
    told = ask(lab)
    world.collector.of_route(route_of(told), 2)  # what came later is there
    assert route_of(silent) not in {span.attributes["signalbox.route_id"] for span in world.collector.spans}
    received = acme.requests()[0]
    parent = received.header("traceparent") or ""
    assert (parent[:36], parent[-3:]) == (f"00-{TRACE}-", "-00")
    assert parent[36:52] != CLIENT_SPAN
    assert received.header("tracestate") == STATE


def test_a_refused_request_has_a_span_and_no_attempt(world: World, lab: Lab) -> None:
    lab.publish(lab.provider())
    answer = lab.gateway.post("/v1/chat/completions", b"{", traceparent=f"00-{TRACE}-{CLIENT_SPAN}-01")
    assert answer.status == 400
    (request,) = world.collector.of_route(route_of(answer), 1)
    assert (request.parent, request.failed) == (CLIENT_SPAN, False)
    assert request.attributes["error.type"] == "invalid_json"
    assert lab.gateway.post("/v1/chat/completions", CHAT, key="sbx_wrong").status == 401
    told = ask(lab)
    world.collector.of_route(route_of(told), 2)
    assert not [span for span in world.collector.spans if span.attributes.get("http.response.status_code") == 401]


def test_a_websocket_is_one_span_from_its_handshake_to_its_end(world: World, lab: Lab) -> None:
    acme = lab.provider()
    lab.publish(acme)
    headers = {"Authorization": f"Bearer {KEY}", "traceparent": f"00-{TRACE}-{CLIENT_SPAN}-01"}
    url = f"ws://127.0.0.1:{world.gateway.port}/v1/realtime?model=gpt-4o"
    with websockets.sync.client.connect(
        url, additional_headers=headers, compression=None, proxy=None, open_timeout=20
    ) as socket:
        assert socket.response is not None
        route = socket.response.headers["x-route-id"]
    request, attempt = world.collector.of_route(route, 2)
    assert (request.name, request.attributes["http.response.status_code"]) == ("realtime gpt-4o", 101)
    assert (request.trace, request.parent, attempt.parent) == (TRACE, CLIENT_SPAN, request.id)
    (received,) = acme.requests()
    assert [value for name, value in received.headers if name.lower() == "traceparent"] == [
        f"00-{TRACE}-{attempt.id}-01"
    ]


def test_a_service_is_http_and_nothing_more(world: World, lab: Lab) -> None:
    tools = lab.provider("generic")
    lab.publish(tools)
    answer = lab.gateway.request(
        "PUT", "/svc/default/a/file?name=x", b"content", {"Authorization": f"Bearer {KEY}", "traceparent": "?"}
    )
    request, attempt = world.collector.of_route(route_of(answer), 2)
    assert request.name == attempt.name == "PUT /svc/{profile}/{path}"
    assert not [name for name in (*request.attributes, *attempt.attributes) if name.startswith("gen_ai")]
    (received,) = tools.requests()
    assert received.header("traceparent") == f"00-{request.trace}-{attempt.id}-01"


def test_a_provider_with_a_traceparent_of_its_own_gets_that_one(world: World, lab: Lab) -> None:
    acme = lab.provider(headers={"traceparent": "mine"})
    lab.publish(acme)
    answer = ask(lab)
    world.collector.of_route(route_of(answer), 2)
    (received,) = acme.requests()
    assert [value for name, value in received.headers if name.lower() == "traceparent"] == ["mine"]


def test_a_request_whose_gateway_was_killed_has_spans_that_say_so(world: World, lab: Lab) -> None:
    acme = lab.provider()
    lab.publish(acme)
    acme.fail("hang_before_headers")
    connection = lab.open(CHAT)
    with closing(connection):
        (received,) = acme.wait_for(lambda requests: len(requests) == 1)
        (started,) = lab.gateway.started()
        world.gateway.kill()
    world.gateway.restart()
    request, attempt = world.collector.of_route(str(UUID(bytes=started.id)), 2)
    assert [span.failed for span in (request, attempt)] == [True, True]
    assert request.attributes["error.type"] == "interrupted"
    assert received.header("traceparent") == f"00-{request.trace}-{attempt.id}-01"


def test_a_collector_that_refuses_costs_spans_and_no_row(world: World, lab: Lab) -> None:
    lab.publish(lab.provider())
    world.collector.of_route(route_of(ask(lab)), 2)  # nothing waits
    before = world.spans("dropped")
    world.collector.answer = 401
    routes = []
    try:
        for dropped in (2, 4, 6):
            routes.append(route_of(ask(lab)))
            wait_until(lambda dropped=dropped: world.spans("dropped") - before == dropped)  # type: ignore[misc]
    finally:
        world.collector.answer = 200
    assert world.rows(routes) == 3
    world.collector.of_route(route_of(ask(lab)), 2)
    wait_until(lambda: "traces are taken again" in world.log())
    assert world.log().count("traces are not taken") == 1
    assert "401" in world.log()
    assert world.collector.headers[-1]["authorization"] == CREDENTIAL
    assert CREDENTIAL not in world.log()


def test_what_waits_is_sent_when_the_shipper_is_told_to_stop(world: World, lab: Lab) -> None:
    """The last one: it ends the shipper."""
    lab.publish(lab.provider())
    routes = [route_of(ask(lab)) for _ in range(5)]
    assert world.end_shipper() == 0
    for route in routes:
        assert len(world.collector.of_route(route, 2)) == 2
    assert world.spans("exported") == len(world.collector.spans)


def test_with_traces_off_the_headers_are_none_of_ours(data_dir: Path, simulator: Simulator) -> None:
    acme = simulator.add("acme")
    gateway = Gateways(data_dir)
    try:
        gateway.start()
        gateway.publish(document([provider("acme", base_url=acme.base_url)]))
        gateway.chat(traceparent="whatever it is", tracestate="also")
        gateway.chat()
        sent, none = acme.requests()
        assert (sent.header("traceparent"), sent.header("tracestate")) == ("whatever it is", "also")
        assert (none.header("traceparent"), none.header("tracestate")) == (None, None)
        assert {(record.trace, record.trace_state) for record in (*gateway.finished(), *gateway.started())} == {
            (b"", "")
        }
    finally:
        gateway.stop()
