"""What is not data plane reaches the console as the client sent it, and comes back unbuffered."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import uvloop
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus

from routes.gateway import stalled
from tests.documents import document, provider
from tests.gateway.console import Console, running_console
from tests.gateways import KEY, Gateways, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def gateway(shared_gateway: Gateways) -> Gateways:
    return shared_gateway


@pytest.fixture
def console(gateway: Gateways) -> Iterator[Console]:
    with running_console(gateway.data / "run" / "console.sock") as running:
        yield running


def header(document: dict[str, Any], name: str) -> list[str]:
    return [value for each, value in document["headers"] if each == name]


@pytest.mark.usefixtures("console")
def test_method_path_query_body_and_headers_arrive_as_sent(gateway: Gateways) -> None:
    seen = gateway.request("PATCH", "/api/v1/x%2Fy/?a=%20b&c", b"body", {"X-Twice": "1", "Cookie": "s=1"}).json()
    assert (seen["method"], seen["path"], seen["query"]) == ("PATCH", "/api/v1/x%2Fy/", "a=%20b&c")
    assert seen["body"] == "body"
    assert header(seen, "cookie") == ["s=1"]
    assert header(seen, "host") == [f"127.0.0.1:{gateway.port}"]
    assert header(seen, "content-length") == ["4"]


@pytest.mark.usefixtures("console")
@pytest.mark.parametrize("path", ["/", "/admin/", "/metrics", "/static/a.css", "/api/v1/x/", "/healthy", "/v2/x"])
def test_everything_that_is_not_ours_is_relayed(gateway: Gateways, path: str) -> None:
    assert gateway.get(path).json()["path"] == path


@pytest.mark.usefixtures("console")
def test_who_the_client_is_cannot_be_claimed(gateway: Gateways) -> None:
    claims = {"X-Forwarded-For": "10.1.1.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil", "Forwarded": "x"}
    seen = gateway.request("GET", "/admin/", headers=claims).json()
    assert header(seen, "x-forwarded-for") == ["127.0.0.1"]
    assert header(seen, "x-forwarded-proto") == ["http"]
    assert header(seen, "x-forwarded-host") == [f"127.0.0.1:{gateway.port}"]
    assert header(seen, "forwarded") == []


def test_a_trusted_proxy_is_believed_about_the_nearest_hop_it_does_not_own(
    start_gateways: Callable[..., Gateways],
) -> None:
    gateway = start_gateways(SIGNALBOX_TRUSTED_PROXIES="127.0.0.0/8,10.0.0.0/8")
    headers = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 10.2.2.2"}
    headers |= {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.b"}
    with running_console(gateway.data / "run" / "console.sock"):
        seen = gateway.request("GET", "/admin/", headers=headers).json()
    assert header(seen, "x-forwarded-for") == ["203.0.113.7"]
    assert header(seen, "x-forwarded-proto") == ["https"]
    assert header(seen, "x-forwarded-host") == ["a.b"]
    gateway.publish(document([provider("a", models={})]))
    gateway.request("POST", "/v1/chat/completions", b"{}", {"Authorization": f"Bearer {KEY}", **headers})
    assert gateway.finished()[0].client_ip == "203.0.113.7"


@pytest.mark.usefixtures("console")
def test_hop_by_hop_headers_stay_here(gateway: Gateways) -> None:
    headers = {"Connection": "keep-alive, X-Private", "X-Private": "1", "Keep-Alive": "5", "TE": "trailers"}
    seen = gateway.request("GET", "/admin/", headers=headers).json()
    assert not header(seen, "x-private")
    assert not header(seen, "te")
    assert not header(seen, "keep-alive")


@pytest.mark.usefixtures("console")
def test_redirects_and_repeated_headers_go_to_the_client(gateway: Gateways) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", "/redirect")
    response = connection.getresponse()
    assert (response.status, response.getheader("location")) == (302, "/admin/")
    assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
    connection.close()


def test_a_request_body_streams_up_before_it_is_complete(gateway: Gateways, console: Console) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        wait_until(lambda: console.uploads == [b"abc"])
        connection.sendall(b"2\r\nde\r\n0\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"Content-Length: 99999999999999\r\n\r\nabc", id="announced"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n" + 40 * (b"8000\r\n%b\r\n" % bytes(0x8000)), id="in pieces"),
    ],
)
def test_a_body_over_the_limit_never_fills_the_consoles_disk(
    body: bytes, start_gateways: Callable[..., Gateways]
) -> None:
    gateway = start_gateways(SIGNALBOX_MAX_BODY_MB="1")
    with running_console(gateway.data / "run" / "console.sock") as console:
        with gateway.connect() as connection:
            connection.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\n" + body)
            answer = connection.recv(4000)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_large"
        assert sum(map(len, console.uploads)) <= 1024 * 1024
        assert gateway.get("/admin/").status == 200


def test_a_client_that_leaves_mid_upload_is_a_disconnect_for_the_console(gateway: Gateways, console: Console) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        wait_until(lambda: console.uploads == [b"abc"])
    wait_until(lambda: console.disconnects == 1)


def test_event_streams_arrive_event_by_event_and_the_head_before_the_first(gateway: Gateways, console: Console) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", "/events/routing-decisions")
    response = connection.getresponse()  # no event has been sent yet
    assert response.getheader("content-type") == "text/event-stream"
    for number in range(3):
        console.event(b"data: %d\n\n" % number)
        assert response.read1() == b"data: %d\n\n" % number
    console.event(None)
    assert response.read() == b""
    connection.close()


def test_a_watcher_that_leaves_is_a_disconnect_for_the_console(gateway: Gateways, console: Console) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.request("GET", "/events/routing-decisions")
    response = connection.getresponse()
    response.close()
    connection.close()
    wait_until(lambda: console.disconnects == 1)


@pytest.mark.usefixtures("console")
def test_an_answer_the_console_breaks_off_is_cut_for_the_client_too(gateway: Gateways) -> None:
    with pytest.raises(http.client.IncompleteRead):
        gateway.get("/broken")


def test_while_the_console_is_down_pages_say_so_and_routing_goes_on(gateway: Gateways) -> None:
    answer = gateway.get("/api/v1/providers/")
    assert (answer.status, answer.json()["error"]["code"]) == (503, "console_unavailable")
    page = gateway.get("/admin/", accept="text/html,*/*")
    assert page.status == 503
    assert page.headers["content-type"].startswith("text/html")
    gateway.publish(document([provider("a", models={})]))
    assert gateway.chat().status == 404
    wait_until(lambda: "console" in gateway.get("/readyz").json()["degraded"])


def test_a_console_that_comes_back_is_used_again(gateway: Gateways) -> None:
    path = gateway.data / "run" / "console.sock"
    for _ in range(2):
        with running_console(path):
            assert gateway.get("/admin/").status == 200
        assert gateway.get("/admin/").status == 503


# -- WebSockets ------------------------------------------------------------------------------------------


def connect(gateway: Gateways, path: str, **options: Any) -> websockets.sync.client.ClientConnection:
    return websockets.sync.client.connect(f"ws://127.0.0.1:{gateway.port}{path}", proxy=None, **options)


@pytest.mark.usefixtures("console")
def test_socket_frames_and_subprotocol_pass_both_ways(gateway: Gateways) -> None:
    with connect(gateway, "/ws/live", subprotocols=["one", "two"]) as socket:
        assert socket.subprotocol == "two"
        socket.send("text")
        assert socket.recv() == "text"
        socket.send(b"\x00\xff" * 100_000)
        assert socket.recv() == b"\x00\xff" * 100_000


@pytest.mark.usefixtures("console")
def test_a_socket_carries_who_the_client_is_and_its_origin(gateway: Gateways) -> None:
    with connect(gateway, "/ws/live", origin="http://a.b", additional_headers={"X-Forwarded-For": "6.6.6.6"}) as socket:
        socket.send("headers")
        seen = json.loads(socket.recv())
    assert seen["origin"] == "http://a.b"
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["host"] == f"127.0.0.1:{gateway.port}"


def test_close_codes_pass_both_ways(gateway: Gateways, console: Console) -> None:
    with connect(gateway, "/ws/live") as socket:
        socket.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "as asked")
    with connect(gateway, "/ws/live") as socket:
        socket.close(4123, "mine")
    wait_until(lambda: 4123 in console.socket_closes)


@pytest.mark.usefixtures("console")
def test_a_handshake_the_console_refuses_is_refused(gateway: Gateways) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(gateway, "/ws/refused")
    assert refused.value.response.status_code == 403


def test_a_socket_gets_503_while_the_console_is_down_and_1012_when_it_dies(gateway: Gateways) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(gateway, "/ws/live")
    assert refused.value.response.status_code == 503
    console = Console(gateway.data / "run" / "console.sock")
    with connect(gateway, "/ws/live") as socket:
        console.stop()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


@pytest.mark.usefixtures("console")
def test_data_plane_sockets_are_not_for_the_console(gateway: Gateways) -> None:
    gateway.publish(document([provider("a", models={})]))
    with pytest.raises(InvalidStatus) as refused:
        connect(gateway, "/v1/nothing")
    assert refused.value.response.status_code == 401


# -- stopping --------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_sockets_of_the_console_end_at_once_when_the_gateway_stops(start_gateways: Callable[..., Gateways]) -> None:
    gateway = start_gateways(SIGNALBOX_DRAIN_SECONDS="60")
    with running_console(gateway.data / "run" / "console.sock"), connect(gateway, "/ws/live") as socket:
        gateway.close_listener()
        gateway.processes[0].send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert gateway.processes[0].wait(15) == 0


def test_watchers_end_cleanly_at_once_when_the_gateway_stops(start_gateways: Callable[..., Gateways]) -> None:
    gateway = start_gateways(SIGNALBOX_DRAIN_SECONDS="20")
    with running_console(gateway.data / "run" / "console.sock") as console:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request("GET", "/events/routing-decisions")
        response = connection.getresponse()
        console.event(b"data: 1\n\n")
        assert response.read1() == b"data: 1\n\n"
        gateway.close_listener()
        gateway.processes[0].send_signal(signal.SIGTERM)
        assert response.read() == b""  # a whole last chunk: http.client would raise otherwise
        assert gateway.processes[0].wait(15) == 0  # below the drain time
        connection.close()


async def test_a_client_that_takes_nothing_is_cut_off_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalled, "STALLED_SECONDS", 0.05)
    room = asyncio.Event()
    connection = Mock()

    async def send(_message: Any) -> None:
        await room.wait()

    with pytest.raises(stalled.Stalled):
        await stalled.send_or_cut({"signalbox": connection}, send, {"type": "websocket.send", "text": "x"})
    connection.transport.abort.assert_called_once_with()
    room.set()
    await stalled.send_or_cut({"signalbox": connection}, send, {"type": "websocket.send", "text": "x"})
    connection.transport.abort.assert_called_once_with()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux ends a connection by this time")
def test_the_kernel_keeps_little_for_a_watcher_and_ends_one_that_acknowledges_nothing() -> None:
    async def watched() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[Any] = loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.set_result(transport)

        server = await loop.create_server(Server, "127.0.0.1", 0)
        client, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        edge = Mock(transport=await accepted)
        stalled.watch_over({"signalbox": edge})
        connection = edge.transport.get_extra_info("socket")
        found = (
            connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        )
        for each in (client, edge.transport, server):
            each.close()
        return found

    timeout, kept = uvloop.run(watched())  # the gateway's loop: its sockets are not asyncio's
    assert timeout == 1000 * stalled.STALLED_SECONDS
    assert kept <= 2 * stalled.KERNEL_BYTES  # the kernel counts what it needs itself, too
