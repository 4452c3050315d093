"""How hours are summed up and sealed: what makes them dirty, who waits for whom, and what is left after a kill."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import OperationalError, connections, transaction

from history import queries, rollups
from history.filters import from_parameters
from history.ids import first_id
from history.models import Rollup, RollupPeriod, RouteHistory
from history.rollups import periods, plan, sealing, sums, work
from history.rollups.periods import DAY, HOUR, SLICE, state_of
from history.rows import Rows
from history.shipper.store import Batch, KeyedUpdate, Store
from history.statistics import statistics
from history.timerange import TimeRange
from routes.ports import RuleTraffic
from routing_project.celery import SCHEDULE
from tests.history import rows, samples
from tests.history.conftest import BOTH
from tests.history.rows import at, minutes

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The beginning of a day that is over, and not longer ago than slices are read.
NOW = datetime.now(UTC).replace(microsecond=0)
TODAY = NOW.replace(hour=0, minute=0, second=0)
DAYS_AGO = TODAY - timedelta(days=5)
START = int(DAYS_AGO.timestamp())

both = pytest.mark.django_db(databases=["default", "pg"])


def count(alias: str, span: TimeRange = TimeRange(), **filters: str) -> int:  # noqa: B008 - immutable
    found = statistics(span, None, from_parameters(filters), alias)["totals"]["count"]
    assert isinstance(found, int)
    return found


def delete_rows(alias: str, before: datetime) -> None:
    with connections[alias].cursor() as cursor:
        bound: Any = first_id(before) if alias == "pg" else first_id(before).hex
        cursor.execute("DELETE FROM route_history WHERE id < %s", [bound])


@both
def test_a_batch_raises_the_version_of_each_period_it_touches_in_its_own_transaction(alias: str) -> None:
    with transaction.atomic(using=alias):
        rows.store(samples.finished(at(DAYS_AGO)), alias=alias)
        transaction.set_rollback(True, using=alias)
    assert not RollupPeriod.objects.using(alias).exists()
    moments = (minutes(1), minutes(2), minutes(7), minutes(61))
    rows.store(*(samples.finished(at(DAYS_AGO + moment, n)) for n, moment in enumerate(moments)), alias=alias)
    found = RollupPeriod.objects.using(alias).order_by("grain", "start").values_list("grain", "start", "version")
    assert list(found) == [
        *((SLICE, START, 2), (SLICE, START + 300, 1), (SLICE, START + 3600, 1)),
        *((HOUR, START, 3), (HOUR, START + 3600, 1), (DAY, START, 4)),
    ]


@both
def test_an_update_makes_its_hour_dirty_and_a_measurement_does_not(alias: str) -> None:
    route = at(DAYS_AGO)
    rows.store(samples.decided(route), alias=alias)
    work.run(alias)
    store = Store(UUID(int=1), "failures", alias)
    store.apply(Batch(Rows("failures"), [KeyedUpdate("a", samples.update(route, metrics=[("x", 1.0, "")]), b"")]))
    assert periods.dirty(HOUR, START + DAY, alias) == []
    store.apply(Batch(Rows("failures"), [KeyedUpdate("b", samples.update(route, status="failed"), b"")]))
    assert periods.dirty(HOUR, START + DAY, alias) == [START]
    assert count(alias, status="failed") == 1


@both
def test_what_was_there_before_rollups_is_found_and_summed_up(alias: str) -> None:
    rows.store(*(samples.finished(at(DAYS_AGO + n * timedelta(hours=7), n)) for n in range(3)), alias=alias)
    RollupPeriod.objects.using(alias).all().delete()
    assert count(alias) == 3
    assert work.run(alias) == 4  # three hours, a day
    delete_rows(alias, NOW)
    assert count(alias) == 3


@both
def test_the_current_hour_is_not_summed_up_and_counts(alias: str) -> None:
    rows.store(samples.finished(at(NOW)), alias=alias)
    work.run(alias, NOW + timedelta(seconds=1))
    assert not Rollup.objects.using(alias).exists()
    assert count(alias) == 1


@both
def test_whole_hours_are_read_by_their_sums_and_the_edges_of_a_range_from_rows(alias: str) -> None:
    rows.store(*(samples.finished(at(DAYS_AGO + n * minutes(50), n)) for n in range(100)), alias=alias)
    work.run(alias)
    delete_rows(alias, DAYS_AGO + timedelta(hours=83))  # as nobody may before sealing: to see who reads them
    assert count(alias, TimeRange(DAYS_AGO + timedelta(hours=1), DAYS_AGO + timedelta(hours=83))) == 98
    assert count(alias, TimeRange(DAYS_AGO + minutes(30), DAYS_AGO + timedelta(hours=82, minutes=59))) == 97
    assert count(alias, access_key="app") == 0


@both
def test_the_rows_of_a_busy_hour_that_is_not_over_are_read_by_the_slices_that_changed(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "WORTHWHILE", 3)
    hour = (NOW - timedelta(hours=2)).replace(minute=0, second=0)
    rows.store(*(samples.finished(at(hour + minutes(n / 2), n)) for n in range(80)), alias=alias)
    work.run(alias, hour + minutes(41))
    assert Rollup.objects.using(alias).filter(grain=SLICE).count() == 8
    assert not Rollup.objects.using(alias).filter(grain=HOUR).exists()
    rows.store(samples.finished(at(hour + minutes(12), 999)), alias=alias)
    made = plan.make(TimeRange(hour + minutes(3)), alias)
    begin = int(hour.timestamp())
    assert made.sums[SLICE] == [(begin + 300, begin + 600), (begin + 900, begin + 2400)]
    assert made.rows == [
        ((begin + 180) * 1000, (begin + 300) * 1000),
        ((begin + 600) * 1000, (begin + 900) * 1000),
        ((begin + 2400) * 1000, None),
    ]
    assert count(alias, TimeRange(hour)) == 81
    assert count(alias, TimeRange(hour + minutes(3))) == 75
    work.run(alias, hour + timedelta(hours=28))
    assert not Rollup.objects.using(alias).filter(grain=SLICE).exists()
    assert count(alias, TimeRange(hour)) == 81


@both
def test_postgresql_does_not_join_an_hour_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes any range of UUIDs for one row, and an hour of 7,000 would be read 7,000 times."""
    rows.store(*(samples.failed(at(DAYS_AGO - minutes(n * 24), n)) for n in range(1000)), alias="pg")
    fill = sums.fill
    plans: list[str] = []

    def fill_and_explain(cursor: Any, grain: int, start: int, source: Any) -> None:
        cursor.execute(f"EXPLAIN {source.sql}", source.parameters)
        plans.append("\n".join(line for (line,) in cursor.fetchall()))
        fill(cursor, grain, start, source)

    with connections["pg"].cursor() as cursor:
        cursor.execute("ANALYZE route_history, route_attempts")
    monkeypatch.setattr(sums, "fill", fill_and_explain)
    for hour in range(40, 50):
        assert work.roll(HOUR, START - hour * HOUR, "pg")
    assert ["Nested Loop" in told for told in plans] == [False] * 10


