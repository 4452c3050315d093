"""The tables behind the live state: what several processes share, what a killed one leaves, what happens when full.

Two "processes" here are two states with owners of their own over one buffer.
"""

from __future__ import annotations

from math import nan
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from routes.engine import stats as statistics
from routes.engine.circuit import BAD, GOOD, SLOTS, Circuit
from routes.engine.live import CLAIM_LEASE
from routes.engine.local_live import LocalLiveState
from routes.engine.tables import counters, sets
from routes.engine.tables.layout import Layout
from routes.engine.tables.memory import MOVED, PROVIDERS, Memory, ThreadLocks, private
from routes.engine.tables.pins import SESSION, PinCounts
from routes.engine.tables.records import OBSERVED, STATE
from routes.engine.tables.registry import Records
from routes.engine.tables.state import TableState
from routes.engine.types import Outcome
from tests.documents import profile, provider, snapshot, target
from tests.engine.drive import Bench

if TYPE_CHECKING:
    from routes.engine.snapshot import Snapshot, Target
    from routes.engine.tables.records import TargetRecord

NOW = 1000.0
SMALL = Layout(targets=4, providers=4, quarantined=4, pin_sets=2, input_sets=2, counter_sets=2)
_random = Random(7)
KEYS = [_random.randbytes(16) for _ in range(100)]


def processes(count: int = 2, layout: Layout = SMALL) -> list[TableState]:
    buffer, locks = private(layout.length), ThreadLocks()
    return [
        TableState(Memory(buffer, layout, locks, owner, first_stamp=owner * 1000), Random(owner))
        for owner in range(count)
    ]


def revision(slugs: str, **circuit: Any) -> Snapshot:
    return snapshot([provider(slug, circuit=circuit) for slug in slugs], [profile(targets=[target(s) for s in slugs])])


def places(of: Snapshot) -> list[Target]:
    return list(of.profiles["default"].targets)


def attempt(live: TableState, to: Target, verdict: Any = "success", now: float = NOW, **outcome: Any) -> None:
    claim = live.claim(to, now)
    assert claim is not None
    live.settle(claim, to, Outcome(verdict, None, 0.1, **outcome), now)
    live.release(claim, now)


def record(live: TableState, of: Target) -> TargetRecord:
    return live._records.of(of.id)


# -- shared ----------------------------------------------------------------------------------------------------


def test_what_one_process_finds_out_the_other_knows_at_once() -> None:
    one, two = processes()
    a, b = places(revision("ab"))
    for live in (one, two):
        live.published(revision("ab"))
        assert live.suspects(NOW) == ()
    for _ in range(5):
        attempt(one, a, "failure")
    assert two.circuit(a, NOW).state == "open"
    assert set(two.suspects(NOW)) == {a.id}
    two.set_observed(b.id, "unhealthy", 1e12)
    assert one.observed(b.id, NOW) == "unhealthy"
    assert set(one.suspects(NOW)) == {a.id, b.id}
    two.set_observed(b.id, "healthy", 1e12)
    assert set(one.suspects(NOW)) == {a.id}
    one.quarantine(b, None, 10.0, "auth_failed", NOW)
    assert set(two.suspects(NOW)) == {a.id, b.provider.id}
    assert set(two.suspects(NOW + 10.0)) == {a.id}
    two.hear_head(a.id, 7.0, False, 1e12, NOW)
    load = one.stats(a.id).load
    assert load is not None
    assert (load.load, load.sent_since) == (7.0, 0)
    held = [live.claim(b, NOW) for live in (one, two, two)]
    assert held[0] is not None
    assert held[0].target_id == b.id
    assert (one.stats(b.id).in_flight, one.in_flight(b.provider.id)) == (3, 3)
    assert all(held)


def test_requests_sent_since_a_heads_report_are_counted_over_all_processes() -> None:
    one, two = processes()
    (a,) = places(revision("a"))
    attempt(one, a)
    one.hear_head(a.id, 3.0, False, 1e12, NOW)
    for live in (one, two, two):
        attempt(live, a)
    for live in (one, two):
        load = live.stats(a.id).load
        assert load is not None
        assert load.sent_since == 3


def test_slots_of_a_half_open_circuit_are_shared_and_end_with_their_owner() -> None:
    one, two = processes()
    (a,) = places(revision("a"))
    for _ in range(5):
        attempt(one, a, "failure")
    due = two.circuit(a, NOW).until
    assert [two.claim(a, due) is not None for _ in range(2)] == [True, True]
    assert [one.claim(a, due) is not None for _ in range(2)] == [True, False]
    one._records.forget_owner(1)
    assert one.stats(a.id).in_flight == 1
    assert one.in_flight(a.provider.id) == 1
    assert [one.claim(a, due) is not None for _ in range(3)] == [True, True, False]
    assert two._records.of(a.id).circuit.state == "half_open"


