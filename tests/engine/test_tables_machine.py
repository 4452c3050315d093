"""The tables against dicts and lists, through random histories of three processes over one buffer."""

from __future__ import annotations

from collections import Counter
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import settings as run_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from routes.engine.tables.layout import Layout
from routes.engine.tables.memory import Memory, ThreadLocks, private
from routes.engine.tables.state import TableState
from routes.engine.types import Outcome
from routes.engine.windows import MAX_AGE, SAMPLES
from tests.documents import profile, provider, snapshot, target

LAYOUT = Layout(targets=8, providers=8, quarantined=8, pin_sets=4, input_sets=4, counter_sets=4)
#: Never opens, so that every claim is granted; circuits have a machine of their own.
PROVIDERS = [provider(slug, circuit={"failure_threshold": 10_000, "min_results": 10_000}) for slug in "abc"]
REVISION = snapshot(PROVIDERS, [profile(targets=[target(slug) for slug in "abc"])])
TARGETS = REVISION.profiles["default"].targets
_random = Random(3)
KEYS = [_random.randbytes(16) for _ in range(8)]  # fewer than fill a set: nothing is forgotten

process = st.integers(0, 2)
place = st.sampled_from(TARGETS)
key = st.sampled_from(KEYS)


class TablesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.buffer, self.locks = private(LAYOUT.length), ThreadLocks()
        self.stamps = count(1, 1000)  # of no two processes the same
        self.processes = [self.start(owner) for owner in range(3)]
        self.now = 5000.0
        self.claims: list[tuple[int, Any, Any, float]] = []
        self.samples: dict[tuple[str, bool], list[tuple[float, float]]] = {}
        self.ended: list[tuple[str, float, float, int]] = []  # target, began, ended, tokens
        self.turns: Counter[str] = Counter()
        self.pinned: dict[bytes, tuple[str, float, float]] = {}
        self.inputs: dict[bytes, tuple[int, float]] = {}
        self.quarantines: dict[tuple[str, str | None], float] = {}

    def start(self, owner: int) -> TableState:
        return TableState(Memory(self.buffer, LAYOUT, self.locks, owner, first_stamp=next(self.stamps)), Random(owner))

    @rule(seconds=st.sampled_from([0.3, 1.0, 29.0, 400.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(by=process)
    def publish(self, by: int) -> None:
        self.processes[by].published(REVISION)

    @rule(by=process, to=place)
    def claim(self, by: int, to: Any) -> None:
        claim = self.processes[by].claim(to, self.now)
        assert claim is not None
        self.claims.append((by, to, claim, self.now))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), verdict=st.sampled_from(["success", "failure", None]), stream=st.booleans())
    def finish(self, data: st.DataObject, verdict: Any, stream: bool) -> None:
        chosen = data.draw(st.integers(0, len(self.claims) - 1))
        by, to, claim, began = self.claims.pop(chosen)
        live = self.processes[by]
        if verdict is not None:
            seconds = 0.1 + chosen
            live.settle(claim, to, Outcome(verdict, None, seconds, seconds, None, stream, 9.0), self.now)
            self.samples.setdefault((to.id, stream), []).append((self.now, seconds if verdict == "success" else 9.0))
        live.release(claim, self.now, 10, 5)
        self.ended.append((to.id, began, self.now, 15))

    @rule(by=process)
    def die(self, by: int) -> None:
        """Killed; another takes its place, and what it had in flight is forgotten."""
        self.processes[by] = self.start(by)
        self.processes[(by + 1) % 3]._records.forget_owner(by)
        self.claims = [claim for claim in self.claims if claim[0] != by]

    @rule(by=process, pool=st.sampled_from(["x", "y", "z"]))
    def rotate(self, by: int, pool: str) -> None:
        assert self.processes[by].peek().rotate(pool) == self.turns[pool]
        assert self.processes[by].rotate(pool) == self.turns[pool]
        self.turns[pool] += 1

    @rule(by=process, key=key, to=place, ttl=st.sampled_from([10.0, 1800.0]))
    def pin(self, by: int, key: bytes, to: Any, ttl: float) -> None:
        self.processes[by].set_pin(key, to.id, self.now, ttl, profile_id=to.provider.id)
        self.pinned[key] = to.id, self.now, self.now + ttl

    @rule(by=process, to=place)
    def drop(self, by: int, to: Any) -> None:
        doomed = [key for key, (target_id, *_) in self.pinned.items() if target_id == to.id]
        in_force = sum(self.pinned.pop(key)[2] > self.now for key in doomed)
        assert self.processes[by].drop_pins(self.now, target_id=to.id) == in_force

    @rule(by=process, key=key, tokens=st.integers(0, 10**6))
    def remember(self, by: int, key: bytes, tokens: int) -> None:
        self.processes[by].remember_input(key, tokens, self.now)
        self.inputs[key] = tokens, self.now + 3600.0

    @rule(by=process, to=place, model=st.sampled_from([None, "m"]), seconds=st.sampled_from([5.0, 500.0]))
    def quarantine(self, by: int, to: Any, model: str | None, seconds: float) -> None:
        self.processes[by].quarantine(to, model, seconds, "rate_limited", self.now)
        self.quarantines[to.provider.id, model] = self.now + seconds

    @invariant()
    def all_processes_agree_with_the_model(self) -> None:
        out = {provider_id for (provider_id, _), until in self.quarantines.items() if until > self.now}
        for live in self.processes:
            assert set(live.suspects(self.now)) == out
            for key in KEYS:
                pin = self.pinned.get(key)
                assert live.pin(key, self.now) == (pin if pin is not None and pin[2] > self.now else None)
                tokens, expires = self.inputs.get(key, (None, 0.0))
                assert live.last_input(key, self.now) == (tokens if expires > self.now else None)
            for to in TARGETS:
                self.compare(live, to)

    def compare(self, live: TableState, to: Any) -> None:
        stats, now = live.stats(to.id), self.now
        in_flight = sum(claimed.id == to.id for _, claimed, _, _ in self.claims)
        assert stats.in_flight == live.in_flight(to.provider.id) == in_flight
        for stream in (False, True):
            recent = self.samples.get((to.id, stream), [])[-SAMPLES:]
            seconds = [each for at, each in recent if at >= now - MAX_AGE]
            mean, samples = stats.mean_latency_s(stream, now)
            assert samples == len(seconds)
            assert mean == (pytest.approx(sum(seconds) / len(seconds)) if seconds else None)
            assert stats.percentile_s(stream, 50, now)[1] == len(seconds)
        of_target = [each for each in self.ended if each[0] == to.id]
        began = sum(int(at) > int(now) - 60 for _, at, _, _ in of_target)
        assert stats.requests_in(60.0, now) == began + in_flight
        used = sum(tokens for _, _, at, tokens in of_target if int(at) > int(now) - 60)
        assert stats.tokens_in(60.0, now) == used
        by_minute = sum(tokens for _, _, at, tokens in of_target if at // 60 > now // 60 - 10)
        assert stats.tokens_in(600.0, now) == by_minute
        ends = [self.quarantines.get((to.provider.id, model), 0.0) for model in (None, "m")]
        found = live.quarantined_until(to, "m", now)
        assert (0.0 if found is None else found.until) == (max(ends) if max(ends) > now else 0.0)


TestTables = TablesMachine.TestCase
TestTables.settings = run_settings(max_examples=40, stateful_step_count=40, deadline=None)