# -- several at once -----------------------------------------------------------------------------------
@BOTH
def test_a_batch_that_comes_while_its_hour_is_summed_up_waits_for_nobody_and_leaves_it_dirty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On PostgreSQL; on SQLite the rows are read before the transaction begins, which the next test sees."""
    rows.store(samples.finished(at(DAYS_AGO)), alias="pg")
    fill = sums.fill

    def fill_and_then_comes_another(cursor: Any, *arguments: Any) -> None:
        fill(cursor, *arguments)
        with other_connection("pg"):
            rows.store(samples.finished(at(DAYS_AGO, 2)), alias="pg")

    monkeypatch.setattr(sums, "fill", fill_and_then_comes_another)
    assert work.roll(HOUR, START, "pg")
    monkeypatch.undo()
    state = state_of(HOUR, START, "pg")
    assert state is not None
    assert (state.version, state.rolled) == (2, 1)
    assert count("pg") == 2
    assert work.roll(HOUR, START, "pg")
    assert count("pg") == 2


@BOTH
def test_two_workers_never_sum_up_twice(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows.store(samples.finished(at(DAYS_AGO)), alias=alias)
    of_period = sums.of_period
    second: list[bool] = []

    def another_worker_comes_in_between(*arguments: Any) -> sums.Select:
        monkeypatch.setattr(sums, "of_period", of_period)
        with other_connection(alias):
            second.append(work.roll(HOUR, START, alias))
        return of_period(*arguments)

    monkeypatch.setattr(sums, "of_period", another_worker_comes_in_between)
    first = work.roll(HOUR, START, alias)
    # PostgreSQL: the second finds it taken. SQLite: the second was faster, and the first notices.
    assert (first, *second) == ((True, False) if alias == "pg" else (False, True))
    assert Rollup.objects.using(alias).filter(grain=HOUR, view="full").count() == 1
    assert count(alias) == 1


@BOTH
def test_work_that_is_killed_leaves_the_sums_of_before(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows.store(samples.finished(at(DAYS_AGO)), alias=alias)
    work.run(alias)
    rows.store(samples.finished(at(DAYS_AGO, 2)), alias=alias)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for name in ("_insert", "_derive"):
        monkeypatch.setattr(sums, name, killed)
        with pytest.raises(KeyboardInterrupt):
            work.roll(HOUR, START, alias)
        monkeypatch.undo()
        assert Rollup.objects.using(alias).get(grain=HOUR, view="full").requests == 1
        assert count(alias) == 2


@contextmanager
def other_connection(alias: str) -> Iterator[None]:
    """What is done inside is done by somebody else."""
    usual = connections[alias]
    connections[alias] = usual.copy()
    try:
        yield
    finally:
        connections[alias].close()
        connections[alias] = usual


# -- hours whose rows are gone -------------------------------------------------------------------------
@both
def test_a_sealed_hour_counts_each_late_row_once_whether_its_rows_are_gone_or_not(alias: str) -> None:
    rows.store(samples.finished(at(DAYS_AGO, 1)), samples.decided(at(DAYS_AGO, 2)), alias=alias)
    rollups.seal(DAYS_AGO + timedelta(hours=3), alias)
    late = samples.failed(at(DAYS_AGO + minutes(5), 3))
    store = Store(UUID(int=1), "failures", alias)

    def ship() -> None:
        batch = Batch(Rows("failures"), [KeyedUpdate("u", samples.update(at(DAYS_AGO, 2), status="failed"), b"")])
        batch.rows.add_finished(late)
        store.apply(batch)

    ship()
    assert (count(alias), count(alias, status="failed"), count(alias, status="decided")) == (3, 2, 0)
    ship()  # again: it is there already, and the decision has its outcome
    assert (count(alias), count(alias, status="failed")) == (3, 2)
    assert periods.dirty(HOUR, START + DAY, alias) == []
    rollups.seal(DAYS_AGO + timedelta(hours=3), alias)
    delete_rows(alias, DAYS_AGO + timedelta(hours=3))
    with connections[alias].cursor() as cursor:
        if alias == "pg":  # emptied by a commit, which a test does not make
            cursor.execute("DROP TABLE ship_route_history")
    rows.store(samples.finished(at(DAYS_AGO + minutes(6), 4)), alias=alias)
    # An hour nobody had rows in was sealed too.
    rows.store(samples.finished(at(DAYS_AGO + minutes(90), 5)), alias=alias)
    work.run(alias)
    rollups.seal(DAYS_AGO + timedelta(hours=3), alias)
    delete_rows(alias, DAYS_AGO + timedelta(hours=3))
    assert (count(alias), count(alias, status="failed")) == (5, 2)
    hours = statistics(TimeRange(), "hour", alias=alias)["groups"]
    assert [(group["key"], group["count"]) for group in hours] == [(START, 4), (START + 3600, 1)]
    statuses = statistics(TimeRange(), "status", alias=alias)["groups"]
    assert [(group["key"], group["count"]) for group in statuses] == [("failed", 2), ("routed", 3)]
    work.run(alias)
    assert plan.make(TimeRange(DAYS_AGO, DAYS_AGO + timedelta(days=1)), alias).sums[DAY]
    assert (count(alias), count(alias, status="failed")) == (5, 2)


@both
def test_a_row_older_than_all_that_was_known_counts_even_if_it_is_removed_at_once(alias: str) -> None:
    rows.store(samples.finished(at(DAYS_AGO, 1)), alias=alias)
    rollups.seal(DAYS_AGO + timedelta(hours=3), alias)
    rows.store(samples.failed(at(DAYS_AGO - timedelta(days=2), 2)), alias=alias)
    delete_rows(alias, DAYS_AGO + timedelta(hours=3))
    work.run(alias)
    rollups.seal(DAYS_AGO + timedelta(hours=3), alias)
    assert (count(alias), count(alias, status="failed")) == (2, 1)


@both
def test_old_rows_that_were_restored_by_hand_are_summed_up_before_they_are_removed(alias: str) -> None:
    rows.store(samples.finished(at(DAYS_AGO, 1)), alias=alias)
    rollups.seal(DAYS_AGO + timedelta(hours=3), alias)
    rows.store(samples.failed(at(DAYS_AGO - timedelta(days=2), 2)), alias=alias)
    RollupPeriod.objects.using(alias).filter(start__lt=START).delete()
    Rollup.objects.using(alias).filter(start__lt=START).delete()
    rollups.seal(DAYS_AGO + timedelta(hours=3), alias)
    delete_rows(alias, DAYS_AGO + timedelta(hours=3))
    assert (count(alias), count(alias, status="failed")) == (2, 1)


@both
def test_a_host_whose_clock_is_far_behind_adds_to_sealed_hours_too(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes them for the hours of now, in which nothing can be sealed."""
    decided = at(DAYS_AGO, 2)
    rows.store(samples.finished(at(DAYS_AGO, 1)), samples.decided(decided), alias=alias)
    rollups.seal(DAYS_AGO + timedelta(hours=1), alias)
    monkeypatch.setattr(sealing.timezone, "now", lambda: DAYS_AGO + minutes(10))
    update = samples.update(decided, status="failed", metrics=[("quality", 1.0, "")])
    batch = Batch(Rows("failures"), [KeyedUpdate("u", update, b"")])
    batch.rows.add_finished(samples.finished(at(DAYS_AGO + minutes(5), 3)))
    Store(UUID(int=1), "failures", alias).apply(batch)
    monkeypatch.undo()
    assert len(batch.rows.metrics) == 1
    delete_rows(alias, DAYS_AGO + timedelta(hours=1))
    assert (count(alias), count(alias, status="failed"), count(alias, status="decided")) == (3, 1, 0)


