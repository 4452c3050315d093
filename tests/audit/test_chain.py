"""Every entry carries the hash of the one before it, by bytes that anybody can make from a line of the file."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connections, transaction
from django.db.migrations.executor import MigrationExecutor
from hypothesis import given
from hypothesis import strategies as st

from routes.actions import Actor
from routes.actions.audit import record
from routes.audit.chain import (
    FIELDS,
    MAX_EXACT,
    NOTHING,
    Link,
    _write,
    canonical,
    document_of,
    hash_of,
    line_of,
    storable,
)
from routes.audit.reading import Place, following, page
from routes.models import AppendOnlyError, AuditDelivery, AuditEntry
from tests.audit.conftest import write
from tests.history.own_tables import OWN, alias_for, empty_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

BOTH = pytest.mark.django_db(databases=["default", "pg"])


@BOTH
@pytest.mark.usefixtures("both_databases")
class TestWriting:
    def test_an_entry_follows_the_one_before_and_the_first_follows_nothing(self) -> None:
        first, second, third = (write(name) for name in ("a", "b", "c"))
        assert (first.id, first.previous) == (1, NOTHING)
        assert [(entry.id, entry.previous) for entry in (second, third)] == [(2, first.hash), (3, second.hash)]

    def test_what_is_read_back_has_the_hash_that_was_written(self) -> None:
        """Whatever a database makes of numbers, of addresses, of the order of members and of odd characters."""
        odd = {
            "when": [None, {"b": 1.50, "a": [30.0, 1e-7, 0.1, -0.0, 1e15, True, None]}],
            "\U0001f600": 1,
            "\uff01": [2**60, float("inf"), 1e300],
            "text": ["a\x00b", "half \ud800 of one", "é\u2028\x7f\x1f"],
        }
        mapped = Actor("key", "k\x00", "1", client_ip="::ffff:192.0.2.1")
        compressed = Actor("key", "k", "1", client_ip="2001:0DB8:0:0:1:0:0:1")
        for actor in (mapped, compressed):
            record(
                actor, "x.y", category="admin", object_type="x", changes=odd, reason="why\x00", object_name="n" * 300
            )
        documents = page(0, 10)
        assert [hash_of(document) == document["hash"] for document in documents] == [True, True]
        assert [document["client_ip"] for document in documents] == ["192.0.2.1", "2001:db8::1:0:0:1"]

    def test_an_entry_that_is_rolled_back_leaves_no_gap(self) -> None:
        write("a")
        with transaction.atomic():
            assert write("undone").id == 2
            transaction.set_rollback(True)
        assert write("b").id == 2

    def test_the_chain_cannot_fork(self) -> None:
        first = write("a")
        copy = {field.attname: getattr(first, field.attname) for field in AuditEntry._meta.concrete_fields}
        with pytest.raises(IntegrityError), transaction.atomic():
            AuditEntry.objects.create(**{**copy, "id": 2})

    def test_entries_are_neither_changed_nor_deleted_by_our_own_code(self) -> None:
        entry = write("a")
        entry.reason = "another"
        for change in (entry.save, entry.delete, AuditEntry.objects.all().delete):
            with pytest.raises(AppendOnlyError):
                change()
        with pytest.raises(AppendOnlyError):
            AuditEntry.objects.update(reason="another")


def test_a_line_and_the_documented_bytes_give_the_hash() -> None:
    """docs/audit.md gives these bytes and this hash."""
    document = {
        "id": 1,
        "at": "2026-11-20T14:02:10.120000Z",
        "category": "admin",
        "action": "provider.updated",
        "object_type": "provider",
        "object_id": "0198f6a2-5e0b-7c33-8f21-6b0d4a9c7e52",
        "object_name": "acme-eu",
        "actor_kind": "user",
        "actor_id": "1",
        "actor_name": "ada",
        "client_ip": "192.0.2.7",
        "request_id": "",
        "reason": "",
        "changes": {"weight": [1, 3]},
        "previous": NOTHING,
    }
    text = (
        '{"action":"provider.updated","actor_id":"1","actor_kind":"user","actor_name":"ada",'
        '"at":"2026-11-20T14:02:10.120000Z","category":"admin","changes":{"weight":[1,3]},"client_ip":"192.0.2.7",'
        '"id":1,"object_id":"0198f6a2-5e0b-7c33-8f21-6b0d4a9c7e52","object_name":"acme-eu","object_type":"provider",'
        f'"previous":"{NOTHING}","reason":"","request_id":""}}'
    )
    assert canonical(document) == text.encode()
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert hash_of(document) == digest
    said = (Path(__file__).parent.parent.parent / "docs" / "audit.md").read_text()
    assert f"`{digest}`" in said
    assert text in said.replace("\n", "")
    assert hash_of({**document, "hash": "what it was"}) == hash_of(document)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_jq_and_sha256sum_verify_a_line() -> None:
    """The command of docs/audit.md."""
    document = {"id": 1, "changes": {"weight": [1, 0.5]}, "reason": "déjà vu", "previous": NOTHING, "hash": ""}
    document["hash"] = hash_of(document)
    shell = "jq -cjS 'del(.hash)' | sha256sum"
    told = subprocess.run(["/bin/sh", "-c", shell], input=line_of(document), capture_output=True, check=True).stdout
    assert told.split()[0].decode() == document["hash"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # RFC 8785, appendix B, and section 3.2.3
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740992, "9007199254740992"),
        (295147905179352830000, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (999999999999999900000, "999999999999999900000"),
        (1e21, "1e+21"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (0.000001, "0.000001"),
        (333333333.3333332, "333333333.3333332"),
        (-0.0000033333333333333333, "-0.0000033333333333333333"),
        (1424953923781206.2, "1424953923781206.2"),
        (30.0, "30"),
        (4.50, "4.5"),
        (
            {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7},
            '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"😀":5,"\ufb33":3}',
        ),
        ('\x0f\n\b\x7f"\\/', '"\\u000f\\n\\b\x7f\\"\\\\/"'),
    ],
)
def test_values_are_written_as_rfc_8785_says(value: Any, text: str) -> None:
    assert canonical(value).decode() == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=10,
)


@given(JSON)
def test_what_is_kept_is_the_same_after_any_reader_of_json(value: Any) -> None:
    kept = storable(value)
    assert storable(kept) == kept
    written = canonical(kept)
    assert _write(kept).encode() == written, "the short way is the same"
    assert canonical(json.loads(written)) == written
    assert canonical(json.loads(json.dumps(kept))) == written
    # Integers up to 2**53 and their floats are one number to any reader.
    assert canonical(float(MAX_EXACT)) == canonical(MAX_EXACT)


@pytest.fixture(params=["sqlite", "postgresql"])
def before(
    request: pytest.FixtureRequest, postgres_url: str, tmp_path: Path, django_db_blocker: Any
) -> Iterator[BaseDatabaseWrapper]:
    """A database as the release before left it."""
    sqlite = request.param == "sqlite"
    with (
        django_db_blocker.unblock(),
        alias_for("default", str(tmp_path / "before.sqlite3")) if sqlite else empty_postgres(),
    ):
        MigrationExecutor(connections[OWN]).migrate([("routes", "0004_health")])
        yield connections[OWN]


def test_the_migration_chains_what_exists(before: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries with gaps between their ids, of more than one batch."""
    monkeypatch.setattr(importlib.import_module("routes.migrations.0005_audit_chain"), "BATCH", 2)
    values = "'2026-11-20 14:02:10+00', 'admin', 'x.y', 'x', '', '', 'user', '', 'ada', '192.0.2.7', '', ''"
    columns = ", ".join(name for name in FIELDS if name not in {"id", "changes", "previous"})
    with before.cursor() as cursor:
        for pk in (3, 4, 9):
            changes = f'{{"slow_start": [30.0, {pk}.5]}}'
            cursor.execute(
                f"INSERT INTO routes_auditentry (id, {columns}, changes) VALUES ({pk}, {values}, '{changes}')"
            )
    MigrationExecutor(before).migrate([("routes", "0005_audit_chain")])
    rows = AuditEntry.objects.using(OWN).order_by("id").values(*FIELDS, "hash")
    documents = [document_of(row) for row in rows]
    assert [document["id"] for document in documents] == [3, 4, 9]
    assert [document["previous"] for document in documents] == [NOTHING, *(each["hash"] for each in documents[:-1])]
    assert [hash_of(document) for document in documents] == [document["hash"] for document in documents]
    told = AuditDelivery.objects.using(OWN).get()
    assert (told.sink, told.last_id, told.last_hash) == ("channel", 9, documents[-1]["hash"]), "nothing old is news"
    place = Place(Link(told.last_id, told.last_hash), told.last_at)
    connections["default"], usual = connections[OWN], connections["default"]
    try:
        assert following(place, 10) == ([], False)
    finally:
        connections["default"] = usual
