"""Exports: every row that the search finds, each once, while rows arrive; and a trace of who took what."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError

from history import export
from history.errors import BadQuery
from history.filters import from_parameters
from history.rows import ROW_FIELDS
from history.search import ORDERS
from history.timerange import TimeRange
from routes.actions import Actor, audit
from routes.models import AuditEntry
from tests.history import rows, samples
from tests.history.rows import NOON, at, minutes

if TYPE_CHECKING:
    from uuid import UUID

pytestmark = pytest.mark.django_db(databases=["default", "pg"])
DAY = TimeRange(NOON - minutes(600), NOON + minutes(600))
NOTHING = from_parameters({})


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAGE_ROWS", 4)
    monkeypatch.setattr(export, "SORTED_PAGE_ROWS", 4)


def some(alias: str, count: int = 10) -> list[UUID]:
    return rows.store(
        *(samples.finished(at(NOON, n), latency_us=(n * 37 % 5) * 1000, session_key=f"=s{n}") for n in range(count)),
        alias=alias,
    )


def exported(alias: str, span: TimeRange = DAY, **options: Any) -> list[dict[str, Any]]:
    pieces = export.stream(options.pop("filters", NOTHING), span, "ndjson", alias, **options)
    return [json.loads(line) for line in b"".join(pieces).splitlines()]


@pytest.mark.parametrize("order", ORDERS)
def test_an_export_has_every_row_once_in_the_order_asked_for(alias: str, order: str) -> None:
    stored = [str(route) for route in some(alias)]
    found = exported(alias, order=order)
    keys = [(row["latency_ms"] if "latency" in order else 0, row["id"]) for row in found]
    assert sorted(row["id"] for row in found) == stored
    assert keys == sorted(keys, reverse=order.startswith("-"))
    assert list(found[0]) == list(ROW_FIELDS)


def test_csv_has_the_columns_of_the_list_and_no_formula(alias: str) -> None:
    some(alias)
    text = b"".join(export.stream(NOTHING, DAY, "csv", alias)).decode()
    told = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(told[0]) == list(ROW_FIELDS)
    assert [row["session_key"] for row in told] == [f"'=s{n}" for n in range(9, -1, -1)]
    assert {row["input_tokens"] for row in told} == {"12"}


def test_an_export_takes_the_filters_and_the_range_of_the_list(alias: str) -> None:
    some(alias)
    (failed,) = rows.store(samples.failed(at(NOON, 50)), alias=alias)
    assert [row["id"] for row in exported(alias, filters=from_parameters({"status": "failed"}))] == [str(failed)]
    assert exported(alias, TimeRange(NOON + minutes(1), None)) == []
    with pytest.raises(BadQuery):
        next(export.stream(NOTHING, DAY, "csv", alias, order="provider"))


@pytest.mark.parametrize("order", ["created_at", "-created_at", "latency_ms"])
def test_rows_that_arrive_meanwhile_neither_double_a_row_nor_keep_an_export_from_its_end(
    alias: str, order: str
) -> None:
    stored = {str(route) for route in some(alias)}
    seen: list[str] = []
    for arrived, piece in enumerate(export.stream(NOTHING, TimeRange(DAY.start), "ndjson", alias, order=order)):
        seen += [json.loads(line)["id"] for line in piece.splitlines()]
        # As many newer ones as a page has, and an older one, of a host whose journal had to wait.
        new = [samples.finished(at(NOON + minutes(1), 100 * arrived + n)) for n in range(4)]
        rows.store(*new, samples.finished(at(NOON - minutes(5), arrived)), alias=alias)
        assert arrived < 10
    assert len(seen) == len(set(seen))
    assert stored <= set(seen)


def test_how_it_ended_is_told_once(alias: str) -> None:
    some(alias)
    told: list[tuple[int, str]] = []

    def begin() -> Any:
        return export.stream(NOTHING, DAY, "csv", alias, ended=lambda *how: told.append(how))

    assert len(list(begin())) == 4  # names, and three pages
    left = begin()
    next(left), next(left)
    left.close()
    never = begin()
    never.close()
    assert told == [(10, "complete"), (4, "broken off by the reader")]


def test_a_page_that_cannot_be_read_is_an_error_and_no_end(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    some(alias)
    told: list[tuple[int, str]] = []
    pieces = export.stream(NOTHING, DAY, "csv", alias, ended=lambda *how: told.append(how))
    next(pieces), next(pieces)

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("the database has gone")

    monkeypatch.setattr(export, "search", away)
    with pytest.raises(OperationalError):
        next(pieces)
    assert told == [(4, "failed")]


# -- the audit log ------------------------------------------------------------------------------------------------


def test_an_export_is_in_the_audit_log_with_what_was_asked_for_and_what_was_given() -> None:
    actor = Actor("user", "ada", "7", frozenset({"read"}), "192.0.2.7", "req-1")
    ended = export.audited(actor, {"status": "failed", "from": "2026-11-20"}, "csv")
    ended(12, export.COMPLETE)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.category, entry.object_type) == ("history.exported", "export", "history")
    assert (entry.actor_name, entry.client_ip, entry.request_id) == ("ada", "192.0.2.7", "req-1")
    assert entry.changes == {
        "status": "failed",
        "from": "2026-11-20",
        "format": "csv",
        "rows": 12,
        "outcome": "complete",
    }
    ended(0, export.BROKEN_OFF)  # nobody got anything
    assert AuditEntry.objects.count() == 1


def test_what_cannot_be_written_into_the_audit_log_is_not_given_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    some("default")

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("the database has gone")

    monkeypatch.setattr(audit, "record", away)
    pieces = export.stream(NOTHING, DAY, "csv", ended=export.audited(Actor.system("test"), {}, "csv"))
    with pytest.raises(OperationalError):
        list(pieces)
    left = export.stream(NOTHING, DAY, "csv", ended=export.audited(Actor.system("test"), {}, "csv"))
    next(left), next(left)
    left.close()  # nothing to refuse any more: it is in the log of the process
