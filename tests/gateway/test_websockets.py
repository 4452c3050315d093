"""WebSockets of the data plane: who may open one, where it goes, what passes through, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode

from tests.documents import access_key, document, provider
from tests.gateways import KEY, wait_until
from tests.simulator.conftest import certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.sync.client import ClientConnection

    from history.records import Finished
    from tests.gateway.lab import Lab, Provider
    from tests.gateways import Gateways
    from tests.simulators import Simulator

#: Many of a kind.
pytestmark = pytest.mark.thorough

__all__ = ["certificate"]

REALTIME = "/v1/realtime?model=gpt-4o"
ECHO = "/svc/default/echo"
BEARER = {"Authorization": f"Bearer {KEY}"}


def dial(gateway: Gateways, path: str, headers: dict[str, str] | None = None, **given: Any) -> ClientConnection:
    given = {"compression": None, "max_size": None, "open_timeout": 20, "proxy": None, **given}
    headers = BEARER if headers is None else headers
    url = f"ws://127.0.0.1:{gateway.port}{path}"
    return websockets.sync.client.connect(url, additional_headers=headers, **given)


def refused(gateway: Gateways, path: str, headers: dict[str, str] | None = None, **given: Any) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as caught:
        dial(gateway, path, headers, **given)
    return caught.value


def error_of(refusal: InvalidStatus) -> tuple[int, str]:
    return refusal.response.status_code, json.loads(refusal.response.body or b"")["error"]["code"]


def ended(connection: ClientConnection) -> tuple[int, str]:
    """What the close frame says that ends the connection; whatever still comes before it is dropped."""
    try:
        while True:
            connection.recv(timeout=20)
    except ConnectionClosed as closed:
        return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (CloseCode.ABNORMAL_CLOSURE, "")


def row_of(gateway: Gateways) -> Finished:
    """The row of the only connection since the last ``forget``, once it is written."""
    [row] = wait_until(gateway.finished, what="a row")
    return row


def measured(row: Finished) -> dict[str, float]:
    return {name: value for name, value, _ in row.metrics}


@pytest.fixture
def echo(lab: Lab) -> Provider:
    acme = lab.provider("generic")
    lab.publish(acme)
    return acme


# -- where it goes ---------------------------------------------------------------------------------------------
def test_a_realtime_session_reaches_the_provider_and_its_events_come_back(lab: Lab) -> None:
    acme = lab.provider(credential="sk-acme", models={"gpt-4o": "acme/live 4o"}, query={"tenant": "7"})
    lab.publish(acme)
    headers = {**BEARER, "OpenAI-Beta": "realtime=v1", "Cookie": "a=1", "X-Forwarded-For": "6.6.6.6"}
    with dial(lab.gateway, "/v1/realtime?a=%20b&model=gpt-4o&c", headers) as connection:
        session = json.loads(connection.recv())
        connection.send('{"type": "response.create"}')
        while (event := json.loads(connection.recv()))["type"] != "response.done":
            pass
    assert session["session"]["model"] == "acme/live 4o"
    answer = connection.response
    assert answer is not None
    assert answer.headers["x-route-provider"] == acme.slug
    assert answer.headers["x-route-model"] == "acme/live 4o"
    [request] = acme.requests()
    assert request.target == "/v1/realtime?a=%20b&model=acme%2Flive%204o&c&tenant=7"
    assert request.header("authorization") == "Bearer sk-acme"
    assert request.header("openai-beta") == "realtime=v1"
    assert request.header("cookie") is None
    assert request.header("x-forwarded-for") is None
    assert request.header("sec-websocket-extensions") is None
    row = row_of(lab.gateway)
    assert row.id.hex() == answer.headers["x-route-id"].replace("-", "")
    assert (row.status, row.http_status, row.operation, row.route_type) == ("routed", 101, "realtime", "inference")
    assert (row.model, row.requested_model) == ("acme/live 4o", "gpt-4o")
    usage = event["response"]["usage"]
    assert (row.input_tokens, row.output_tokens) == (usage["input_tokens"], usage["output_tokens"])


def test_what_the_answers_of_a_session_used_is_added_up_and_priced(lab: Lab) -> None:
    acme = lab.provider(prices={"gpt-4o": {"input": 2_000_000, "output": 3_000_000}})
    lab.publish(acme)
    used = []
    with dial(lab.gateway, REALTIME) as connection:
        for _ in range(3):
            connection.send('{"type": "response.create"}')
            while (event := json.loads(connection.recv()))["type"] != "response.done":
                pass
            used.append(event["response"]["usage"])
    row = row_of(lab.gateway)
    tokens = sum(each["input_tokens"] for each in used), sum(each["output_tokens"] for each in used)
    assert (row.input_tokens, row.output_tokens) == tokens
    assert row.cost_micro_usd == tokens[0] * 2_000_000 + tokens[1] * 3_000_000


def test_a_service_socket_goes_on_with_path_and_query_as_they_came(lab: Lab, echo: Provider) -> None:
    with dial(lab.gateway, "/svc/default/a%2Fb/c;d?model=x&y=%20") as connection:
        connection.send("headers")
        connection.recv()
    [request] = echo.requests()
    assert request.target.endswith("/a%2Fb/c;d?model=x&y=%20")
    row = row_of(lab.gateway)
    assert (row.route_type, row.operation, row.wire) == ("service", "service", "generic")
    assert lab.gateway.started()[0].route_type == "service"
    assert (row.input_tokens, row.cost_micro_usd) == (None, None)


def test_a_service_called_over_http_is_a_service_in_history_too(lab: Lab, echo: Provider) -> None:
    assert lab.gateway.request("GET", ECHO, headers=BEARER).status == 200
    assert row_of(lab.gateway).route_type == "service"
    assert echo.count == 1


@pytest.mark.parametrize("path", ["/p/default/v1/realtime", "/p/default/s/talk-7/v1/realtime"])
def test_profile_and_session_may_be_in_the_path(lab: Lab, path: str) -> None:
    acme = lab.provider()
    lab.publish(acme, of_profile={"affinity": {"enabled": True}})
    with dial(lab.gateway, f"{path}?model=gpt-4o") as connection:
        connection.recv()
    row = row_of(lab.gateway)
    assert row.profile == "default"
    assert row.session_key == ("talk-7" if "/s/" in path else None)


def test_a_session_stays_with_the_target_that_accepted_it(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second, strategy="round_robin", of_profile={"affinity": {"enabled": True}})
    for _ in range(4):
        with dial(lab.gateway, "/p/default/s/one/v1/realtime?model=gpt-4o") as connection:
            connection.recv()
    assert sorted([first.count, second.count]) == [0, 4]


# -- who may open one --------------------------------------------------------------------------------------------
def test_a_key_in_a_subprotocol_opens_a_session_and_goes_no_further(lab: Lab) -> None:
    acme = lab.provider(credential="sk-acme")
    lab.publish(acme)
    private = [f"openai-insecure-api-key.{KEY}", "openai-organization.org-1", "openai-project.proj-1"]
    offered: Any = [private[0], "realtime", *private[1:], "openai-beta.realtime-v1"]
    with dial(lab.gateway, REALTIME, {}, subprotocols=offered) as connection:
        connection.recv()
        assert connection.subprotocol == "realtime"
    [request] = acme.requests()
    assert request.header("sec-websocket-protocol") == "realtime, openai-beta.realtime-v1"
    assert request.header("authorization") == "Bearer sk-acme"
    assert not any(KEY in value for _, value in request.headers)
    assert row_of(lab.gateway).key_name == "test"
    assert KEY not in lab.gateway.log()
    assert KEY not in str(lab.gateway.records())


def test_a_subprotocol_that_only_carries_the_key_is_never_agreed_on(lab: Lab, echo: Provider) -> None:
    offered: Any = [f"openai-insecure-api-key.{KEY}"]
    with dial(lab.gateway, ECHO, {}, subprotocols=offered) as connection:
        connection.send("subprotocol")
        assert connection.recv() == ""
        assert connection.subprotocol is None
    assert echo.requests()[0].header("sec-websocket-protocol") is None


def test_two_keys_that_differ_are_refused(lab: Lab, echo: Provider) -> None:
    other: Any = ["openai-insecure-api-key.sbx_" + "x" * 40]
    assert error_of(refused(lab.gateway, ECHO, BEARER, subprotocols=other)) == (401, "invalid_api_key")
    same: Any = [f"openai-insecure-api-key.{KEY}"]
    with dial(lab.gateway, ECHO, BEARER, subprotocols=same):
        pass
    assert echo.count == 1


REFUSED: list[tuple[str, dict[str, str], int, str]] = [
    (REALTIME, {}, 401, "invalid_api_key"),
    (REALTIME, {"Authorization": "Bearer sbx_wrong"}, 401, "invalid_api_key"),
    ("/p/nobody/v1/realtime?model=gpt-4o", BEARER, 404, "profile_not_found"),
    ("/v1/realtime", BEARER, 400, "missing_field"),
    ("/v1/realtime?model=a&model=b", BEARER, 400, "invalid_field"),
    ("/v1/realtime?model=unknown", BEARER, 404, "model_not_found"),
    ("/v1/chat/completions", BEARER, 400, "invalid_request"),
    ("/v1/models", BEARER, 400, "invalid_request"),
    ("/v1/nothing", BEARER, 404, "not_found"),
    ("/svc/nobody/x", BEARER, 404, "profile_not_found"),
    ("/svc/calm/x", BEARER, 404, "not_found"),
]


def test_what_cannot_be_opened_is_refused_with_an_error_document(lab: Lab) -> None:
    acme = lab.provider(models={"gpt-4o": "gpt-4o"})
    lab.publish(acme)
    for path, headers, status, code in REFUSED:
        lab.gateway.forget()
        refusal = refused(lab.gateway, path, headers)
        assert error_of(refusal) == (status, code), path
        if status == 401 or path == "/v1/models":  # as over HTTP
            assert not lab.gateway.finished()
            continue
        row = row_of(lab.gateway)
        assert refusal.response.headers["x-route-id"].replace("-", "") == row.id.hex()
        assert (row.status, row.http_status, row.error_code) == ("rejected", status, code)
    assert acme.count == 0


def test_a_key_for_some_models_opens_sessions_of_those_only(start_gateways: Callable[..., Gateways]) -> None:
    gateway = start_gateways()
    gateway.overlay(keys=[access_key(KEY, models=["gpt-4o-mini"])])
    gateway.publish(document([provider("acme")]))
    assert error_of(refused(gateway, REALTIME)) == (403, "permission_denied")


def raw_handshake(gateway: Gateways, head: str) -> bytes:
    with gateway.connect() as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize(
    "head",
    [
        "GET /v1/realtime?model=a HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n\n",
        "POST /v1/realtime?model=a HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n\n",
        "GET /v1/realtime?model=a HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Version: 7\n\n",
    ],
)
def test_a_broken_handshake_gets_400_as_a_document(lab: Lab, head: str) -> None:
    answer = raw_handshake(lab.gateway, head)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_request"


def test_ambiguous_credentials_in_a_handshake_are_refused(lab: Lab, echo: Provider) -> None:
    head = (
        f"GET {ECHO} HTTP/1.1\nHost: a\nConnection: Upgrade\nUpgrade: websocket\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Version: 13\n"
        f"Authorization: Bearer {KEY}\nAuthorization: Bearer {KEY}\n\n"
    )
    assert raw_handshake(lab.gateway, head).startswith(b"HTTP/1.1 400 ")
    assert echo.count == 0


# -- the handshake is an attempt -----------------------------------------------------------------------------------
FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("reset_on_connect", {}, "reset_before_headers"),
    ("reset_before_headers", {}, "reset_before_headers"),
    ("close_before_headers", {}, "reset_before_headers"),
    ("hang_before_headers", {}, "timeout_first_byte"),
    ("status", {"status": 500}, "upstream_5xx"),
    ("status", {"status": 503}, "upstream_5xx"),
    ("status", {"status": 529}, "overloaded"),
    ("status", {"status": 401}, "auth_failed"),
    ("status", {"status": 403}, "auth_failed"),
    ("status", {"status": 200}, "invalid_response"),
    ("rate_limited", {}, "rate_limited"),
    ("billing", {}, "quota_exhausted"),
    ("redirect", {}, "upstream_redirect"),
    ("ws_bad_accept", {}, "upstream_framing"),
    ("ws_wrong_subprotocol", {}, "invalid_response"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "options", "error_class"), FAILURES, ids=[f"{f[0]}-{f[2]}" for f in FAILURES])
def test_a_handshake_that_fails_goes_to_the_next_target(
    lab: Lab, fault: str, options: dict[str, Any], error_class: str
) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second, timeouts={"first_byte": 0.3})
    first.fail(fault, **options)
    with dial(lab.gateway, REALTIME) as connection:
        assert json.loads(connection.recv())["type"] == "session.created"
    row = row_of(lab.gateway)
    assert (row.status, row.recovered, row.provider) == ("routed", True, second.slug)
    assert [(each.provider, each.error_class) for each in row.attempts] == [
        (first.slug, error_class),
        (second.slug, None),
    ]


def test_a_refused_connection_goes_to_the_next_target(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second)
    first.stop()
    with dial(lab.gateway, REALTIME) as connection:
        connection.recv()
    assert [each.error_class for each in row_of(lab.gateway).attempts] == ["connect_refused", None]


def test_a_name_that_is_unknown_and_a_port_without_tls_go_to_the_next_target(lab: Lab) -> None:
    nowhere, plain, good = lab.provider(), lab.provider(), lab.provider()
    nowhere.entry["base_url"] = "http://no-such-name.invalid/v1"
    plain.entry["base_url"] = plain.entry["base_url"].replace("http:", "https:")
    lab.publish(nowhere, plain, good)
    with dial(lab.gateway, REALTIME) as connection:
        connection.recv()
    assert [each.error_class for each in row_of(lab.gateway).attempts] == ["dns", "tls", None]


def test_an_address_that_is_not_allowed_is_never_connected_to(lab: Lab) -> None:
    acme = lab.provider(network="public")
    lab.publish(acme)
    assert error_of(refused(lab.gateway, REALTIME)) == (502, "all_targets_failed")
    assert acme.count == 0


def test_a_refusal_of_the_provider_goes_to_the_client_as_it_is(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second)
    for status in (400, 404, 422):
        lab.gateway.forget()
        first.fail("status", status=status, body='{"theirs": true}', content_type="application/json")
        refusal = refused(lab.gateway, REALTIME)
        assert (refusal.response.status_code, refusal.response.body) == (status, b'{"theirs": true}')
        assert "x-route-id" in refusal.response.headers
        row = row_of(lab.gateway)
        assert (row.status, row.http_status, row.error_code) == ("routed", status, "client_error")
    assert second.count == 0


def test_when_nobody_accepts_the_client_gets_502_and_what_was_tried(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second, max_attempts=2)
    first.fail("status", status=500)
    second.fail("reset_before_headers")
    refusal = refused(lab.gateway, REALTIME)
    assert error_of(refusal) == (502, "all_targets_failed")
    tried = json.loads(refusal.response.body or b"")["error"]["attempts"]
    assert [each["error_class"] for each in tried] == ["upstream_5xx", "reset_before_headers"]
    assert row_of(lab.gateway).status == "failed"


def test_a_rate_limit_of_a_handshake_keeps_later_ones_away(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second)
    first.fail("rate_limited", retry_after=30)
    for _ in range(2):
        with dial(lab.gateway, REALTIME) as connection:
            connection.recv()
    assert (first.count, second.count) == (1, 2)


def test_a_client_that_leaves_during_the_handshake_cancels_it(lab: Lab, echo: Provider) -> None:
    echo.fail("hang_before_headers")
    with gateway_connection(lab.gateway, ECHO):
        echo.wait_for(lambda requests: len(requests) == 1)
    echo.wait_for(lambda requests: requests[0].disconnected)
    row = row_of(lab.gateway)
    assert (row.status, row.error_code, row.http_status) == ("cancelled", "cancelled", None)


@contextlib.contextmanager
def gateway_connection(gateway: Gateways, path: str) -> Iterator[socket.socket]:
    """A handshake by hand, its answer unread."""
    with gateway.connect() as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {KEY}\r\n\r\n".encode()
        )
        yield connection


def read_head(connection: socket.socket) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1)
    return answer


def test_a_connection_that_is_cut_counts_once_against_its_target(lab: Lab) -> None:
    acme, spare = lab.provider("generic", circuit={"failure_threshold": 1}), lab.provider("generic")
    lab.publish(acme, spare)
    acme.fail("ws_reset", times=1)
    with dial(lab.gateway, ECHO) as connection:
        connection.send("x")
        ended(connection)
    with dial(lab.gateway, ECHO):
        pass
    assert (acme.count, spare.count) == (1, 1)


def test_an_accepted_handshake_is_a_success_of_its_target(lab: Lab) -> None:
    acme, spare = lab.provider("generic", circuit={"failure_threshold": 2}), lab.provider("generic")
    lab.publish(acme, spare)
    acme.fail("ws_reset")
    for _ in range(4):
        with dial(lab.gateway, ECHO) as connection:
            connection.send("x")
            ended(connection)
    # A success between two failures: they are not two in a row.
    assert (acme.count, spare.count) == (4, 0)


def test_a_connection_holds_a_seat_of_its_provider_until_it_is_over(lab: Lab) -> None:
    acme, spare = lab.provider("generic", max_concurrency=1), lab.provider("generic")
    lab.publish(acme, spare)
    with dial(lab.gateway, ECHO), dial(lab.gateway, ECHO) as second:
        second.send("x")
        assert second.recv() == "x"
        assert (acme.count, spare.count) == (1, 1)
    wait_until(lambda: len(lab.gateway.finished()) == 2)
    acme.wait_for(lambda requests: requests[0].finished)
    with dial(lab.gateway, ECHO):
        pass
    assert (acme.count, spare.count) == (2, 1)


# -- messages --------------------------------------------------------------------------------------------------
def test_text_and_binary_pass_through_both_ways_unchanged(lab: Lab, echo: Provider) -> None:
    messages = ["", "grüße \U0001f642", b"", bytes(range(256)), "x" * 70_000, os.urandom(300_000)]
    with dial(lab.gateway, ECHO) as connection:
        for message in messages:
            connection.send(message)
            assert connection.recv() == message
        connection.send(["frag", "men", "ted"])
        assert connection.recv() == "fragmented"
    row = row_of(lab.gateway)
    size = sum(len(each.encode() if isinstance(each, str) else each) for each in messages) + len("fragmented")
    assert measured(row) == {
        "bytes_from_client": size,
        "bytes_to_client": size,
        "messages_from_client": 7,
        "messages_to_client": 7,
    }
    assert row.attempts[0].bytes == size
    assert echo.requests()[0].messages_received == 7


def test_messages_sent_ahead_of_the_accepted_handshake_arrive(lab: Lab, echo: Provider) -> None:
    echo.behave(latency=0.2)
    with gateway_connection(lab.gateway, ECHO) as connection:
        echo.wait_for(lambda requests: len(requests) == 1)
        connection.sendall(b"\x81\x82\0\0\0\0hi")
        read_head(connection)
        assert connection.recv(4) == b"\x81\x02hi"


def test_a_message_of_16_mb_passes_and_a_larger_one_ends_both_sides_with_1009(lab: Lab, echo: Provider) -> None:
    largest = os.urandom(16 * 1024 * 1024)
    with dial(lab.gateway, ECHO) as connection:
        connection.send(largest)
        assert connection.recv() == largest
        with contextlib.suppress(ConnectionClosed):
            connection.send(largest + b"x")
        assert ended(connection)[0] == CloseCode.MESSAGE_TOO_BIG
    row = row_of(lab.gateway)
    assert (row.status, row.error_code, row.http_status) == ("failed", "too_large", 101)
    [request] = echo.wait_for(lambda requests: requests[0].finished)
    assert request.close_code == CloseCode.MESSAGE_TOO_BIG


def test_nobody_is_offered_compression(lab: Lab, echo: Provider) -> None:
    with dial(lab.gateway, ECHO, compression="deflate") as connection:
        assert connection.response is not None
        assert "sec-websocket-extensions" not in connection.response.headers
        connection.send("x")
        assert connection.recv() == "x"
    assert echo.requests()[0].header("sec-websocket-extensions") is None


def test_pings_of_both_sides_are_answered(lab: Lab, echo: Provider) -> None:
    with dial(lab.gateway, ECHO) as connection:
        assert connection.ping("mine").wait(10)
        connection.send("ping")
        answered = connection.recv(timeout=10)
        assert isinstance(answered, str)
        assert answered.startswith("pong:")
    assert echo.count == 1


def test_the_provider_chooses_among_the_subprotocols_of_the_client(lab: Lab, echo: Provider) -> None:
    offered: Any = ["v1.chat", "v2.chat"]
    echo.behave(subprotocols=["v2.chat"])
    with dial(lab.gateway, ECHO, subprotocols=offered) as connection:
        assert connection.subprotocol == "v2.chat"
        connection.send("subprotocol")
        assert connection.recv() == "v2.chat"


# -- backpressure -----------------------------------------------------------------------------------------------
def memory(gateway: Gateways) -> int:
    """Resident bytes of the process."""
    text = Path(f"/proc/{gateway.processes[0].pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


def settled(read: Callable[[], int]) -> int:
    """A counter once it has stopped moving."""
    seen = [read()]
    wait_until(lambda: (time.sleep(0.2), seen.append(read()), seen[-1] == seen[-2])[-1], 20)
    return seen[-1]


#: What the kernel may hold of a connection on loopback, and two of them lie between the ends.
IN_KERNEL = 2 * 16 * 1024 * 1024
FLOOD = 200 * 1024 * 1024


def test_a_client_that_does_not_read_stops_the_provider(lab: Lab, echo: Provider) -> None:
    piece = 256 * 1024
    with gateway_connection(lab.gateway, ECHO) as connection:
        read_head(connection)
        before = memory(lab.gateway)
        order = f"flood:{FLOOD // piece}:{piece}".encode()
        connection.sendall(bytes([0x81, 0x80 | len(order), 0, 0, 0, 0]) + order)
        sent = settled(lambda: echo.requests()[0].messages_sent * piece)
        assert 0 < sent < IN_KERNEL
        assert memory(lab.gateway) - before < 8 * 1024 * 1024
        received = 0
        while received < FLOOD:
            received += len(connection.recv(1024 * 1024))
        assert echo.requests()[0].messages_sent == FLOOD // piece


def test_a_provider_that_does_not_read_stops_the_client(lab: Lab, echo: Provider) -> None:
    echo.fail("ws_stall", after_messages=1)
    piece = bytes([0x82, 0xFF]) + struct.pack("!Q", 256 * 1024) + b"\0\0\0\0" + bytes(256 * 1024)
    with gateway_connection(lab.gateway, ECHO) as connection:
        read_head(connection)
        before = memory(lab.gateway)
        connection.settimeout(2)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < FLOOD:
                sent += connection.send(piece)
        assert sent < IN_KERNEL
        assert memory(lab.gateway) - before < 8 * 1024 * 1024


def test_pings_of_a_client_that_does_not_read_do_not_pile_up(lab: Lab, echo: Provider) -> None:
    ping = b"\x89\xfd\0\0\0\0" + bytes(125)
    with gateway_connection(lab.gateway, ECHO) as connection:
        read_head(connection)
        before = memory(lab.gateway)
        for _ in range(FLOOD // 10 // len(ping) // 1000):
            connection.sendall(ping * 1000)
        assert memory(lab.gateway) - before < 8 * 1024 * 1024
    assert echo.count == 1


@pytest.mark.slow
def test_providers_behind_tls_are_no_different(
    start_gateways: Callable[..., Gateways], simulator: Simulator, certificate: tuple[Path, Path]
) -> None:
    chain, key = (str(path) for path in certificate)
    gateway = start_gateways(SSL_CERT_FILE=chain)
    (acme,) = simulator.add_all([{"name": "acme", "wire": "generic", "certificate": chain, "private_key": key}])
    gateway.publish(document([provider("acme", wire="generic", base_url=acme.base_url)]))
    large = os.urandom(3_000_000)
    with dial(gateway, ECHO) as connection:
        connection.send(large)
        assert connection.recv() == large
        connection.send("flood:100:100000")
        assert sum(len(connection.recv()) for _ in range(100)) == 10_000_000
        connection.send("close:4007:bye")
        assert ended(connection) == (4007, "bye")
    [request] = acme.wait_for(lambda requests: requests[0].finished)
    assert request.close_code == 4007
    acme.fail("ws_reset")
    with dial(gateway, ECHO) as connection:
        connection.send("x")
        assert ended(connection)[0] == CloseCode.INTERNAL_ERROR
    wait_until(lambda: [row.status for row in gateway.finished()] == ["routed", "failed"])


# -- the end ------------------------------------------------------------------------------------------------------
CLOSES = [(1000, ""), (1000, "done"), (1001, ""), (1011, "grüße"), (3000, ""), (4999, "x" * 30)]


def test_a_close_of_the_provider_reaches_the_client_as_it_is(lab: Lab, echo: Provider) -> None:
    for number, (code, reason) in enumerate(CLOSES):
        lab.gateway.forget()
        echo.fail("ws_close", code=code, reason=reason)
        with dial(lab.gateway, ECHO) as connection:
            connection.send("x")
            assert ended(connection) == (code, reason)
        row = row_of(lab.gateway)
        assert (row.status, row.error_code) == ("routed", None)
        assert row.message == f"closed by the provider with {code}" + (f": {reason}" if reason else "")
        all_ = echo.wait_for(lambda requests: all(each.finished for each in requests))
        assert all_[number].close_code == code


def test_a_close_of_the_client_reaches_the_provider_as_it_is(lab: Lab, echo: Provider) -> None:
    for number, (code, reason) in enumerate(CLOSES):
        lab.gateway.forget()
        with dial(lab.gateway, ECHO) as connection:
            connection.send("x")
            assert connection.recv() == "x"
            connection.close(code, reason)
        all_ = echo.wait_for(lambda requests: all(each.finished for each in requests))
        assert all_[number].close_code == code
        row = row_of(lab.gateway)
        assert row.status == "routed"
        assert row.message == f"closed by the client with {code}" + (f": {reason}" if reason else "")


def test_a_close_without_a_code_stays_one(lab: Lab, echo: Provider) -> None:
    with gateway_connection(lab.gateway, ECHO) as connection:
        read_head(connection)
        connection.sendall(b"\x88\x80\0\0\0\0")
        assert connection.recv(100) == b"\x88\x00"
    echo.wait_for(lambda requests: requests[0].finished and requests[0].close_code == CloseCode.NO_STATUS_RCVD)
    assert row_of(lab.gateway).status == "routed"


def test_what_was_sent_before_a_close_arrives_before_it(lab: Lab, echo: Provider) -> None:
    echo.fail("ws_close", code=4000)
    with dial(lab.gateway, ECHO) as connection:
        connection.send("flood:40:100000")
        received = [len(connection.recv()) for _ in range(40)]
        assert ended(connection)[0] == 4000
    assert received == [100_000] * 40


def test_a_provider_that_is_cut_off_ends_the_client_with_1011(lab: Lab, echo: Provider) -> None:
    echo.fail("ws_reset")
    with dial(lab.gateway, ECHO) as connection:
        connection.send("x")
        assert ended(connection)[0] == CloseCode.INTERNAL_ERROR
    row = row_of(lab.gateway)
    assert (row.status, row.error_code, row.http_status) == ("failed", "reset_midstream", 101)
    assert [each.error_class for each in row.attempts] == ["reset_midstream"]


@pytest.mark.parametrize("resets", [False, True])
def test_a_client_that_leaves_without_a_word_ends_the_provider_with_1001(
    lab: Lab, echo: Provider, resets: bool
) -> None:
    with gateway_connection(lab.gateway, ECHO) as connection:
        read_head(connection)
        if resets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    [request] = echo.wait_for(lambda requests: requests[0].finished, 1)
    assert request.close_code == CloseCode.GOING_AWAY
    row = row_of(lab.gateway)
    assert (row.status, row.error_code) == ("cancelled", "cancelled")
    assert row.message == "the client left without a close frame"


def test_a_client_that_breaks_the_protocol_gets_1002(lab: Lab, echo: Provider) -> None:
    with gateway_connection(lab.gateway, ECHO) as connection:
        read_head(connection)
        connection.sendall(b"\x81\x02hi")  # not masked
        assert connection.recv(100)[2:4] == struct.pack("!H", CloseCode.PROTOCOL_ERROR)
    row = row_of(lab.gateway)
    assert (row.status, row.error_code) == ("failed", "client_error")
    echo.wait_for(lambda requests: requests[0].finished)


def test_stream_max_ends_both_sides_with_1001(lab: Lab) -> None:
    acme = lab.provider("generic")
    lab.publish(acme, timeouts={"stream_max": 0.5})
    with dial(lab.gateway, ECHO) as connection:
        assert ended(connection)[0] == CloseCode.GOING_AWAY
    [request] = acme.wait_for(lambda requests: requests[0].finished)
    assert request.close_code == CloseCode.GOING_AWAY
    row = row_of(lab.gateway)
    assert (row.status, row.error_code, row.http_status) == ("timeout", "timeout_total", 101)
    assert row.attempts[0].error_class == "timeout_total"


def test_a_silence_longer_than_the_idle_limit_is_no_fault(lab: Lab) -> None:
    acme = lab.provider("generic")
    lab.publish(acme, timeouts={"idle": 0.1, "first_byte": 0.3, "total": 0.4})
    with dial(lab.gateway, ECHO) as connection:
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.8)
        connection.send("x")
        assert connection.recv() == "x"


@pytest.mark.slow
def test_a_provider_that_closes_and_stays_holds_nothing(lab: Lab, echo: Provider) -> None:
    before = settled(lambda: descriptors(lab.gateway))
    echo.fail("ws_half_close", code=4001, reason="half")
    with dial(lab.gateway, ECHO) as connection:
        connection.send("x")
        assert ended(connection) == (4001, "half")
    echo.wait_for(lambda requests: requests[0].disconnected or requests[0].finished, 10)
    wait_until(lambda: descriptors(lab.gateway) <= before)
    assert row_of(lab.gateway).message == "closed by the provider with 4001: half"


@pytest.mark.slow
def test_a_client_that_does_not_answer_a_close_holds_nothing(lab: Lab, echo: Provider) -> None:
    before = settled(lambda: descriptors(lab.gateway))
    echo.fail("ws_close", after_messages=0, code=4002)
    with gateway_connection(lab.gateway, ECHO) as connection:
        head = read_head(connection)
        assert head.startswith(b"HTTP/1.1 101 ")
        wait_until(lambda: descriptors(lab.gateway) <= before, 10)


def descriptors(gateway: Gateways) -> int:
    return sum(1 for _ in Path(f"/proc/{gateway.processes[0].pid}/fd").iterdir())


@pytest.mark.slow
def test_200_sockets_leave_nothing_behind(lab: Lab, echo: Provider) -> None:
    with dial(lab.gateway, ECHO):
        pass
    lab.gateway.forget()
    before = settled(lambda: descriptors(lab.gateway))
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(dial(lab.gateway, ECHO)) for _ in range(200)]
        for number, connection in enumerate(connections):
            connection.send(str(number))
        assert [connection.recv() for connection in connections] == [str(number) for number in range(200)]
        assert descriptors(lab.gateway) >= before + 400
        for connection in connections[::2]:
            connection.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: descriptors(lab.gateway) <= before)
    wait_until(lambda: len(lab.gateway.finished()) == 200)
    statuses = [row.status for row in lab.gateway.finished()]
    assert (statuses.count("routed"), statuses.count("cancelled")) == (100, 100)


# -- shutdown ------------------------------------------------------------------------------------------------------
def refuses(gateway: Gateways) -> bool:
    try:
        gateway.connect().close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.slow
def test_sockets_go_on_while_the_gateway_drains_and_end_with_1012(
    start_gateways: Callable[..., Gateways], simulator: Simulator
) -> None:
    gateway = start_gateways(SIGNALBOX_DRAIN_SECONDS="2")
    acme = simulator.add("acme", "generic")
    gateway.publish(document([provider("acme", wire="generic", base_url=acme.base_url)]))
    with dial(gateway, ECHO) as connection, dial(gateway, ECHO) as finishing:
        gateway.close_listener()
        gateway.processes[0].send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(gateway))
        for each in (connection, finishing):
            each.send("still here")
            assert each.recv() == "still here"
        finishing.close()
        assert ended(connection)[0] == CloseCode.SERVICE_RESTART
        assert gateway.processes[0].wait(10) == 0
    assert sorted(row.status for row in gateway.finished()) == ["interrupted", "routed"]
    codes = [request.close_code for request in acme.wait_for(lambda all_: all(each.finished for each in all_))]
    assert sorted(code for code in codes if code) == [1000, 1012]


@pytest.mark.slow
def test_a_gateway_whose_sockets_have_ended_stops_before_the_drain_time(
    start_gateways: Callable[..., Gateways], simulator: Simulator
) -> None:
    gateway = start_gateways(SIGNALBOX_DRAIN_SECONDS="60")
    acme = simulator.add("acme", "generic")
    gateway.publish(document([provider("acme", wire="generic", base_url=acme.base_url)]))
    with dial(gateway, ECHO) as connection:
        gateway.close_listener()
        gateway.processes[0].send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(gateway))
        connection.send("x")
        assert connection.recv() == "x"
    assert gateway.processes[0].wait(10) == 0
    assert [row.status for row in gateway.finished()] == ["routed"]