def test_owners_of_targets_that_this_process_does_not_know_are_forgotten_too() -> None:
    one, two = processes()
    (a,) = places(revision("a"))
    for _ in range(5):
        attempt(one, a, "failure")
    due = one.circuit(a, NOW).until
    assert one.claim(a, due) is not None
    two._records.forget_owner(0)
    assert [one.claim(a, due) is not None for _ in range(4)] == [True, True, True, False]


def test_more_half_open_calls_than_there_is_room_for_are_as_many_as_there_is_room_for() -> None:
    live = LocalLiveState()
    (a,) = places(revision("a", half_open_max_calls=1000))
    for _ in range(5):
        attempt(live, a, "failure")
    due = live.circuit(a, NOW).until
    assert sum(live.claim(a, due) is not None for _ in range(200)) == SLOTS


def test_a_share_of_slots_holds_for_its_time_only() -> None:
    live = LocalLiveState()
    (a,) = places(revision("a"))
    for _ in range(5):
        attempt(live, a, "failure")
    due = live.circuit(a, NOW).until
    sharing = live.sharing()
    live.published(revision("a"))
    live.suspects(NOW)
    assert list(sharing.in_trouble()) == [(a.id, 3)]
    sharing.share_slots(a.id, 0, due + 10.0)
    assert live.claim(a, due) is None
    assert record(live, a).circuit.state == "open", "who has no share leaves the circuit as it is"
    sharing.share_slots(a.id, 1, due + 10.0)
    assert [live.claim(a, due) is not None for _ in range(2)] == [True, False]
    assert [live.claim(a, due + 10.0) is not None for _ in range(3)] == [True, True, False]


def test_no_process_left_means_nothing_in_flight() -> None:
    one, two = processes()
    (a,) = places(revision("a"))
    for _ in range(5):
        attempt(one, a, "failure")
    due = one.circuit(a, NOW).until
    for live in (one, two):
        live.claim(a, due, lease=CLAIM_LEASE)
    three = TableState(Memory(one._memory.raw, SMALL, ThreadLocks(), 2))
    three._records.start_over(0.0)
    assert three.stats(a.id).in_flight == three.in_flight(a.provider.id) == 0
    assert [three.claim(a, due) is not None for _ in range(4)] == [True, True, True, False]


# -- killed while writing --------------------------------------------------------------------------------------


def test_whoever_locks_after_a_killed_writer_counts_again() -> None:
    one, two = processes()
    (a,) = places(revision("a"))
    one.published(revision("a"))
    for number in range(150):
        attempt(one, a, "failure" if number % 3 == 0 else "success", stream=number % 2 == 0, output_tokens=10)
    one.release(one.claim(a, NOW), NOW, 50)  # type: ignore[arg-type]
    written = record(one, a)
    before = [one.stats(a.id).means_s(stream, NOW) for stream in (False, True)]
    good = list(written.circuit.cells[GOOD : BAD + 1])
    written.guard.__enter__()  # and is killed, having spoiled every sum
    for cells in (written.circuit.cells[GOOD : BAD + 1], written.stats.cells[3 + 2 : 3 + 8]):
        for place in range(len(cells)):
            cells[place] = 12345.0
    one._memory.locks.mutex.release()  # as the kernel would
    assert written.guard.sequence % 2 == 1
    assert [two.stats(a.id).means_s(stream, NOW) for stream in (False, True)] == [
        pytest.approx(means) for means in before
    ]
    assert list(written.circuit.cells[GOOD : BAD + 1]) == good
    assert written.guard.sequence % 2 == 0
    assert written.flag, "it may have changed the state, so everybody looks"


def test_a_claim_waits_for_who_is_writing_and_then_sees_the_new_period() -> None:
    live = LocalLiveState()
    (a,) = places(revision("a"))
    live.published(revision("a"))
    written = record(live, a)
    written.cells[2] += 1  # a writer was killed
    claim = live.claim(a, NOW)
    assert claim is not None
    assert written.guard.sequence % 2 == 0


def test_reading_while_somebody_writes_waits_for_the_end() -> None:
    live = LocalLiveState()
    (a,) = places(revision("a"))
    attempt(live, a)
    stats, guard = live.stats(a.id), record(live, a).guard

    tries = []

    def interrupted() -> bool:
        alone = live._memory.locks.mutex.locked()
        tries.append(alone)
        if not alone:
            with guard:
                stats.succeeded(False, 9.0, None, NOW)
        return alone

    assert stats._read(interrupted) == (True, guard.sequence)
    assert tries == [False, False, False, True], "the fourth time it had the guard"


