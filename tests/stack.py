"""The whole product as people run it: ``manage.py serve --setup`` in a data folder of its own, on a free port.

with Stack(folder, workers=1) as stack:
    stack.import_config({"version": 1, "providers": […], "profiles": […]})
    answer = stack.chat("gpt-4o")
    assert stack.route(answer.headers["x-route-id"])["status"] == "routed"
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from routing_project.processes import spawn
from tests.gateways import Answer, wait_until
from tests.servers import FOLDER, free_port

if TYPE_CHECKING:
    from types import TracebackType

    from tests.simulators import ProviderHandle

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0
ADMIN_PASSWORD = "an admin's password"
_NEW_KEY = ("create_access_key", "tests", "--scopes", "route,admin", "--allow", "debug")
_OURS = ("SIGNALBOX_", "REDIS_URL", "DATABASE_URL", "DJANGO_SETTINGS_MODULE", "PROMETHEUS_MULTIPROC_DIR")


class Stack:
    """One installation. ``environment`` overrides settings; entering starts it, leaving ends it and its children.

    Its data folder is a copy of one that was set up before, so that ``serve --setup`` finds nothing to do; with a demo,
    or a database or an administrator of its own, it begins with nothing.
    """

    def __init__(self, folder: Path, *, workers: int = 1, demo: bool = False, **environment: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
            "SIGNALBOX_DATA_DIR": str(folder),
            "SIGNALBOX_PORT": str(self.port),
            "SIGNALBOX_WORKERS": str(workers),
            "SIGNALBOX_DEMO": str(int(demo)),
            "SIGNALBOX_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "SIGNALBOX_SHUTDOWN_DELAY": "0",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.lines: list[str] = []  # everything serve and its children have printed
        self.key = ""  # scopes route and admin
        if not demo and not {"DATABASE_URL", "SIGNALBOX_ADMIN_PASSWORD"} & set(environment):
            self.key = _copy_template(folder, self.environment)
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            print("\n".join(self.lines[-200:]))
            self.kill_all()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print("\n".join(self.lines[-200:]))
        self.kill_all()

    # -- life ----------------------------------------------------------------------------------
    def start(self, *, wait: bool = True) -> None:
        """Start ``serve --setup``; with ``wait`` until everything answers."""
        self.lines.clear()
        self.process = spawn(
            [sys.executable, str(ROOT / "manage.py"), "serve", "--setup"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        if wait:
            wait_until(lambda: self.ready or not self.running, START_SECONDS, "serve is ready")
            assert self.ready
            if not self.key:
                self.key = self.manage(*_NEW_KEY)
                self.eventually_accepted()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def ready(self) -> bool:
        return any(line.startswith("Signalbox is ready") for line in self.lines)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Signal ``serve`` and wait for its end; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait_ended(seconds)

    def wait_ended(self, seconds: float = 30) -> int:
        """Wait until ``serve`` has ended and all it said is in ``lines``; its exit code."""
        assert self.process is not None
        code = self.process.wait(seconds)
        self._join()
        return code

    def kill_all(self) -> None:
        """End everything at once, whatever state it is in."""
        if self.process is None:
            return
        pids = list(self.pids().values())
        if self.running:
            self.process.kill()
            self.process.wait()
        for pid in pids:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        self._join()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for line in stream:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))

    def _join(self) -> None:
        if self._reader is not None:
            self._reader.join(10)

    # -- processes -----------------------------------------------------------------------------
    def pids(self) -> dict[str, int]:
        """Name -> process id of serve and its children, as serve itself keeps it."""
        try:
            processes = json.loads((self.folder / "run" / "processes.json").read_bytes())
        except FileNotFoundError:
            return {}
        return {name: entry["pid"] for name, entry in processes.items() if entry["pid"] is not None}

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Signal one child by name; the process id it had."""
        pid = wait_until(lambda: self.pids().get(name), 10, f"{name} runs")
        os.kill(pid, number)
        return int(pid)

    def wait_replaced(self, **pids: int) -> None:
        """Wait until each runs again as another process than the one named: ``wait_replaced(console=4711)``."""
        wait_until(lambda: all(self.pids().get(name, pid) != pid for name, pid in pids.items()), 20, f"new {set(pids)}")

    # -- the product ---------------------------------------------------------------------------
    def manage(self, *arguments: str, check: bool = True) -> str:
        """Run a management command in this installation; what it printed."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def request(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own, never repeated; ``headers`` beside those it needs."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        key = self.key if key is None else key
        headers = {"Authorization": f"Bearer {key}", "Connection": "close", **(headers or {})}
        try:
            content = None
            if body is not None:
                content = json.dumps(body)
                headers["Content-Type"] = "application/json"
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def chat(self, model: str = "gpt-4o", **fields: Any) -> Answer:
        """One chat completion."""
        message = {"role": "user", "content": "Hello"}
        return self.request("POST", "/v1/chat/completions", {"model": model, "messages": [message], **fields})

    def import_config(self, document: dict[str, Any], *arguments: str) -> None:
        """Import and publish, then wait until every gateway runs the new revision."""
        path = self.folder / "import.json"
        path.write_text(json.dumps(document))
        before = self.revision()
        self.manage("import_config", str(path), "--publish", *arguments)
        wait_until(lambda: self.revision() > before, 20, "the gateways took the revision")

    def revision(self) -> int:
        """The oldest revision that a gateway runs; 0 before the first."""
        found = [int(float(value)) for value in re.findall(r"^config_revision\{.*\} (\S+)$", self.metrics(), re.M)]
        return min(found) if len(found) == int(self.environment["SIGNALBOX_WORKERS"]) else 0

    def metrics(self) -> str:
        return self.request("GET", "/metrics").body.decode()

    def eventually_accepted(self) -> None:
        """Wait until the gateways know the key of these tests."""
        wait_until(lambda: self.request("GET", "/v1/models").status != 401, 10, "the key is live")

    def route(self, route_id: str) -> dict[str, Any]:
        """A route's detail from the API, as soon as it has been shipped."""

        def found() -> Answer | None:
            answer = self.request("GET", f"/api/v1/history/{route_id}/")
            return answer if answer.status == 200 else None

        answer: Answer = wait_until(found, 20, f"route {route_id} is in the history")
        return dict(answer.json())

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Read the installation's SQLite database."""
        with closing(sqlite3.connect(self.folder / "signalbox.sqlite3", timeout=10)) as connection:
            return connection.execute(sql, parameters).fetchall()


