"""What processes of a host agree on: turns, slots, what is in flight, circuits; and what a killed one leaves."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import closing
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from routes.engine.pipeline import decide
from routes.engine.types import Outcome
from routes.live import SharedLiveState
from tests.documents import profile, provider, snapshot, target
from tests.engine.drive import request
from tests.live.hosts import NOW, Process, attempt, processes, revision, targets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REVISION = revision()
A, B, C = targets(REVISION).values()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "live.state"


@pytest.fixture
def live(path: Path) -> Iterator[SharedLiveState]:
    with closing(SharedLiveState(path, "test")) as state:
        state.published(REVISION)
        yield state


def _wait_for(barrier: Path) -> None:
    deadline = time.monotonic() + 60
    while not barrier.exists():
        assert time.monotonic() < deadline, f"{barrier.name} never came"
        time.sleep(0.001)


def _rotate(path: Path, start: Path, count: int, number: int) -> list[int]:
    with closing(SharedLiveState(path, f"gateway-{number}")) as state:
        _wait_for(start)
        return [state.rotate("pool") for _ in range(count)]


def test_no_turn_is_given_twice_or_left_out(live: SharedLiveState, path: Path, tmp_path: Path) -> None:
    with processes(4, _rotate, path, tmp_path / "start", 3000) as running:
        while len(live.file.attached()) < 5:
            time.sleep(0.001)
        (tmp_path / "start").touch()
        turns = [turn for each in running for turn in each.result()]
    assert sorted(turns) == list(range(12_000))


def _decide(path: Path, count: int, number: int) -> Counter[str]:
    with closing(SharedLiveState(path, f"gateway-{number}")) as state:
        state.published(REVISION)
        return _turns(state, count)


def _turns(state: SharedLiveState, count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(count):
        place = decide(REVISION, REVISION.profiles["default"], request(), state, NOW, Random(1)).place(0)
        assert place is not None
        found[place.target.provider.slug] += 1
    return found


def test_round_robin_over_four_processes_is_exact(live: SharedLiveState, path: Path) -> None:
    with processes(4, _decide, path, 500) as running:
        total = sum((Counter(each.result()) for each in running), Counter())
    assert total.total() == 2000
    assert max(total.values()) - min(total.values()) <= 1


def test_round_robin_from_a_hundred_threads_is_exact(live: SharedLiveState) -> None:
    found: list[Counter[str]] = []
    threads = [Thread(target=lambda: found.append(_turns(live, 10))) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(found, Counter[str]())
    assert total.total() == 1000
    assert max(total.values()) - min(total.values()) <= 1


def _open(state: SharedLiveState, now: float = NOW) -> float:
    """Open A's circuit; when it may be tried."""
    for _ in range(5):
        attempt(state, A, "failure", now)
    return state.circuit(A, now).until


def _claim_all(path: Path, start: Path, until: float, number: int) -> int:
    with closing(SharedLiveState(path, f"gateway-{number}")) as state:
        state.published(REVISION)
        _wait_for(start)
        granted = [claim for _ in range(50) if (claim := state.claim(A, until)) is not None]
        start.with_name(f"tried-{number}").touch()
        _wait_for(start.with_name("end"))
        return len(granted)


def test_half_open_slots_over_four_processes_are_exactly_those_configured(
    live: SharedLiveState, path: Path, tmp_path: Path
) -> None:
    until = _open(live)
    start = tmp_path / "start"
    with processes(4, _claim_all, path, start, until) as running:
        start.touch()
        for number in range(4):  # nobody leaves, and gives its slots back, before all have tried
            _wait_for(tmp_path / f"tried-{number}")
        (tmp_path / "end").touch()
        assert sum(each.result() for each in running) == 3


def _hold(path: Path, ready: Path, until: float, number: int) -> None:
    state = SharedLiveState(path, f"gateway-{number}")
    state.published(REVISION)
    held = [state.claim(A, until), state.claim(A, until), state.claim(B, until)]
    assert all(held)
    ready.touch()
    time.sleep(60)


def test_what_a_killed_process_held_is_free_again(live: SharedLiveState, path: Path, tmp_path: Path) -> None:
    until = _open(live)
    with processes(1, _hold, path, tmp_path / "ready", until) as (holder,):
        _wait_for(tmp_path / "ready")
        ours = live.claim(A, until)
        assert ours is not None
        assert live.claim(A, until) is None
        assert (live.stats(A.id).in_flight, live.stats(B.id).in_flight) == (3, 1)
        assert {each.name for each in live.file.attached()} == {"test", "gateway-0"}
        holder.kill()
        deadline = time.monotonic() + 5
        while (claim := live.claim(A, until)) is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert claim is not None
    assert live.claim(A, until) is not None
    assert live.claim(A, until) is None, "ours was not taken back"
    assert (live.stats(A.id).in_flight, live.stats(B.id).in_flight) == (3, 0)
    assert {each.name for each in live.file.attached()} == {"test"}


