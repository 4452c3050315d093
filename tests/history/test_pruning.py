"""What is older than the history is kept goes, with all that belongs to it, and nothing else."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, connections

from history import ids, partitions, pruning, rollups, tasks, upkeep
from history.errors import BadQuery
from history.models import RouteAttempt, RouteHistory, RouteHistoryMetric, RoutePayload
from history.partitions import midnight
from history.pruning import Cutoffs
from history.statistics import statistics
from history.timerange import TimeRange
from routes.models import AuditEntry
from routing_project.celery import SCHEDULE
from routing_project.env import EnvError, get_env
from routing_project.worker import TASK_MODULES
from tests import servers
from tests.history import rows, samples

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
TODAY = midnight(NOW)
KEPT = 4
WANTED = Cutoffs.of(KEPT, 2, NOW)


@pytest.fixture
def alias(own_tables: str) -> str:
    return own_tables


@pytest.fixture(autouse=True)
def sealed(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """Which hours were summed up, in place of doing it."""
    found: list[datetime] = []
    monkeypatch.setattr(pruning, "seal", lambda before, alias: found.append(before))
    return found


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment says the same; fewer days are fewer partitions."""
    monkeypatch.setenv("SIGNALBOX_HISTORY_DAYS", str(KEPT))
    get_env.cache_clear()
    yield
    monkeypatch.undo()
    get_env.cache_clear()


@pytest.fixture
def as_default(alias: str) -> Iterator[None]:
    """Let commands, which say ``default``, work on this test's database."""
    usual, connections["default"] = connections["default"], connections[alias]
    connections["default"].alias = "default"
    yield
    connections["default"].alias = alias
    connections["default"] = usual


@pytest.fixture
def audit_table(as_default: None) -> None:
    """Beside the history's."""
    with connections["default"].schema_editor() as editor:
        editor.create_model(AuditEntry)


def failed(*moments: datetime) -> None:
    """Requests with two attempts and three measurements each."""
    rows.store(*(samples.failed(rows.at(moment, n)) for n, moment in enumerate(moments)), alias="own")


def counts(alias: str) -> tuple[int, ...]:
    """Routes, attempts, measurements."""
    return tuple(each.objects.using(alias).count() for each in (RouteHistory, RouteAttempt, RouteHistoryMetric))


def orphans(alias: str) -> int:
    """Children whose route is gone."""
    routes = RouteHistory.objects.using(alias).values("id")
    kinds = (RouteAttempt, RouteHistoryMetric)
    return sum(kind.objects.using(alias).exclude(history_id__in=routes).count() for kind in kinds)


def is_postgres(alias: str) -> bool:
    return connections[alias].vendor == "postgresql"


# -- what goes -----------------------------------------------------------------------------------------
def test_whole_days_go_with_their_children_and_the_rest_stays(alias: str, sealed: list[datetime]) -> None:
    edge = TODAY - KEPT * DAY
    partitions.ensure(edge - 3 * DAY, TODAY, alias)
    failed(TODAY - 90 * DAY, edge - 3 * DAY, edge - DAY, edge - timedelta(milliseconds=1), edge, NOW - KEPT * DAY, NOW)
    pruned = pruning.prune(WANTED, alias)
    assert counts(alias) == (3, 6, 9)
    assert RouteHistory.objects.using(alias).order_by("id").first().created_at == edge  # type: ignore[union-attr]
    assert (pruned.rows, pruned.finished) == (4 + 8 + 12, True)
    assert sealed == [edge]
    if is_postgres(alias):
        for table in partitions.TABLES[:3]:
            assert ids.time_of(partitions.partitions(table, alias)[0].low) == edge  # type: ignore[arg-type]
        assert {len(each.partitions) for each in pruned.removals if each.table in partitions.TABLES[:3]} == {3}
    assert pruning.prune(WANTED, alias).removals == []
    assert sealed == [edge], "where nothing goes, nothing is summed up"