@BOTH
def test_a_row_is_not_removed_between_being_taken_out_of_the_sums_and_coming_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decided = at(DAYS_AGO, 2)
    rows.store(samples.decided(decided), alias="pg")
    rollups.seal(DAYS_AGO + timedelta(hours=1), "pg")
    add = sums.add
    refused: list[Exception] = []

    def prune() -> None:
        try:
            with transaction.atomic(using="pg"), connections["pg"].cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '20ms'")
                cursor.execute("DELETE FROM route_history")
        except OperationalError as error:
            refused.append(error)
        finally:
            connections["pg"].close()

    def and_then_it_is_pruned(*arguments: Any) -> None:
        add(*arguments)
        thread = threading.Thread(target=prune)
        thread.start()
        thread.join()

    monkeypatch.setattr(sums, "add", and_then_it_is_pruned)
    update = KeyedUpdate("u", samples.update(decided, status="failed"), b"")
    Store(UUID(int=1), "failures", "pg").apply(Batch(Rows("failures"), [update]))
    assert len(refused) == 2
    assert (count("pg"), count("pg", status="failed"), count("pg", status="decided")) == (1, 1, 0)


@both
def test_what_comes_late_reads_no_attempts_of_other_times(alias: str) -> None:
    routes = [UUID(bytes=at(DAYS_AGO + minutes(number), number)) for number in range(3)]
    select = sums.of_routes(routes, connections[alias].vendor)
    explain = "EXPLAIN (COSTS FALSE)" if alias == "pg" else "EXPLAIN QUERY PLAN"
    with connections[alias].cursor() as cursor:
        if alias == "pg":  # of a table with three rows it would read everything
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{explain} {select.sql}", select.parameters)
        text = "\n".join(str(line[-1]) for line in cursor.fetchall())
    if alias == "pg":
        assert "route_attempts" in text
        assert f"route_attempts_p{NOW:%Y%m%d}" not in text
    else:
        assert "SEARCH a USING INDEX sqlite_autoindex_route_attempts_1 (id>? AND id<?)" in text


