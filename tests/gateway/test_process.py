"""One gateway process from start to end: what it imports, how it stops, what it leaves."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.documents import document, provider
from tests.gateways import KEY, ROOT, Gateways, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.simulators import Simulator

#: They start and stop processes.
pytestmark = pytest.mark.slow

STREAM = b'{"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "hello"}]}'
HEADERS = {"Authorization": f"Bearer {KEY}"}


def test_a_gateway_never_imports_django_nor_what_needs_it() -> None:
    """All modules of the gateway in one interpreter, as a real process ends up with them."""
    code = (
        "import pkgutil, sys, importlib, routes.gateway, history.journal\n"
        "for module in pkgutil.walk_packages(routes.gateway.__path__, 'routes.gateway.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "aiohttp" in loaded
    assert not loaded & {"django", "rest_framework", "channels", "celery", "kombu", "redis", "psycopg"}


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_with_exit_code_0(gateway: Gateways, number: int) -> None:
    gateway.close_listener()
    assert gateway.kill(number=number) == 0


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_while_it_is_starting_is_not_forgotten(number: int) -> None:
    code = (
        "import asyncio, os, socket, types\n"
        "from routes.gateway.server import GatewayServer\n"
        f"async def prepare(): os.kill(os.getpid(), {int(number)})\n"
        "async def finish(): print('finished')\n"
        "state = types.SimpleNamespace(closing=asyncio.Event())\n"
        "times = {'drain_seconds': 1, 'shutdown_delay': 0}\n"
        "server = GatewayServer(None, state, prepare=prepare, background=(), finish=finish, **times)\n"
        "server.run([socket.create_server(('127.0.0.1', 0))])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "finished\n"), done.stderr


@pytest.mark.faults
def test_readiness_goes_first_and_requests_are_served_during_the_delay(start_gateways: Callable[..., Gateways]) -> None:
    gateway = start_gateways(SIGNALBOX_SHUTDOWN_DELAY="3")
    gateway.publish(document([provider("a", models={})]))
    assert gateway.get("/readyz").status == 200
    gateway.processes[0].send_signal(signal.SIGTERM)
    wait_until(lambda: gateway.get("/readyz").status == 503)
    assert gateway.get("/readyz").json()["status"] == "stopping"
    answer = gateway.chat()
    assert answer.status == 404
    assert answer.headers["connection"] == "close"  # clients shall not count on this connection
    gateway.close_listener()
    assert gateway.processes[0].wait(10) == 0


@contextlib.contextmanager
def slow_stream(
    gateway: Gateways, simulator: Simulator, **behaviour: object
) -> Iterator[tuple[http.client.HTTPConnection, http.client.HTTPResponse]]:
    acme = simulator.add("acme", **behaviour)
    gateway.publish(document([provider("acme", base_url=acme.base_url)]))
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    connection.request("POST", "/v1/chat/completions", STREAM, HEADERS)
    response = connection.getresponse()
    try:
        assert response.status == 200
        assert response.read1()
        yield connection, response
    finally:
        response.close()
        connection.close()


@pytest.mark.faults
def test_an_open_stream_is_finished_while_stopping(gateway: Gateways, simulator: Simulator) -> None:
    with slow_stream(gateway, simulator, output_tokens=20, tokens_per_second=20) as (_, response):
        gateway.close_listener()
        gateway.processes[0].send_signal(signal.SIGTERM)
        assert response.read().endswith(b"data: [DONE]\n\n")
        assert gateway.processes[0].wait(10) == 0
        [row] = gateway.finished()
        assert (row.status, row.http_status) == ("routed", 200)


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_a_second_signal_ends_it_now_and_the_cut_stream_has_its_row(
    start_gateways: Callable[..., Gateways], simulator: Simulator, numbers: tuple[int, int]
) -> None:
    gateway = start_gateways(SIGNALBOX_DRAIN_SECONDS="60")
    with slow_stream(gateway, simulator, output_tokens=1000, tokens_per_second=10) as (_, response):
        gateway.close_listener()
        gateway.processes[0].send_signal(numbers[0])
        with pytest.raises(http.client.IncompleteRead):
            # Not before the first has been seen: two equal signals sent at once are one.
            _read_and(response, lambda: gateway.processes[0].send_signal(numbers[1]))
        assert gateway.processes[0].wait(10) == 0
        [row] = gateway.finished()
        assert (row.status, row.attempt_count) == ("interrupted", 1)


def _read_and(response: http.client.HTTPResponse, act: Callable[[], None]) -> None:
    for _ in range(5):
        response.read1()
    act()
    response.read()


@pytest.mark.faults
def test_the_drain_time_cuts_a_stream_that_is_too_long(
    start_gateways: Callable[..., Gateways], simulator: Simulator
) -> None:
    gateway = start_gateways(SIGNALBOX_DRAIN_SECONDS="0.5")
    with slow_stream(gateway, simulator, output_tokens=1000, tokens_per_second=10) as (_, response):
        gateway.close_listener()
        gateway.processes[0].send_signal(signal.SIGTERM)
        with pytest.raises(http.client.IncompleteRead):
            response.read()
        assert gateway.processes[0].wait(10) == 0
        [row] = gateway.finished()
        assert row.status == "interrupted"


@pytest.mark.faults
def test_a_client_that_leaves_mid_stream_is_recorded_and_the_upstream_let_go(
    gateway: Gateways, simulator: Simulator
) -> None:
    with slow_stream(gateway, simulator, output_tokens=1000, tokens_per_second=10) as (connection, response):
        response.close()
        connection.close()
        [row] = wait_until(gateway.finished)
        assert (row.status, row.error_code) == ("cancelled", "cancelled")
        acme = simulator.providers["acme"]
        acme.wait_for(lambda requests: requests[0].disconnected)


def test_a_client_that_sends_ahead_is_still_seen_leaving(gateway: Gateways, simulator: Simulator) -> None:
    """uvicorn stops reading when another request arrives early, and then never learns of a disconnect."""
    acme = simulator.add("acme", latency=30)
    gateway.publish(document([provider("acme", base_url=acme.base_url)]))
    with gateway.connect() as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
        connection.sendall(f"{head}Content-Length: {len(STREAM)}\r\n\r\n".encode() + STREAM)
        acme.wait_for(lambda requests: len(requests) == 1)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    [row] = wait_until(gateway.finished)
    assert row.status == "cancelled"
    acme.wait_for(lambda requests: requests[0].disconnected)


def test_it_stops_when_its_parent_is_gone(gateway: Gateways) -> None:
    """Beside PDEATHSIG: a parent that does not use it, or a system without it."""
    fd = gateway.listener.fileno()
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-m', 'routes.gateway', '--fd', '{fd}', '--name', 'orphan'],"
        f" pass_fds=[{fd}], stderr=open({str(gateway.data / 'orphan.log')!r}, 'w'), start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "SIGNALBOX_DATA_DIR": str(gateway.data), "SIGNALBOX_SHUTDOWN_DELAY": "0"}
    environment["REDIS_URL"] = ""  # nobody is there, which it says once it runs
    parent = subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=[fd], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    log = gateway.data / "orphan.log"
    wait_until(lambda: "no word from Redis" in log.read_text(), 20)  # it runs
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not _runs(pid), 20)
    assert "the parent process is gone" in log.read_text()


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_missing_setting_is_one_clear_line() -> None:
    environment = {**os.environ, "SIGNALBOX_MAX_BODY_MB": "many"}
    done = subprocess.run(
        [sys.executable, "-m", "routes.gateway", "--fd", "0", "--name", "gateway-1"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "SIGNALBOX_MAX_BODY_MB" in done.stderr