def test_nothing_goes_unless_its_hours_are_summed_up(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(before: datetime, alias: str) -> None:
        assert counts(alias) == (2, 4, 6)
        raise OperationalError("no")

    partitions.ensure(TODAY - 6 * DAY, TODAY - 5 * DAY, alias)
    failed(TODAY - 6 * DAY, TODAY - 50 * DAY)
    monkeypatch.setattr(pruning, "seal", fail)
    with pytest.raises(OperationalError):
        pruning.prune(WANTED, alias)
    assert upkeep.run(NOW, alias) is None
    assert counts(alias) == (2, 4, 6)


def test_statistics_are_what_they_were_when_the_rows_are_gone(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "seal", rollups.seal)
    failed(TODAY - 6 * DAY, TODAY - 5 * DAY, NOW)
    rows.store(samples.finished(rows.at(TODAY - 5 * DAY, 7)), alias=alias)
    span = TimeRange(TODAY - 20 * DAY, NOW + DAY)

    def told() -> dict[Any, Any]:
        groups = statistics(span, "status", alias=alias)["groups"]
        return {each["key"]: (each["count"], each["input_tokens"], each["latency_ms"]["avg"]) for each in groups}

    before = told()
    assert {status: figures[0] for status, figures in before.items()} == {"failed": 3, "routed": 1}
    assert upkeep.run(NOW, alias) is not None
    assert RouteHistory.objects.using(alias).count() == 1
    assert told() == before
    failed(TODAY - 6 * DAY + timedelta(minutes=1))  # a journal that was held up
    assert upkeep.run(NOW, alias) is not None
    assert RouteHistory.objects.using(alias).count() == 1
    assert told()["failed"][0] == 4


def test_what_the_journal_brings_of_days_that_are_gone_is_taken_and_goes_with_the_next_run(alias: str) -> None:
    failed(*(TODAY - n * DAY for n in (5, 6, 45, 400)), NOW)
    assert counts(alias) == (5, 10, 15)
    assert upkeep.run(NOW, alias) is not None
    assert counts(alias) == (1, 2, 3)
    failed(TODAY - 400 * DAY)
    assert upkeep.run(NOW, alias) is not None
    assert counts(alias) == (1, 2, 3)


def test_the_partition_of_before_loses_its_old_days_and_goes_when_all_of_them_are_old(own_postgres: str) -> None:
    alias = own_postgres
    for table in partitions.tables(alias):
        with connections[alias].cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE {table}_old PARTITION OF {table} "
                f"FOR VALUES FROM (MINVALUE) TO ('{ids.first_id(TODAY - DAY)}')"
            )
    failed(*(TODAY - n * DAY for n in (90, 5, 4, 3, 2)), NOW)
    assert pruning.prune(WANTED, alias).partitions == 0
    assert counts(alias) == (4, 8, 12)
    names = {each.name for each in partitions.partitions("route_history", alias)}
    assert "route_history_old" in names
    later = NOW + (KEPT - 1) * DAY
    pruned = pruning.prune(Cutoffs.of(KEPT, 2, later), alias)
    assert counts(alias) == (1, 2, 3)
    for each in pruned.removals:
        assert f"{each.table}_old" in each.partitions
        assert len(each.partitions) == 1 or each.table == "route_payloads"


def test_copies_of_prompts_never_outlive_their_route() -> None:
    assert Cutoffs.of(30, 7, NOW).of_table("route_payloads") == TODAY - 7 * DAY
    assert Cutoffs.of(3, 7, NOW).of_table("route_payloads") == TODAY - 3 * DAY
    assert Cutoffs.of(30, 7, NOW).of_table("route_attempts") == TODAY - 30 * DAY


def test_copies_of_prompts_go_earlier_when_they_are_kept_for_less(alias: str, sealed: list[datetime]) -> None:
    partitions.ensure(TODAY - 9 * DAY, TODAY - 3 * DAY, alias)
    moments = [TODAY - n * DAY for n in (9, 3, 2, 1)]
    copies = RoutePayload.objects.using(alias)

    def keep() -> None:
        failed(*moments)
        routes = RouteHistory.objects.using(alias).values_list("id", "created_at")
        copies.bulk_create(
            [RoutePayload(id=route, created_at=at, request_text="Hello") for route, at in routes], ignore_conflicts=True
        )

    keep()
    pruned = pruning.prune(WANTED, alias)
    assert [each.created_at for each in copies.order_by("id")] == moments[2:]
    assert counts(alias) == (3, 6, 9)
    (removal,) = (each for each in pruned.removals if each.table == "route_payloads")
    assert removal.rows == 2
    assert removal.bytes > 0
    assert len(removal.partitions) == (6 if is_postgres(alias) else 0)

    # Where only copies are old enough, no hours are summed up.
    moments = moments[1:]
    keep()
    sealed.clear()
    assert [each.table for each in pruning.prune(WANTED, alias).removals] == ["route_payloads"]
    assert sealed == []


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf"), 1e12])
def test_days_that_make_no_sense_are_refused(days: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadQuery, match="days"):
        pruning.cutoff(days, NOW)
    monkeypatch.setenv("SIGNALBOX_HISTORY_DAYS", str(days))
    get_env.cache_clear()
    with pytest.raises(EnvError, match="SIGNALBOX_HISTORY_DAYS"):
        get_env()
    monkeypatch.undo()
    get_env.cache_clear()


