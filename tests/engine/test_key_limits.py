"""Limits per access key and per profile in the tables: what fits, when the next fits, money by calendar windows, what
a dead process leaves. Clocks are passed in; two "processes" are two states over one buffer."""

from __future__ import annotations

import uuid
from collections import deque
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routes.engine.limits import Crossing, Exceeded, KeyLimits, KeyUsage, begins, ends, numbers
from routes.engine.local_live import LocalLiveState
from routes.engine.tables.keys import KEPT, KEPT_MONEY, REQUESTS, RING, TOKENS, Permit
from routes.engine.tables.layout import Layout
from routes.engine.tables.memory import KEYS, Memory, ThreadLocks, private
from routes.engine.tables.registry import Records
from routes.engine.tables.state import TableState

NOW = 1000.0
KEY = str(uuid.UUID(int=1))
OTHER = str(uuid.UUID(int=2))
SMALL = Layout(targets=4, providers=4, quarantined=4, pin_sets=2, input_sets=2, counter_sets=2, limited=2)
#: A Wednesday.
WALL = datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def processes(count: int = 2, layout: Layout = SMALL) -> list[TableState]:
    buffer, locks = private(layout.length), ThreadLocks()
    return [
        TableState(Memory(buffer, layout, locks, owner, first_stamp=owner * 1000), Random(owner))
        for owner in range(count)
    ]


def enter(live: TableState, limits: KeyLimits, now: float = NOW, key: str = KEY) -> Permit:
    permit = live.enter_key(key, limits, now)
    assert isinstance(permit, Permit), permit
    return permit


def refused(live: TableState, limits: KeyLimits, now: float = NOW, key: str = KEY) -> Exceeded:
    answer = live.enter_key(key, limits, now)
    assert isinstance(answer, Exceeded)
    return answer


def spend(live: TableState, limits: KeyLimits, micro: int, wall: float = WALL) -> list[Crossing]:
    return live.leave_key(enter(live, limits), 0, micro, NOW, wall)


# -- requests a minute -----------------------------------------------------------------------------------------


def test_so_many_requests_fit_into_a_minute_and_the_next_is_told_when() -> None:
    one, two = processes()
    limits = KeyLimits(rpm=3)
    for live, now in ((one, 1000.2), (two, 1000.9), (one, 1030.0)):
        enter(live, limits, now)
    answer = refused(two, limits, 1031.5)
    assert (answer.limit, answer.retry_after) == ("rpm", pytest.approx(1061 - 1031.5))
    refused(one, limits, 1060.99)
    enter(one, limits, 1061.0)
    enter(two, limits, 1061.0)
    assert refused(one, limits, 1061.0).retry_after == pytest.approx(30.0)


def test_a_refused_request_does_not_count() -> None:
    (live,) = processes(1)
    limits = KeyLimits(rpm=1)
    enter(live, limits)
    for _ in range(10):
        refused(live, limits)
    assert live.key_usage(KEY, NOW, WALL).requests == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 1), st.integers(1, 5)), min_size=1, max_size=120),
    st.integers(1, 12),
)
def test_never_are_there_more_than_the_limit_in_any_minute(steps: list[tuple[float, int, int]], limit: int) -> None:
    lives = processes()
    limits, now = KeyLimits(rpm=limit, tpm=10 * limit), 500.0
    admitted: deque[float] = deque()
    reserved: deque[tuple[float, int]] = deque()
    for pause, which, tokens in steps:
        now += pause
        live = lives[which]
        answer = live.enter_key(KEY, limits, now)
        if not isinstance(answer, Permit):
            assert answer.retry_after is not None
            assert 0 < answer.retry_after <= 61
            continue
        admitted.append(now)
        if live.reserve(answer, tokens, now, WALL)[0] is None:
            reserved.append((now, tokens))
        while admitted[0] <= now - 60:
            admitted.popleft()
        while reserved and reserved[0][0] <= now - 60:
            reserved.popleft()
        assert len(admitted) <= limit
        assert sum(count for _, count in reserved) <= 10 * limit


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=60), st.integers(1, 6))
def test_whoever_comes_back_when_told_is_let_in_and_not_a_moment_before(pauses: list[float], limit: int) -> None:
    live = LocalLiveState(layout=SMALL)
    limits, now = KeyLimits(rpm=limit), 500.0
    for pause in pauses:
        now += pause
        answer = live.enter_key(KEY, limits, now)
        if isinstance(answer, Exceeded):
            assert answer.retry_after is not None
            refused(live, limits, now + answer.retry_after - 0.001)
            now += answer.retry_after
            enter(live, limits, now + 1e-6)


