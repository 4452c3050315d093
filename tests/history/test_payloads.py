"""Copies of payloads on their way from the journal to people who may read them, and to nobody else."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from history import ids, payloads
from history.journal import RETRY_SECONDS, JournalWriter, frame, list_segments, read_segment
from history.models import RouteHistory, RoutePayload
from history.records import Excerpt, Payload, decode
from history.rows import Rows
from history.shipper.folder import SET_ASIDE
from history.shipper.shipper import Shipper, Unavailable
from history.shipper.teller import Teller
from routes.actions.errors import Forbidden
from routes.models import AuditEntry
from routing_project.env import get_env
from tests.control.conftest import actor
from tests.history import rows, samples
from tests.history.conftest import BOTH
from tests.history.test_api import LIST, key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROMPT = "the prompt of an engine driver"
KIB = 1024


def drain(shipper: Shipper) -> None:
    while shipper.round():
        pass


def copy_of(alias: str = "default") -> RoutePayload:
    return RoutePayload.objects.using(alias).get()


# -- the journal -----------------------------------------------------------------------------------------


def test_copies_get_the_first_half_of_the_journal_and_records_all_of_it(
    journal_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("history.journal.time.monotonic", lambda: clock[0])
    writer = JournalWriter(journal_dir, 1024 * KIB)
    big = samples.payload(response=Excerpt("text/plain", 20_000, "x" * 20_000))
    kept = 0
    for number in range(1, 101):
        clock[0] += RETRY_SECONDS
        kept += writer.append_payload(big)
        assert writer.append(samples.finished())
        assert kept + writer.payloads_dropped == number
    assert 400 * KIB <= kept * 20_000 <= 512 * KIB
    assert writer.dropped == 0
    while writer.append(samples.finished(message="y" * 2000)):
        clock[0] += RETRY_SECONDS
    assert not writer.append_payload(samples.payload())
    # Shipped, there is room again.
    for path in journal_dir.glob("*.seg"):
        path.unlink()
    clock[0] += RETRY_SECONDS
    assert writer.append_payload(big)


def test_a_copy_that_a_full_disk_does_not_take_is_no_lost_record(journal_dir: Path) -> None:
    writer = JournalWriter(journal_dir / "nowhere" / "\0", 1024 * KIB)
    with pytest.raises(ValueError, match="null byte"):
        writer.append_payload(samples.payload())
    journal_dir.write_text("a file where the folder should be")
    writer = JournalWriter(journal_dir, 1024 * KIB)
    assert not writer.append_payload(samples.payload())
    assert (writer.payloads_dropped, writer.dropped) == (1, 0)


# -- the shipper -------------------------------------------------------------------------------------------


@BOTH
def test_copies_become_a_row_of_their_own_once_whatever_is_replayed(
    alias: str, writer: JournalWriter, new_shipper: Callable[..., Shipper]
) -> None:
    route = samples.route()
    odd = Excerpt("t" * 300 + "\0", None, "nul \0 and back\\slash \\N \t\n", "", cut=False)
    for record in (samples.started(route), samples.payload(route, request=odd), samples.finished(route)):
        if isinstance(record, Payload):
            assert writer.append_payload(record)
        else:
            writer.append(record)
    shipper = new_shipper()
    drain(shipper)
    row = copy_of(alias)
    assert (row.id, row.created_at, row.redactions) == (UUID(bytes=route), ids.time_of(route), 2)
    assert (len(row.request_type), row.request_size, row.request_tail, row.request_cut) == (128, None, "", False)
    assert row.request_text == "nul \ufffd and back\\slash \\N \t\n"
    assert (row.response_type, row.response_size, row.response_cut) == ("text/event-stream", 70_000, True)
    assert (row.response_text, row.response_tail) == ('data: {"delta":"a"}', "data: [DONE]")
    assert RouteHistory.objects.using(alias).get().id == row.id
    writer.append_payload(samples.payload(route, prompt="another"))
    drain(new_shipper())
    assert copy_of(alias).request_text == row.request_text
    assert (shipper.counters.unreadable, shipper.open) == (0, {})


@BOTH
def test_copies_wait_in_the_journal_while_the_database_is_away(
    alias: str, writer: JournalWriter, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.append_payload(samples.payload())
    writer.append(samples.finished())
    with monkeypatch.context() as away:
        away.setattr(shipper.store, "apply", lambda batch: (_ for _ in ()).throw(OperationalError("away")))
        with pytest.raises(Unavailable):
            shipper.round()
    drain(shipper)
    assert (RoutePayload.objects.using(alias).count(), RouteHistory.objects.using(alias).count()) == (1, 1)


@pytest.mark.django_db(databases=["default", "pg"])
def test_a_copy_that_cannot_be_stored_is_dropped_and_what_is_around_it_is_not(
    alias: str, journal_dir: Path, writer: JournalWriter, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is set aside stays for good, and this must not."""
    add_payload = Rows.add_payload

    def faulty(self: Rows, record: Payload) -> None:
        if record.redactions == 13:
            raise ValueError("cannot be stored")
        add_payload(self, record)

    monkeypatch.setattr(Rows, "add_payload", faulty)
    for number in (1, 13, 2):
        route = samples.route()
        writer.append_payload(samples.payload(route, prompt=PROMPT, redactions=number))
        writer.append(samples.finished(route))
    drain(shipper)
    assert sorted(RoutePayload.objects.using(alias).values_list("redactions", flat=True)) == [1, 2]
    assert RouteHistory.objects.using(alias).count() == 3
    assert shipper.counters.unreadable == 1
    assert not (journal_dir / SET_ASIDE).exists()


