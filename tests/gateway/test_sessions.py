"""Which session a request belongs to: in the path, in a header, in the body, or by its client's address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routes.gateway import endpoints
from tests.documents import document, provider
from tests.gateway.lab import CHAT, MESSAGES, VERSION
from tests.gateway.test_metrics import value, wait_for
from tests.gateways import KEY

if TYPE_CHECKING:
    from tests.gateway.lab import Lab
    from tests.gateways import Gateways
    from tests.simulators import Simulator


@pytest.mark.parametrize(
    ("path", "profile", "session", "operation"),
    [
        (b"/p/fast/s/abc/v1/chat/completions", "fast", b"abc", "chat"),
        (b"/p/fast/s/a%2Fb%20c/v1/messages", "fast", b"a/b c", "messages"),
        (b"/p/fast/s/%C3%A4/v1/messages/count_tokens", "fast", "ä".encode(), "count_tokens"),
        (b"/p/s/s/s/v1/responses", "s", b"s", "responses"),
        (b"/p/fast/s/x/v1/models", "fast", b"x", "models"),
        (b"/p/fast/s/x/v1/models/gpt-4o", "fast", b"x", "models"),
        (b"/p/fast/v1/embeddings", "fast", None, "embedding"),
        (b"/v1/completions", None, None, "completion"),
    ],
)
def test_a_path_may_name_profile_and_session_before_every_endpoint(
    path: bytes, profile: str | None, session: bytes | None, operation: str
) -> None:
    match = endpoints.find(path)
    assert match is not None
    assert match.endpoint is not None
    assert (match.profile, match.session, match.endpoint.operation) == (profile, session, operation)
    assert (match.endpoint.method, match.template) in endpoints.SERIES
    assert session is None or "/s/{session}/v1/" in match.template


@pytest.mark.parametrize(
    "path",
    [b"/p/fast/s//v1/messages", b"/p/fast/s/x", b"/p/fast/s/x/v2/messages", b"/p/fast/s", b"/p//s/x/v1/messages"],
)
def test_a_path_that_only_begins_like_one_is_nowhere(path: bytes) -> None:
    match = endpoints.find(path)
    assert match is not None
    assert match.endpoint is None
    assert match.template == "other"


@pytest.mark.thorough
def test_the_session_of_the_path_is_recorded_and_never_sent_on(lab: Lab) -> None:
    acme = lab.provider()
    lab.publish(acme)
    path = "/p/default/s/caf%C3%A9%2Ftable%201/v1/chat/completions"
    answer = lab.gateway.post(path, {**CHAT, "user": "someone else"}, x_route_session="header's")
    assert answer.status == 200
    assert lab.row(answer).session_key == "café/table 1"
    assert [request.path for request in acme.requests()] == ["/v1/chat/completions"]


@pytest.mark.thorough
def test_a_session_in_the_path_that_is_no_text_is_refused(lab: Lab) -> None:
    lab.publish(lab.provider())
    answer = lab.gateway.chat(path="/p/default/s/%FF/v1/chat/completions")
    assert (answer.status, answer.json()["error"]["param"]) == (400, "session")


@pytest.mark.thorough
def test_every_endpoint_is_there_under_a_session(lab: Lab) -> None:
    openai, anthropic = lab.provider(models={"gpt-4o": "gpt-4o"}), lab.provider("anthropic")
    lab.publish(openai, anthropic)
    gateway = lab.gateway
    for resource, body in {
        "chat/completions": CHAT,
        "completions": {"model": "gpt-4o", "prompt": "hello"},
        "responses": {"model": "gpt-4o", "input": "hello"},
        "embeddings": {"model": "gpt-4o", "input": "hello"},
        "messages": MESSAGES,
        "messages/count_tokens": {"model": "gpt-4o", "messages": CHAT["messages"]},
    }.items():
        answer = gateway.post(f"/p/default/s/one/v1/{resource}", body, **VERSION)
        assert answer.status == 200, (resource, answer.body)
        assert lab.row(answer).session_key == "one"
    models = gateway.get("/p/default/s/one/v1/models", authorization=f"Bearer {KEY}")
    assert "gpt-4o" in [model["id"] for model in models.json()["data"]]


@pytest.mark.thorough
def test_the_clients_address_stands_for_a_session_only_where_the_profile_says_so(lab: Lab) -> None:
    acme = lab.provider()
    lab.publish(acme)
    assert lab.row(lab.chat()).session_key is None
    lab.publish(acme, of_profile={"affinity": {"enabled": True, "client_ip": True}})
    row = lab.row(lab.chat())
    assert (row.session_key, row.client_ip) == ("ip:127.0.0.1", "127.0.0.1")
    assert lab.row(lab.chat(user="explicit")).session_key == "explicit"


@pytest.mark.thorough
def test_a_session_never_becomes_a_label(gateway: Gateways, simulator: Simulator) -> None:
    gateway.publish(document([provider("a", base_url=simulator.add("a").base_url)]))
    for number in range(3):
        gateway.chat(path=f"/p/default/s/session-{number}/v1/chat/completions")
    template = "/p/{profile}/s/{session}/v1/chat/completions"
    series = wait_for(gateway, "http_requests_total", 3, endpoint=template)
    assert value(series, "http_requests_total", method="POST", endpoint=template, status="200") == 3
    assert "session-1" not in repr(series)