def test_meters_say_what_is_left_and_when_nothing_counts_any_more() -> None:
    (live,) = processes(1)
    limits = KeyLimits(rpm=3, tpm=100)
    permit = enter(live, limits, 1000.5)
    live.reserve(permit, 40, 1000.5, WALL)
    requests, tokens = permit.meters
    assert requests is not None
    assert tokens is not None
    assert (requests.limit, requests.remaining, requests.reset) == (3, 2, pytest.approx(60.5))
    assert (tokens.limit, tokens.remaining, tokens.reset) == (100, 60, pytest.approx(60.5))
    assert enter(live, KeyLimits(concurrency=9), 1000.5).meters == (None, None)


# -- tokens a minute -------------------------------------------------------------------------------------------


def test_tokens_are_reserved_and_then_settled_to_what_was_used() -> None:
    (live,) = processes(1)
    limits = KeyLimits(tpm=100)
    first, second = enter(live, limits), enter(live, limits)
    assert live.reserve(first, 80, NOW, WALL) == (None, [])
    exceeded, _ = live.reserve(second, 30, NOW + 5, WALL)
    assert exceeded is not None
    assert (exceeded.limit, exceeded.retry_after) == ("tpm", pytest.approx(56.0))
    live.leave_key(first, 10, 0, NOW + 5, WALL)
    live.leave_key(first, 10, 0, NOW + 5, WALL)
    assert live.key_usage(KEY, NOW + 5, WALL).tokens == 10
    assert live.reserve(second, 30, NOW + 5, WALL)[0] is None
    live.leave_key(second, 90, 0, NOW + 7, WALL)
    assert live.key_usage(KEY, NOW + 7, WALL).tokens == 100
    third = enter(live, limits, NOW + 61)
    assert live.reserve(third, 11, NOW + 61, WALL)[0] is not None, "what came beyond the reserve counts when it came"
    assert live.reserve(third, 100 - 90, NOW + 61, WALL)[0] is None


def test_what_is_given_back_after_a_minute_changes_nothing() -> None:
    (live,) = processes(1)
    limits = KeyLimits(tpm=100)
    permit = enter(live, limits)
    live.reserve(permit, 80, NOW, WALL)
    live.leave_key(permit, 0, 0, NOW + 300, WALL)
    assert live.key_usage(KEY, NOW + 300, WALL).tokens == 0


def test_a_request_that_can_never_fit_is_not_told_to_wait() -> None:
    (live,) = processes(1)
    permit = enter(live, KeyLimits(tpm=100))
    exceeded, _ = live.reserve(permit, 101, NOW, WALL)
    assert exceeded is not None
    assert exceeded.retry_after is None


# -- concurrency -----------------------------------------------------------------------------------------------


def test_so_many_are_under_way_at_once_over_all_processes() -> None:
    one, two = processes()
    limits = KeyLimits(rpm=100, concurrency=2)
    first = enter(one, limits)
    enter(two, limits)
    assert refused(one, limits).limit == "concurrency"
    assert one.key_usage(KEY, NOW, WALL).requests == 2, "a refused one is no request"
    one.leave_key(first, 0, 0, NOW, WALL)
    one.leave_key(first, 0, 0, NOW, WALL)
    enter(two, limits)
    refused(two, limits)


def test_what_a_dead_process_had_under_way_is_free_again() -> None:
    one, two = processes()
    limits = KeyLimits(concurrency=1)
    enter(two, limits)
    assert two.enter_profile(OTHER, 1, NOW) is not None
    refused(one, limits)

    def dead(now: float) -> bool:
        one._keys.forget_owner(1)
        return True

    one.reclaim = dead  # type: ignore[method-assign]
    enter(one, limits)
    assert one.enter_profile(OTHER, 1, NOW) is not None
    assert one.enter_profile(OTHER, 1, NOW) is None


def test_seats_of_a_profile_are_shared_by_all_processes() -> None:
    one, two = processes()
    first = one.enter_profile(OTHER, 2, NOW)
    assert first is not None
    assert two.enter_profile(OTHER, 2, NOW) is not None
    assert one.enter_profile(OTHER, 2, NOW) is None
    one.leave_profile(first)
    one.leave_profile(first)
    assert two.enter_profile(OTHER, 2, NOW) is not None
    assert two.enter_profile(OTHER, 2, NOW) is None


