"""``verify_audit`` finds every way of tampering, names the entry, and exits with 1; it changes nothing itself."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connections
from django.utils import timezone

from routes.audit import file, verify
from routes.audit.chain import NOTHING, hash_of, line_of
from routes.audit.reading import page
from routes.models import AuditDelivery, AuditEntry
from routing_project.env import get_env
from tests.audit.conftest import entries, forget_place, lines, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.django_db(databases=["default", "pg"]), pytest.mark.usefixtures("both_databases")]


@pytest.fixture
def log(both_databases: None) -> Path:
    """The file of six entries, after which there was a head, and one more."""
    for name in "abcdef":
        write(name, changes={"weight": [1, 3]})
    file.deliver()
    write("g")
    file.deliver()
    return get_env().audit_log_path


def verified(**options: Any) -> str:
    said = StringIO()
    call_command("verify_audit", stdout=said, **options)
    return said.getvalue()


def finding(**options: Any) -> str:
    with pytest.raises(CommandError) as refused:
        call_command("verify_audit", stdout=StringIO(), **options)
    assert refused.value.returncode == 1
    return str(refused.value)


def sql(statement: str, *values: Any) -> None:
    """Whoever tampers does not ask our models."""
    with connections["default"].cursor() as cursor:
        cursor.execute(statement, values)


def rewrite(changes: dict[int, dict[str, Any]], drop: frozenset[int] = frozenset()) -> None:
    """What somebody does who knows how the hashes are made: the whole chain anew, with other entries in it."""
    previous = NOTHING
    for document in page(0, 100):
        if document["id"] in drop:
            sql("DELETE FROM routes_auditentry WHERE id = %s", document["id"])
            continue
        document = {**document, **changes.get(document["id"], {}), "previous": previous}
        previous = hash_of(document)
        sql(
            "UPDATE routes_auditentry SET actor_name = %s, previous = %s, hash = %s WHERE id = %s",
            *(document["actor_name"], document["previous"], previous, document["id"]),
        )


def test_an_untouched_log_is_intact(log: Path) -> None:
    head = AuditEntry.objects.latest("id")
    assert verified() == (
        f"7 entries, chain intact, head 7 {head.hash}\n{log}: 7 entries and 1 heads, all as in the table\n"
    )
    assert verified(file=log) == verified()


def test_an_empty_log_is_intact_and_a_missing_file_is_said(tmp_path: Path) -> None:
    said = verified()
    assert said.startswith(f"0 entries, chain intact, head 0 {NOTHING}\n")
    assert "there is no file yet; only the table was verified" in said
    assert "there is no such file" in finding(file=tmp_path / "gone.log")
    file.deliver()
    assert "0 entries and 1 heads, all as in the table" in verified()


def test_it_walks_page_by_page(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = verified()
    monkeypatch.setattr(verify, "PAGE", 2)
    assert verified() == usual
    sql("UPDATE routes_auditentry SET reason = 'x' WHERE id = 5")
    assert "entry 5 was changed" in finding()


CHANGED = "entry 4 was changed: its hash is not that of what it says"
TAMPERING: dict[str, tuple[Callable[[], None], str]] = {
    **{
        f"a changed {column}": (
            lambda column=column, value=value: sql(f"UPDATE routes_auditentry SET {column} = %s WHERE id = 4", value),  # type: ignore[misc]
            CHANGED,
        )
        for column, value in {
            "at": "2026-01-01 00:00:00+00",
            **dict.fromkeys(("category", "action", "object_type", "object_id", "object_name", "reason"), "other"),
            **dict.fromkeys(("actor_kind", "actor_id", "actor_name", "request_id"), "other"),
            "client_ip": "192.0.2.8",
            "changes": '{"weight": [1, 2]}',
            "hash": "0" * 64,
        }.items()
    },
    "another id": (
        lambda: sql("UPDATE routes_auditentry SET id = 40 WHERE id = 4"),
        "entry 5 does not follow entry 3: what was between them was removed",
    ),
    "a removed entry": (
        lambda: sql("DELETE FROM routes_auditentry WHERE id IN (4, 5)"),
        "entry 6 does not follow entry 3: what was between them was removed",
    ),
    "removed first entries": (
        lambda: sql("DELETE FROM routes_auditentry WHERE id < 4"),
        "entry 4 is the first, but another came before it: the first entries were removed",
    ),
    "a changed entry with a hash that fits it": (
        lambda: sql("UPDATE routes_auditentry SET reason = 'x', hash = %s WHERE id = 4", _hash(4, reason="x")),
        "entry 5 does not follow entry 4: one of the two was changed, or written anew",
    ),
    "entries before the first": (
        lambda: sql("UPDATE routes_auditentry SET id = id - 20, previous = 'x' || id WHERE id = 4"),
        "entry -16 is the first, but another came before it",
    ),
}


def _hash(pk: int, **changes: Any) -> str:
    return hash_of({**page(pk - 1, 1)[0], **changes})


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("how", TAMPERING)
def test_tampering_with_the_table_is_found_in_the_table(how: str) -> None:
    tamper, said = TAMPERING[how]
    tamper()
    assert f"table: {said}" in finding()


def test_a_cut_tail_is_found_by_the_file(log: Path) -> None:
    sql("DELETE FROM routes_auditentry WHERE id > 5")
    assert verify.table().entries == 5, "the table alone cannot know"
    assert f"{log}: line 6: there is entry 6, and the table ends at entry 5: its tail was cut" in finding()


def test_a_cut_tail_is_found_by_a_head_where_the_file_lost_its_entries_too(log: Path) -> None:
    head = [line for line in log.read_bytes().splitlines(keepends=True) if line.startswith(b'{"head"')]
    log.write_bytes(b"".join(head))
    sql("DELETE FROM routes_auditentry WHERE id > 5")
    said = f"{log}: line 1: the head of the chain was entry 6, and the table ends at entry 5: its tail was cut"
    assert said in finding()


def cut_to(log: Path, count: int) -> None:
    """Entries and lines of the file."""
    sql("DELETE FROM routes_auditentry WHERE id > %s", count)
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:count]))


WRITTEN = "entry 7 was written to the file of this host, and the table ends at entry"


@pytest.mark.parametrize("count", [5, 0])
@pytest.mark.parametrize("how", ["cut too", "emptied", "removed"])
def test_a_cut_tail_is_found_by_the_place_where_the_file_does_not_know_it(log: Path, count: int, how: str) -> None:
    cut_to(log, count)
    if how == "emptied":
        log.write_bytes(b"")
    elif how == "removed":
        log.unlink()
    assert f"table: {WRITTEN} {count}: its tail was cut" in finding()
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        file.deliver()
    assert "head" in lines()[-1]
    assert f"table: {WRITTEN} {count}: its tail was cut" in finding(), "also after a look that wrote nothing but a head"


def test_it_is_found_by_what_the_channel_was_told(log: Path) -> None:
    """On a host without a file, or where the place is gone too."""
    last = AuditEntry.objects.latest("id")
    AuditDelivery.objects.update_or_create(
        sink="channel", defaults={"last_id": 7, "last_hash": last.hash, "last_at": last.at}
    )
    assert "7 entries, chain intact" in verified()
    log.unlink()
    forget_place()
    sql("DELETE FROM routes_auditentry WHERE id > 5")
    assert finding() == "table: entry 7 was told on the channel, and the table ends at entry 5: its tail was cut"
    write("f")
    write("g")
    assert "table: entry 7 was told on the channel with the hash" in finding()


def test_last_lines_that_are_missing_are_found_until_they_are_written_again(log: Path) -> None:
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:4]))
    assert finding() == f"{log}: it ends at entry 4, and was written up to entry 7: its last lines are missing"
    file.deliver()
    assert f"{log}: 7 entries and 0 heads, all as in the table\n" in verified()


@pytest.mark.parametrize("how", ["moved", "moved and made anew", "copied and emptied"])
def test_a_rotation_is_no_finding_at_any_moment(log: Path, how: str) -> None:
    older = log.with_suffix(".log.1")
    if how == "copied and emptied":
        older.write_bytes(log.read_bytes())
        log.write_bytes(b"")
    else:
        log.rename(older)
        if how == "moved and made anew":
            log.touch(0o640)
    none = f"{log}: there is no file; the one that was written up to entry 7 was moved away, or removed\n"
    new = f"{log}: 0 entries and 0 heads, all as in the table; it begins after entry 7\n"
    assert verified().endswith(none if how == "moved" else new)
    file.deliver()
    assert verified().endswith("0 entries and 1 heads, all as in the table; it begins after entry 7\n")
    write("h")
    file.deliver()
    assert verified().endswith("1 entries and 1 heads, all as in the table\n")
    assert "7 entries and 1 heads, all as in the table" in verified(file=older)


def test_a_restored_table_is_found_until_it_goes_on(log: Path) -> None:
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        sql("DELETE FROM routes_auditentry WHERE id > 5")
        log.rename(log.with_suffix(".before"))
        file.deliver()
        assert finding() == f"table: {WRITTEN} 5: its tail was cut"
        write("h")
        file.deliver()
        assert "6 entries, chain intact" in verified()


def test_hosts_with_files_of_their_own_and_one_begun_later_are_intact(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host has a data folder of its own; what it has not written yet is no finding, nor what another host has."""
    usual = get_env().data
    for name, data in (("another", tmp_path / "host"), ("this", usual)):
        monkeypatch.setenv("SIGNALBOX_DATA_DIR", str(data))
        get_env.cache_clear()
        verified()
        write(name)
        verified()
        file.deliver()
        verified()
    monkeypatch.setenv("SIGNALBOX_AUDIT_LOG", "another.log")
    get_env.cache_clear()
    assert "there is no file yet" in verified()
    write("later")
    file.deliver()
    assert "1 entries and 1 heads" in verified()
    assert "9 entries and 1 heads" in verified(file=log)


