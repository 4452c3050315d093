"""Spans go out beside shipping, which waits for nobody: what a collector does not take is counted and gone."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from history.journal import JournalWriter
from history.models import RouteHistory
from history.shipper.folder import JournalFolder
from history.shipper.shipper import Shipper
from history.shipper.store import Store
from history.tracing import export
from history.tracing.export import BATCH, MAX_WAITING, TraceExport
from history.tracing.ids import span_id, trace_id
from tests.history import samples
from tests.history.conftest import NODE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from history.records import Finished


def traced(**values: Any) -> Finished:
    identifier = samples.route()
    return samples.finished(identifier, trace=trace_id(identifier), attempts=[samples.attempt()], **values)


def ids_of(spans: Sequence[ReadableSpan]) -> list[int]:
    return [context.span_id for span in spans if (context := span.get_span_context()) is not None]


class Stubborn(SpanExporter):
    """Takes nothing until ``willing``; waits at ``gate``."""

    def __init__(self) -> None:
        self.willing = False
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.gate.wait(30)
        if not self.willing:
            return SpanExportResult.FAILURE
        self.taken += len(spans)
        return SpanExportResult.SUCCESS


def test_a_record_without_a_trace_makes_no_span() -> None:
    memory = InMemorySpanExporter()
    traces = TraceExport(memory)
    traces.add(samples.finished())
    traces.add(samples.started())
    traces.add(traced())
    traces.export()
    assert len(memory.get_finished_spans()) == traces.exported == 2


def test_a_collector_that_hangs_keeps_nobody_waiting_and_the_queue_is_bounded() -> None:
    stubborn = Stubborn()
    traces = TraceExport(stubborn)
    record = traced()
    for _ in range(BATCH):
        traces.add(record)
    traces.start()
    assert stubborn.entered.wait(30)  # with that batch, for good
    for _ in range(MAX_WAITING + 100):
        traces.add(record)
    assert traces.dropped == 200
    stubborn.willing = True
    stubborn.gate.set()
    traces.stop()
    traces.join(30)
    assert traces.exported + traces.dropped == 2 * (BATCH + MAX_WAITING + 100)
    assert traces.exported == stubborn.taken >= 2 * BATCH


def test_a_collector_that_hangs_does_not_keep_the_shipper_from_its_end() -> None:
    stubborn = Stubborn()
    stubborn.gate.set()
    traces = TraceExport(stubborn)
    traces.add(traced())
    traces.export()  # it fails
    assert traces.dropped == 2
    stubborn.gate.clear()
    stubborn.entered.clear()
    for _ in range(BATCH):
        traces.add(traced())
    traces.start()
    assert stubborn.entered.wait(30)
    traces.add(traced())
    traces.stop()
    assert traces.is_alive()  # it hangs, and dies with the process
    assert traces.dropped == 4
    stubborn.gate.set()
    traces.join(30)
    assert traces.dropped == 4 + 2 * BATCH


def test_what_waits_is_small() -> None:
    traces = TraceExport(InMemorySpanExporter())
    record = traced(decision={"r": ["x" * 100_000]})
    record.decision = watched = _Watched(record.decision or {})
    decision = weakref.ref(watched)
    traces.add(record)
    del record, watched
    assert decision() is None  # the biggest part of a record, and no part of a span
    traces.export()
    assert traces.exported == 2


class _Watched(dict[str, Any]):
    """A dict that can be referred to weakly."""


def test_a_record_that_makes_no_spans_does_not_keep_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = InMemorySpanExporter()
    traces = TraceExport(memory)
    broken, sound = traced(), traced()
    broken.path = 7  # type: ignore[assignment]
    for record in (broken, sound):
        traces.add(record)
    traces.export()
    assert (traces.exported, traces.dropped) == (2, 2)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("spans", 401, "Unauthorized"), "401 Unauthorized"),
        ((ConnectionError("http://key:secret@collector/?key=secret"), "spans", 1.0), "ConnectionError"),
        (("spans", None, ConnectionError("secret")), "ConnectionError"),
        ((), "unknown"),
    ],
)
def test_why_it_failed_is_told_without_an_address(args: tuple[Any, ...], said: str) -> None:
    reason = export._Reason()
    with reason:
        reason._logger.error("failed %s %s %s", *args)
        assert reason.text == said
        assert not reason._logger.propagate
    assert logging.getLogger(reason._logger.name).propagate


# -- from the journal ------------------------------------------------------------------------------------


@pytest.fixture
def memory() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def ship(journal: Path, memory: InMemorySpanExporter) -> TraceExport:
    folder = JournalFolder(journal)
    traces = TraceExport(memory)
    try:
        shipper = Shipper(folder, Store(NODE, "failures", "default"), traces=traces)
        while shipper.round():
            pass
        traces.export()
    finally:
        folder.close()
    return traces


@pytest.mark.django_db(transaction=True)
def test_each_committed_route_is_told_once(tmp_path: Path, memory: InMemorySpanExporter) -> None:
    writer = JournalWriter(tmp_path, 1 << 30)
    records = [traced() for _ in range(5)]
    for record in records:
        writer.append(samples.started(record.id, trace=record.trace))
        writer.append(record)
    ship(tmp_path, memory)
    ship(tmp_path, memory)  # what is committed is not read again
    writer.close()
    wanted = [identifier for record in records for identifier in (span_id(record.id, 1), span_id(record.id))]
    assert ids_of(memory.get_finished_spans()) == wanted
    assert RouteHistory.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_a_route_whose_process_died_is_told_too(tmp_path: Path, memory: InMemorySpanExporter) -> None:
    writer = JournalWriter(tmp_path, 1 << 30)
    identifier = samples.route()
    writer.append(samples.started(identifier, trace=trace_id(identifier)))
    writer.append(samples.started())  # not traced
    writer.close()
    ship(tmp_path, memory)
    assert ids_of(memory.get_finished_spans()) == [span_id(identifier, 1), span_id(identifier)]


@pytest.mark.django_db(transaction=True)
def test_a_record_that_the_database_refuses_has_its_spans(tmp_path: Path, memory: InMemorySpanExporter) -> None:
    writer = JournalWriter(tmp_path, 1 << 30)
    record = traced(cost_micro_usd=2**63 + 5)  # no column holds it
    writer.append(record)
    writer.append(traced())
    writer.close()
    traces = ship(tmp_path, memory)
    assert traces.exported == 4
    assert span_id(record.id) in ids_of(memory.get_finished_spans())
