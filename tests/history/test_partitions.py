"""Partitions by day on PostgreSQL: there before they are needed, and nobody waits, loses a row or fails over them."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from history import ids, partitions, pruning, search, upkeep
from history.errors import Busy
from history.filters import from_parameters
from history.models import RouteAttempt, RouteHistory, RouteHistoryMetric
from history.partitions import AHEAD_DAYS, Partition, midnight
from history.timerange import TimeRange
from tests import servers
from tests.history import rows, samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from history.records import Finished

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
EVER = NOW - 10_000 * DAY
SINCE = NOW - 30 * DAY


@pytest.fixture
def alias(own_postgres: str) -> str:
    return own_postgres


def failed(*moments: datetime) -> list[Finished]:
    """Requests with two attempts and three measurements each."""
    return [samples.failed(rows.at(moment, n)) for n, moment in enumerate(moments)]


def counts(alias: str) -> tuple[int, int, int]:
    """Routes, attempts, measurements."""
    routes, attempts, metrics = (
        each.objects.using(alias).count() for each in (RouteHistory, RouteAttempt, RouteHistoryMetric)
    )
    return routes, attempts, metrics


def in_default(alias: str) -> list[int]:
    """Rows in the default partitions: routes, attempts, measurements."""
    return [in_partition(f"{table}_default", alias) for table in partitions.TABLES[:3]]


def in_partition(name: str, alias: str) -> int:
    return in_question(alias, f"SELECT count(*) FROM {name}")


def in_question(alias: str, question: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute(question)
        return int(cursor.fetchone()[0])


def days(alias: str, table: str = "route_history") -> list[datetime]:
    """When the partitions begin."""
    return [ids.time_of(each.low) for each in partitions.partitions(table, alias) if each.low]


@contextmanager
def somebody(alias: str, statement: str) -> Iterator[psycopg.Connection[Any]]:
    """Another client that has begun a transaction with this."""
    with psycopg.connect(servers.postgres_url(str(connections[alias].settings_dict["NAME"]))) as connection:
        connection.execute(statement)  # type: ignore[call-overload]
        yield connection
        connection.rollback()
        connection.execute("SELECT pg_advisory_unlock_all()")  # with the connection alone it takes a moment


# -- ahead ---------------------------------------------------------------------------------------------
def test_today_and_seven_days_ahead_have_their_partitions_and_tomorrow_one_more(alias: str) -> None:
    assert partitions.ensure_ahead(NOW, SINCE, alias) == []
    assert days(alias) == [midnight(NOW) + n * DAY for n in range(-1, AHEAD_DAYS + 1)]
    next_one = f"{NOW + (AHEAD_DAYS + 1) * DAY:%Y%m%d}"
    assert partitions.ensure_ahead(NOW + DAY, SINCE, alias) == [
        f"{table}_p{next_one}" for table in partitions.tables(alias)
    ]
    assert partitions.ensure_ahead(NOW + DAY, SINCE, alias) == []
    for table in partitions.tables(alias):
        assert days(alias, table)[-1] == midnight(NOW) + (AHEAD_DAYS + 1) * DAY


def test_days_on_which_nobody_made_partitions_get_them_later_but_no_older_ones_than_are_kept(alias: str) -> None:
    later = NOW + 60 * DAY
    partitions.ensure_ahead(later, later - 3 * DAY, alias)
    made = days(alias)[AHEAD_DAYS + 2 :]
    assert made == [midnight(later) + n * DAY for n in range(-3, AHEAD_DAYS + 1)]
    partitions.ensure_ahead(later + 11 * DAY, NOW, alias)
    assert days(alias)[AHEAD_DAYS + 2 :] == [made[0] + n * DAY for n in range(3 + 11 + AHEAD_DAYS + 1)]


def test_a_question_about_a_day_reads_the_partition_of_that_day_alone(alias: str) -> None:
    rows.store(*failed(*(NOW + n * DAY for n in range(4))), alias=alias)
    span = TimeRange(midnight(NOW + 2 * DAY), midnight(NOW + 3 * DAY))
    (route,) = search.search(from_parameters({"status": "failed"}), span, alias=alias).rows
    low, high = ids.same_moment(route.id)
    name = f"{NOW + 2 * DAY:%Y%m%d}"
    for table, query in (
        ("route_history", RouteHistory.objects.using(alias).filter(span.q())),
        ("route_history", RouteHistory.objects.using(alias).filter(id=route.id)),
        ("route_attempts", RouteAttempt.objects.using(alias).filter(span.q(), error_class="upstream_5xx")),
        ("route_attempts", route.attempts.filter(id__gte=low, id__lt=high)),
        ("route_history_metrics", route.metrics.filter(id__gte=low, id__lt=high)),
    ):
        plan = query.order_by("id").explain()
        assert f"{table}_p{name}" in plan
        assert plan.count(" on ") == 1, plan


def test_the_estimate_counts_every_partition_once(alias: str) -> None:
    rows.store(*failed(NOW, NOW + DAY, NOW - 9 * DAY), alias=alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("ANALYZE route_history")
    assert search.estimate(from_parameters({}), TimeRange(), alias) == 3


def test_a_table_that_is_not_there_is_left_out(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = partitions.tables(alias)
    monkeypatch.setattr(partitions, "TABLES", (*partitions.TABLES, "route_dreams"))
    assert partitions.tables(alias) == found
    assert [size.table for size in partitions.sizes(alias)] == found
    assert all(size.bytes > size.in_default > 0 for size in partitions.sizes(alias))


# -- strays --------------------------------------------------------------------------------------------
def test_rows_of_any_day_are_taken_and_moved_to_a_partition_of_that_day(alias: str) -> None:
    """A journal of a month ago, and a clock that ran ahead by a year."""
    moments = [NOW - 20 * DAY, NOW - 20 * DAY, NOW - 5 * DAY, NOW, NOW + 365 * DAY]
    rows.store(*failed(*moments), alias=alias)
    assert counts(alias) == (5, 10, 15)
    assert in_default(alias) == [4, 8, 12]
    moved = partitions.move_strays(ids.first_id(SINCE), NOW, alias)
    assert moved == {"route_history": 4, "route_attempts": 8, "route_history_metrics": 12}
    assert in_default(alias) == [0, 0, 0]
    assert counts(alias) == (5, 10, 15)
    assert in_partition(f"route_history_p{NOW - 20 * DAY:%Y%m%d}", alias) == 2
    assert in_partition(f"route_attempts_p{NOW + 365 * DAY:%Y%m%d}", alias) == 2

    rows.store(*failed(*moments), *failed(*(moment + timedelta(minutes=1) for moment in moments[:1])), alias=alias)
    assert counts(alias) == (6, 12, 18), "what was there already is met where it is now"
    assert in_default(alias) == [0, 0, 0]
    assert partitions.move_strays(ids.first_id(SINCE), NOW, alias) == {}


def test_rows_move_with_every_column_also_where_tables_order_theirs_differently(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("ALTER TABLE route_history DETACH PARTITION route_history_default")
        cursor.execute("DROP TABLE route_history_default")
        cursor.execute("CREATE TABLE route_history_default (routing_decision json NOT NULL)")
        cursor.execute(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
            "WHERE attrelid = 'route_history'::regclass AND attnum > 0 AND attname <> 'routing_decision' "
            "ORDER BY attname"
        )
        for name, kind, filled in cursor.fetchall():
            cursor.execute(f"ALTER TABLE route_history_default ADD {name} {kind} {'NOT NULL' if filled else ''}")
        cursor.execute("ALTER TABLE route_history ATTACH PARTITION route_history_default DEFAULT")
    rows.store(samples.finished(rows.at(NOW - 9 * DAY), session_key="s", rule="r", decision={"a": 1}), alias=alias)
    before = RouteHistory.objects.using(alias).values().get()
    partitions.move_strays(ids.first_id(SINCE), NOW, alias)
    assert in_default(alias) == [0, 0, 0]
    assert RouteHistory.objects.using(alias).values().get() == before


def test_many_strays_of_a_day_are_moved_in_pieces(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "MOVE_ROWS", 10)
    day = midnight(NOW - 9 * DAY)
    rows.store(*failed(*(day + n * timedelta(minutes=1) for n in range(25))), alias=alias)
    partitions.move_strays(ids.first_id(SINCE), NOW, alias)
    assert counts(alias) == (25, 50, 75)
    assert in_default(alias) == [0, 0, 0]
    pieces = [
        each
        for each in partitions.partitions("route_history", alias)
        if each.low and each.low < ids.first_id(day + DAY)
    ]
    assert [(in_partition(each.name, alias)) for each in pieces] == [11, 11, 3]
    assert [each.name for each in pieces[:2]] == [
        f"route_history_p{day:%Y%m%d}",
        f"route_history_p{day:%Y%m%d}_001000001",
    ]
    assert (pieces[0].low, pieces[-1].high) == (ids.first_id(day), ids.first_id(day + DAY))
    assert all(one.high == other.low for one, other in pairwise(pieces))
    assert not [name for name in partitions.ensure(day, day + DAY, alias) if name.startswith("route_history_p")]


def test_clocks_gone_mad_do_not_make_partitions_without_end(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "FUTURE_DAYS", 2)
    rows.store(*(samples.finished(rows.at(NOW + n * 100 * DAY)) for n in range(1, 6)), alias=alias)
    partitions.move_strays(ids.first_id(SINCE), NOW, alias)
    assert days(alias)[AHEAD_DAYS + 2 :] == [midnight(NOW + n * 100 * DAY) for n in (1, 2)]
    assert in_partition("route_history_default", alias) == 3
    assert RouteHistory.objects.using(alias).count() == 5
    partitions.ensure_ahead(NOW + DAY, SINCE, alias)
    assert midnight(NOW) + (AHEAD_DAYS + 1) * DAY in days(alias), "those that are needed are made all the same"


def test_a_day_whose_rows_are_in_the_default_partition_keeps_no_other_from_being_made(alias: str) -> None:
    tomorrow = NOW + (AHEAD_DAYS + 1) * DAY
    rows.store(*failed(tomorrow), alias=alias)
    made = partitions.ensure_ahead(NOW + 2 * DAY, SINCE, alias)
    for table in partitions.TABLES[:3]:
        assert [name for name in made if name.startswith(f"{table}_p")] == [f"{table}_p{tomorrow + DAY:%Y%m%d}"]
    partitions.move_strays(ids.first_id(SINCE), NOW, alias)
    assert in_partition(f"route_history_p{tomorrow:%Y%m%d}", alias) == 1


def test_a_table_that_somebody_keeps_aside_is_left_alone(alias: str) -> None:
    day = NOW + (AHEAD_DAYS + 1) * DAY
    name = f"route_history_p{day:%Y%m%d}"
    with connections[alias].cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (note text)")
    assert f"{name}_2" in partitions.ensure(day, day + timedelta(seconds=1), alias)
    assert in_partition(name, alias) == 0


# -- among others --------------------------------------------------------------------------------------
def test_a_long_read_puts_changes_off_and_they_keep_nobody_else_waiting(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "LOCK_MS", 20)
    rows.store(*failed(NOW - 9 * DAY), alias=alias)
    (today,) = (each for each in partitions.partitions("route_history", alias) if each.name.endswith(f"{NOW:%Y%m%d}"))
    before = days(alias)
    with somebody(alias, "SELECT * FROM route_history, route_attempts, route_history_metrics"):
        for change in (
            lambda: partitions.drop([today], alias),
            lambda: partitions.ensure_ahead(NOW + DAY, SINCE, alias),
            lambda: partitions.move_strays(ids.first_id(SINCE), NOW, alias),
        ):
            with pytest.raises(Busy):
                change()
        rows.store(*failed(NOW), alias=alias)
    assert days(alias) == before
    assert in_default(alias) == [1, 2, 3]
    assert upkeep.run(NOW + DAY, alias) is not None
    assert in_default(alias) == [0, 0, 0]
    assert len(days(alias)) == len(before) + 2


def test_a_row_whose_partition_is_made_while_it_is_on_its_way_is_no_error(alias: str) -> None:
    """PostgreSQL chooses the partition, waits for it, and then refuses the row because there is a better one."""
    day = midnight(NOW - 9 * DAY)
    raised: list[BaseException] = []

    def ship() -> None:
        try:
            rows.store(*failed(day), alias=alias)
        except BaseException as error:
            raised.append(error)
        finally:
            connections[alias].close()

    shipping = threading.Thread(target=ship)
    with somebody(alias, "LOCK TABLE route_history_default IN ACCESS EXCLUSIVE MODE") as other:
        shipping.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'route_history_default'::regclass"
        while not in_question(alias, waiting):
            assert shipping.is_alive()
        other.execute("CREATE TABLE new (LIKE route_history INCLUDING ALL)")
        other.execute(
            "ALTER TABLE route_history ATTACH PARTITION new "  # type: ignore[arg-type]
            f"FOR VALUES FROM ('{ids.first_id(day)}') TO ('{ids.first_id(day + DAY)}')"
        )
        other.commit()
        shipping.join()
    assert raised == []
    assert in_partition("new", alias) == 1
    assert counts(alias) == (1, 2, 3)


def test_rows_that_come_or_change_while_others_are_moved_come_along(alias: str) -> None:
    day = midnight(NOW - 9 * DAY)
    one, two = samples.decided(rows.at(day, 1)), samples.finished(rows.at(day, 2))
    rows.store(one, alias=alias)
    other = psycopg.connect(servers.postgres_url(str(connections[alias].settings_dict["NAME"])), autocommit=True)

    def meanwhile(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith("LOCK TABLE ONLY route_history "):
            other.execute("UPDATE route_history SET status = 'routed'")
            marks = "id, created_at, status, profile, message, provider, model, requested_model, strategy, source"
            rest = "access_key, route_type, selection_us, attempt_count, recovered, degraded, usage_estimated, revision"
            json = "source_info, target_info, routing_decision"
            other.execute(
                f"INSERT INTO route_history ({marks}, {rest}, {json}) "  # type: ignore[arg-type]
                f"SELECT '{UUID(bytes=two.id)}', {marks[4:]}, {rest}, {json} FROM route_history"
            )
        return execute(sql, *arguments)

    with other, connections[alias].execute_wrapper(meanwhile):
        assert partitions.move_strays(ids.first_id(SINCE), NOW, alias) == {"route_history": 2}
    found = RouteHistory.objects.using(alias).order_by("id").values_list("id", "status")
    assert list(found) == [(UUID(bytes=one.id), "routed"), (UUID(bytes=two.id), "routed")]
    assert in_default(alias) == [0, 0, 0]


def test_a_change_that_takes_too_long_is_given_up_and_nothing_is_changed(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.store(*failed(*(NOW - 9 * DAY + n * timedelta(seconds=1) for n in range(500))), alias=alias)
    monkeypatch.setattr(partitions, "TRIES", 1)
    monkeypatch.setattr(partitions, "STATEMENT_SECONDS", 0.001)
    with pytest.raises(Busy, match="statement timeout"):
        partitions.move_strays(ids.first_id(SINCE), NOW, alias)
    assert in_default(alias) == [500, 1000, 1500]
    monkeypatch.undo()
    with connections[alias].cursor() as cursor:
        cursor.execute("SET statement_timeout = '1s'")
        with partitions.briefly(alias) as inside:
            inside.execute("SHOW statement_timeout")
            assert inside.fetchone()[0] == "1min", "what is right for pages is too short for this"
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone()[0] == "1s"


def test_one_upkeep_at_a_time(alias: str) -> None:
    with somebody(alias, f"SELECT pg_advisory_lock({partitions._LOCK_KEY})"):
        for change in (
            lambda: partitions.ensure_ahead(NOW + DAY, SINCE, alias),
            lambda: partitions.move_strays(ids.first_id(EVER), NOW, alias),
            lambda: pruning.prune(pruning.Cutoffs.of(1, 1, NOW), alias),
        ):
            with pytest.raises(Busy):
                change()
        assert upkeep.run(NOW + DAY, alias) is None
    assert upkeep.run(NOW + DAY, alias) is not None
    with somebody(alias, f"SELECT pg_advisory_lock({partitions._LOCK_KEY})"):
        pass  # nobody holds it any more


def test_upkeeps_of_several_workers_and_a_shipper_at_once_lose_and_double_nothing(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_running", threading.Semaphore(9))  # as in several processes
    errors: list[BaseException] = []
    begun = threading.Barrier(3)
    offsets = (-31, -3, -2, 0, 1, 12, 365)

    def shipping() -> None:
        begun.wait()
        for batch in range(30):
            moment = NOW + offsets[batch % len(offsets)] * DAY
            rows.store(*(samples.failed(rows.at(moment, batch * 100 + n)) for n in range(20)), alias=alias)

    def tending() -> None:
        begun.wait()
        for number in range(4):
            upkeep.run(NOW + number * DAY, alias)

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connections[alias].close()

    threads = [threading.Thread(target=guarded, args=[work]) for work in (shipping, tending, tending)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    upkeep.run(NOW, alias)
    kept = sum(20 for batch in range(30) if offsets[batch % len(offsets)] != -31)
    assert counts(alias) == (kept, kept * 2, kept * 3)
    assert in_default(alias) == [0, 0, 0]
    for table in partitions.tables(alias):
        bounds = [(each.low, each.high) for each in partitions.partitions(table, alias) if not each.is_default]
        assert bounds == sorted(set(bounds))


def test_a_clock_that_runs_ahead_empties_nothing(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows.store(*failed(NOW), alias=alias)
    monkeypatch.setattr(timezone, "now", lambda: NOW + 365 * DAY)
    pruned = upkeep.run(alias=alias)
    assert pruned is not None
    assert pruned.removals == []
    assert counts(alias) == (1, 2, 3)


def test_bounds_are_read_from_the_catalog_and_partitions_come_in_order(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "CREATE TABLE early PARTITION OF route_history "
            f"FOR VALUES FROM (MINVALUE) TO ('{ids.first_id(NOW - 9 * DAY)}')"
        )
    found = partitions.partitions("route_history", alias)
    assert found[0] == Partition("route_history", "early", UUID(int=0), ids.first_id(NOW - 9 * DAY))
    assert found[-1] == Partition("route_history", "route_history_default", None, None)
    assert days(alias) == sorted(days(alias))