# -- money -----------------------------------------------------------------------------------------------------


def test_a_spent_budget_blocks_and_people_are_told_once_of_each_step() -> None:
    one, two = processes()
    limits = KeyLimits(day=1000, month=5000)
    assert spend(one, limits, 799) == []
    assert spend(two, limits, 1) == [Crossing("day", 80)]
    assert spend(one, limits, 100) == []
    assert two.reserve(enter(two, limits), 0, NOW, WALL) == (None, [])
    assert spend(two, limits, 150) == [Crossing("day", 100)]
    exceeded, crossings = one.reserve(enter(one, limits), 0, NOW, WALL)
    assert exceeded is not None
    assert (exceeded.limit, exceeded.retry_after, crossings) == ("usd_day", None, [])
    raised = limits._replace(day=10_000)
    assert one.reserve(enter(one, raised), 0, NOW, WALL) == (None, [])
    assert spend(one, raised, 7000) == [Crossing("day", 80), Crossing("month", 100)]


def test_a_budget_is_whole_again_when_its_window_begins() -> None:
    (live,) = processes(1)
    limits = KeyLimits(day=100, week=1000, month=1000)
    spend(live, limits, 100)

    def money(wall: float) -> tuple[int, int, int]:
        enter(live, limits)
        live.set_key_limits({KEY: limits}, NOW, wall)
        return live.key_usage(KEY, NOW, wall).money

    assert money(WALL) == (100, 100, 100)
    assert money(datetime(2026, 11, 18, 23, 59, 59, tzinfo=UTC).timestamp()) == (100, 100, 100)
    assert money(datetime(2026, 11, 19, tzinfo=UTC).timestamp()) == (0, 100, 100)
    assert money(datetime(2026, 11, 22, 23, tzinfo=UTC).timestamp()) == (0, 100, 100), "a Sunday"
    assert money(datetime(2026, 11, 23, tzinfo=UTC).timestamp()) == (0, 0, 100), "a Monday"
    assert money(datetime(2026, 12, 1, tzinfo=UTC).timestamp()) == (0, 0, 0)


def test_a_clock_that_steps_back_over_midnight_keeps_the_window() -> None:
    (live,) = processes(1)
    limits = KeyLimits(day=100)
    midnight = datetime(2026, 11, 19, tzinfo=UTC).timestamp()
    spend(live, limits, 60, midnight + 1)
    spend(live, limits, 40, midnight - 1)
    assert live.reserve(enter(live, limits), 0, NOW, midnight + 1)[0] is not None


@pytest.mark.parametrize(
    ("window", "day"), [("day", (2026, 11, 18)), ("week", (2026, 11, 16)), ("month", (2026, 11, 1))]
)
def test_windows_begin_where_the_calendar_says(window: Any, day: tuple[int, int, int]) -> None:
    assert begins(window, WALL) == datetime(*day, tzinfo=UTC).timestamp()


@given(st.floats(0, 4e9))
def test_the_number_of_a_window_changes_where_it_begins_and_where_it_ends(wall: float) -> None:
    for place, window in enumerate(("day", "week", "month")):
        start = begins(window, wall)  # type: ignore[arg-type]
        assert numbers(start)[place] == numbers(wall)[place] == numbers(start - 1)[place] + 1
        assert datetime.fromtimestamp(start, UTC).time().isoformat() == "00:00:00"
        end = ends(window, wall)  # type: ignore[arg-type]
        assert begins(window, end) == end  # type: ignore[arg-type]
        assert numbers(end)[place] == numbers(wall)[place] + 1


# -- money spent before ----------------------------------------------------------------------------------------


def test_a_new_record_of_a_budget_asks_for_its_past_and_takes_the_larger_figure() -> None:
    one, two = processes()
    limits = KeyLimits(day=1000)
    one.set_key_limits({KEY: limits, OTHER: KeyLimits(rpm=1)}, NOW, WALL)
    assert two.unseeded(WALL) == {KEY: ("day", "week", "month")}
    spend(one, limits, 300)
    two.seed_spent(KEY, "day", 500, WALL)
    assert one.key_usage(KEY, NOW, WALL).money == (500, 300, 300)
    two.seed_spent(KEY, "week", 200, WALL)
    assert one.key_usage(KEY, NOW, WALL).money == (500, 300, 300)
    assert one.unseeded(WALL) == {KEY: ("month",)}
    spend(one, limits, 100)
    assert one.key_usage(KEY, NOW, WALL).money == (600, 400, 400)
    two.seed_spent(OTHER, "day", 500, WALL)
    assert one.key_usage(OTHER, NOW, WALL).money == (0, 0, 0)