def test_a_place_that_cannot_be_read_is_a_finding(log: Path) -> None:
    place = get_env().data / "audit_log.place"
    place.unlink()
    place.mkdir()
    assert finding() == f"{place}: cannot be read: Is a directory"


def test_a_chain_that_was_made_anew_is_found_by_the_file(log: Path) -> None:
    was = entries()[3]["hash"]
    rewrite({4: {"actor_name": "somebody else"}})
    assert verify.table().entries == 7, "the table alone cannot know"
    now = AuditEntry.objects.get(pk=4).hash
    assert (
        f"{log}: line 4: there is entry 4 with the hash {was}, and in the table it has {now}: the chain was rewritten"
    ) in finding()


def test_an_entry_that_was_taken_out_of_a_chain_made_anew_is_found_by_the_file(log: Path) -> None:
    rewrite({}, drop=frozenset({4}))
    assert verify.table().entries == 6
    assert "line 4: there is entry 4, and the table has it no more" in finding()


def test_a_changed_line_is_found(log: Path) -> None:
    log.write_text(log.read_text().replace('"actor_name":"ada"', '"actor_name":"bob"', 1))
    assert finding() == f"{log}: line 1: entry 1 was changed: its hash is not that of what it says"


def test_removed_and_moved_lines_are_found(log: Path) -> None:
    kept = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(kept[:2] + kept[3:]))
    assert "line 3: entry 4 does not follow entry 2, which is in the line before" in finding()
    log.write_bytes(b"".join([kept[1], kept[0], *kept[2:]]))
    assert "line 2: entry 1 does not follow entry 2, which is in the line before" in finding()


