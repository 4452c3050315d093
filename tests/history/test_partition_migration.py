"""Tables of before become partitioned where they stand: no row is copied, no index built anew, and nothing is lost."""

from __future__ import annotations

import importlib
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import pytest
from django.db import connections, models
from django.db.migrations.executor import MigrationExecutor

from history import ids, pruning
from history.models import RollupPeriod, RouteAttempt, RouteHistory, RouteHistoryMetric
from history.partitions import AHEAD_DAYS, TABLES, midnight, partitions, tables
from tests import servers
from tests.history import rows, samples
from tests.history.own_tables import BEFORE_PARTITIONS, OWN, empty_postgres, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
migration = importlib.import_module("history.migrations.0007_partitions")


@pytest.fixture
def own_postgres_empty(postgres_url: str, unblocked: None) -> Iterator[None]:
    with empty_postgres():
        yield


@pytest.fixture
def before(postgres_url: str, unblocked: None) -> Iterator[str]:
    """PostgreSQL as releases without partitions left it."""
    with empty_postgres():
        migrate(BEFORE_PARTITIONS)
        yield OWN


def files(alias: str) -> dict[str, int]:
    """What the data of tables and indexes is in; a copy has another file."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT relname, relfilenode FROM pg_class WHERE relkind IN ('r', 'i') AND relname !~ '^pg_'")
        return dict(cursor.fetchall())


def spans(table: str, alias: str) -> list[tuple[str, datetime | None]]:
    """Name and end of each partition."""
    return [(each.name, ids.time_of(each.high) if each.high else None) for each in partitions(table, alias)]


def test_a_table_with_rows_becomes_the_first_partition_as_it_is(before: str) -> None:
    records = [samples.failed(rows.at(NOW - n * DAY, n)) for n in range(40)]
    rows.store(*records, alias=before)
    was = files(before)
    migrate()
    now = files(before)
    boundary = midnight(NOW) + 2 * DAY
    for table, kept in (("route_history", 40), ("route_attempts", 80), ("route_history_metrics", 120)):
        assert now[f"{table}_old"] == was[table]
        assert now[f"{table}_pkey_old"] == was[f"{table}_pkey"]
        days = [boundary + n * DAY for n in range(AHEAD_DAYS - 1)]
        assert spans(table, before) == [
            (f"{table}_old", boundary),
            *((f"{table}_p{day:%Y%m%d}", day + DAY) for day in days),
            (f"{table}_default", None),
        ]
        with connections[before].cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone()[0] == kept
    for index in RouteHistory._meta.indexes:
        assert now[f"{index.name}_old"] == was[index.name]

    # The same once more, and what comes next.
    rows.store(*records, samples.failed(rows.at(NOW + 3 * DAY)), samples.finished(rows.at(NOW, 99)), alias=before)
    assert RouteHistory.objects.using(before).count() == 42
    assert RouteAttempt.objects.using(before).count() == 82
    assert RouteHistoryMetric.objects.using(before).count() == 123
    (there,) = rows_of(before, f"route_history_p{NOW + 3 * DAY:%Y%m%d}")
    assert there == ids.first_id(NOW + 3 * DAY).hex[:12]


def rows_of(alias: str, relation: str) -> list[str]:
    """The time in the ids of one partition."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT id FROM {relation} ORDER BY id")
        return [identifier.hex[:12] for (identifier,) in cursor.fetchall()]


def test_what_a_clock_that_ran_ahead_wrote_does_not_keep_the_old_partition_for_a_year(before: str) -> None:
    rows.store(samples.failed(rows.at(NOW)), samples.failed(rows.at(NOW + 365 * DAY)), alias=before)
    migrate()
    assert spans("route_history", before)[0] == ("route_history_old", midnight(NOW) + 2 * DAY)
    assert rows_of(before, "route_history_default") == [ids.first_id(NOW + 365 * DAY).hex[:12]]
    assert (RouteHistory.objects.using(before).count(), RouteAttempt.objects.using(before).count()) == (2, 4)


