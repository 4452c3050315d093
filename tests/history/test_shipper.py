"""The shipper puts every record into the database once, in order, whatever comes in its way."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from django.db import OperationalError, connections

from history import ids, journal
from history.models import JournalPosition, ParkedRecord, RouteAttempt, RouteHistory, RouteHistoryMetric
from history.rows import INTERRUPTED_MESSAGE
from history.shipper import shipper as shipper_module
from history.shipper.shipper import Shipper, Unavailable
from tests import servers
from tests.history import samples
from tests.history.conftest import BOTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from history.journal import JournalWriter

pytestmark = BOTH


def drain(shipper: Shipper) -> None:
    while shipper.round():
        pass


def rows(alias: str) -> dict[bytes, RouteHistory]:
    return {row.id.bytes: row for row in RouteHistory.objects.using(alias)}


def test_what_is_counted_as_consumed_is_what_was_appended_and_rows_are_fewer(
    alias: str, writer: JournalWriter, shipper: Shipper
) -> None:
    """So that dashboards may lay the two over each other."""
    for _ in range(5):
        record = samples.finished()
        writer.append(samples.started(record.id))
        writer.append(record)
    writer.append(samples.finished())
    drain(shipper)
    assert shipper.counters.consumed == writer.appended == 11
    assert shipper.counters.shipped == 6


# -- what a record becomes -------------------------------------------------------------------------------


def test_a_finished_request_becomes_one_row_that_says_what_the_record_said(
    alias: str, writer: JournalWriter, shipper: Shipper
) -> None:
    record = samples.finished(session_key="chat-1", decision={"r": [[0, 1.5]]}, stream=True)
    writer.append(record)
    drain(shipper)
    (row,) = RouteHistory.objects.using(alias)
    assert row.id == UUID(bytes=record.id)
    assert row.created_at == ids.time_of(record.id)
    assert (row.profile, row.route_id, row.access_key) == ("default", UUID(bytes=samples.PROFILE), "app")
    assert row.session_id == ids.session_id(samples.KEY, "chat-1")
    assert (row.status, row.http_status, row.latency_ms, row.ttfb_ms, row.selection_us) == ("routed", 200, 123, 95, 15)
    assert (row.provider, row.model, row.requested_model) == ("acme-eu", "acme-gpt-4o", "gpt-4o")
    assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.cost_micro_usd) == (12, 34, None, 370)
    assert row.source_info == {
        "client_ip": "127.0.0.1",
        "user_agent": "OpenAI/Python 2.0",
        "path": "/v1/chat/completions",
        "wire": "openai",
        "operation": "chat",
        "stream": True,
    }
    assert row.routing_decision == {"r": [[0, 1.5]]}
    assert row.target_info["endpoint"] == "https://eu.acme.example/v1"
    # Its only attempt needs no row of its own.
    assert not RouteAttempt.objects.using(alias).exists()
    assert not RouteHistoryMetric.objects.using(alias).exists()


def test_an_attempt_that_moved_a_circuit_is_kept_also_when_it_succeeded_at_once(
    alias: str, writer: JournalWriter, shipper: Shipper
) -> None:
    steps = [("half_open", "closed", "successes")]
    writer.append(samples.finished(attempts=[samples.attempt(transitions=steps)]))
    drain(shipper)
    (row,) = RouteAttempt.objects.using(alias)
    assert (row.error_class, row.transitions) == (None, [list(step) for step in steps])


def test_a_request_that_failed_keeps_its_attempts_and_measurements(
    alias: str, writer: JournalWriter, shipper: Shipper
) -> None:
    record = samples.failed()
    writer.append(record)
    drain(shipper)
    attempts = list(RouteAttempt.objects.using(alias).order_by("ordinal"))
    assert [(a.ordinal, a.provider, a.http_status, a.error_class) for a in attempts] == [
        (1, "acme-eu", 503, "upstream_5xx"),
        (2, "acme-us", None, "connect_refused"),
    ]
    assert attempts[0].endpoint_id == UUID(samples.TARGET)
    assert {a.history_id.bytes for a in attempts} == {record.id}
    assert {ids.milliseconds(a.id) for a in attempts} == {ids.milliseconds(record.id)}  # the parent's partition
    metrics = {m.metric_name: (m.metric_value, m.metric_unit) for m in RouteHistoryMetric.objects.using(alias)}
    assert metrics == {
        "selection_time": (0.015, "ms"),
        "backend_response_time": (120.0, "ms"),
        "request_latency": (123.456, "ms"),
    }


def test_what_was_measured_of_one_route_is_kept_whatever_the_setting_says(
    alias: str, writer: JournalWriter, new_shipper: Callable[..., Shipper]
) -> None:
    carried = [("bytes_to_client", 4096.0, "bytes"), ("messages_to_client", 3.0, "messages")]
    record = samples.finished(metrics=carried)
    writer.append(record)
    drain(new_shipper("off"))
    kept = RouteHistoryMetric.objects.using(alias)
    assert sorted((m.metric_name, m.metric_value, m.metric_unit) for m in kept) == carried
    assert {m.history_id.bytes for m in kept} == {record.id}
    writer.append(record)  # shipped twice, kept once
    drain(new_shipper("off"))
    assert kept.count() == 2


@pytest.mark.parametrize(("policy", "expected"), [("failures", 3), ("all", 6), ("off", 0)])
def test_measurements_are_kept_as_the_setting_says(
    alias: str, writer: JournalWriter, new_shipper: Callable[..., Shipper], policy: str, expected: int
) -> None:
    writer.append(samples.finished())
    writer.append(samples.failed())
    drain(new_shipper(policy))
    assert RouteHistoryMetric.objects.using(alias).count() == expected


def test_a_decision_without_outcome_has_no_latency(alias: str, writer: JournalWriter, shipper: Shipper) -> None:
    writer.append(samples.decided())
    drain(shipper)
    (row,) = RouteHistory.objects.using(alias)
    assert (row.status, row.latency_ms) == ("decided", None)


def test_hostile_values_are_stored_as_near_as_the_columns_allow(
    alias: str, writer: JournalWriter, shipper: Shipper
) -> None:
    record = samples.failed(
        requested_model="m\x00" + "x" * 5000,
        message="\x00\n\t\\N \\. \u2028 " + "y" * 9000,
        user_agent="\x00\\u0000",
        session_key="s\x00",
        input_tokens=2**62,
        decision={"text\x00": ["\x00", "\\u0000"], "number": float("nan")},
    )
    writer.append(record)
    writer.append(samples.finished())
    drain(shipper)
    assert RouteHistory.objects.using(alias).count() == 2
    assert shipper.counters.unreadable == 0
    row = rows(alias)[record.id]
    assert row.requested_model.startswith("m\ufffdxxx")
    assert (len(row.requested_model), len(row.message)) == (256, 2000)
    assert row.source_info["user_agent"] == "\ufffd\\u0000"
    assert row.routing_decision == {"text\ufffd": ["\ufffd", "\\u0000"], "number": None}
    assert row.input_tokens == 2**31 - 1


# -- order, replays, kills -------------------------------------------------------------------------------


def test_what_is_shipped_is_deleted_once_nobody_can_write_to_it(
    alias: str, journal_dir: Path, shipper: Shipper
) -> None:
    writer = journal.JournalWriter(journal_dir, 1 << 30, segment_bytes=3000)
    for _ in range(30):
        writer.append(samples.finished())
    assert len(journal.list_segments(journal_dir)) > 3
    drain(shipper)
    assert RouteHistory.objects.using(alias).count() == 30
    assert len(journal.list_segments(journal_dir)) == 1  # its owner may still write
    writer.append(samples.finished())
    drain(shipper)
    assert RouteHistory.objects.using(alias).count() == 31
    writer.close()
    drain(shipper)
    assert journal.list_segments(journal_dir) == []
    assert not JournalPosition.objects.using(alias).exists()


def test_records_written_between_the_lock_test_and_the_read_are_not_deleted_with_the_segment(
    alias: str, writer: JournalWriter, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other order (read, then test the lock) loses the last records of a process that ends in between."""
    writer.append(samples.finished())
    drain(shipper)
    read_chunk = shipper_module.read_chunk
    pending = [samples.finished()]

    def write_and_die_first(*args: Any, **kwargs: Any) -> Any:
        chunk = read_chunk(*args, **kwargs)
        if pending:
            writer.append(pending.pop())
            writer.close()
        return chunk

    monkeypatch.setattr(shipper_module, "read_chunk", write_and_die_first)
    drain(shipper)
    drain(shipper)
    drain(shipper)
    assert RouteHistory.objects.using(alias).count() == 2


