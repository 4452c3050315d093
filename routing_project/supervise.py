"""``manage.py serve``: bind the port, start every process of the product, keep them up, end them in order.

The tree: embedded Redis (unless REDIS_URL), N gateways on one inherited listening socket, the console on an
inherited Unix socket, a Celery worker, its beat, the history shipper, and the demo's simulated providers when
there is a demo. Single-threaded: children are tied to the thread that starts them. Must not import Django.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routing_project import announce, logs, preflight
from routing_project.children import Child, describe, write_process_map
from routing_project.env import EnvError, child_environment, get_env
from routing_project.metrics import folder
from routing_project.preflight import Fatal
from routing_project.processes import group_kill, spawn, valkey_command, wait_for_socket

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from routing_project.env import Env

ROOT = Path(__file__).resolve().parent.parent
HOPELESS_STARTS = 6  # short lives in a row, before anything ever worked, that make a fault fatal
INTERRUPT_DRAIN_SECONDS = 3.2  # Ctrl+C: gateways drain up to 3 s; everything is gone in less than 5
TICK_SECONDS = 2.0  # how often the loop looks at what no signal tells
MARGIN_SECONDS = 5.0  # what a child gets on top of the drain time before it is killed

log = logs.get_logger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Entry of ``manage.py serve``; returns the exit code. The first fatal reason is one line on stderr."""
    logs.start("serve")
    parser = argparse.ArgumentParser(
        prog="manage.py serve", description="Run Signalbox: every process, one port, until it is told to stop."
    )
    parser.add_argument(
        "--setup", action="store_true", help="first migrate, create the first admin, and load the demo if it is empty"
    )
    options = parser.parse_args(arguments)
    try:
        env = get_env()
        preflight.check_settings(env)
        with contextlib.ExitStack() as held:
            listener = held.enter_context(preflight.bind(env))
            held.enter_context(preflight.lock_data_folder(env))
            return Supervisor(env, listener).run(setup=options.setup)
    except (Fatal, EnvError) as error:
        if str(error):
            logs.fatal("signalbox", str(error))
        return 1


