"""``manage.py history``: the API's answers in a terminal, a pipe or a file, and mistakes told by their option."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from history import search as search_module
from history.command import table
from history.command.table import Column
from history.command.terminal import Terminal
from history.ids import new_id, session_id
from history.render import moment
from history.rows import ROW_FIELDS
from routes.models import AuditEntry
from tests.control.test_commands import run
from tests.history import rows, samples
from tests.history.rows import NOON, at, minutes
from tests.history.test_sessions import a_chat, keyed

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from tests.history.conftest import OwnDatabase

pytestmark = pytest.mark.django_db
FROM = ("--from", "2026-11-20")


def history(*arguments: str, status: int = 0) -> tuple[str, list[str]]:
    """What it prints, and the lines it says beside."""
    ended, out, err = run("history", *arguments)
    assert ended == status, err
    return out, err.splitlines()


def some() -> list[UUID]:
    return rows.store(
        samples.finished(at(NOON, 1), latency_us=2_500_000),
        samples.failed(at(NOON + minutes(1)), cost_micro_usd=None),
        samples.finished(at(NOON + minutes(2)), session_key="=1+1", provider="acme-us"),
    )


# -- search ---------------------------------------------------------------------------------------------------------


def test_search_prints_a_table_with_units_and_a_zone() -> None:
    routes = some()
    out, said = history("search", *FROM)
    head, *lines = out.splitlines()
    assert head.split("  ")[0] == "TIME (UTC)"
    assert [line.rpartition("  ")[2] for line in lines] == [str(route) for route in reversed(routes)]
    assert lines[2].startswith("2026-11-20 12:00:00.000  routed  default  acme-eu / acme-gpt-4o")
    assert "2.5 s" in lines[2]
    assert "$0.0004" in lines[2]
    assert "connect_refused" in lines[1]
    assert said == []


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--filter", "provider=acme-us"], [2, 1]),
        (["--filter", "provider=acme-us", "--filter", "status__in=failed,timeout"], [1]),
        (["--filter-json", '{"not": {"field": "status", "value": "failed"}}'], [2, 0]),
        (["--order", "created_at"], [0, 1, 2]),
        (["--order", "oldest"], [0, 1, 2]),
        (["--order", "slowest", "--filter", "status=routed"], [0, 2]),
        (["--order=-latency_ms", "--filter", "latency_ms__gt=1000"], [0]),
        (["--to", "2026-11-20T12:01:00Z"], [0]),
        (["--filter", "profile=nobody"], []),
    ],
)
def test_search_takes_the_filters_of_the_api(options: list[str], found: list[int]) -> None:
    routes = some()
    told = json.loads(history("search", *FROM, "--format", "json", *options)[0])
    assert [row["id"] for row in told["results"]] == [str(routes[place]) for place in found]


def test_search_prints_json_csv_and_ndjson_with_the_rows_of_the_list() -> None:
    some()
    told = json.loads(history("search", *FROM, "--format", "json", "--count", "exact", "--limit", "2")[0])
    assert (told["count"], len(told["results"]), list(told["results"][0])) == (3, 2, list(ROW_FIELDS))
    lines = history("search", *FROM, "--format", "ndjson")[0].splitlines()
    assert [json.loads(line) for line in lines][:2] == told["results"]
    table = list(csv.DictReader(io.StringIO(history("search", *FROM, "--format", "csv")[0], newline="")))
    assert [row["session_key"] for row in table] == ["'=1+1", "", ""]
    assert list(table[0]) == list(ROW_FIELDS)


def test_search_says_where_the_next_page_is_and_that_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = some()
    _, said = history("search", *FROM, "--limit", "2", "--count", "estimate")
    assert said[0] == "Rows in all (estimate): 3."
    assert said[1].startswith("Next page: --cursor ")
    out, said = history("search", *FROM, "--limit", "2", "--cursor", said[1].split()[-1], "--format", "ndjson")
    assert json.loads(out)["id"] == str(routes[0])
    assert [line.split(":")[0] for line in said] == ["Page before"]
    assert history("search", *FROM, "--filter", "profile=nobody") == ("", ["No request matches."])
    monkeypatch.setattr(search_module, "SCAN_SECONDS", -1.0)
    monkeypatch.setattr(search_module, "SCAN_ROWS", 1)
    _, said = history("search", *FROM, "--filter", "model=nothing")
    assert said[0] == "Stopped at 2026-11-20 12:01:00 UTC, for it took long; there may be more."


# -- failures and statistics ----------------------------------------------------------------------------------------


def test_failures_by_cause_and_then_one_by_one() -> None:
    routes = some()
    out, said = history("failures", *FROM)
    groups, listed = out.split("\n\n")
    assert groups.splitlines()[1].split() == [
        *("connect_refused", "acme-us", "1", "0"),
        *("2026-11-20", "12:01:00.000", "2026-11-20", "12:01:00.000"),
    ]
    assert listed.splitlines()[1].endswith(str(routes[1]))
    assert said == ["1 failed, 0 saved by failover since 2026-11-20 00:00:00.000 UTC."]
    told = json.loads(history("failures", *FROM, "--format", "json", "--include-recovered")[0])
    assert (told["total"], told["groups"][0]["error_code"], len(told["results"])) == (1, "connect_refused", 1)
    assert history("failures", *FROM, "--format", "csv")[0].count("\r\n") == 2
    assert history("failures", *FROM, "--to", "2026-11-20T00:01:00Z")[0] == ""


def test_statistics_of_the_whole_and_of_each_group() -> None:
    some()
    out, said = history("statistics", *FROM, "--group-by", "provider")
    head, *lines = out.splitlines()
    assert head.startswith("PROVIDER  REQUESTS  FAILED  RECOVERED  LATENCY P50")
    assert [line.split()[:4] for line in lines] == [
        ["acme-eu", "1", "0.0", "%"],
        ["acme-us", "2", "50.0", "%"],
        ["all", "3", "33.3", "%"],
    ]
    assert said == ["Since 2026-11-20T00:00:00.000Z."]
    told = json.loads(history("statistics", *FROM, "--group-by", "hour", "--format", "json")[0])
    assert (told["totals"]["count"], told["groups"][0]["key"]) == (3, "2026-11-20T12:00:00.000Z")
    flat = list(csv.DictReader(io.StringIO(history("statistics", *FROM, "--format", "csv")[0], newline="")))
    assert [(row["key"], row["count"], row["latency_ms_p50"]) for row in flat] == [("all", "3", "123")]
    (line,) = history("statistics", *FROM, "--group-by", "day", "--format", "ndjson")[0].splitlines()
    assert json.loads(line)["ttfb_ms_p95"] == 95
    assert "2026-11-20" in history("statistics", *FROM, "--group-by", "day")[0]


# -- session --------------------------------------------------------------------------------------------------------


def test_a_session_by_name_or_by_id_in_figures_and_line_by_line() -> None:
    owner = keyed("app")
    routes = a_chat(owner)
    out, said = history("session", "chat")
    assert history("session", str(session_id(owner.bytes, "chat"))) == (out, said)
    assert out.splitlines()[:6] == [
        f"Session   chat of app, {session_id(owner.bytes, 'chat')}",
        "Time      2026-11-20 12:00:00.000 to 2026-11-20 12:03:00.000 UTC",
        "Requests  4: 3 routed, 1 failed; 1 saved by failover",
        "Targets   acme-eu / acme-gpt-4o (3), acme-us / acme-gpt-4o (1)",
        "Tokens    48 in, 102 out, 5 cached",
        "Cost      $0.0011",
    ]
    assert [line.rpartition("  ")[2] for line in out.splitlines()[8:]] == [str(route) for route in routes]
    told = json.loads(history("session", "chat", "--limit", "1", "--format", "json")[0])
    assert (told["session"]["count"], len(told["results"])) == (4, 1)
    assert len(history("session", "chat", "--format", "ndjson")[0].splitlines()) == 4


def test_a_session_that_several_keys_have_must_be_told_apart() -> None:
    app, batch = keyed("app"), keyed("batch")
    a_chat(app)
    a_chat(batch, "batch", 1)
    out, said = history("session", "chat", status=1)
    assert out == ""
    assert said[0] == "--access-key: several keys have a session of this name:"
    assert sorted(line.split() for line in said[1:]) == sorted(
        [str(session_id(owner.bytes, "chat")), name] for owner, name in ((app, "app"), (batch, "batch"))
    )
    assert "chat of batch" in history("session", "chat", "--access-key", "batch")[0]


# -- export ---------------------------------------------------------------------------------------------------------


def test_an_export_goes_to_stdout_or_whole_into_a_file_and_into_the_audit_log(tmp_path: Path) -> None:
    some()
    out, said = history("export", *FROM, "--format", "ndjson", "--order", "created_at", "--filter", "status=routed")
    assert [json.loads(line)["created_at"] for line in out.splitlines()] == [moment(NOON), moment(NOON + minutes(2))]
    assert said == ["2 rows exported."]
    entry = AuditEntry.objects.get()
    assert entry.actor_name.startswith("history (")
    assert entry.changes == {
        "status": "routed",
        "from": "2026-11-20",
        "order": "created_at",
        "format": "ndjson",
        "rows": 2,
        "outcome": "complete",
    }
    file = tmp_path / "routes.csv"
    assert history("export", *FROM, "--output", str(file), "--bom") == ("", ["3 rows exported."])
    assert file.read_bytes().startswith(b"\xef\xbb\xbfid,created_at,")
    assert [path.name for path in tmp_path.iterdir()] == ["routes.csv"]


def test_a_file_that_cannot_be_written_or_an_export_that_fails_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some()
    assert history("export", "--output", str(tmp_path / "no" / "file"), status=1)[1] == [
        f"--output {tmp_path / 'no' / 'file'}: No such file or directory"
    ]
    monkeypatch.setattr(search_module, "SCAN_SECONDS", 0.0)

    def too_long(*_: Any, **__: Any) -> Any:
        raise search_module.RangeTooLarge("this takes too long")

    monkeypatch.setattr("history.export.search", too_long)
    assert history("export", "--output", str(tmp_path / "file"), status=1)[1] == ["this takes too long"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("alias", ["default"], indirect=True)
def test_a_pipe_that_is_closed_ends_the_command_without_a_word(alias: str, request: pytest.FixtureRequest) -> None:
    rows.store(*(samples.finished(message="m" * 2000) for _ in range(400)))
    own_database: OwnDatabase = request.getfixturevalue("own_database")  # a copy of what is there now
    own_database.environment.pop("PYTHONUNBUFFERED", None)  # with it, Python takes a part of a write for the whole
    command = own_database.spawn(
        *("manage.py", "history", "export", "--format", "ndjson"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    assert command.stderr is not None
    assert json.loads(command.stdout.readline())["status"] == "routed"
    command.stdout.close()
    said = command.stderr.read()
    assert (command.wait(60), said) == (141, b"")
    command.stderr.close()
    ((outcome,),) = own_database.query("SELECT changes FROM routes_auditentry WHERE action = 'history.exported'")
    assert "broken off by the reader" in str(outcome)


# -- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "--filter", "colour=blue"], "--filter colour: there is no field 'colour' to filter by"),
        (["search", "--filter", "status"], "--filter status: must be NAME=VALUE, such as status=failed"),
        (
            ["search", "--filter", "status=failed", "--filter", "status=timeout"],
            "--filter status: is given twice; for one of several values say status__in=A,B",
        ),
        (["search", "--filter", "filter={}"], "--filter filter: groups have an option of their own, --filter-json"),
        (["search", "--filter-json", "{"], "--filter-json: is not valid JSON"),
        (["search", "--from", "soon"], "--from: must be an ISO 8601 time such as 2026-11-20T08:00:00Z"),
        (["search", "--from", "2026-11-21", "--to", "2026-11-20"], "--from: is after 'to'"),
        (["search", "--limit", "5000"], "--limit: must be a number from 1 to 1000"),
        (["search", "--cursor", "x"], "--cursor: is damaged; start again without it"),
        (["search", "--order", "provider"], "--order: must be one of newest, oldest, slowest, fastest, not 'provider'"),
        (["search", "--format", "xml"], "--format: must be one of table, json, csv, ndjson, not 'xml'"),
        (["search", "--count", "all"], "--count: must be one of exact, estimate, not 'all'"),
        (["export", "--format", "json"], "--format: must be one of csv, ndjson, not 'json'"),
        (["session", "nobody's", "--access-key", "app"], "the access key 'app' has no session of this name"),
        (["session", str(new_id())], "there is no session with this id"),
    ],
)
def test_a_mistake_is_told_in_one_line_by_its_option(arguments: list[str], said: str) -> None:
    assert history(*arguments, status=1) == ("", [said])


def test_statistics_name_what_there_is_to_group_by() -> None:
    (said,) = history("statistics", "--group-by", "colour", status=1)[1]
    assert said.startswith("--group-by: must be one of profile, provider, ")


# -- tables ---------------------------------------------------------------------------------------------------------


def test_a_table_is_made_to_fit_a_terminal_and_is_whole_in_a_pipe() -> None:
    columns = (Column("ID", whole=True), Column("NAME"), Column("MS", right=True))
    cells = [["0199", "a rather long name of something", "12,345"], ["0200", "短い名前", "7"]]
    assert table.drawn(columns, cells, 24).splitlines() == [
        "ID    NAME            MS",
        "0199  a rather …  12,345",
        "0200  短い名前         7",
    ]
    assert "a rather long name of something" in table.drawn(columns, cells)


def test_what_clients_sent_cannot_command_a_terminal() -> None:
    rows.store(samples.finished(at(NOON), session_key="s", provider="a\x1b[2J\u202eb", key_name="k"))
    out, _ = history("search", *FROM)
    assert "a\\x1b[2J\\u202eb" in out
    assert all(letter.isprintable() or letter == "\n" for letter in out)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_has_a_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "91")
    streams: list[Any] = [Screen(), io.StringIO()]
    assert [Terminal(stream, stream, None).width for stream in streams] == [91, None]  # type: ignore[arg-type]
