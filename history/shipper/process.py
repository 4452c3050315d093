"""The shipper as a process: its loop, its signals, what it reports. Used by ``python -m history.shipper`` and by
``manage.py ship_history``; Django must be set up before this is imported.

Stops on SIGTERM and SIGINT after shipping what is there. Nothing is lost when it is killed instead.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db import connections
from django.db.backends.signals import connection_created

from history import status
from history.records import Finished, Started
from history.shipper.folder import JournalFolder, Syncer
from history.shipper.shipper import Shipper, Unavailable
from history.shipper.store import Store
from history.shipper.teller import Teller
from history.tally import ShipperTally
from routing_project.env import EnvError
from routing_project.feed import publish, published
from routing_project.feed.names import ROUTES
from routing_project.logs import get_logger
from routing_project.metrics.instruments import bring_dropped_lines

if TYPE_CHECKING:
    from history.tracing.export import TraceExport
    from routing_project.env import Env

POLL_SECONDS: Final = 0.1
BACKOFF_FIRST: Final = 0.25
BACKOFF_MAX: Final = 5.0
#: A shipper that is being replaced gets this long to finish.
LOCK_SECONDS: Final = 10.0
#: What stopping may take: longer than a round, shorter than the patience of whoever stops us.
DRAIN_SECONDS: Final = 8.0
#: Making spans is computing: shipping must not wait 5 ms for it whenever the database has answered.
SWITCH_SECONDS: Final = 0.0005

log = get_logger(__name__)
access_log = get_logger("signalbox.access")


class ShipperProcess:
    """Runs a shipper until told to stop. Raises EnvError when traces are wanted and cannot be made."""

    def __init__(self, env: Env, alias: str = "default") -> None:
        self.folder = JournalFolder(env.journal_dir)
        self.alias = alias
        self.env = env
        self.stopping = threading.Event()
        self.down_since: float | None = None
        self.traces = _traces(env)
        self._report_at = 0.0
        self._tally = ShipperTally()

    def run(self, *, once: bool = False) -> int:
        """Exit code: 0 after a clean stop; 1 if another shipper has the folder, or ``once`` could not finish."""
        if not self.folder.lock(LOCK_SECONDS):
            log.error("another shipper is at work in this journal", folder=str(self.folder.path))
            return 1
        connection_created.connect(_sync_each_commit)
        store = Store(self.folder.node(), self.env.history_metrics, self.alias)
        teller = Teller(self.folder.path, publish)
        shipper = Shipper(self.folder, store, log_access if self.env.access_log else None, teller, self.traces)
        syncer = Syncer(self.folder.path)
        syncer.start()
        teller.start()
        if self.traces is not None:
            self.traces.start()
        try:
            if once:
                return self._drain(shipper, float("inf"))
            self._loop(shipper)
            self._drain(shipper, DRAIN_SECONDS)
            return 0
        finally:
            teller.stop()
            syncer.stop()
            self._report(shipper, force=True)
            if self.traces is not None:  # last: it may take long, and whoever stops us may not wait
                self.traces.stop(patient=once)
                self._report(shipper, force=True)
            connections.close_all()
            self.folder.close()

    def handle_signals(self) -> None:
        """From the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())

    def _loop(self, shipper: Shipper) -> None:
        backoff = BACKOFF_FIRST
        while not self.stopping.is_set():
            try:
                count = shipper.round()
            except Unavailable as error:
                if self.down_since is None:
                    self.down_since = time.time()
                    log.warning("database does not take history; the journal keeps it", error=str(error))
                self._report(shipper)
                self.stopping.wait(backoff)
                backoff = min(backoff * 2, BACKOFF_MAX)
                continue
            if self.down_since is not None:
                log.info("database takes history again", seconds=round(time.time() - self.down_since, 1))
                self.down_since, backoff = None, BACKOFF_FIRST
            self._report(shipper)
            if count == 0:
                self.stopping.wait(POLL_SECONDS)

    def _drain(self, shipper: Shipper, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        try:
            while shipper.round() and time.monotonic() < deadline:
                pass
        except Unavailable as error:
            log.error("database does not take history; the journal keeps it", error=str(error))
            return 1
        return 0

    def _report(self, shipper: Shipper, *, force: bool = False) -> None:
        """Count what was done since, and tell other processes how it goes, once a second; that it tells says that it
        lives."""
        self._tally.bring(shipper.counters, self.traces)
        bring_dropped_lines()
        now = time.monotonic()
        if now < self._report_at and not force:
            return
        self._report_at = now + 1.0
        live = published()[ROUTES]
        report = status.ShipperStatus(
            database="up" if self.down_since is None else "down",
            backlog_bytes=self.folder.backlog(),
            shipped=shipper.counters.shipped,
            told=live.published,
            untold=live.dropped,
        )
        status.write(self.folder.path, report)


def _traces(env: Env) -> TraceExport | None:
    """What makes spans of routes, if it is switched on: only then its packages are imported."""
    if env.traces == "off":
        return None
    env.check_trace_variables()
    try:
        from history.tracing.export import TraceExport

        traces = TraceExport()
    except ImportError as error:
        raise EnvError(f"SIGNALBOX_TRACES=otlp needs the packages of the extra 'otel': {error}") from None
    except (ValueError, RuntimeError) as error:  # another variable of theirs
        raise EnvError(f"SIGNALBOX_TRACES=otlp: traces cannot be set up: {error}") from None
    sys.setswitchinterval(SWITCH_SECONDS)
    return traces


def log_access(record: Finished | Started) -> None:
    """One line for one request (``SIGNALBOX_ACCESS_LOG=1``); of one whose process died, what was known of it."""
    outcome: dict[str, Any] = {"status": "interrupted"}
    if isinstance(record, Finished):
        outcome = {
            "status": record.status,
            "http_status": record.http_status,
            "error_code": record.error_code,
            "attempts": record.attempt_count,
            "latency_ms": round(record.latency_us / 1000, 1),
            "input_tokens": record.input_tokens,
            "output_tokens": record.output_tokens,
        }
    access_log.info(
        "request",
        request_id=str(UUID(bytes=record.id)),
        revision=record.revision,
        path=record.path,
        client=record.client_ip,
        access_key=record.key_name,
        profile=record.profile,
        model=record.requested_model,
        provider=record.provider,
        **outcome,
    )


def _sync_each_commit(connection: Any, **_: Any) -> None:
    # A segment is deleted after the commit, so here the commit must be on disk; elsewhere SQLite syncs at checkpoints.
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=FULL")