@both
def test_a_range_that_takes_part_of_a_sealed_hour_is_widened_to_the_whole(alias: str) -> None:
    rows.store(*(samples.finished(at(DAYS_AGO + n * minutes(10), n)) for n in range(18)), alias=alias)
    rollups.seal(DAYS_AGO + timedelta(hours=2), alias)
    answer = statistics(TimeRange(DAYS_AGO + minutes(35), DAYS_AGO + minutes(65)), None, alias=alias)
    assert (answer["from"], answer["to"]) == (DAYS_AGO, DAYS_AGO + minutes(120))
    assert answer["totals"]["count"] == 12
    open_ended = statistics(TimeRange(DAYS_AGO + minutes(65), DAYS_AGO + minutes(125)), None, alias=alias)
    assert (open_ended["from"], open_ended["to"]) == (DAYS_AGO + minutes(60), DAYS_AGO + minutes(125))
    assert open_ended["totals"]["count"] == 7


@BOTH
def test_rows_that_are_removed_while_they_are_read_are_counted_by_their_sums(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.store(*(samples.finished(at(DAYS_AGO, n)) for n in range(4)), alias=alias)
    make = plan.make
    times: list[None] = []

    def and_then_they_are_removed(*arguments: Any) -> plan.Plan:
        made = make(*arguments)
        if not times:
            times.append(None)
            rollups.seal(DAYS_AGO + timedelta(hours=1), alias)
            delete_rows(alias, DAYS_AGO + timedelta(hours=1))
        return made

    monkeypatch.setattr(plan, "make", and_then_they_are_removed)
    assert count(alias) == 4
    assert times


@BOTH
def test_sealing_waits_for_a_batch_that_is_under_way_and_counts_it() -> None:
    rows.store(samples.finished(at(DAYS_AGO)), alias="pg")
    held, done = threading.Event(), threading.Event()

    def ship() -> None:
        try:
            with transaction.atomic(using="pg"):
                rows.store(samples.finished(at(DAYS_AGO, 2)), alias="pg")
                held.set()
                assert not done.wait(0.3)  # sealing does not end before this does
        finally:
            connections["pg"].close()

    shipper = threading.Thread(target=ship)
    shipper.start()
    assert held.wait(10)
    rollups.seal(DAYS_AGO + timedelta(hours=1), "pg")
    done.set()
    shipper.join()
    delete_rows("pg", DAYS_AGO + timedelta(hours=1))
    assert count("pg") == 2


@both
def test_rebuilding_sums_up_what_was_changed_by_hand_and_leaves_sealed_hours_alone(alias: str, as_default: str) -> None:
    rows.store(samples.finished(at(DAYS_AGO)), samples.finished(at(DAYS_AGO + minutes(61), 2)), alias=alias)
    rollups.seal(DAYS_AGO + timedelta(hours=1), alias)
    work.run(alias)
    RouteHistory.objects.using(alias).all().delete()
    assert count(alias) == 2
    out = StringIO()
    call_command("rebuild_rollups", stdout=out)
    assert out.getvalue() == "1 hours to sum up again; 2 periods summed up\n"
    assert count(alias) == 1


@both
def test_what_rules_matched_in_a_day_is_counted_from_sums_and_rows_alike(alias: str) -> None:
    now = NOW - timedelta(seconds=1)
    moments = [now - timedelta(hours=n) for n in range(30)]
    rows.store(*(samples.finished(at(each, n), rule="long") for n, each in enumerate(moments)), alias=alias)
    before = queries.rule_traffic(alias)
    work.run(alias)
    assert plan.make(TimeRange.last(), alias).sums[HOUR]
    assert queries.rule_traffic(alias) == before == {("default", "long"): RuleTraffic(24, moments[0])}


def test_the_beat_has_sums_made_every_minute() -> None:
    entry = SCHEDULE["rollups"]
    assert (entry["task"], entry["schedule"], entry["options"]) == ("history.rollups", 60.0, {"expires": 60})


def test_hours_that_are_not_over_long_are_never_thought_sealed() -> None:
    now = NOW.timestamp()
    assert not sealing.may_be_sealed([int(now)])
    assert sealing.may_be_sealed([int(now), int(now) - 2 * HOUR])