def test_where_much_is_later_it_is_our_clock_that_is_wrong_and_nothing_is_moved(
    before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "FEW", 2)
    rows.store(*(samples.failed(rows.at(NOW + 300 * DAY, n)) for n in range(3)), alias=before)
    migrate()
    for table in TABLES[:3]:
        assert spans(table, before) == [
            (f"{table}_old", midnight(NOW + 301 * DAY)),
            (f"{table}_default", None),
        ]
        assert rows_of(before, f"{table}_default") == []


def test_a_shipper_at_work_ends_its_batch_before_tables_are_changed(before: str) -> None:
    rows.store(samples.failed(rows.at(NOW)), alias=before)
    errors: list[Exception] = []

    def migrating() -> None:
        try:
            migrate()
        except Exception as error:
            errors.append(error)
        finally:
            connections[before].close()

    thread = threading.Thread(target=migrating)
    with psycopg.connect(servers.postgres_url(str(connections[before].settings_dict["NAME"]))) as shipper:
        shipper.execute("SET lock_timeout = '2s'")
        shipper.execute("UPDATE route_history SET message = 'shipped'")
        thread.start()
        with connections[before].cursor() as cursor:
            waiting = 0
            while not waiting:
                assert thread.is_alive()
                cursor.execute(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = "
                    "(SELECT oid FROM pg_database WHERE datname = current_database())"
                )
                (waiting,) = cursor.fetchone()
        shipper.execute("UPDATE route_attempts SET message = 'shipped'")
        shipper.execute("UPDATE route_history_metrics SET metric_unit = 's'")
    thread.join()
    assert errors == []
    assert RouteHistory.objects.using(before).get().message == "shipped"
    assert tables(before)[0] == "route_history"


def test_hours_of_before_there_were_sums_are_known_from_the_first_moment(own_postgres_empty: None) -> None:
    """Else one late row would make everything between it and now count as empty."""
    before = [("history", "0003_spent")]
    migrate(before)
    then = MigrationExecutor(connections[OWN]).loader.project_state(before).apps.get_model("history", "RouteHistory")
    moments = [NOW - timedelta(days=20), NOW - timedelta(days=3, hours=2), NOW - timedelta(days=3, hours=2), NOW]
    then.objects.using(OWN).bulk_create(
        [then(id=ids.first_id(at) if n != 2 else UUID(int=ids.first_id(at).int + 1), created_at=at)
         for n, at in enumerate(moments)]
    )  # fmt: skip
    migrate()
    known = (
        RollupPeriod.objects.using(OWN).filter(grain=3600, rolled=None, sealed=False).values_list("start", flat=True)
    )
    assert set(known) == {int(at.timestamp()) // 3600 * 3600 for at in moments}


def test_empty_tables_begin_with_daily_partitions(own_postgres: str) -> None:
    assert tables(own_postgres) == pruning._tables()
    assert set(tables(own_postgres)) >= {"route_history", "route_attempts", "route_history_metrics"}
    for table in tables(own_postgres):
        found = spans(table, own_postgres)
        assert len(found) == AHEAD_DAYS + 3
        assert found[1:3] == [
            (f"{table}_p{NOW:%Y%m%d}", midnight(NOW) + DAY),
            (f"{table}_p{NOW + DAY:%Y%m%d}", midnight(NOW) + 2 * DAY),
        ]


def test_later_migrations_find_ordinary_tables(own_postgres: str) -> None:
    rows.store(samples.failed(), alias=own_postgres)
    index = models.Index(fields=["model", "id"], name="history_model")
    note = models.CharField(max_length=20, null=True)
    note.set_attributes_from_name("note")
    with connections[own_postgres].schema_editor() as editor:
        editor.add_index(RouteHistory, index)
        editor.add_field(RouteHistory, note)
        editor.remove_index(RouteHistory, RouteHistory._meta.indexes[2])
    with connections[own_postgres].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'history_model'::regclass")
        assert cursor.fetchone()[0] == len(partitions("route_history", own_postgres))
        assert connections[own_postgres].introspection.get_primary_key_column(cursor, "route_history") == "id"
    rows.store(samples.failed(), alias=own_postgres)
    assert RouteHistory.objects.using(own_postgres).count() == 2