def test_a_set_that_is_being_written_is_read_under_its_lock() -> None:
    one, two = processes()
    (a,) = places(revision("a"))
    one.set_pin(KEYS[0], a.id, NOW, 10.0, profile_id=a.provider.id)
    table = one._pins._table
    guard = table.guard(table.index(KEYS[0]))
    guard._word[0] += 1  # a writer was killed
    assert two.pin(KEYS[0], NOW) is not None
    assert guard.sequence % 2 == 0
    find = table._find

    def meets_a_writer(index: int, key: bytes) -> bytes | None:
        if not one._memory.locks.mutex.locked():
            with guard:
                pass
        return find(index, key)

    table._find = meets_a_writer  # type: ignore[method-assign]
    assert one.pin(KEYS[0], NOW) is not None


# -- full ------------------------------------------------------------------------------------------------------


def test_a_full_directory_gives_away_what_is_no_longer_configured_and_closed_first() -> None:
    one, two = processes()
    first, second, third = revision("abcd"), revision("cdef"), revision("efgh")
    a, b, c, d = places(first)
    for live in (one, two):
        live.published(first)
    for _ in range(5):
        attempt(one, a, "failure")
    attempt(two, b)
    held = two.claim(b, NOW)
    assert held is not None
    one.published(second)
    assert one.circuit(a, NOW).state == "closed", "two records had to go, and both old ones went"
    moved = one._words[MOVED]
    assert two.stats(c.id) is not None
    two.suspects(NOW)
    attempt(two, d)
    assert one.stats(d.id).means_s(False, NOW).samples == 1
    assert two.settle(held, b, Outcome("failure"), NOW) == []
    two.release(held, NOW)
    for each in places(second):
        assert one.stats(each.id).in_flight == 0
    assert moved == one._words[MOVED], "b has private memory in the process that still knows it"
    two.published(second)
    one.published(third)
    known = one._records._targets.keys()
    assert {key.hex() for key in known} >= {each.id.replace("-", "") for each in places(third)}


def test_an_open_circuit_is_kept_longer_than_a_closed_one() -> None:
    one, _ = processes()
    a, b = places(revision("ab"))
    one.published(revision("abcd"))
    for _ in range(5):
        attempt(one, a, "failure")
    one.published(revision("cde"))
    assert one.circuit(a, NOW).state == "open"
    assert one._records._targets.find(bytes.fromhex(b.id.replace("-", ""))) is None


def test_providers_make_room_for_one_another_too() -> None:
    one, two = processes()
    (a, *_) = places(revision("abcd"))
    one.published(revision("abcd"))
    held = one.claim(a, NOW)
    assert held is not None
    two.published(revision("efgh"))
    assert one._words[PROVIDERS] == 4
    one.release(held, NOW)
    one.settle(held, a, Outcome("success"), NOW)
    assert two.in_flight(places(revision("efgh"))[0].provider.id) == 0
    assert one.claim(a, NOW) is not None
    assert one.in_flight(a.provider.id) == 1


def test_what_there_is_no_room_for_is_remembered_by_one_process_alone() -> None:
    one, two = processes()
    (*_, e) = places(revision("abcde"))
    for live in (one, two):
        live.published(revision("abcde"))
    for _ in range(5):
        attempt(one, e, "failure")
    assert (one.circuit(e, NOW).state, two.circuit(e, NOW).state) == ("open", "closed")
    assert list(one.suspects(NOW)) == [e.id]
    (*_, f) = places(revision("abcdef"))
    attempt(one, f)
    one.set_credentials({})  # everybody is asked again
    assert list(one.suspects(NOW)) == [e.id]
    one.published(revision("e"))
    assert list(one.suspects(NOW)) == [e.id]
    one.published(revision("a"))
    assert one.suspects(NOW) == ()


def test_on_a_full_disk_a_new_target_is_remembered_by_one_process_alone() -> None:
    one, two = processes()
    a, b = places(revision("ab"))
    attempt(one, a)
    one._memory.reserve = lambda offset, length: False
    attempt(one, b)
    assert two.stats(a.id).means_s(False, NOW).samples == 1
    assert two.stats(b.id).means_s(False, NOW).samples == 0
    twin = one.fork()
    assert twin.stats(a.id).means_s(False, NOW).samples == 1
    assert twin.stats(b.id).means_s(False, NOW).samples == 0