def test_a_replayed_batch_doubles_nothing(
    alias: str, writer: JournalWriter, new_shipper: Callable[..., Shipper]
) -> None:
    first, second = samples.failed(), samples.decided()
    for record in (first, second, samples.update(second.id, status="routed", metrics=[("quality", 0.5, "")])):
        writer.append(record)
    drain(new_shipper("all"))
    before = (
        RouteHistory.objects.using(alias).count(),
        RouteAttempt.objects.using(alias).count(),
        RouteHistoryMetric.objects.using(alias).count(),
    )
    JournalPosition.objects.using(alias).all().delete()  # as if the positions had been kept elsewhere and lost
    again = new_shipper("all")
    drain(again)
    after = (
        RouteHistory.objects.using(alias).count(),
        RouteAttempt.objects.using(alias).count(),
        RouteHistoryMetric.objects.using(alias).count(),
    )
    assert after == before == (2, 2, 4)
    assert (again.counters.shipped, again.counters.duplicates) == (0, 2)
    assert rows(alias)[second.id].status == "routed"


def test_a_restarted_shipper_goes_on_where_the_last_commit_was(
    alias: str, writer: JournalWriter, new_shipper: Callable[..., Shipper]
) -> None:
    for _ in range(5):
        writer.append(samples.finished())
    drain(new_shipper())
    for _ in range(3):
        writer.append(samples.finished())
    second = new_shipper()
    drain(second)
    assert (second.counters.shipped, second.counters.duplicates) == (3, 0)