@pytest.mark.django_db(databases=["default", "pg"])
def test_a_record_of_a_later_version_is_set_aside_and_what_is_around_it_is_shipped(
    alias: str, journal_dir: Path, writer: JournalWriter, new_shipper: Callable[..., Shipper]
) -> None:
    """As copies are for a shipper that does not know them yet."""
    later = msgspec.msgpack.encode({"type": "later", "id": b"x" * 16, "text": "?"})
    writer.append(samples.finished())
    writer.append(samples.finished())
    (name,) = list_segments(journal_dir)
    with (journal_dir / name.file_name).open("ab") as segment:
        segment.write(frame(later))
    writer.close()
    drain(new_shipper())
    assert RouteHistory.objects.using(alias).count() == 2
    assert list(read_segment(journal_dir / SET_ASIDE)) == [later]
    assert list_segments(journal_dir) == []


def test_the_live_feed_hears_of_the_route_and_nothing_of_what_was_said(
    journal_dir: Path, writer: JournalWriter
) -> None:
    heard: list[Any] = []
    teller = Teller(journal_dir, lambda _feed, events: heard.extend(events))
    route = samples.route()
    writer.append_payload(samples.payload(route, prompt=PROMPT))
    writer.append(samples.finished(route))
    teller.tell()
    teller.stop()
    assert [event["id"] for event in heard] == [str(UUID(bytes=route))]
    assert PROMPT not in repr(heard)
    assert isinstance(decode(next(read_segment(journal_dir / list_segments(journal_dir)[0].file_name))), Payload)


# -- reading ---------------------------------------------------------------------------------------------


def client(*scopes: str) -> Client:
    return Client(headers={"authorization": f"Bearer {key(*scopes)}"})


def kept(age: timedelta = timedelta(minutes=1), prompt: str = PROMPT) -> UUID:
    """A request with copies."""
    route = rows.at(timezone.now() - age)
    rows.store(samples.finished(route), samples.payload(route, prompt=prompt))
    return UUID(bytes=route)


@pytest.mark.django_db(databases=["default", "pg"])
@pytest.mark.usefixtures("as_default")
class TestReading:
    def test_an_admin_reads_one_and_the_audit_log_says_so_without_a_word_of_it(self) -> None:
        route = kept()
        answer = client("admin").get(f"{LIST}{route}/payload/")
        assert answer.status_code == 200, answer.content
        body = answer.json()
        until = body.pop("kept_until")
        assert body == {
            "id": str(route),
            "created_at": body["created_at"],
            "redactions": 2,
            "request": {
                "content_type": "application/json",
                "size": 90,
                "truncated": False,
                "text": f'{{"model":"gpt-4o","messages":[{{"role":"user","content":"{PROMPT}"}}]}}',
                "tail": "",
            },
            "response": {
                "content_type": "text/event-stream",
                "size": 70_000,
                "truncated": True,
                "text": 'data: {"delta":"a"}',
                "tail": "data: [DONE]",
            },
        }
        assert until == payloads.moment(ids.time_of(route) + timedelta(days=7))
        assert answer.headers["cache-control"] == "no-store"
        entry = AuditEntry.objects.get()
        assert (entry.action, entry.category, entry.object_type) == ("payload.read", "export", "payload")
        assert (entry.object_id, entry.object_name) == (str(route), str(route))
        assert (entry.actor_kind, entry.actor_name, entry.client_ip) == ("key", "key ('admin',)", "127.0.0.1")
        assert (entry.changes, entry.reason) == ({}, "")

    def test_nobody_else_does(self) -> None:
        route = kept()
        assert Client().get(f"{LIST}{route}/payload/").status_code == 401
        for scopes in (("route",), ("read",), ("operate",)):
            answer = client(*scopes).get(f"{LIST}{route}/payload/")
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied")
            assert PROMPT.encode() not in answer.content
        with pytest.raises(Forbidden):
            payloads.read(route, actor=actor("operate"))
        assert not AuditEntry.objects.exists()

    def test_what_is_not_kept_is_404_with_the_reason(self) -> None:
        (route,) = rows.store(samples.finished())
        admin = client("admin")
        for path, code in ((str(route), "payload_not_kept"), (str(ids.new_id()), "route_not_found")):
            answer = admin.get(f"{LIST}{path}/payload")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)
        assert admin.get(f"{LIST}{'f' * 33}/payload/").status_code == 404
        assert not AuditEntry.objects.exists()

    def test_what_is_over_its_time_is_not_read_although_it_is_not_deleted_yet(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        route = kept(timedelta(hours=30))
        assert payloads.is_kept(route)
        monkeypatch.setenv("SIGNALBOX_PAYLOAD_DAYS", "1")
        get_env.cache_clear()
        try:
            answer = client("admin").get(f"{LIST}{route}/payload/")
            assert not payloads.is_kept(route)
        finally:
            monkeypatch.undo()
            get_env.cache_clear()
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "payload_not_kept")

    def test_no_other_answer_has_it(self) -> None:
        route = kept()
        admin = client("admin")
        for path in (LIST, f"{LIST}{route}/", f"{LIST}failures/?include_recovered=1"):
            answer = admin.get(path)
            assert answer.status_code == 200
            assert PROMPT.encode() not in answer.content
            assert b"[DONE]" not in answer.content