def _copy_template(folder: Path, environment: dict[str, str]) -> str:
    """Fill an empty data folder as ``setup`` would, and with an access key, which is returned. Set up once for a run
    and all its processes: that takes as long as starting everything."""
    template = FOLDER / "template"
    with (FOLDER / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (template / "key").exists():
            shutil.rmtree(template, ignore_errors=True)
            environment = {**environment, "SIGNALBOX_DATA_DIR": str(template)}
            for arguments in (("setup",), _NEW_KEY):
                done = subprocess.run(
                    [sys.executable, str(ROOT / "manage.py"), *arguments],
                    env=environment, capture_output=True, text=True, check=False,
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
            (template / "key").write_text(done.stdout.strip())
    if not (folder / "key").exists():
        shutil.copytree(template, folder, dirs_exist_ok=True)
    return (folder / "key").read_text()


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def document(*providers: ProviderHandle, strategy: str = "failover", **profile: Any) -> dict[str, Any]:
    """A configuration document with one profile over simulated providers, in their order."""
    return {
        "version": 1,
        "providers": [
            {
                "slug": each.name,
                "name": each.name.title(),
                "wire": each.wire,
                "base_url": each.base_url,
                "network": "loopback",
                "probe": {"kind": "off"},  # so that its log has nothing but what a test sent
                **profile.pop("provider", {}),
            }
            for each in providers
        ],
        "profiles": [
            {
                "slug": "default",
                "name": "Default",
                "strategy": strategy,
                "targets": [{"provider": each.name} for each in providers],
                **profile,
            }
        ],
    }