@pytest.mark.parametrize(
    "line",
    [
        b"not JSON",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"head": 1}',
        b'{"head": {"id": "x"}}',
        b'{"id": 1, "hash": "x"}',
        b"null",
    ],
)
def test_a_line_that_cannot_be_read_is_found(log: Path, line: bytes) -> None:
    with log.open("ab") as stream:
        stream.write(line + b"\n")
    assert (
        finding() == f"{log}: line {len(log.read_bytes().splitlines())} cannot be read: it is no entry of the audit log"
    )


def test_an_entry_with_more_or_other_members_is_no_entry(log: Path) -> None:
    tree = {**entries()[0], "more": 1}
    log.write_bytes(json.dumps(tree).encode() + b"\n")
    assert "line 1 cannot be read" in finding()


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b'"actor_name":"ada"', b'"actor_name":"bob","actor_name":"ada"'),
        (b'"weight":[1,3]', b'"weight":[7,9],"weight":[1,3]'),
        (b'"actor_name":"ada"', b'"actor_name":"\\u0061da"'),
        (b'"actor_name":"ada"', b'"actor_name": "ada"'),
    ],
)
def test_a_line_that_says_the_same_otherwise_written_is_found(log: Path, part: bytes, other: bytes) -> None:
    """Whoever reads it with another reader, or with their eyes, would read something else."""
    assert part in log.read_bytes().splitlines()[0]
    log.write_bytes(log.read_bytes().replace(part, other, 1))
    assert finding() == f"{log}: line 1: entry 1 is not written as it was: members doubled or moved, spaces, escapes"