def test_looking_after_the_memory_takes_back_what_the_dead_held(
    live: SharedLiveState, path: Path, tmp_path: Path
) -> None:
    with processes(1, _hold, path, tmp_path / "ready", NOW) as (holder,):
        _wait_for(tmp_path / "ready")
        holder.kill()
    assert live.in_flight(A.provider.id) == 2
    live._tended -= 10.0
    live.suspects(time.monotonic())
    assert live.in_flight(A.provider.id) == 0


def _write(path: Path, seed: int, number: int) -> None:
    """Everything that writes, for as long as it lives."""
    state = SharedLiveState(path, "writer")
    state.published(REVISION)
    rng = Random(seed)
    while True:
        now = time.monotonic()
        to = rng.choice((A, B, C))
        claim = state.claim(to, now)
        if claim is not None:
            outcome = Outcome(rng.choice(("success", "success", "failure")), None, rng.random(), stream=True)
            state.settle(claim, to, outcome, now)
            state.release(claim, now, rng.randrange(1000), 10)
        state.rotate(f"pool {rng.randrange(5)}")
        state.set_pin(rng.randbytes(2) * 8, to.id, now, 60.0, profile_id=REVISION.profiles["default"].id)
        state.remember_input(rng.randbytes(2) * 8, 10, now)
        state.quarantine(to, f"m{rng.randrange(3)}", 0.01, "rate_limited", now)
        state.suspects(now)


@pytest.mark.slow
def test_killing_writers_at_any_moment_leaves_a_live_state_that_works(live: SharedLiveState, path: Path) -> None:
    rng = Random(4)
    for seed in range(50):
        with processes(1, _write, path, seed) as (writer,):
            while not any(each.pid == writer.pid for each in live.file.attached()):
                time.sleep(0.001)
            time.sleep(rng.random() * 0.05)
            writer.kill()
        now = time.monotonic() + 400.0 * (seed + 1)  # circuits are due, slow start is over
        live._reclaimed = -1.0
        live.reclaim(now)
        for each in (A, B, C):
            assert live.stats(each.id).in_flight == 0
            means = live.stats(each.id).means_s(True, time.monotonic())
            assert 0 <= means.samples <= 100
            assert means.seconds is None or 0.0 <= means.seconds <= 1.0
            for _ in range(live._records.of(each.id).circuit.closed or 3):
                attempt(live, each, now=now)
            assert live.circuit(each, now).state == "closed"
        numbers = [live.rotate("pool 1") for _ in range(3)]
        assert numbers == list(range(numbers[0], numbers[0] + 3))
        key = rng.randbytes(16)
        live.set_pin(key, A.id, now, 60.0, profile_id=REVISION.profiles["default"].id)
        pin = live.pin(key, now)
        assert pin is not None
        assert pin.target_id == A.id
        assert {entry.target_id for entry in live.pins(now)} <= {A.id, B.id, C.id}
    assert {each.pid for each in live.file.attached()} == {os.getpid()}


def test_failures_seen_by_several_processes_open_at_exactly_the_threshold(path: Path) -> None:
    slugs = [f"p{threshold}" for threshold in range(1, 51)]
    providers = [provider(slug, circuit={"failure_threshold": int(slug[1:])}) for slug in slugs]
    published = snapshot(providers, [profile(targets=[target(slug) for slug in slugs])])
    with closing(SharedLiveState(path, "one")) as one, closing(SharedLiveState(path, "two")) as two:
        for state in (one, two):
            state.published(published)
        for threshold, to in enumerate(targets(published).values(), start=1):
            for number in range(threshold - 1):
                assert attempt((one, two)[number % 2], to, "failure") == []
            (opened,) = attempt((one, two)[threshold % 2], to, "failure")
            assert (opened.after, opened.reason) == ("open", "consecutive_failures")
            assert one.circuit(to, NOW).state == two.circuit(to, NOW).state == "open"
            assert len(one.suspects(NOW)) == len(two.suspects(NOW)) == threshold


