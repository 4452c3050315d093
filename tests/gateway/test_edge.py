"""The HTTP edge: what is refused before there is a request, byte by byte over a raw socket."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.documents import document, provider
from tests.gateways import KEY, Gateways, wait_until

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

#: Part of `make test-faults`.
pytestmark = pytest.mark.faults

AUTH = f"Authorization: Bearer {KEY}\r\n"


@pytest.fixture
def gateway(shared_gateway: Gateways) -> Gateways:
    shared_gateway.publish(document([provider("a")]))
    return shared_gateway


def exchange(gateway: Gateways, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, read to the end of the connection: (status, headers, body) of the first answer."""
    with gateway.connect() as connection:
        connection.sendall(data)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    received = b""
    while b"\r\n\r\n" not in received and (chunk := connection.recv(65536)):
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    while len(body) < int(headers.get("content-length", 0)) and (chunk := connection.recv(65536)):
        body += chunk
    return int(lines[0].split(" ")[1]), headers, body


def code(body: bytes) -> str:
    found: str = json.loads(body)["error"]["code"]
    return found


CHAT = '{"model": "gpt-4o", "messages": []}'


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("POST /v1/chat/completions HTTP/1.1\r\n", "Host header is missing"),
        ("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "more than one host"),
        ("POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nHost: a\r\n", "more than one host"),
    ],
)
def test_an_ambiguous_head_is_refused_and_recorded_for_a_valid_key(gateway: Gateways, head: str, words: str) -> None:
    request = f"{head}{AUTH}Content-Length: {len(CHAT)}\r\n\r\n{CHAT}"
    status, headers, body = exchange(gateway, request.encode())
    assert status == 400
    assert words in json.loads(body)["error"]["message"]
    [row] = gateway.finished()
    assert (row.status, row.http_status, row.error_code) == ("rejected", 400, "invalid_request")
    assert headers["x-route-id"]


def test_two_keys_in_one_header_each_are_refused(gateway: Gateways) -> None:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Api-Key: {KEY}\r\nX-Api-Key: {KEY}\r\n"
    status, _, body = exchange(gateway, f"{head}Content-Length: {len(CHAT)}\r\n\r\n{CHAT}".encode())
    assert status == 400
    assert "more than one x-api-key" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    "head",
    [
        "POST /v1/chat/completions HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: foo\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-Folded: a\r\n b\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nBroken\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nHost : a\r\n",
        "nonsense\r\n",
    ],
)
def test_ambiguous_framing_gets_400_and_never_reaches_a_route(gateway: Gateways, head: str) -> None:
    status, _, body = exchange(gateway, f"{head}{AUTH}\r\n2\r\n{{}}\r\n0\r\n\r\n".encode())
    assert status == 400
    assert code(body) == "invalid_request"
    assert not gateway.started()


def test_a_header_value_that_is_not_utf8_is_refused(gateway: Gateways) -> None:
    request = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{AUTH}X-Thing: ".encode() + b"caf\xe9\r\n"
    status, _, body = exchange(gateway, request + f"Content-Length: {len(CHAT)}\r\n\r\n{CHAT}".encode())
    assert status == 400
    assert "x-thing" in json.loads(body)["error"]["message"]


def test_headers_above_64_kb_get_431_and_the_connection_closes(gateway: Gateways) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Big: " + b"a" * 70_000 + b"\r\n\r\n")
        status, _, body = read_answer(connection)
        assert (status, code(body)) == (431, "headers_too_large")
        assert connection.recv(10) == b""