def test_a_window_that_a_record_has_seen_begin_needs_no_seed() -> None:
    (live,) = processes(1)
    live.set_key_limits({KEY: KeyLimits(month=1)}, NOW, WALL)
    assert live.unseeded(WALL + DAY) == {KEY: ("week", "month")}


# -- other hosts -----------------------------------------------------------------------------------------------


def test_what_other_hosts_used_counts_until_its_minute_is_over() -> None:
    (live,) = processes(1)
    keys, limits = live._keys, KeyLimits(rpm=10, tpm=100, concurrency=5, day=1000)
    live.set_key_limits({KEY: limits}, NOW, WALL)
    day, week, month = numbers(WALL)
    money = [(day, 400.0), (week, 500.0), (month - 1, 600.0)]
    keys.set_others(KEY, {900: (5, 5), 990: (4, 30), 1005: (3, 20)}, 4, NOW + 6, money, NOW, WALL)
    assert live.key_usage(KEY, NOW, WALL) == KeyUsage(7, 50, 4, (400, 500, 0))
    permit = enter(live, limits)
    assert refused(live, limits).limit == "concurrency"
    exceeded, _ = live.reserve(permit, 51, NOW, WALL)
    assert exceeded is not None
    assert exceeded.retry_after == pytest.approx(51.0)
    assert live.key_usage(KEY, NOW + 6, WALL).in_flight == 1
    assert live.key_usage(KEY, NOW + 51, WALL).requests == 4, "a clock that is ahead of ours counts from now"
    assert live.key_usage(KEY, NOW + 61, WALL).tokens == 0
    live.seed_spent(KEY, "day", 450, WALL)
    assert live.key_usage(KEY, NOW, WALL).money == (450, 500, 0), "history knows what other hosts spent, too"


def test_what_has_not_been_told_is_a_lease_and_a_part_of_what_is_free() -> None:
    (live,) = processes(1)
    keys, limits = live._keys, KeyLimits(rpm=100)
    keys.hosts(2, NOW + 6)
    admitted = sum(isinstance(live.enter_key(KEY, limits, NOW), Permit) for _ in range(100))
    assert admitted == 10 + 100 // 8
    assert refused(live, limits).retry_after == 1.0
    known: dict[bytes, float] = {}
    [own] = keys.changed(known)
    assert (own.key_id, own.cells, own.in_flight) == (KEY, {1000: (22.0, 0.0)}, 22)
    refused(live, limits)  # it was told, and may be on its way
    assert keys.changed(known) == []
    enter(live, limits)
    assert len(keys.changed(known)) == 1
    assert sum(isinstance(live.enter_key(KEY, limits, NOW + 6), Permit) for _ in range(100)) == 77, "alone again"


def test_one_request_is_always_lease_enough_however_many_tokens_it_takes() -> None:
    (live,) = processes(1)
    limits = KeyLimits(tpm=1000, concurrency=10)
    live._keys.hosts(2, NOW + 6)
    assert live.reserve(enter(live, limits), 900, NOW, WALL)[0] is None
    exceeded, _ = live.reserve(enter(live, limits), 50, NOW, WALL)
    assert exceeded is not None
    assert exceeded.retry_after == 1.0
    assert refused(live, limits._replace(concurrency=2)).limit == "concurrency"


def test_who_took_over_knows_nothing_of_strangers() -> None:
    (live,) = processes(1)
    for stranger in (KEY, "no id", "00"):
        live._keys.set_others(stranger, {1000: (5, 5)}, 1, NOW + 6, [], NOW, WALL)
    assert live._words[KEYS] == 0


# -- the table -------------------------------------------------------------------------------------------------


def test_a_key_beyond_the_table_is_limited_by_one_process_alone() -> None:
    one, two = processes()
    limits = KeyLimits(rpm=1)
    for key in (KEY, OTHER):
        enter(one, limits, key=key)
    third = str(uuid.UUID(int=3))
    enter(one, limits, key=third)
    refused(one, limits, key=third)
    enter(two, limits, key=third)
    assert one.key_usage(third, NOW, WALL).requests == 1