def _fail(path: Path, start: Path, count: int, number: int) -> int:
    with closing(SharedLiveState(path, "failing")) as state:
        state.published(FORTY)
        (to,) = targets(FORTY).values()
        _wait_for(start)
        return sum(len(attempt(state, to, "failure")) for _ in range(count) if state.circuit(to, NOW).state == "closed")


FORTY = revision("a", failure_threshold=40)


def test_no_failure_of_processes_at_work_together_is_lost(live: SharedLiveState, path: Path, tmp_path: Path) -> None:
    live.published(FORTY)
    (to,) = targets(FORTY).values()
    start = tmp_path / "start"
    with processes(4, _fail, path, start, 10) as running:
        start.touch()
        assert sum(each.result() for each in running) == 1
    assert live.circuit(to, NOW).state == "open"


def test_publishing_keeps_circuits_pins_counters_and_samples_in_every_process(path: Path) -> None:
    with closing(SharedLiveState(path, "one")) as one, closing(SharedLiveState(path, "two")) as two:
        for state in (one, two):
            state.published(REVISION)
        profile_id = REVISION.profiles["default"].id
        _open(one)
        attempt(one, B)
        one.set_pin(b"k" * 16, B.id, NOW, 60.0, profile_id=profile_id, session="mine")
        assert [one.rotate(profile_id), two.rotate(profile_id)] == [0, 1]
        for state in (two, one):
            state.published(revision("abcd", number=2))
            assert state.circuit(A, NOW).state == "open"
            assert state.stats(B.id).mean_latency_s(False, NOW) == (0.1, 1)
            assert state.pin(b"k" * 16, NOW) == (B.id, NOW, NOW + 60.0)
        assert [one.rotate(profile_id), two.rotate(profile_id)] == [2, 3]


def test_a_restart_keeps_circuits_pins_and_samples_and_starts_turns_anew(path: Path) -> None:
    with closing(SharedLiveState(path, "before")) as before:
        before.published(REVISION)
        until = _open(before)
        before.set_pin(b"k" * 16, B.id, NOW, 60.0, profile_id=REVISION.profiles["default"].id)
        before.rotate("pool")
        attempt(before, B)
        assert before.claim(B, NOW) is not None  # and never released
        host = before.file.host
    with closing(SharedLiveState(path, "after")) as after:
        after.published(REVISION)
        assert after.circuit(A, NOW) == ("open", until, 1.0, False)
        assert list(after.suspects(NOW)) == [A.id]
        assert after.pin(b"k" * 16, NOW) is not None
        assert after.stats(B.id).mean_latency_s(False, NOW)[1] == 1
        assert after.stats(B.id).in_flight == 0
        assert after.rotate("pool") == 0
        assert after.file.host == host


def test_capped_concurrency_counts_what_other_processes_have_in_flight(path: Path) -> None:
    published = snapshot([provider("a", max_concurrency=3)])
    (to,) = targets(published).values()
    with closing(SharedLiveState(path, "one")) as one, closing(SharedLiveState(path, "two")) as two:
        held = [state.claim(to, NOW) for state in (one, two, one, two, one)]
        assert [claim is not None for claim in held] == [True, True, True, False, False]
        assert one.in_flight(to.provider.id) == two.in_flight(to.provider.id) == 3
        assert held[1] is not None
        two.release(held[1], NOW)
        assert one.claim(to, NOW) is not None


def test_a_forked_child_does_not_keep_its_parent_alive(path: Path, tmp_path: Path) -> None:
    def parent(number: int) -> None:
        state = SharedLiveState(path, "parent")
        state.claim(A, NOW)
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        (tmp_path / "child").write_text(str(child))
        (tmp_path / "ready").touch()
        time.sleep(30)

    with closing(SharedLiveState(path, "test")) as live, processes(1, parent) as (started,):
        _wait_for(tmp_path / "ready")
        started.kill()
        try:
            live._reclaimed = -1.0
            assert live.reclaim(NOW)
            assert live.in_flight(A.provider.id) == 0
        finally:
            os.kill(int((tmp_path / "child").read_text()), 9)


def test_a_process_reads_what_another_writes(path: Path) -> None:
    def work(number: int) -> Any:
        with closing(SharedLiveState(path, "child")) as state:
            state.published(REVISION)
            for _ in range(3):
                attempt(state, A, now=time.monotonic())
            return [state.rotate("x") for _ in range(3)]

    with closing(SharedLiveState(path, "test")) as live:
        live.published(REVISION)
        assert Process(work, 0).result() == [0, 1, 2]
        assert live.stats(A.id).means_s(False, time.monotonic()).samples == 3
        assert live.rotate("x") == 3
