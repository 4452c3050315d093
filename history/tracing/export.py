"""Sends the spans of requests whose rows are in the database to a collector (OTLP over HTTP), in a thread beside the
shipper that waits for nobody: what does not fit into its queue, or was not taken, is counted and gone.

Where to, with which headers, certificates, time-out and compression, the exporter reads from OpenTelemetry's own
variables (``OTEL_EXPORTER_OTLP_…``); its retries are within that time-out. Needs the ``otel`` extra; no Django.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExportResult

from history.records import Finished, Started
from history.tracing.spans import Spans
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

#: Routes that wait at most: some 20 MB.
MAX_WAITING: Final = 8192
#: Routes that go out together at most, and how often they go when there are fewer.
BATCH: Final = 256
EXPORT_SECONDS: Final = 1.0
#: What the last spans may take when the shipper ends, and what they may if the collector was away before.
FLUSH_SECONDS: Final = 1.5
AWAY_SECONDS: Final = 0.3
#: Instead of the first when the shipper ends by itself (``--once``).
PATIENCE_SECONDS: Final = 30.0

log = get_logger(__name__)


class TraceExport(threading.Thread):
    """``add`` is the shipper's; everything else happens here."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        super().__init__(name="trace-export", daemon=True)
        self._exporter = exporter or OTLPSpanExporter()
        self._made = _Collected()
        self._spans = Spans(self._made)
        self._queue: deque[Finished | Started] = deque()
        self._wake = threading.Event()
        self._stop_event = threading.Event()
        self._over = False  # the exporter is shut down
        self._failing_since: float | None = None
        self._reason = _Reason()
        self._overflowed = 0  # the shipper's count
        self._lost = 0  # this thread's
        self.exported = 0

    @property
    def dropped(self) -> int:
        """Spans that nobody got."""
        return self._overflowed + self._lost

    # -- the shipper's side ------------------------------------------------------------------------------
    def add(self, record: Finished | Started) -> None:
        """Take a record whose row is committed, if it is to have spans. Never waits."""
        if not record.trace:
            return
        if len(self._queue) >= MAX_WAITING:
            self._overflowed += _count(record)
            return
        if isinstance(record, Finished) and record.decision is not None:
            record = msgspec.structs.replace(record, decision=None)  # most of it, and no part of a span
        self._queue.append(record)
        if len(self._queue) >= BATCH:
            self._wake.set()

    def add_all(self, records: Iterable[Finished | Started]) -> None:
        for record in records:
            self.add(record)

    def stop(self, *, patient: bool = False) -> None:
        """Send what is left; what cannot be sent in time is dropped. ``patient``: nobody waits for us to end."""
        seconds = PATIENCE_SECONDS if patient else FLUSH_SECONDS
        self._stop_event.set()
        self._wake.set()
        if self.is_alive():
            self.join(seconds if self._failing_since is None else AWAY_SECONDS)
        self._over = True
        self._exporter.shutdown()
        self._overflowed += sum(map(_count, self._taken(len(self._queue))))

    # -- this thread's -----------------------------------------------------------------------------------
    def run(self) -> None:
        with self._reason:
            while not self._stop_event.is_set():
                self._wake.wait(EXPORT_SECONDS)
                self._wake.clear()
                self.export()

    def export(self) -> None:
        """Send everything that waits."""
        while self._queue and not self._over:
            for record in self._taken(BATCH):
                self._make(record)
            self._send(self._made.take())
            if self._stop_event.is_set() and self._failing_since is not None:
                return

    def _taken(self, count: int) -> Iterator[Finished | Started]:
        """The oldest that wait; at the end both sides take them."""
        with suppress(IndexError):
            for _ in range(count):
                yield self._queue.popleft()

    def _make(self, record: Finished | Started) -> None:
        try:
            self._spans.make(record)
        except Exception as error:  # whatever a record holds, the others go out
            self._lost += _count(record)
            log.error("a route without spans", route=record.id.hex(), error=type(error).__name__)

    def _send(self, spans: list[ReadableSpan]) -> None:
        if not spans:
            return
        self._reason.text = ""
        try:
            taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:
            taken, self._reason.text = False, type(error).__name__
        if taken:
            self.exported += len(spans)
            if self._failing_since is not None:
                seconds = round(time.monotonic() - self._failing_since, 1)
                log.info("traces are taken again", seconds=seconds, dropped_spans=self.dropped)
                self._failing_since = None
            return
        self._lost += len(spans)
        if self._failing_since is None and not self._over:
            self._failing_since = time.monotonic()
            log.warning("traces are not taken; spans are dropped until they are", reason=self._reason.text or "unknown")


class _Collected(SpanProcessor):
    """Keeps spans until they are taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans


class _Reason(logging.Handler):
    """Hears why the exporter failed, instead of the log: it says so at every try. Of an exception only the kind is
    kept; its words hold the address it wanted, and that may hold a key."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._logger = logging.getLogger(OTLPSpanExporter.__module__)

    def __enter__(self) -> None:
        self._logger.addHandler(self)
        self._logger.propagate = False

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        if self.text:
            return
        given = record.args if isinstance(record.args, tuple) else ()
        told = [part for part in given if part not in ("spans", None) and type(part) is not float]
        parts = [type(part).__name__ if isinstance(part, Exception) else str(part) for part in told]
        self.text = " ".join(parts)[:100] or "unknown"


def _count(record: Finished | Started) -> int:
    return 1 + (len(record.attempts) if isinstance(record, Finished) else 1)
