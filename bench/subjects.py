"""What is measured: nothing at all, nginx, a bare Python proxy, and the gateway, each in front of the same upstream.

A subject is started fresh for each measurement, on the core of its own, and gives the address to load, the headers a
client must send, and the processes whose CPU time counts.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.machine import ROOT, on_core
from routing_project.processes import spawn
from tests.documents import document, provider
from tests.gateways import KEY, Gateways
from tests.simulators import Simulator

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

TARGETS = 4
_ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1795172829,"model":"gpt-4o","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"the line is clear and the signal at the junction shows green so the next '
    'train may pass","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"service_tier":'
    '"default","system_fingerprint":"fp_simulated","usage":{"prompt_tokens":250,"completion_tokens":16,'
    '"total_tokens":266,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":'
    '{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}'
)


@dataclass(frozen=True)
class Running:
    """A subject that listens."""

    port: int
    pids: tuple[int, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    gateway: Gateways | None = None


@dataclass(frozen=True)
class Upstream:
    """Where everything ends: the same answer on each of TARGETS ports."""

    ports: tuple[int, ...]


class Subject(Protocol):
    """Something to measure."""

    name: str

    def run(self, upstream: Upstream, core: int | None) -> contextlib.AbstractContextManager[Running]:
        """Started on that core, ready, and stopped at the end."""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} does not listen on port {port}") from None
            time.sleep(0.02)


# -- upstreams -------------------------------------------------------------------------------
@contextlib.contextmanager
def simulated(core: int | None, **behaviour: Any) -> Iterator[Upstream]:
    """The simulated upstream, one process with a provider for each target."""
    with on_core(core):
        simulator = Simulator(process=True)
        configs = [
            {"name": f"upstream-{number}", "behaviour": {"log": False, **behaviour}} for number in range(TARGETS)
        ]
        providers = simulator.add_all(configs)
    try:
        yield Upstream(tuple(each.port for each in providers))
    finally:
        simulator.close()


@contextlib.contextmanager
def static_nginx(core: int | None) -> Iterator[Upstream]:
    """nginx answering one fixed document: an upstream that is never the bottleneck."""
    ports = free_ports(TARGETS)
    listens = "".join(f"listen 127.0.0.1:{port};" for port in ports)
    server = f"server {{ {listens} location / {{ default_type application/json; return 200 '{_ANSWER}'; }} }}"
    with _nginx(server, ports[0], core):
        yield Upstream(tuple(ports))


@contextlib.contextmanager
def _nginx(servers: str, port: int, core: int | None) -> Iterator[subprocess.Popen[bytes]]:
    program = shutil.which("nginx")
    assert program is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "nginx.conf"
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config.write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;\n"
            "events { worker_connections 4096; }\n"
            f"http {{ access_log off; keepalive_requests 1000000000; client_max_body_size 64m; {paths}\n"
            f"client_body_buffer_size 1m; tcp_nodelay on; {servers} }}\n"
        )
        with on_core(core):
            process = spawn([program, "-e", "stderr", "-c", str(config), "-p", name])
        try:
            wait_listening(port, process)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


# -- subjects --------------------------------------------------------------------------------
class Direct:
    """The load generator straight at the upstream: what there is to lose."""

    name = "direct"

    @contextlib.contextmanager
    def run(self, upstream: Upstream, core: int | None) -> Iterator[Running]:
        yield Running(upstream.ports[0])


class Nginx:
    """nginx as a reverse proxy over kept-alive connections, unbuffered, one worker."""

    name = "nginx"

    @contextlib.contextmanager
    def run(self, upstream: Upstream, core: int | None) -> Iterator[Running]:
        (port,) = free_ports(1)
        backends = "".join(f"server 127.0.0.1:{each};" for each in upstream.ports)
        servers = (
            f"upstream u {{ {backends} keepalive 512; keepalive_requests 1000000000; }}\n"
            f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; proxy_http_version 1.1; "
            'proxy_set_header Connection ""; proxy_buffering off; } }'
        )
        with _nginx(servers, port, core) as process:
            yield Running(port, (process.pid,))


class Bare:
    """uvicorn and aiohttp with nothing between them (bench/bare.py)."""

    name = "bare"

    @contextlib.contextmanager
    def run(self, upstream: Upstream, core: int | None) -> Iterator[Running]:
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            port = listener.getsockname()[1]
            fd = str(listener.fileno())
            url = f"http://127.0.0.1:{upstream.ports[0]}"
            with on_core(core):
                process = spawn(
                    [sys.executable, "-m", "bench.bare", "--fd", fd, "--upstream", url],
                    pass_fds=(listener.fileno(),),
                    cwd=ROOT,
                )
            try:
                yield Running(port, (process.pid,))
            finally:
                process.kill()
                process.wait()


class Signalbox:
    """One gateway process as `serve` starts it: access key, four targets, journal, metrics, headers. With `payloads` it
    keeps copies of what is said, too."""

    def __init__(self, strategy: str, *, payloads: bool = False) -> None:
        self.name = "payloads" if payloads else "signalbox"
        self._strategy = strategy
        self._environment = {"SIGNALBOX_HISTORY_PAYLOADS": "all" if payloads else "off"}

    @contextlib.contextmanager
    def run(self, upstream: Upstream, core: int | None) -> Iterator[Running]:
        with tempfile.TemporaryDirectory() as data:
            providers = [
                provider(f"upstream-{number}", base_url=f"http://127.0.0.1:{port}/v1")
                for number, port in enumerate(upstream.ports)
            ]
            gateway = Gateways(Path(data), environment=self._environment)
            gateway.overlay(credentials={each["slug"]: "sk-bench" for each in providers})
            gateway.publish(document(providers, strategy=self._strategy))
            try:
                with on_core(core):
                    gateway.start()
                pids = tuple(process.pid for process in gateway.processes)
                yield Running(gateway.port, pids, {"authorization": f"Bearer {KEY}"}, gateway)
            finally:
                gateway.stop()