class Supervisor:
    """Owns the children from start to end. One instance a process; ``run`` does not return before all are gone."""

    def __init__(self, env: Env, listener: socket.socket) -> None:
        self.env = env
        self.listener = listener
        self.console_listener: socket.socket | None = None
        self.children: list[Child] = []
        self.received: list[int] = []  # stop signals, in the order they came
        self.report: dict[str, Any] = {}  # what setup has to tell: password, key
        self.probed = threading.Event()
        self.announced = False
        self.stopping = False
        self.unfolded = False  # a child ended whose metrics are not with those of the dead yet
        self.wakeup, self._wakeup_write = socket.socketpair()

    # -- life ----------------------------------------------------------------------------------
    def run(self, *, setup: bool) -> int:
        self._catch_signals()
        try:
            self._prepare_folders()
            if self.env.redis_url is None:
                self._start_redis()
            if setup and not self._run_setup():
                return 1
            if not self.received:
                self._check_database()
                self._define_children()
                preflight.listen(self.listener, self.env)
                self._loop()
        finally:
            self._stop()
        return 0

    def _catch_signals(self) -> None:
        for end in (self.wakeup, self._wakeup_write):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: self.received.append(received))
        signal.signal(signal.SIGCHLD, lambda _received, _frame: None)  # only to wake the loop up

    def _wait(self, seconds: float) -> None:
        """Sleep until a signal or a child's end, at most ``seconds``."""
        if select.select([self.wakeup], [], [], max(seconds, 0))[0]:
            with contextlib.suppress(BlockingIOError):
                while self.wakeup.recv(4096):
                    pass

    def _loop(self) -> None:
        # Probes block for seconds at worst; in a thread, so that a signal or a dead child is seen to meanwhile.
        threading.Thread(target=self._probe, name="readiness", daemon=True).start()
        while not self.received:
            self._reap()
            self._fold_metrics()
            now = time.monotonic()
            for child in self.children:
                if not child.running and child.due <= now:
                    self._start(child)
            if self.probed.is_set() and not self.announced:
                self._announce()
            self._end_removed_demo()
            next_due = min((child.due for child in self.children if not child.running), default=now + TICK_SECONDS)
            self._wait(min(next_due - now, TICK_SECONDS))

    def _start(self, child: Child) -> None:
        child.start()
        self._write_map()

    def _reap(self) -> None:
        for child in self.children:
            pid = child.process.pid if child.process else 0
            code = child.reap()
            if code is None:
                continue
            self.unfolded = True
            self._write_map()
            if self.stopping:
                continue
            log.warning(
                "child ended", child=child.name, pid=pid, how=describe(code), again_in=child.due - time.monotonic()
            )
            if not self.announced and child.failures >= HOPELESS_STARTS:
                raise Fatal(f"{child.name} does not start ({describe(code)}); its own lines are above.")

    def _fold_metrics(self) -> None:
        """Put the counts of children that ended together: one that crashes all night must not fill the folder. Never
        waits; what cannot be done now is done on the next round, or by whoever scrapes."""
        if self.unfolded:
            with contextlib.suppress(folder.Busy, OSError):
                folder.fold(self.env.metrics_dir)
                self.unfolded = False

    def _end_removed_demo(self) -> None:
        """The admin action that removes the demo removes its file; the simulated providers end with it."""
        for child in self.children:
            if child.name == "simulator" and not announce.demo_path(self.env).exists():
                log.info("the demo is gone", child=child.name)
                child.send(signal.SIGTERM)
                self._finish([child], MARGIN_SECONDS)
                self.children.remove(child)
                self._write_map()
                return

    def _probe(self) -> None:
        """Wait until everything answers, or patience runs out; then wake the loop."""
        deadline = time.monotonic() + announce.PATIENCE_SECONDS
        while not self.stopping and (missing := announce.not_ready(self.env)):
            if time.monotonic() > deadline:
                log.warning("started, but not everything answers yet", missing=missing)
                break
            time.sleep(0.1)
        self.probed.set()
        with contextlib.suppress(BlockingIOError):
            self._wakeup_write.send(b"\0")

    def _announce(self) -> None:
        self.announced = True
        print(announce.text(self.env, self.report), flush=True)
        self.report.clear()  # the password and the key are shown once

    # -- before the others ---------------------------------------------------------------------
    def _start_redis(self) -> None:
        """The embedded server, before everything that talks to it; only in memory, so it may be killed."""
        log_file = self.env.log_dir / "redis.log"
        command = [*valkey_command(self.env.redis_socket, self.env.data), "--logfile", str(log_file)]
        redis = Child("redis", command, self._environment(), death_signal=signal.SIGKILL)
        self.children.append(redis)
        self._start(redis)
        assert redis.process is not None
        if not wait_for_socket(self.env.redis_socket, redis.process, 10):
            raise Fatal(f"the embedded Redis did not start; see {log_file}, or set REDIS_URL.")

    def _run_setup(self) -> bool:
        """``manage.py setup`` in a process of its own, so that Django's memory is given back. False: it failed."""
        reader, writer = os.pipe()
        command = [sys.executable, str(ROOT / "manage.py"), "setup", "--report-fd", str(writer)]
        process = spawn(command, env=self._environment(), pass_fds=(writer,))
        os.close(writer)
        stopped = False
        with os.fdopen(reader) as stream:
            while process.poll() is None:
                self._wait(1)
                if self.received and not stopped:
                    stopped = True
                    group_kill(process, signal.SIGTERM)
            content = stream.read()  # a few hundred bytes: they fit into the pipe
        if process.returncode == 0 and content:
            self.report = json.loads(content)
        # With the database away there is nothing to set up, but a published revision can still be served.
        away = process.returncode == preflight.DATABASE_AWAY and self.env.revision_path.exists()
        return process.returncode == 0 or stopped or away

    def _check_database(self) -> None:
        """Without a database there is nothing to manage; with a revision on disk there still is something to serve."""
        problem = preflight.database_problem(self.env)
        if problem is None:
            return
        if not self.env.revision_path.exists():
            raise Fatal(problem)
        log.warning("serving the last published revision without the database", reason=problem)

    def _prepare_folders(self) -> None:
        self.env.make_folders()
        try:
            folder.clear(self.env.metrics_dir)
        except folder.Busy:
            raise Fatal(f"another process keeps {self.env.metrics_dir} locked; end it first.") from None
        except OSError as error:  # a full disk: they go on from where they are
            log.warning("counters do not begin anew", error=str(error))
        self.env.console_socket.unlink(missing_ok=True)
        # Bound here and inherited: while the console restarts, requests wait in the backlog, and all its watchers.
        self.console_listener = socket.socket(socket.AF_UNIX)
        self.console_listener.bind(str(self.env.console_socket))
        self.env.console_socket.chmod(0o600)
        self.console_listener.listen(preflight.BACKLOG)

    def _environment(self) -> dict[str, str]:
        paths = [str(ROOT), child_environment().get("PYTHONPATH", "")]
        return child_environment(
            SIGNALBOX_DATA_DIR=str(self.env.data),
            CELERY_SKIP_CHECKS="1",  # setup and the console do them; in the worker they would load every view
            PYTHONPATH=os.pathsep.join(path for path in paths if path),
        )

    def _define_children(self) -> None:
        env, python = self.env, sys.executable
        environment = self._environment()

        def add(name: str, *command: str, fds: tuple[int, ...] = (), death_signal: int = signal.SIGTERM) -> None:
            self.children.append(Child(name, list(command), environment, fds, death_signal))

        fd = self.listener.fileno()
        for number in range(1, env.workers + 1):
            name = f"gateway-{number}"
            command = (python, "-m", "routes.gateway", "--fd", str(fd), "--name", name)
            # Without us nobody restarts them, and they hold the port: an end as by Ctrl+C, not a long drain.
            add(name, *command, fds=(fd,), death_signal=signal.SIGINT)
        assert self.console_listener is not None
        fd = self.console_listener.fileno()
        add("console", python, "-m", "routing_project.console.server", "--fd", str(fd), fds=(fd,))
        add("worker", python, "-m", "routing_project.worker")
        add("beat", python, "-m", "routing_project.beat")
        add("shipper", python, "-m", "history.shipper")
        if simulated := announce.demo(env):
            port = str(simulated["control_port"])
            add(
                "simulator", python, "-m", "simulator", "--config", str(announce.demo_path(env)), "--control-port", port
            )

    def _write_map(self) -> None:
        write_process_map(self.env.socket_dir / "processes.json", self.children)

    # -- the end -------------------------------------------------------------------------------
    def _stop(self) -> None:
        """End every child: gateways first (they drain), the shipper after them, Redis last."""
        self.stopping = True
        self.listener.close()  # our copy would go on accepting into the backlog, and those clients would hang
        if not any(child.running for child in self.children):
            return
        interrupted = not self.received or self.received[0] == signal.SIGINT
        gateways, console, work, upstream = (
            [child for child in self.children if child.name.startswith(names)]
            for names in ("gateway-", "console", ("worker", "beat"), "simulator")
        )
        if interrupted:
            self._signal(gateways, signal.SIGINT)
            self._signal([*console, *work], signal.SIGTERM)
            self._finish([*gateways, *console, *work], INTERRUPT_DRAIN_SECONDS)
        else:
            self._signal([*gateways, *work], signal.SIGTERM)
            self._finish(gateways, self.env.shutdown_delay, kill=False)
            self._signal(console, signal.SIGTERM)
            self._finish([*gateways, *console, *work], self.env.drain_seconds + MARGIN_SECONDS)
        last = [child for child in self.children if child.name == "shipper"]
        self._signal([*last, *upstream], signal.SIGTERM)
        self._finish([*last, *upstream], 0.9 if interrupted else 2 * MARGIN_SECONDS)
        self._signal(self.children, signal.SIGTERM)
        self._finish(self.children, 0.4 if interrupted else MARGIN_SECONDS)
        if self.announced:
            log.info("stopped")

    def _signal(self, children: Iterable[Child], number: int) -> None:
        for child in children:
            child.send(number)

    def _finish(self, children: Iterable[Child], seconds: float, *, kill: bool = True) -> None:
        """Wait for ``children`` to end; kill what is left after ``seconds``, or everything on a second signal."""
        children = list(children)
        deadline = time.monotonic() + seconds
        while any(child.running for child in children):
            left = deadline - time.monotonic()
            if len(self.received) > 1:
                self._kill(self.children)
            elif left <= 0 and not kill:
                return
            elif left <= 0:
                self._kill(children)
            self._wait(min(max(left, 0.05), 0.5))
            self._reap()

    def _kill(self, children: Iterable[Child]) -> None:
        for child in children:
            if child.running and not child.killed:
                log.warning("child killed", child=child.name)
                child.kill()
