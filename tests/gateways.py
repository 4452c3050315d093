"""Real gateway processes for tests: ``python -m routes.gateway`` on one inherited listening socket, no console, no
database. The test writes what a publish would write, and reads the journal itself.

    gateway.publish(document([provider("a", base_url=acme.base_url)]))
    answer = gateway.post("/v1/chat/completions", {"model": "gpt-4o", "messages": []})
    assert gateway.finished()[0].status == "routed"
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from history.journal import SegmentName, list_segments, read_segment
from history.records import Finished, Started, decode
from routes.crypto import seal
from routes.engine.provider import head_key
from routes.live import SharedLiveState
from routing_project.processes import spawn
from tests.documents import access_key, an_id, overlay

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from history.records import Record

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
ENCRYPTION_KEY = bytes(range(32))
KEY = "sbx_" + "test" * 10


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def wait_until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "") -> Any:
    """Poll until ``condition`` is true and return it; fails the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.01)
    return found


class Gateways:
    """``count`` gateway processes over one data folder. ``environment`` overrides settings (SIGNALBOX_…)."""

    key = KEY

    def __init__(
        self, data: Path, count: int = 1, environment: dict[str, str] | None = None, stderr: int | None = None
    ) -> None:
        self.data = data
        self._stderr = stderr  # instead of a file that ``log`` reads
        self.count = count
        self.environment = environment or {}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._number = 0
        self._version = 0
        self._document: dict[str, Any] | None = None
        self._given: dict[str, Any] | None = None
        self._forgotten: dict[str, int] = {}  # segment -> records that were in it
        (data / "run").mkdir(exist_ok=True)
        self.overlay()

    # -- processes -----------------------------------------------------------------------------------------
    def start(self) -> None:
        """Start whatever is not running, and wait until it listens."""
        while len(self.processes) < self.count:
            self._spawn(len(self.processes))
        self.wait_alive()

    def _spawn(self, index: int) -> None:
        fd = self.listener.fileno()
        environment = {
            **os.environ,
            # Nobody is there, unless a test says so: what other tests publish must not reach these gateways.
            "REDIS_URL": "",
            "SIGNALBOX_DATA_DIR": str(self.data),
            "SIGNALBOX_ENCRYPTION_KEYS": base64.b64encode(ENCRYPTION_KEY).decode(),
            "SIGNALBOX_SHUTDOWN_DELAY": "0",
            "SIGNALBOX_DRAIN_SECONDS": "5",
            **self.environment,
        }
        with self._log_path(index).open("ab") as log:
            process = spawn(
                [sys.executable, "-m", "routes.gateway", "--fd", str(fd), "--name", f"gateway-{index + 1}"],
                pass_fds=(fd,),
                env=environment,
                cwd=ROOT,
                stderr=log if self._stderr is None else self._stderr,
            )
        self.processes[index : index + 1] = [process]

    def wait_alive(self) -> None:
        """Until a process answers: with one process, until it is up."""

        def alive() -> bool:
            for index, process in enumerate(self.processes):
                assert process.poll() is None, f"gateway-{index + 1} ended: {self.log(index)}"
            try:
                return self.get("/healthz").status == 200
            except OSError:
                return False

        wait_until(alive, START_SECONDS, "a gateway that answers")

    def kill(self, index: int = 0, number: int = signal.SIGKILL) -> int:
        """Signal a process and wait for its end; the exit code."""
        self.processes[index].send_signal(number)
        return self.processes[index].wait(START_SECONDS)

    def restart(self, index: int = 0) -> None:
        """Start a killed process again."""
        self._spawn(index)
        self.wait_alive()

    def close_listener(self) -> None:
        """Give up the test's own copy of the socket, as ``serve`` does before it stops its children."""
        self.listener.close()

    def stop(self) -> None:
        self.listener.close()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def _log_path(self, index: int) -> Path:
        return self.data / f"gateway-{index + 1}.log"

    def log(self, index: int = 0) -> str:
        """What a process has written to stderr."""
        return self._log_path(index).read_text()

    # -- configuration ---------------------------------------------------------------------------------------
    def publish(self, document: dict[str, Any], *, wait: bool = True) -> None:
        """Write a compiled revision with the next number; returns when every process uses it. What is in use
        already is not written again."""
        if document == self._document:
            return
        self._document = document
        self._number += 1
        document = {**document, "number": self._number}
        self.write(self.data / "revision.json", json.dumps(document).encode())
        if wait:
            self.wait_for(f"revision {self._number} is in use")

    def overlay(self, *, wait: bool = True, **given: Any) -> None:
        """Write an overlay with the next version (``documents.overlay``; default key: ``self.key``), as ``publish``."""
        given.setdefault("keys", [access_key(self.key, allow=["debug", "overrides"])])
        if given == self._given:
            return
        self._given = dict(given)
        self._version += 1
        document = overlay(version=self._version, **given)
        sealed = seal(json.dumps(document).encode(), "overlay", (ENCRYPTION_KEY,))
        self.write(self.data / "overlay.bin", sealed)
        if wait:
            self.wait_for(f"overlay {self._version} is in use")

    @staticmethod
    def write(path: Path, content: bytes) -> None:
        """Replace a file as publish does: never seen half written."""
        temporary = path.with_suffix(".new")
        temporary.write_bytes(content)
        temporary.replace(path)

    def wait_for(self, text: str) -> None:
        """Until every running process has logged ``text``."""
        running = [index for index, process in enumerate(self.processes) if process.poll() is None]
        wait_until(lambda: all(text in self.log(index) for index in running), what=text)

    # -- requests --------------------------------------------------------------------------------------------
    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own, exactly with these headers (and Host, Content-Length)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=_dashed(headers))

    def post(self, path: str, document: Any, *, key: str | None = KEY, **headers: str) -> Answer:
        """POST JSON (bytes are sent as they are) with the access key; ``x_route_debug="1"`` is a header."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        auth = {"Authorization": f"Bearer {key}"} if key is not None else {}
        return self.request("POST", path, body, {"Content-Type": "application/json", **auth, **_dashed(headers)})

    def chat(self, model: str = "gpt-4o", *, path: str = "/v1/chat/completions", **headers: str) -> Answer:
        """A small chat request."""
        return self.post(path, {"model": model, "messages": [{"role": "user", "content": "hello"}]}, **headers)

    def connect(self) -> socket.socket:
        """A raw connection, for what http.client would not send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    # -- history -----------------------------------------------------------------------------------------------
    def records(self) -> list[Record]:
        """Everything in the journal since ``forget``, each writer's in the order it was written."""
        return [
            decode(payload)
            for name, payloads in self._segments().items()
            for payload in payloads[self._forgotten.get(name, 0) :]
        ]

    def hear(self, provider: str, *heads: str) -> None:
        """Heads of a provider say that they are there, for good."""
        with closing(SharedLiveState(self.data / "live.state", "test")) as live:
            for head in heads:
                live.hear_head(head_key(an_id("provider", provider), head), None, False, 1e12, time.monotonic())

    def forget(self) -> None:
        """Leave out what is in the journal by now; for tests that share one process."""
        self._forgotten = {name: len(payloads) for name, payloads in self._segments().items()}

    def _segments(self) -> dict[str, list[bytes]]:
        folder = self.data / "journal"
        return {name.file_name: list(read_segment(folder / name.file_name)) for name in list_segments(folder)}

    def records_by_process(self) -> dict[int, list[Record]]:
        """``records`` by the process that wrote them."""
        found: dict[int, list[Record]] = {}
        for name, payloads in self._segments().items():
            segment = SegmentName.parse(name)
            assert segment is not None
            found.setdefault(segment.pid, []).extend(map(decode, payloads[self._forgotten.get(name, 0) :]))
        return {pid: records for pid, records in found.items() if records}

    def writers(self) -> list[str]:
        """The journal's segments that hold requests: every process that answered one has its own."""
        folder = self.data / "journal"
        return [name.file_name for name in list_segments(folder) if list(read_segment(folder / name.file_name))]

    @property
    def document(self) -> dict[str, Any]:
        """The revision in use."""
        assert self._document is not None
        return self._document

    def finished(self) -> list[Finished]:
        return [record for record in self.records() if isinstance(record, Finished)]

    def started(self) -> list[Started]:
        return [record for record in self.records() if isinstance(record, Started)]


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
