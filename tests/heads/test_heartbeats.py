"""Heartbeats: judged by the overlay on disk, kept in memory, in order, and not in floods."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, connection
from prometheus_client import CollectorRegistry, generate_latest

from health.heads import actions, liveness, metrics, service, throttle
from health.heads.documents import HeadRegistration, HeadStatus, NamedHead
from health.heads.errors import Flooded, HeadMissing, OldGeneration, OutOfOrder, Unknowable
from health.heads.service import desk
from health.models import Head, HealthEvent
from routes.actions.errors import Forbidden
from routes.models import AuditEntry
from routing_project.console.metrics.view import scrape
from tests.control.conftest import actor
from tests.heads.conftest import OPERATOR, committed, key_of, register, registration, silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django import DjangoAssertNumQueries

    from routes.live import SharedLiveState
    from routing_project.env import Env

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("provider")]


def beat(head_id: str = "one", status: str = "active", load: float = 1, **given: Any) -> dict[str, Any]:
    said = HeadStatus.model_validate({"status": status, "load": load, **given})
    with committed():
        return desk.update(head_id, said, OPERATOR).body


@pytest.fixture
def without_database() -> contextlib.AbstractContextManager[list[str]]:
    """Within it every query fails, as when the server is away; gives the ones that were tried."""
    tried: list[str] = []

    def refuse(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        tried.append(sql)
        raise DatabaseError("the server closed the connection unexpectedly")

    @contextlib.contextmanager
    def away() -> Iterator[list[str]]:
        with connection.execute_wrapper(refuse):
            yield tried

    return away()


def test_a_heartbeat_is_in_every_process_without_a_query(
    host: SharedLiveState, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    row = register()
    with django_assert_num_queries(0):
        answer = beat(load=12)
    state = host.head_state(key_of(row), time.monotonic())
    assert (state.online, state.draining, state.load) == (True, False, 12)
    assert answer == {"head_id": "one", "generation": 1, "ttl": 15, "status": "active", "approved": True}


def test_the_last_ten_loads_are_kept(host: SharedLiveState) -> None:
    row = register()
    for load in range(12):
        beat(load=load)
        desk._throttle = throttle.Throttle()
    assert [report.load for report in host.stats(key_of(row)).loads(float("-inf"))] == list(range(2, 12))


def test_an_old_generation_is_refused_and_an_omitted_one_is_the_current_one(host: SharedLiveState) -> None:
    row = register()
    register()
    with pytest.raises(OldGeneration):
        beat(generation=1, load=99)
    assert host.head_state(key_of(row), time.monotonic()).load is None
    assert beat(generation=2)["generation"] == beat()["generation"] == 2


def test_an_unknown_head_is_told_to_register() -> None:
    with pytest.raises(HeadMissing):
        beat("nobody")
    register()
    with committed():
        actions.deregister("one", actor=OPERATOR)
    with pytest.raises(HeadMissing):
        beat("one")


def test_a_generation_that_the_overlay_does_not_know_yet_is_asked_of_the_database() -> None:
    row = register()
    Head.objects.filter(pk=row.pk).update(generation=5)  # as if another host's registration had not arrived here
    assert beat(generation=5)["generation"] == 5


def test_an_update_older_than_one_that_was_taken_is_refused(host: SharedLiveState) -> None:
    row = register()
    beat(timestamp=1000.5, load=3)
    with pytest.raises(OutOfOrder):
        beat(timestamp="1970-01-01T00:16:40Z", load=9)
    assert host.head_state(key_of(row), time.monotonic()).load == 3
    beat(timestamp=1000.5)
    register()
    beat(timestamp=10)  # of the new generation, whose clock may be another one


def test_a_clock_that_ran_ahead_keeps_its_head_out_for_no_longer_than_it_takes_to_be_offline() -> None:
    register()
    beat(timestamp="2126-01-01")
    with pytest.raises(OutOfOrder):
        beat(timestamp=time.time())
    beat(timestamp=time.time() + 16)  # as if it were so much later


def test_who_may_not_operate_keeps_nothing_alive() -> None:
    register()
    with pytest.raises(Forbidden):
        desk.update("one", HeadStatus(status="active", load=1), actor("read", "route"))


# -- the database is away ----------------------------------------------------------------------------------------
def test_heads_stay_alive_while_the_database_is_away(
    host: SharedLiveState, without_database: contextlib.AbstractContextManager[list[str]]
) -> None:
    row = register()
    silence(host, row)
    with without_database as tried:
        assert beat(load=7)["status"] == "active"
        assert beat(status="draining")["status"] == "draining"
        assert beat(status="draining")["status"] == "draining"
    state = host.head_state(key_of(row), time.monotonic())
    assert (state.online, state.draining) == (True, True)
    assert len(tried) == 1  # to tell that it is back; then the database is left alone for a while
    assert not HealthEvent.objects.filter(after="draining").exists()
    liveness.notice_all()  # what health.heads does when the database is back
    assert HealthEvent.objects.filter(after="draining").count() == 1


def test_an_old_generation_is_refused_without_the_database(
    without_database: contextlib.AbstractContextManager[list[str]],
) -> None:
    register()
    register()
    with without_database as tried, pytest.raises(OldGeneration):
        beat(generation=1)
    assert tried == []


def test_who_is_not_known_cannot_be_told_without_the_database(
    without_database: contextlib.AbstractContextManager[list[str]],
) -> None:
    with without_database:
        for _ in range(2):
            with pytest.raises(Unknowable):
                beat("nobody")


# -- what is told of it ----------------------------------------------------------------------------------------
def test_draining_is_told_once_and_audited() -> None:
    register()
    beat(status="draining")
    beat(status="draining")
    told = HealthEvent.objects.filter(after="draining").values_list("before", "reason", "actor")
    assert list(told) == [("active", "reported", "ada")]
    entry = AuditEntry.objects.get(action="head.status")
    assert (entry.category, entry.changes) == ("head", {"status": ["active", "draining"]})
    beat(status="active")
    assert HealthEvent.objects.filter(after="active").count() == 1


def test_a_head_that_comes_back_is_told_of_at_once(host: SharedLiveState) -> None:
    row = register()
    silence(host, row)
    Head.objects.update(online=False)
    beat()
    assert Head.objects.get().online
    assert list(HealthEvent.objects.filter(after="online").values_list("before", "reason")) == [
        ("offline", "heartbeat")
    ]


# -- floods ----------------------------------------------------------------------------------------------------
def refusal(act: Callable[[], Any]) -> Flooded | None:
    try:
        act()
    except Flooded as error:
        return error
    return None


def test_a_flood_of_one_head_is_refused_and_harms_no_other() -> None:
    register("one")
    register("two")
    refused = [error for _ in range(50) if (error := refusal(lambda: beat("one"))) is not None]
    assert 0 < len(refused) <= 50 - throttle.UPDATES_OF_HEAD.burst
    assert {error.retry_after for error in refused} == {1}
    beat("two")


def test_strangers_cost_few_queries() -> None:
    outcomes = []
    for number in range(60):
        try:
            beat(f"stranger-{number}")
        except (HeadMissing, Flooded) as error:
            outcomes.append(type(error))
    assert outcomes.count(HeadMissing) < 60
    assert outcomes[-1] is Flooded


def test_registering_in_a_loop_is_refused() -> None:
    wanted = HeadRegistration.model_validate(registration())
    assert any(refusal(lambda: desk.register(wanted, OPERATOR)) for _ in range(20))
    assert Head.objects.get().generation < 20


def test_what_the_throttle_remembers_is_bounded() -> None:
    now = [0.0]
    brake = throttle.Throttle(clock=lambda: now[0])
    for number in range(3 * throttle.MAX_BUCKETS):
        brake.take(throttle.UPDATES_OF_HEAD, str(number))
        now[0] += 0.001
    assert len(brake) <= throttle.MAX_BUCKETS


def test_waiting_helps_against_a_full_bucket() -> None:
    now = [0.0]
    brake = throttle.Throttle(clock=lambda: now[0])
    for _ in range(10):
        brake.take(throttle.UPDATES_OF_HEAD, "one")
    with pytest.raises(Flooded):
        brake.take(throttle.UPDATES_OF_HEAD, "one")
    now[0] = 0.21
    brake.take(throttle.UPDATES_OF_HEAD, "one")


# -- metrics ---------------------------------------------------------------------------------------------------
def scraped() -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(metrics.HeadCollector())
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.split(" ") for line in lines if not line.startswith("#"))}


def test_active_heads_are_counted_anew_at_every_scrape(
    host: SharedLiveState, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    assert scraped() == {"heads_registered": 0, "active_heads": 0}
    rows = [register(name) for name in ("one", "two", "three")]
    register("waits", endpoint="http://10.99.0.1/v1")
    with django_assert_num_queries(0):
        assert scraped() == {"heads_registered": 4, "active_heads": 3}
    silence(host, rows[0])
    beat("two", "draining")
    assert scraped() == {"heads_registered": 4, "active_heads": 1}


def test_of_50_heads_of_which_20_fell_silent_30_are_active(host: SharedLiveState, env: Env) -> None:
    rows = [register(f"head-{number}") for number in range(50)]
    assert {"heads_registered 50.0", "active_heads 50.0"} <= {*scrape(env).decode().splitlines()}
    for row in rows[:20]:
        silence(host, row)
    assert {"heads_registered 50.0", "active_heads 30.0"} <= {*scrape(env).decode().splitlines()}


def test_what_heads_say_is_counted() -> None:
    def counts() -> tuple[float, float]:
        return metrics.registrations._value.get(), metrics.updates._value.get()

    before = counts()
    with committed():
        desk.register(HeadRegistration.model_validate(registration()), OPERATOR)
    beat()
    beat()
    assert (counts()[0] - before[0], counts()[1] - before[1]) == (1, 2)


def test_leaving_by_the_desk_forgets_the_order() -> None:
    register()
    beat(timestamp=1000)
    with committed():
        desk.deregister(NamedHead(head_id="one"), OPERATOR)
    assert service.desk._stamps == {}