def test_a_claim_notices_that_its_record_was_given_away() -> None:
    one, two = processes()
    (a, *_) = places(revision("abcd"))
    one.published(revision("abcd"))
    two.published(revision("efgh"))
    claim = one.claim(a, NOW)
    assert claim is not None
    one.release(claim, NOW)
    assert all(two.stats(each.id).in_flight == 0 for each in places(revision("efgh")))
    assert all(two.stats(each.id).requests_in(60.0, NOW) == 0 for each in places(revision("efgh")))


def test_a_refused_claim_asks_whether_somebody_died_and_tries_again() -> None:
    one, two = processes()
    (a,) = places(snapshot([provider("a", max_concurrency=1)]))
    assert two.claim(a, NOW) is not None
    assert one.claim(a, NOW) is None

    def dead(now: float) -> bool:
        one._records.forget_owner(1)
        return True

    one.reclaim = dead  # type: ignore[method-assign]
    assert one.claim(a, NOW) is not None
    assert one.claim(a, NOW) is None


def test_a_provider_may_make_room_while_its_target_does_not() -> None:
    one, two = processes(layout=Layout(targets=8, providers=1, quarantined=4, pin_sets=2, input_sets=2, counter_sets=2))
    (a,), (b,) = places(revision("a")), places(revision("b"))
    one.published(revision("a"))
    one.auth_failure(a, "auth_failed", NOW)
    held = one.claim(a, NOW)
    assert held is not None
    two.published(revision("b"))
    two.auth_failure(b, "auth_failed", NOW)
    one.settle(held, a, Outcome("success"), NOW)
    one.release(held, NOW)
    assert two.in_flight(b.provider.id) == 0
    assert two.auth_failure(b, "auth_failed", NOW) is not None, "the answer was not of this provider"