# -- how it goes ---------------------------------------------------------------------------------------
def old(alias: str) -> int:
    """Routes that go."""
    return RouteHistory.objects.using(alias).filter(id__lt=ids.first_id(WANTED.history)).count()


def test_between_stretches_others_write_and_wherever_it_stops_no_child_is_left_alone(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "CHUNK", {"sqlite": 10, "postgresql": 10})
    failed(*(TODAY - 9 * DAY + n * timedelta(seconds=1) for n in range(35)))
    seen: list[int] = []

    def pause(_seconds: float) -> None:
        seen.append(old(alias))
        assert orphans(alias) == 0
        write_at_once(alias, len(seen))
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pruning.prune(WANTED, alias, pause=pause)
    pruning.prune(WANTED, alias, pause=pause)
    assert seen == [25, 15, 5]
    assert RouteHistory.objects.using(alias).count() == len(seen)


def write_at_once(alias: str, number: int) -> None:
    """As another process, which does not wait."""
    if is_postgres(alias):
        rows.store(samples.finished(rows.at(NOW, number)), alias=alias)
        return
    rest = ", ".join(field.column for field in RouteHistory._meta.local_concrete_fields if field.column != "id")
    with closing(sqlite3.connect(connections[alias].settings_dict["NAME"], timeout=0)) as other:
        copy = f"INSERT INTO route_history (id, {rest}) SELECT ?, {rest} FROM route_history LIMIT 1"
        if not other.execute(copy, [rows.at(NOW, number).hex()]).rowcount:
            rows.store(samples.finished(rows.at(NOW, number)), alias=alias)
        other.commit()


def test_when_its_time_is_up_it_says_so_and_the_next_run_goes_on(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "CHUNK", {"sqlite": 10, "postgresql": 10})
    partitions.ensure(TODAY - 6 * DAY, TODAY - 5 * DAY, alias)
    failed(*(TODAY - (6 + n % 2 * 20) * DAY + n * timedelta(seconds=1) for n in range(40)))
    pruned = pruning.prune(WANTED, alias, until=0)
    assert not pruned.finished
    assert counts(alias) == (40, 80, 120)
    monkeypatch.setattr(upkeep, "RUN_SECONDS", -1)
    run = upkeep.run(NOW, alias)
    assert run is not None
    assert not run.finished
    assert pruning.prune(WANTED, alias).finished
    assert counts(alias) == (0, 0, 0)


PRUNING = """
import sys
from django.conf import settings
from routing_project import settings as console
settings.configure(DATABASES=console.DATABASES, INSTALLED_APPS=["history"], USE_TZ=True, TIME_ZONE="UTC")
import django
django.setup()
from history import pruning
def pause(seconds):
    print("between", flush=True)
    sys.stdin.read()
pruning.CHUNK = {"sqlite": 10, "postgresql": 10}
pruning.prune(pruning.cutoffs(4), pause=pause)
"""


@pytest.mark.parametrize("own_tables", ["postgresql"], indirect=True)
def test_one_that_is_killed_leaves_neither_half_a_route_nor_a_lock(alias: str, data_dir: Any) -> None:
    failed(*(TODAY - 5 * DAY + n * timedelta(seconds=1) for n in range(35)))
    url = servers.postgres_url(str(connections[alias].settings_dict["NAME"]))
    environment = {**os.environ, "DATABASE_URL": url, "SIGNALBOX_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-c", PRUNING]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"between\n"
        assert upkeep.run(NOW, alias) is None, "while it lives, nobody else"
        process.send_signal(signal.SIGKILL)
    assert (old(alias), orphans(alias)) == (25, 0)
    with connections[alias].cursor() as cursor:  # the server takes a moment to notice
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    run = upkeep.run(NOW, alias)
    assert run is not None
    assert counts(alias) == (0, 0, 0)


@pytest.mark.parametrize("own_tables", ["sqlite"], indirect=True)
@pytest.mark.parametrize("incremental", [True, False])
def test_a_sqlite_file_shrinks_where_it_was_set_up_to_and_is_used_again_elsewhere(
    alias: str, incremental: bool
) -> None:
    if incremental:
        with connections[alias].cursor() as cursor:
            cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
            cursor.execute("VACUUM")
    failed(*(TODAY - 40 * DAY + n * timedelta(seconds=1) for n in range(300)))
    pages, free = sqlite_pages(alias)
    pruning.prune(WANTED, alias)
    left, free_now = sqlite_pages(alias)
    if incremental:
        assert (left < pages / 2, free_now) == (True, 0)
    else:
        assert (left, free_now > pages / 2) == (pages, True)
        assert free < free_now