def test_a_torn_tail_of_a_dead_process_is_skipped_and_counted(
    alias: str, journal_dir: Path, writer: JournalWriter, shipper: Shipper
) -> None:
    writer.append(samples.finished())
    (name,) = journal.list_segments(journal_dir)
    with (journal_dir / name.file_name).open("ab") as stream:
        stream.write(journal.frame(b"cut off")[:-3])
    drain(shipper)
    assert shipper.counters.torn == 0  # its owner may still complete it
    writer.close()
    drain(shipper)
    assert shipper.counters.torn == 1
    assert journal.list_segments(journal_dir) == []
    assert RouteHistory.objects.using(alias).count() == 1


def test_a_record_nobody_understands_is_set_aside_and_holds_nothing_up(
    alias: str, journal_dir: Path, writer: JournalWriter, shipper: Shipper
) -> None:
    writer.append(samples.finished())
    (name,) = journal.list_segments(journal_dir)
    with (journal_dir / name.file_name).open("ab") as stream:
        stream.write(journal.frame(b"\x81\xa4type\xa6future"))
    writer.append(samples.finished())
    drain(shipper)
    assert RouteHistory.objects.using(alias).count() == 2
    assert shipper.counters.unreadable == 1
    assert list(journal.read_segment(journal_dir / "unreadable.journal")) == [b"\x81\xa4type\xa6future"]


def test_a_record_the_database_refuses_costs_its_own_details_only(
    alias: str, journal_dir: Path, writer: JournalWriter, shipper: Shipper
) -> None:
    good = [samples.finished() for _ in range(9)]
    bad = samples.finished(cost_micro_usd=2**63 + 5)  # no column holds it
    for record in (*good[:4], bad, *good[4:]):
        writer.append(record)
    drain(shipper)
    assert set(rows(alias)) == {record.id for record in (*good, bad)}
    assert shipper.counters.unreadable == 1
    assert len(list(journal.read_segment(journal_dir / "unreadable.journal"))) == 1


# -- requests that never ended -----------------------------------------------------------------------------


def test_a_request_is_interrupted_only_when_its_process_is_gone(
    alias: str, writer: JournalWriter, shipper: Shipper
) -> None:
    record = samples.started(session_key="s")
    writer.append(record)
    drain(shipper)
    assert rows(alias) == {}
    writer.close()
    drain(shipper)
    row = rows(alias)[record.id]
    assert (row.status, row.latency_ms, row.provider, row.message) == (
        "interrupted",
        None,
        "acme-eu",
        INTERRUPTED_MESSAGE,
    )
    assert (row.attempt_count, row.created_at) == (1, ids.time_of(record.id))
    assert shipper.counters.interrupted == 1


def test_a_request_that_began_in_one_segment_and_ended_in_a_later_one_is_not_interrupted(
    alias: str, journal_dir: Path, new_shipper: Callable[..., Shipper]
) -> None:
    writer = journal.JournalWriter(journal_dir, 1 << 30, segment_bytes=2000)
    long, never = samples.started(), samples.started()
    writer.append(long)
    writer.append(never)
    for _ in range(20):
        writer.append(samples.finished())
    drain(new_shipper())
    assert len(journal.list_segments(journal_dir)) == 1  # the one that announced them is gone
    assert ParkedRecord.objects.using(alias).count() == 2
    drain(new_shipper())  # a restart remembers them
    writer.append(samples.finished(long.id))
    drain(new_shipper())
    writer.close()
    drain(new_shipper())
    found = rows(alias)
    assert (found[long.id].status, found[never.id].status) == ("routed", "interrupted")
    assert len(found) == 22
    assert not ParkedRecord.objects.using(alias).exists()