def test_a_record_without_an_id_is_the_next_to_go() -> None:
    one, two = processes()
    for live in (one, two):
        live.published(revision("abcd"))
    start = SMALL.targets.offset(2)  # whoever was giving c's record away was killed
    two._memory.cells[start // 8 + 3] += 1
    two._memory.changed(MOVED)
    two._memory.raw[start : start + 16] = bytes(16)
    a, b, e, d = places(revision("abed"))
    one.published(revision("abed"))
    two.published(revision("abed"))
    assert len(one._records._targets.keys()) == 4
    for to in (a, b, d, e):
        attempt(one, to)
        assert two.stats(to.id).means_s(False, NOW).samples == 1


def test_a_full_set_forgets_the_pin_due_soonest() -> None:
    one, two = processes()
    (a,) = places(revision("a"))
    keys = [key for key in KEYS if one._pins._table.index(key) == 0][:10]
    for number, key in enumerate(keys):
        one.set_pin(key, a.id, NOW, 100.0 + number, profile_id=a.provider.id)
    assert [two.pin(key, NOW) is not None for key in keys] == [False, False] + [True] * 8
    assert two.pin(keys[2], NOW + 102.0) is None, "it has expired"


def test_a_full_set_of_counters_forgets_the_one_not_used_for_longest() -> None:
    live = LocalLiveState(layout=SMALL)
    pools = [f"pool {number}" for number in range(40)]
    for pool in pools:
        assert [live.rotate(pool), live.rotate(pool)] == [0, 1]
    kept = [pool for pool in pools if live.peek().rotate(pool) == 2]
    assert len(kept) == 16
    assert live.rotate(pools[0]) == 0
    assert live.rotate(kept[-1]) == 2


def test_a_counter_whose_place_was_taken_starts_anew() -> None:
    one, two = processes()
    assert [one.rotate("mine"), one.rotate("mine")] == [0, 1]
    for number in range(40):
        two.rotate(f"pool {number}")
    assert one.rotate("mine") == 0


def test_all_counters_can_start_anew() -> None:
    live = LocalLiveState()
    assert [live.rotate("x"), live.rotate("x"), live.rotate("y")] == [0, 1, 0]
    live._counters.clear()
    assert [live.rotate("x"), live.rotate("y"), live.rotate("x")] == [0, 0, 1]


def test_keys_are_found_where_keys_begin_only() -> None:
    first, second = b"x" * 15 + b"y", b"y" + b"x" * 15
    assert sets._place(second + first + bytes(96), b"x" * 15 + b"y") == 1
    assert sets._place(b"a" * 8 + b"b" * 16 + b"a" * 8 + b"b" * 16, b"b" * 16) == 2
    assert sets._place(b"a" * 8 + b"b" * 16 + b"a" * 8, b"b" * 16) == -1


def test_names_of_pools_are_remembered_in_a_bounded_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MAX_PLACES", 5)
    live = LocalLiveState()
    for number in range(12):
        assert live.rotate(f"pool {number}") == 0
    assert len(live._counters._places) <= 5
    assert [live.rotate(f"pool {number}") for number in range(12)] == [1] * 12
    live._memory.reserve = lambda offset, length: False
    live._counters._table._reserved.clear()
    assert [live.rotate(f"new {number % 12}") for number in range(24)] == [0] * 24, "alone, and bounded as well"


# -- pins ------------------------------------------------------------------------------------------------------


def pinned(live: TableState, key: bytes, to: Target, of: Target | None = None, **given: Any) -> None:
    live.set_pin(key, to.id, given.pop("now", NOW), 60.0, profile_id=(of or to).provider.id, **given)


def test_pins_are_listed_and_dropped_by_profile_and_target() -> None:
    live = LocalLiveState()
    a, b = places(revision("ab"))
    pinned(live, KEYS[0], a, session="one")
    pinned(live, KEYS[1], a, b, session="ü" * 60, kind="response", pinned_at=NOW - 5.0)
    pinned(live, KEYS[2], b, session="three")
    pinned(live, KEYS[3], b, now=NOW - 60.0)
    found = sorted(live.pins(NOW), key=lambda entry: entry.session)
    assert [(entry.session, entry.kind, entry.pinned_at) for entry in found] == [
        ("one", "session", NOW),
        ("three", "session", NOW),
        ("ü" * (SESSION // 2), "response", NOW - 5.0),
    ]
    assert {entry.profile_id for entry in found} == {a.provider.id, b.provider.id}
    assert [entry.session for entry in live.pins(NOW, profile_id=b.provider.id, target_id=b.id)] == ["three"]
    assert live.drop_pins(NOW, profile_id=a.provider.id, target_id=b.id) == 0
    assert live.drop_pins(NOW, target_id=a.id) == 2
    assert (live.pin(KEYS[0], NOW), live.pin(KEYS[1], NOW)) == (None, None)
    assert live.drop_pins(NOW) == 1
    assert list(live.pins(NOW)) == []


def test_sessions_per_target_are_counted_little_by_little() -> None:
    live = LocalLiveState()
    a, b = places(revision("ab"))
    for number, key in enumerate(KEYS):
        pinned(live, key, (a, b)[number % 2], kind="response" if number == 0 else "session")
    counted = PinCounts(live._pins)
    counted.FEW = counted.MANY = 4096
    now, seen = NOW, []
    for _ in range(6):
        now += 0.001
        seen.append(counted.of(a.id, now))
        assert counted.of(a.id, now) == seen[-1], "one decision walks once"
    assert seen[-1] == 49
    assert counted.of(b.id, now) == 50
    live.suspects(NOW)
    assert live.pinned(a.id) in (0, 49)


def test_a_sessions_last_input_is_known_for_an_hour() -> None:
    live = LocalLiveState()
    assert live.last_input(KEYS[0], NOW) is None
    live.remember_input(KEYS[0], 1234, NOW)
    assert live.last_input(KEYS[0], NOW + 3599.0) == 1234
    assert live.last_input(KEYS[0], NOW + 3600.0) is None


# -- copies ----------------------------------------------------------------------------------------------------


def test_a_fork_knows_everything_and_what_it_does_nobody_sees() -> None:
    line = Bench(revision("abc"))
    line.live.published(line.snapshot)
    a, b, c = places(line.snapshot)
    line.open("a")
    line.live.set_credentials({b.provider.id: 3})
    line.live.quarantine(b, None, 60.0, "auth_failed", line.now)
    line.set_states(c="draining")
    line.live.rotate("pool")
    pinned(line.live, KEYS[0], c, now=line.now)
    line.live.remember_input(KEYS[0], 5, line.now)
    twin = line.live.fork()
    for live in (line.live, twin):
        assert live.circuit(a, line.now).state == "open"
        assert set(live.suspects(line.now)) == {a.id, b.provider.id}
        assert live.quarantined_until(b, "x", line.now) is not None
        assert live.admin_state(c, line.now) == "draining"
        assert live.pin(KEYS[0], line.now) is not None
        assert live.last_input(KEYS[0], line.now) == 5
        assert live.peek().rotate("pool") == 1
    before = bytes(line.live._memory.raw[: line.live._memory.layout.targets.start])
    assert [twin.rotate("pool"), twin.rotate("pool")] == [1, 2]
    twin.drop_pins(line.now)
    twin.set_observed(c.id, "unhealthy", 1e12)
    due = twin.circuit(a, line.now).until
    claim = twin.claim(a, due)
    assert claim is not None
    twin.settle(claim, a, Outcome("failure"), due)
    assert bytes(line.live._memory.raw[: line.live._memory.layout.targets.start]) == before
    assert line.live.peek().rotate("pool") == 1
    assert line.live.observed(c.id, NOW) == "unknown"
    assert set(line.live.suspects(line.now)) == {a.id, b.provider.id}
    assert set(twin.suspects(line.now)) == {a.id, b.provider.id, c.id}


# -- recovery --------------------------------------------------------------------------------------------------


def test_when_a_target_last_came_back_is_known() -> None:
    line = Bench(revision("ab", success_threshold=1))
    a, b = places(line.snapshot)
    assert line.live.recovered_at(a, "m", line.now) is None
    line.open("a")
    assert line.live.recovered_at(a, "m", line.now) is None
    line.recover("a")
    closed = line.now
    assert line.live.recovered_at(a, "m", line.now + 5.0) == closed
    line.live.quarantine(a, "m", 30.0, "rate_limited", line.now)
    assert line.live.recovered_at(a, "m", line.now + 29.0) is None
    assert line.live.recovered_at(a, "m", line.now + 31.0) == closed + 30.0
    assert line.live.recovered_at(a, "other", line.now + 31.0) == closed
    assert line.live.recovered_at(b, "m", line.now) is None


def test_a_credential_changed_while_its_quarantine_lasts_leaves_no_date() -> None:
    line = Bench(revision("a"))
    (a,) = places(line.snapshot)
    line.live.quarantine(a, None, 30.0, "auth_failed", line.now)
    line.live.set_credentials({a.provider.id: 2})
    assert line.live.quarantined_until(a, "m", line.now) is None
    assert line.live.recovered_at(a, "m", line.now + 1.0) is None


def test_without_room_for_a_quarantine_there_is_none() -> None:
    line = Bench(revision("a"))
    (a,) = places(line.snapshot)
    line.live._memory.reserve = lambda offset, length: False
    line.live.quarantine(a, None, 30.0, "auth_failed", line.now)
    assert line.live.quarantined_until(a, "m", line.now) is None
    pinned(line.live, KEYS[0], a, now=line.now)
    assert line.live.pin(KEYS[0], line.now) is None


def test_a_quarantine_that_ended_long_ago_makes_room() -> None:
    line = Bench(revision("a"))
    (a,) = places(line.snapshot)
    line.live.quarantine(a, "m", 30.0, "rate_limited", line.now)
    line.now += 631.0
    line.live.quarantine(a, "n", 30.0, "rate_limited", line.now)
    assert [row.model for row in line.live._quarantines.rows()] == ["n"]


def test_an_answer_that_comes_after_its_provider_made_room_changes_nothing() -> None:
    one, two = processes()
    (a, *_) = places(revision("abcd"))
    one.published(revision("abcd"))
    one.auth_failure(a, "auth_failed", NOW)
    held = one.claim(a, NOW)
    assert held is not None
    two.published(revision("efgh"))
    for each in places(revision("efgh")):
        two.auth_failure(each, "auth_failed", NOW)
    one.settle(held, a, Outcome("success"), NOW)
    one.release(held, NOW)
    for each in places(revision("efgh")):
        assert two.auth_failure(each, "auth_failed", NOW) is not None


def test_long_names_of_models_are_told_apart() -> None:
    line = Bench(revision("a"))
    (a,) = places(line.snapshot)
    line.live.quarantine(a, "m" * 200 + "1", 30.0, "rate_limited", line.now)
    assert line.live.quarantined_until(a, "m" * 200 + "1", line.now) is not None
    assert line.live.quarantined_until(a, "m" * 200 + "2", line.now) is None


# -- what hosts tell one another ---------------------------------------------------------------------------------


def hosts() -> tuple[LocalLiveState, LocalLiveState, Target, Target]:
    one, two = LocalLiveState(), LocalLiveState()
    for live in (one, two):
        live.published(revision("ab"))
    a, b = places(revision("ab"))
    return one, two, a, b


def test_only_what_is_new_is_told_and_nothing_echoes() -> None:
    one, two, a, b = hosts()
    here, there = one.sharing(), two.sharing()
    for sharing in (here, there):
        assert not sharing.new_circuits()
        assert not sharing.new_quarantines()
    for _ in range(5):
        attempt(one, a, "failure")
    (news,) = here.new_circuits()
    assert (news.target_id, news.state) == (a.id, "open")
    assert there.take_circuit(news, NOW)
    assert two.circuit(a, NOW) == one.circuit(a, NOW)
    assert there.new_circuits() + here.new_circuits() == []
    assert not there.take_circuit(news, NOW), "nothing is news twice"
    assert not there.take_circuit(news._replace(since=news.since - 5.0, state="closed"), NOW)
    assert there.take_circuit(news._replace(since=news.since + 5.0, until=news.until + 5.0, reopened=1), NOW)
    assert two.circuit(a, NOW).until == news.until + 5.0
    one.quarantine(b, "m", 60.0, "rate_limited", NOW)
    (row,) = here.new_quarantines()
    assert there.take_quarantine(row, NOW)
    assert not there.take_quarantine(row, NOW)
    assert there.new_quarantines() == here.new_quarantines() == []
    here.tell_all()
    assert len(here.new_circuits()) == len(here.new_quarantines()) == 1


def test_what_is_seen_of_others_is_only_what_they_changed() -> None:
    one, two = processes()
    a, b = places(revision("ab"))
    one.published(revision("ab"))
    sharing = one.sharing()
    assert list(sharing.in_trouble()) == []
    one.set_observed(b.id, "unhealthy", 1e12)
    for _ in range(5):
        attempt(two, a, "failure")
    two.quarantine(b, "m", 60.0, "rate_limited", NOW)
    two.quarantine(b, "n", 60.0, "rate_limited", NOW)
    assert [target_id for target_id, _ in sharing.in_trouble()] == [a.id]
    (first, second) = sharing.new_quarantines()
    assert {first.model, second.model} == {"m", "n"}
    assert sharing.take_quarantine(first._replace(made=NOW + 1.0), NOW)
    two.published(revision("c"))
    assert two.suspects(NOW) == {b.provider.id}, "targets of other revisions are nobody's here"


def test_what_the_tables_do_not_know_or_is_over_is_not_taken_over() -> None:
    one, two, a, b = hosts()
    here = one.sharing()
    for _ in range(5):
        attempt(one, a, "failure")
    one.quarantine(b, "m", 60.0, "rate_limited", NOW)
    pinned(one, KEYS[0], a)
    (news,), (row,), (pin,) = here.new_circuits(), here.new_quarantines(), here.new_pins(NOW)
    stranger = LocalLiveState()
    there = stranger.sharing()
    assert not there.take_circuit(news, NOW)
    assert not there.take_quarantine(row, NOW)
    assert not there.take_pin(pin, NOW)
    there = two.sharing()
    assert not there.take_quarantine(row, NOW + 60.0)
    assert not there.take_pin(pin, NOW + 60.0)


def test_closing_elsewhere_forgets_the_samples_of_the_bad_time() -> None:
    one, two, a, _ = hosts()
    here, there = one.sharing(), two.sharing()
    for live in (one, two):
        for _ in range(5):
            attempt(live, a, "failure")
    due = one.circuit(a, NOW).until
    assert two.stats(a.id).mean_latency_s(False, due)[1] == 5
    for _ in range(2):
        attempt(one, a, now=due)
    (news,) = here.new_circuits()
    assert (news.state, news.until) == ("closed", 0.0)
    assert there.take_circuit(news, NOW)
    assert two.stats(a.id).mean_latency_s(False, due) == (None, 0)
    assert two.circuit(a, due).admitted == 0.1, "slow start begins here as well"


def test_pins_are_told_once_and_the_later_one_counts() -> None:
    one, two, a, b = hosts()
    here, there = one.sharing(), two.sharing()
    pinned(one, KEYS[0], a, session="s")
    (pin,) = here.new_pins(NOW + 0.1)
    assert here.new_pins(NOW + 0.2) == []
    pinned(two, KEYS[0], b, now=NOW + 0.05)
    assert there.take_pin(pin, NOW + 0.1)
    held = two.pin(KEYS[0], NOW)
    assert held is not None
    assert held.target_id == b.id, "ours is the later one"
    assert there.take_pin(pin._replace(written=NOW + 1.0), NOW + 1.0)
    held = two.pin(KEYS[0], NOW)
    assert held is not None
    assert held.target_id == a.id
    assert [each.key for each in there.new_pins(NOW + 1.1)] == [KEYS[0]]
    for number in range(600):  # more than a log remembers
        pinned(one, Random(number).randbytes(16), a, now=NOW + 2.0)
    assert len(here.new_pins(NOW + 2.1)) > 590
    here.tell_all()
    assert len(here.new_pins(NOW + 2.2)) > 590


def test_drops_are_told_and_spare_what_was_pinned_later() -> None:
    one, two, a, b = hosts()
    here, there = one.sharing(), two.sharing()
    for key in KEYS[:2]:
        pinned(two, key, a)
    one.drop_pins(NOW + 1.0, profile_id=a.provider.id)
    one.drop_pins(NOW + 1.0, target_id=b.id)
    one.drop_pins(NOW + 1.0)
    drops = here.new_drops()
    assert [(drop.profile_id, drop.target_id) for drop in drops] == [(a.provider.id, None), (None, b.id), (None, None)]
    assert here.new_drops() == []
    pinned(two, KEYS[1], a, now=NOW + 2.0)
    for drop in drops:
        there.take_drop(drop, NOW + 3.0)
    assert (two.pin(KEYS[0], NOW), two.pin(KEYS[1], NOW) is None) == (None, False)
    assert there.new_drops() == []
    for _ in range(100):
        one.drop_pins(NOW + 4.0)
    assert len(here.new_drops()) == 64


# -- clocks that start anew --------------------------------------------------------------------------------------


def test_all_times_can_be_moved_to_a_clock_that_has_started_anew() -> None:
    live = LocalLiveState()
    a, b = places(revision("ab"))
    live.published(revision("ab"))
    for _ in range(5):
        attempt(live, a, "failure")
    for number in range(3):
        attempt(live, b, now=NOW + number, stream=True)
    held = live.claim(b, NOW)
    assert held is not None
    live.settle(held, b, Outcome("success", None, 1.0, 0.5, None, True), NOW)
    live.release(held, NOW + 2.0, 100, 50)
    live.auth_failure(b, "auth_failed", NOW)
    live.quarantine(b, "m", 60.0, "rate_limited", NOW)
    live.quarantine(b, "n", 60.0, "rate_limited", NOW)
    live._memory.raw[live._memory.layout.quarantines.offset(1) + 112 :][:8] = bytes(8)  # one was never finished
    live.hear_head(b.id, 2.0, False, 1e12, NOW)
    pinned(live, KEYS[0], a)
    live.remember_input(KEYS[0], 9, NOW)
    until = live.circuit(a, NOW).until
    live._records.start_over(-900.0)
    live._quarantines.shift(-900.0)
    live._pins.shift(-900.0)
    assert live.circuit(a, 100.0).until == until - 900.0
    assert (live.stats(b.id).speed(102.0), live.stats(b.id).speed(3703.0)) == ((50.0, 1), (None, 0))
    assert live.stats(b.id).tokens_in(60.0, 102.0) == 0
    assert live.stats(b.id).loads(99.0) == [(100.0, 2.0)]
    assert live.pin(KEYS[0], 100.0) == (a.id, 100.0, 160.0)
    assert live.pin(KEYS[0], 160.0) is None
    assert live.last_input(KEYS[0], 3699.0) == 9
    assert live.last_input(KEYS[0], 3700.0) is None
    found = live.quarantined_until(b, "m", 100.0)
    assert found is not None
    assert found.until == 160.0
    assert live.quarantined_until(b, "n", 100.0) is None
    assert live.auth_failure(b, "auth_failed", 101.0) is None


# -- what can be a live state ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "value"), [(5, -1.0), (5, 5.0), (6, nan), (7, 1e300), (4, 500.0), (4, -1.0)])
def test_words_out_of_bounds_are_not_a_live_state(word: int, value: float) -> None:
    (live,) = processes(1)
    assert Records(live._memory).sane()
    live._words[word] = value
    assert not Records(live._memory).sane()


@pytest.mark.parametrize(("cell", "value"), [(OBSERVED, 4.0), (STATE, 3.0), (STATE, nan), (STATE + 9, nan)])
def test_a_record_of_no_sense_is_not_a_live_state(cell: int, value: float) -> None:
    (live,) = processes(1)
    (a,) = places(revision("a"))
    live.published(revision("a"))
    assert Records(live._memory).sane()
    record(live, a).cells[cell] = value
    assert not Records(live._memory).sane()


def test_a_quarantine_of_an_unknown_kind_is_one_all_the_same() -> None:
    line = Bench(revision("a"))
    (a,) = places(line.snapshot)
    line.live.quarantine(a, None, 30.0, "rate_limited", line.now)
    memory = line.live._memory
    memory.raw[memory.layout.quarantines.start + 136] = 250
    line.live._quarantines._seen = -1.0
    found = line.live.quarantined_until(a, "m", line.now)
    assert found is not None
    assert found.cause == "internal"


def test_layouts_of_one_size_say_so() -> None:
    assert Layout().sizes() == Layout().sizes() != SMALL.sizes()
    assert Layout().stripes > SMALL.stripes


def test_a_circuit_works_on_a_plain_list_of_numbers() -> None:
    circuit = Circuit("t")
    circuit.set_share(1, 5.0)
    circuit.shift(100.0)
    circuit.repair()
    assert (circuit.since, circuit.until, circuit.reopened, circuit.state) == (None, 100.0, 0, "closed")


def test_every_cell_of_a_target_is_used_once() -> None:
    assert statistics.SIZE == 3 + 2 * 308 + 2 * 3 + 2 * 203 + 242 + 22