def sqlite_pages(alias: str) -> tuple[int, int]:
    """In the file, and of these not in use."""
    found = []
    for name in ("page_count", "freelist_count"):
        with connections[alias].cursor() as cursor:
            cursor.execute(f"PRAGMA {name}")
            found.append(int(cursor.fetchone()[0]))
    return found[0], found[1]


# -- the task and the command --------------------------------------------------------------------------
def test_the_task_is_scheduled_under_its_name_and_the_worker_knows_it(alias: str, as_default: None) -> None:
    assert tasks.tend_tables.name == SCHEDULE["history-upkeep"]["task"]
    assert tasks.__name__ in TASK_MODULES
    failed(NOW - 6 * DAY, NOW)
    tasks.tend_tables()
    assert counts("default") == (1, 2, 3)


def prune_history(*arguments: str) -> tuple[str, str]:
    """What the command prints, and what it complains of."""
    printed, complained = StringIO(), StringIO()
    code: Any = 0
    try:
        call_command("prune_history", *arguments, stdout=printed, stderr=complained)
    except SystemExit as end:
        code = end.code
    assert code == bool(complained.getvalue())
    return printed.getvalue(), complained.getvalue()


def test_a_dry_run_says_what_would_go_and_changes_nothing(alias: str, audit_table: None) -> None:
    partitions.ensure(TODAY - 9 * DAY, TODAY - 8 * DAY, "default")
    failed(TODAY - 9 * DAY, TODAY - 20 * DAY, TODAY - 8 * DAY, NOW)
    said, _ = prune_history("--days", "8", "--dry-run")
    lines = said.splitlines()
    assert counts("default") == (4, 8, 12)
    span = f"of {TODAY - 20 * DAY:%Y-%m-%d} 00:00 UTC to {TODAY - 9 * DAY:%Y-%m-%d} 00:00 UTC"
    for line, table, rows_going in zip(lines, pruning.TABLES, (2, 4, 6), strict=False):
        assert line.startswith(f"{table}: {rows_going} rows, about ")
        assert span in line
        assert line.endswith(f"{table}_p{TODAY - 9 * DAY:%Y%m%d}") == is_postgres("default")
    number = len(partitions.tables("default"))
    assert lines[-1].startswith(f"would remove 12 rows and {number} partitions, about ")
    assert lines[-1].endswith(f"from before {TODAY - 8 * DAY:%Y-%m-%d} 00:00 UTC")

    assert not AuditEntry.objects.exists()

    done, _ = prune_history("--days", "8")
    assert done.splitlines() == [lines[-1].replace("would remove", "removed")]
    assert counts("default") == (2, 4, 6)
    assert AuditEntry.objects.get().changes["removes"] == "; ".join(lines[:-1])
    assert prune_history("--days", "8", "--dry-run")[0].startswith("would remove 0 rows and 0 partitions")
    assert prune_history("--days", "8")[0].startswith("removed 0 rows and 0 partitions")
    assert AuditEntry.objects.count() == 1


def test_by_hand_it_is_on_record_before_the_first_row_goes(
    alias: str, audit_table: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed(TODAY - 9 * DAY)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pruning, "_remove", killed)
    with pytest.raises(KeyboardInterrupt):
        prune_history()
    assert counts("default") == (1, 2, 3)
    assert AuditEntry.objects.get().action == "history.pruned"


def test_nothing_goes_by_hand_that_cannot_be_put_on_record(alias: str, as_default: None) -> None:
    failed(TODAY - 9 * DAY)
    said, complained = prune_history()  # there is no table of the audit log here
    assert (said, complained.count("\n"), complained.startswith("database: ")) == ("", 1, True)
    assert counts("default") == (1, 2, 3)


@pytest.mark.parametrize("own_tables", ["sqlite"], indirect=True)
@pytest.mark.parametrize("days", ["0", "-3", "soon", "nan", "1e300"])
def test_the_command_refuses_days_that_make_no_sense(alias: str, as_default: None, days: str) -> None:
    failed(TODAY - 400 * DAY)
    said, complained = prune_history(f"--days={days}")
    assert (said, complained.count("\n"), complained.startswith("days: ")) == ("", 1, True)
    assert counts("default") == (1, 2, 3)


@pytest.mark.parametrize("own_tables", ["postgresql"], indirect=True)
def test_the_command_says_when_another_upkeep_is_at_work(alias: str, as_default: None) -> None:
    failed(TODAY - 400 * DAY)
    with psycopg.connect(servers.postgres_url(str(connections["default"].settings_dict["NAME"]))) as other:
        other.execute(f"SELECT pg_advisory_lock({partitions._LOCK_KEY})")  # type: ignore[call-overload]
        assert prune_history() == ("", "another upkeep of the history is at work on this database\n")
    assert counts("default") == (1, 2, 3)