def test_a_shipper_killed_before_it_removes_a_segment_leaves_no_parked_record_behind(
    alias: str, journal_dir: Path, new_shipper: Callable[..., Shipper], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = journal.JournalWriter(journal_dir, 1 << 30, segment_bytes=2000)
    try:
        began = samples.started()
        writer.append(began)
        while len(journal.list_segments(journal_dir)) < 2:
            writer.append(samples.finished())
        killed = new_shipper()
        monkeypatch.setattr(killed.folder, "remove", _die)
        with pytest.raises(KeyboardInterrupt):
            drain(killed)
        assert ParkedRecord.objects.using(alias).count() == 1
        writer.append(samples.finished(began.id))
        drain(new_shipper())
        assert rows(alias)[began.id].status == "routed"
        assert not ParkedRecord.objects.using(alias).exists()
    finally:
        writer.close()


def _die(_segment: object) -> None:
    raise KeyboardInterrupt


def test_a_restart_between_beginning_and_end_remembers_who_is_open(
    alias: str, writer: JournalWriter, new_shipper: Callable[..., Shipper]
) -> None:
    ended, cut = samples.started(), samples.started()
    writer.append(ended)
    writer.append(cut)
    drain(new_shipper())
    writer.append(samples.finished(ended.id))
    drain(new_shipper())
    writer.close()
    drain(new_shipper())
    assert {key: row.status for key, row in rows(alias).items()} == {ended.id: "routed", cut.id: "interrupted"}


def test_segments_of_several_dead_processes_are_adopted(alias: str, journal_dir: Path, shipper: Shipper) -> None:
    expected = {}
    for _ in range(3):
        writer = journal.JournalWriter(journal_dir, 1 << 30)
        done, cut = samples.finished(), samples.started()
        writer.append(done)
        writer.append(cut)
        writer.close()
        expected |= {done.id: "routed", cut.id: "interrupted"}
    drain(shipper)
    assert {key: row.status for key, row in rows(alias).items()} == expected
    assert journal.list_segments(journal_dir) == []


# -- updates -------------------------------------------------------------------------------------------------


def test_an_update_is_applied_once_and_the_first_outcome_stands(
    alias: str, writer: JournalWriter, shipper: Shipper
) -> None:
    record = samples.decided()
    writer.append(record)
    writer.append(samples.update(record.id, status="routed", latency_us=250_000, metrics=[("quality", 0.5, "ratio")]))
    writer.append(samples.update(record.id, status="routed", latency_us=999_000, metrics=[("quality", 0.5, "ratio")]))
    writer.append(samples.update(record.id, status="failed", error_code="upstream_5xx"))
    drain(shipper)
    row = rows(alias)[record.id]
    assert (row.status, row.latency_ms, row.error_code) == ("routed", 250, None)
    assert RouteHistoryMetric.objects.using(alias).count() == 1
    assert shipper.counters.conflicts == 1


def test_an_update_waits_for_its_row_also_over_a_restart(
    alias: str, journal_dir: Path, writer: JournalWriter, new_shipper: Callable[..., Shipper]
) -> None:
    record = samples.decided()
    console = journal.JournalWriter(journal_dir, 1 << 30)
    console.append(samples.update(record.id, status="failed", error_code="dns"))
    console.append(samples.update(record.id, metrics=[("quality", 1.0, "")]))
    console.close()
    drain(new_shipper())
    assert rows(alias) == {}
    assert ParkedRecord.objects.using(alias).count() == 2
    writer.append(record)
    drain(new_shipper())
    row = rows(alias)[record.id]
    assert (row.status, row.error_code) == ("failed", "dns")
    assert RouteHistoryMetric.objects.using(alias).count() == 1
    assert not ParkedRecord.objects.using(alias).exists()


def test_an_update_finds_the_row_that_another_hosts_shipper_inserted(
    alias: str, writer: JournalWriter, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "RETRY_SECONDS", 0.0)
    record = samples.decided()
    writer.append(samples.update(record.id, status="timeout"))
    drain(shipper)
    RouteHistory(id=UUID(bytes=record.id), created_at=ids.time_of(record.id), status="decided").save(using=alias)
    drain(shipper)
    assert rows(alias)[record.id].status == "timeout"
    assert shipper.waiting == {}


def test_of_outcomes_that_two_hosts_ship_at_once_the_first_stands(
    alias: str, writer: JournalWriter, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    if alias == "default":
        pytest.skip("SQLite lets one write at a time")
    record = samples.decided()
    writer.append(record)
    drain(shipper)
    existing = shipper.store.existing

    def and_then_the_other_commits(routes: Iterable[bytes]) -> dict[bytes, str]:
        found = existing(routes)
        monkeypatch.undo()
        with psycopg.connect(servers.postgres_url(str(connections[alias].settings_dict["NAME"]))) as other:
            other.execute("UPDATE route_history SET status = 'failed', error_code = 'dns'")
        return found

    monkeypatch.setattr(shipper.store, "existing", and_then_the_other_commits)
    writer.append(samples.update(record.id, status="routed", latency_us=1000, metrics=[("quality", 0.5, "ratio")]))
    drain(shipper)
    row = rows(alias)[record.id]
    assert (row.status, row.error_code, row.latency_ms) == ("failed", "dns", None)
    assert not RouteHistoryMetric.objects.using(alias).exists()
    assert shipper.counters.conflicts == 1


def test_an_update_whose_row_never_comes_is_given_up_and_counted(
    alias: str, writer: JournalWriter, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "RETRY_SECONDS", 0.0)
    writer.append(samples.update(samples.route(), status="timeout"))
    drain(shipper)
    assert len(shipper.waiting) == 1
    monkeypatch.setattr(shipper_module, "WAIT_SECONDS", -1.0)
    drain(shipper)
    assert (shipper.waiting, shipper.counters.abandoned) == ({}, 1)
    assert not ParkedRecord.objects.using(alias).exists()


# -- the database goes away ------------------------------------------------------------------------------------


def test_while_the_database_is_down_nothing_moves_and_afterwards_all_of_it_is_there(
    alias: str, journal_dir: Path, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = journal.JournalWriter(journal_dir, 1 << 30, segment_bytes=3000)
    writer.append(samples.finished())
    drain(shipper)
    apply = shipper.store.apply

    def down(batch: Any) -> Any:
        raise OperationalError("connection refused\nmore lines")

    monkeypatch.setattr(shipper.store, "apply", down)
    for _ in range(20):
        writer.append(samples.finished())
        with pytest.raises(Unavailable, match=r"^connection refused$"):
            shipper.round()
    writer.close()
    segments = journal.list_segments(journal_dir)
    assert len(segments) > 2
    monkeypatch.setattr(shipper.store, "apply", apply)
    drain(shipper)
    assert RouteHistory.objects.using(alias).count() == 21
    assert shipper.counters.duplicates == 0
    assert journal.list_segments(journal_dir) == []


def test_a_connection_that_breaks_costs_one_round_and_nothing_else(
    alias: str, writer: JournalWriter, shipper: Shipper
) -> None:
    """The real thing: PostgreSQL ends the session, SQLite is locked by another process for too long."""
    writer.append(samples.finished())
    drain(shipper)
    connection = connections[alias]
    blocker = None
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        with psycopg.connect(servers.postgres_url(), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    else:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 10")
        blocker = sqlite3.connect(connection.settings_dict["NAME"])
        blocker.execute("BEGIN IMMEDIATE")
    writer.append(samples.finished())
    with pytest.raises(Unavailable):
        shipper.round()
    if blocker is not None:
        blocker.close()
    drain(shipper)
    assert RouteHistory.objects.using(alias).count() == 2
    assert shipper.counters.duplicates == 0


def test_a_commit_whose_answer_was_lost_is_repeated_without_harm(
    alias: str, writer: JournalWriter, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = samples.decided()
    writer.append(record)
    writer.append(samples.update(record.id, status="routed", metrics=[("quality", 1.0, "")]))
    apply = shipper.store.apply

    def commit_then_break(batch: Any) -> Any:
        apply(batch)
        monkeypatch.setattr(shipper.store, "apply", apply)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(shipper.store, "apply", commit_then_break)
    with pytest.raises(Unavailable):
        shipper.round()
    drain(shipper)
    assert rows(alias)[record.id].status == "routed"
    assert RouteHistoryMetric.objects.using(alias).count() == 1
    assert shipper.counters.duplicates == 1


def test_the_access_log_gets_each_request_once(
    alias: str, writer: JournalWriter, new_shipper: Callable[..., Shipper]
) -> None:
    lines: list[bytes] = []
    shipper = new_shipper(on_ended=lambda record: lines.append(record.id))
    records = [samples.finished(), samples.failed()]
    writer.append(samples.started(records[0].id))
    for record in records:
        writer.append(record)
    drain(shipper)
    drain(shipper)
    assert lines == [record.id for record in records]
    cut_off = samples.started()
    writer.append(cut_off)
    writer.close()
    drain(shipper)
    drain(shipper)
    assert lines == [*(record.id for record in records), cut_off.id]
    assert connections[alias].vendor in {"sqlite", "postgresql"}