def test_many_small_headers_count_like_one_large_one(gateway: Gateways) -> None:
    lines = "".join(f"X-{number}: value\r\n" for number in range(5000))
    status, _, _ = exchange(gateway, f"GET /healthz HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
    assert status == 431


def test_headers_of_60_kb_are_fine(gateway: Gateways) -> None:
    status, _, _ = exchange(gateway, b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Big: " + b"a" * 60_000 + b"\r\n\r\n")
    assert status == 200


def test_a_body_announced_too_large_gets_413_without_being_sent(start_gateways: Callable[..., Gateways]) -> None:
    gateway = start_gateways(SIGNALBOX_MAX_BODY_MB="1")
    gateway.publish(document([provider("a")]))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{AUTH}Content-Length: 41943040\r\n\r\n"
    status, headers, body = exchange(gateway, head.encode())
    assert (status, code(body)) == (413, "request_too_large")
    assert headers["connection"] == "close"
    [row] = gateway.finished()
    assert (row.status, row.http_status) == ("rejected", 413)


def test_a_client_that_sends_a_too_large_body_first_still_reads_the_413(
    start_gateways: Callable[..., Gateways],
) -> None:
    gateway = start_gateways(SIGNALBOX_MAX_BODY_MB="1")
    gateway.publish(document([provider("a")]))
    assert gateway.post("/v1/chat/completions", b" " * (20 * 1024 * 1024)).status == 413


def test_a_chunked_body_is_cut_off_at_the_limit(start_gateways: Callable[..., Gateways]) -> None:
    gateway = start_gateways(SIGNALBOX_MAX_BODY_MB="1")
    gateway.publish(document([provider("a")]))
    with gateway.connect() as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{AUTH}Transfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        for _ in range(20):
            connection.sendall(chunk)
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (413, "request_too_large")


def test_expect_100_continue_is_answered_before_the_body_comes(gateway: Gateways) -> None:
    with gateway.connect() as connection:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{AUTH}Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"null")
        assert read_answer(connection)[0] == 400


def test_a_refused_key_is_told_before_the_body_is_asked_for(gateway: Gateways) -> None:
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    status, _, _ = exchange(gateway, head.encode())
    assert status == 401


@pytest.mark.parametrize("path", ["/healthz", "/v1/nothing"])
def test_an_upgrade_we_do_not_offer_is_ignored(gateway: Gateways, path: str) -> None:
    wish = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
    status, _, _ = exchange(gateway, f"GET {path} HTTP/1.1\r\nHost: a\r\n{AUTH}{wish}\r\n".encode())
    assert status == (200 if path == "/healthz" else 404)


def test_a_body_survives_an_ignored_upgrade(gateway: Gateways) -> None:
    gateway.publish(document([provider("a", models={"other": "other"})]))
    request = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{AUTH}Connection: Upgrade\r\nUpgrade: h2c\r\n"
        f"Content-Length: {len(CHAT)}\r\n\r\n{CHAT}"
    )
    status, _, body = exchange(gateway, request.encode())
    assert (status, code(body)) == (404, "model_not_found")


def test_requests_sent_ahead_are_answered_in_order(gateway: Gateways) -> None:
    with gateway.connect() as connection:
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/nothing HTTP/1.1\r\nHost: a\r\n\r\n"
            b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    statuses = [part.split(b" ", 1)[0] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"401", b"200"]


def test_an_http_1_0_client_is_answered_and_the_connection_closed(gateway: Gateways) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert read_answer(connection)[0] == 200
        assert connection.recv(10) == b""


def test_a_head_request_has_the_headers_and_no_body(gateway: Gateways) -> None:
    status, headers, body = exchange(gateway, b"HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert status == 200
    assert int(headers["content-length"]) > 0
    assert body == b""


def test_a_client_that_leaves_before_its_body_is_complete_is_recorded_as_cancelled(gateway: Gateways) -> None:
    with gateway.connect() as connection:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{AUTH}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")  # it is waiting for the body
    [row] = wait_until(gateway.finished)
    assert (row.status, row.http_status, row.error_code) == ("cancelled", None, "cancelled")


def test_a_body_that_breaks_the_framing_is_refused_and_recorded(gateway: Gateways) -> None:
    with gateway.connect() as connection:
        expecting = "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
        connection.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{AUTH}{expecting}\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(b"nonsense\r\n")
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (400, "invalid_request")
    [row] = gateway.finished()
    assert (row.status, row.http_status) == ("rejected", 400)


@pytest.mark.thorough
def test_slow_headers_get_408(gateway: Gateways) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (408, "request_timeout")


@pytest.mark.thorough
def test_a_slow_body_gets_408_and_a_row_and_may_be_retried(gateway: Gateways) -> None:
    with gateway.connect() as connection:
        connection.settimeout(40)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n{AUTH}Content-Length: 10\r\n\r\n{{"
        connection.sendall(head.encode())
        status, headers, body = read_answer(connection)
    assert (status, code(body)) == (408, "request_timeout")
    assert "x-should-retry" not in headers
    [row] = gateway.finished()
    assert (row.status, row.http_status) == ("rejected", 408)
