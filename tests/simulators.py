"""Simulated providers for tests: a `Simulator` in a thread of the test process, or in a process of its own.

Both are driven through the control endpoint, so a test sees what an operator would. A thread is quick to start; use
`process=True` under load, where sharing the interpreter with the test would distort both.

    with Simulator() as simulator:
        acme = simulator.add("acme", models=["gpt-4o"])
        acme.fail("status", status=500, times=1)
        ...  # send something to acme.base_url
        assert [request.path for request in acme.requests()] == ["/v1/chat/completions"]
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import uvloop

from simulator.runner import Simulation, read_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Received:
    """One request as a provider logged it. `headers` keeps order and case; `header()` finds by lower-case name.

    A WebSocket is one too: `messages_*` count whole messages, `close_code` is what the peer's close frame said.
    """

    number: int
    connection: int
    ordinal: int
    method: str
    target: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    received_at: float
    status: int
    fault: str | None
    bytes_sent: int
    events_sent: int
    finished: bool
    disconnected: bool
    disconnected_after: float | None
    messages_received: int
    messages_sent: int
    close_code: int | None

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self) -> Any:
        return json.loads(self.body)


class ProviderHandle:
    """A running provider. Every call is one short request to the control endpoint."""

    def __init__(self, call: Callable[[str, str, Any], Any], name: str, wire: str, base_url: str) -> None:
        self._call = call
        self.name = name
        self.wire = wire
        self.base_url = base_url

    @property
    def port(self) -> int:
        port = urlsplit(self.base_url).port
        assert port is not None
        return port

    def behave(self, **partial: Any) -> None:
        """Lay these fields over the behaviour (see simulator.behaviour.Behaviour)."""
        self._call("PATCH", f"/providers/{self.name}/behaviour", partial)

    def fail(self, fault: str, **options: Any) -> None:
        """Play this fault, alone, from now on: `fail("status", status=503, times=2)`."""
        self.behave(faults=[{"name": fault, **options}])

    def heal(self) -> None:
        """Play no fault any more; the rest of the behaviour stays."""
        self.behave(faults=[])

    def behaviour(self) -> dict[str, Any]:
        document: dict[str, Any] = self._call("GET", f"/providers/{self.name}/behaviour", None)
        return document

    def reset(self) -> None:
        """As it was added: behaviour, listening, empty log."""
        self._call("DELETE", f"/providers/{self.name}/behaviour", None)

    def stop(self) -> None:
        """Refuse connections and reset the open ones."""
        self._call("POST", f"/providers/{self.name}/stop", None)

    def start(self) -> None:
        self._call("POST", f"/providers/{self.name}/start", None)

    def requests(self) -> list[Received]:
        """What it was asked since the log was last emptied, oldest first (the last 2,000)."""
        found = []
        for entry in self._call("GET", f"/providers/{self.name}/requests", None)["requests"]:
            packed = entry.pop("body_base64", None)
            body = base64.b64decode(packed) if packed is not None else entry["body"].encode()
            headers = [(name, value) for name, value in entry["headers"]]
            found.append(Received(**{**entry, "body": body, "headers": headers}))
        return found

    def count(self) -> int:
        """How many requests it received since the log was last emptied, also those no longer kept."""
        total: int = self._call("GET", f"/providers/{self.name}/requests", None)["total"]
        return total

    def forget(self) -> None:
        """Empty the log."""
        self._call("DELETE", f"/providers/{self.name}/requests", None)

    def wait_for(self, condition: Callable[[list[Received]], bool], seconds: float = 5.0) -> list[Received]:
        """Poll the log until the condition holds, for what the other side does in its own time."""
        deadline = time.monotonic() + seconds
        while True:
            requests = self.requests()
            if condition(requests):
                return requests
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: not within {seconds} s; it has {requests}")
            time.sleep(0.01)


class Simulator:
    """Runs providers; each `add` opens one more."""

    def __init__(self, *, process: bool = False) -> None:
        self._process = process
        self._running: list[_Thread | _Process] = []
        self.providers: dict[str, ProviderHandle] = {}

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def add(self, name: str, wire: str = "openai", *, port: int = 0, **behaviour: Any) -> ProviderHandle:
        """Open one provider; keyword arguments are its behaviour."""
        return self.add_all([{"name": name, "wire": wire, "port": port, "behaviour": behaviour}])[0]

    def add_all(self, configs: list[dict[str, Any]]) -> list[ProviderHandle]:
        """Open several in one event loop; each as in the configuration file of `python -m simulator`."""
        running = _Process(configs) if self._process else _Thread(configs)
        self._running.append(running)
        listed = running.call("GET", "/", None)["providers"]
        handles = [ProviderHandle(running.call, one["name"], one["wire"], one["base_url"]) for one in listed]
        self.providers.update((handle.name, handle) for handle in handles)
        return handles

    @property
    def control_port(self) -> int:
        """The control endpoint of what was added first."""
        return self._running[0].control_port

    def close(self) -> None:
        while self._running:
            self._running.pop().close()


class _Controlled:
    control_port: int

    def call(self, method: str, path: str, document: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=10)
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {"connection": "close"})
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        answer: Any = json.loads(raw) if raw else None
        if response.status >= 400:
            raise ValueError(answer["error"])
        return answer


class _Thread(_Controlled):
    """An event loop of its own in a thread of this process."""

    def __init__(self, configs: list[dict[str, Any]]) -> None:
        self._simulation = Simulation(read_config(configs))
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._simulation.open(), self._loop).result(START_SECONDS)
        except BaseException:
            self._end()
            raise
        self.control_port = self._simulation.control.port

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._simulation.close(), self._loop).result(START_SECONDS)
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        # Let cancelled tasks and closed transports finish, or they warn from the garbage collector.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


class _Process(_Controlled):
    """`python -m simulator` with a configuration file."""

    def __init__(self, configs: list[dict[str, Any]], *, command: tuple[str, ...] = ()) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as stream:
            json.dump(configs, stream)
        self._config = Path(stream.name)
        self._child = subprocess.Popen(
            [*(command or (sys.executable, "-m", "simulator")), "--config", stream.name],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line.startswith("simulator ready "):
            self.close()
            raise RuntimeError(f"the simulator did not start: {line!r}")
        self.control_port = int(line.rstrip().rsplit(":", 1)[1])

    @property
    def pid(self) -> int:
        return self._child.pid

    def close(self) -> None:
        self._child.terminate()
        self._child.wait(START_SECONDS)
        assert self._child.stdout is not None
        self._child.stdout.close()
        self._config.unlink()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Providers in a thread, gone at the end of the test."""
    with Simulator() as running:
        yield running