def test_a_key_that_was_not_used_for_long_makes_room_and_one_with_money_later() -> None:
    one, two = processes()
    limits = KeyLimits(rpm=5, day=100)
    one.set_key_limits({KEY: limits}, NOW, WALL)
    old = enter(one, KeyLimits(rpm=5), key=OTHER)
    third, later = str(uuid.UUID(int=3)), NOW + KEPT + 100
    enter(two, limits, later, third)
    assert one.key_usage(OTHER, NOW, WALL).requests == 1, "while a request is under way its record stays"
    one.leave_key(old, 0, 0, NOW, WALL)
    fourth = str(uuid.UUID(int=4))
    enter(two, limits, later, fourth)
    assert one.key_usage(OTHER, later, WALL) == KeyUsage(0, 0, 0, (0, 0, 0))
    assert one.key_usage(fourth, later, WALL).requests == 1
    again = enter(one, limits, later, OTHER)
    assert two.key_usage(OTHER, later, WALL).requests == 0, "there is no room: this process alone knows"
    one.leave_key(again, 0, 0, later, WALL)
    much_later = NOW + KEPT_MONEY
    enter(two, limits, much_later, str(uuid.UUID(int=5)))
    assert one.unseeded(WALL) == {}, "the budget's record went"


def test_a_request_whose_record_was_given_away_ends_without_a_trace() -> None:
    one, two = processes(layout=Layout(1, 1, 1, 1, 1, 1, 1))
    limits = KeyLimits(rpm=5, tpm=100)
    permit = enter(one, limits)
    seat = one.enter_profile(KEY, 5, NOW)
    assert seat is not None
    one._keys.forget_owner(0)
    enter(two, limits, NOW + KEPT, OTHER)
    assert one.reserve(permit, 5, NOW, WALL)[0] is None
    one.leave_key(permit, 50, 5, NOW, WALL)
    one.leave_profile(seat)
    assert two.key_usage(OTHER, NOW + KEPT, WALL) == KeyUsage(1, 0, 1, (0, 0, 0))


def test_whoever_locks_after_a_killed_writer_counts_again() -> None:
    one, two = processes()
    limits = KeyLimits(rpm=5, tpm=100)
    permit = enter(one, limits)
    one.reserve(permit, 30, NOW, WALL)
    permit.record.guard.__enter__()  # and is killed between a second and the sum
    permit.record.add(REQUESTS, int(NOW) % RING, 2)
    permit.record.cells[REQUESTS - 1] = permit.record.cells[TOKENS - 1] = 99.0
    one._memory.locks.mutex.release()  # as the kernel would
    assert two.key_usage(KEY, NOW, WALL)[:2] == (3, 30)


def test_a_twin_has_limits_of_its_own() -> None:
    (live,) = processes(1)
    limits = KeyLimits(rpm=2)
    enter(live, limits)
    twin = live.fork()
    enter(twin, limits)
    refused(twin, limits)
    enter(live, limits)


def test_nothing_is_under_way_when_no_process_is_left_and_a_new_clock_starts_new_minutes() -> None:
    one, _ = processes()
    limits = KeyLimits(rpm=2, concurrency=1, day=100)
    one.set_key_limits({KEY: limits}, NOW, WALL)
    spend(one, limits, 60)
    enter(one, limits)
    three = TableState(Memory(one._memory.raw, SMALL, ThreadLocks(), 2))
    three._keys.start_over(0.0)
    assert three.key_usage(KEY, NOW, WALL) == KeyUsage(2, 0, 0, (60, 60, 60))
    three._keys.start_over(-990.0)
    assert three.key_usage(KEY, 10.0, WALL) == KeyUsage(0, 0, 0, (60, 60, 60))


def test_a_key_record_of_no_sense_is_not_a_live_state() -> None:
    (live,) = processes(1)
    record = enter(live, KeyLimits(rpm=2)).record
    assert Records(live._memory).sane()
    record.cells[10] = float("nan")
    assert not Records(live._memory).sane()


def test_limits_are_read_from_the_overlay_in_dollars_and_none_is_none() -> None:
    assert KeyLimits.from_document(None) is None
    assert KeyLimits.from_document({"rpm": 0, "usd_day": 0.0}) is None
    limits = KeyLimits.from_document({"rpm": 5, "usd_week": 0.25, "usd_month": 3})
    assert limits == KeyLimits(5, 0, 0, 0, 250_000, 3_000_000)
    assert limits.money == (0, 250_000, 3_000_000)