def test_a_line_with_its_members_in_another_order_is_found(log: Path) -> None:
    first, *others = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(line_of(dict(reversed(json.loads(first).items()))) + b"\n" + b"".join(others))
    assert "line 1: entry 1 is not written as it was" in finding()


@pytest.mark.parametrize("part", [b'"id": 6', b'"at": "', b"}}"])
def test_a_head_that_is_written_otherwise_is_found(log: Path, part: bytes) -> None:
    other = {b'"id": 6': b'"id": 5, "id": 6', b'"at": "': b'"at": "at ', b"}}": b', "more": 1}}'}[part]
    before, sign, after = log.read_bytes().partition(b'{"head"')
    log.write_bytes(before + sign + after.replace(part, other, 1))
    assert finding() == f"{log}: line 7 cannot be read: it is no entry of the audit log"


def test_a_line_that_is_being_written_is_no_finding(log: Path) -> None:
    with log.open("ab") as stream:
        stream.write(b'{"id": 8, "at"')
    assert verified().endswith("all as in the table; its last line is not complete\n")


def test_an_older_file_is_verified_too(log: Path, tmp_path: Path) -> None:
    older = log.rename(tmp_path / "routing_audit.log.1")
    write("h")
    file.deliver()
    assert [line.get("id") for line in lines()] == [8, None]
    assert "7 entries and 1 heads, all as in the table" in verified(file=older)
    assert "1 entries and 1 heads, all as in the table" in verified()


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    assert finding(file=tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


def test_both_are_looked_at_and_each_says_its_first_finding(log: Path) -> None:
    sql("UPDATE routes_auditentry SET reason = 'x' WHERE id IN (3, 5)")
    log.write_text(log.read_text().replace('"actor_name":"ada"', '"actor_name":"bob"'))
    said = finding().splitlines()
    assert len(said) == 2
    assert said[0].startswith("table: entry 3 was changed")
    assert said[1].startswith(f"{log}: line 1: entry 1 was changed")


def test_verifying_changes_nothing(log: Path) -> None:
    before = log.read_bytes(), page(0, 100)
    verified()
    assert (log.read_bytes(), page(0, 100)) == before


@pytest.mark.parametrize(
    "line",
    [
        '{"head": {"id": Infinity, "hash": "x", "at": "2026-11-30T00:00:00.000000Z"}}',
        '{"head": {"id": 1e999, "hash": "x", "at": "2026-11-30T00:00:00.000000Z"}}',
        '{"head": {"id": 99999999999999999999999, "hash": "x", "at": "2026-11-30T00:00:00.000000Z"}}',
        '{"head": {"id": 1.0, "hash": "x", "at": "2026-11-30T00:00:00.000000Z"}}',
        '{"head": {"id": 1, "hash": "x", "at": "0001-01-01T00:00:00+14:00"}}',
        "[" * 100_000,
    ],
)
def test_whatever_a_line_says_it_is_named_and_nothing_breaks(log: Path, line: str) -> None:
    log.write_bytes(log.read_bytes() + line.encode() + b"\n")
    number = len(log.read_bytes().splitlines())
    assert finding() == f"{log}: line {number} cannot be read: it is no entry of the audit log"


def test_the_file_that_is_written_is_the_same_by_its_name(log: Path) -> None:
    kept = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(kept[:-2]))
    assert "its last lines are missing" in finding(file=log)
