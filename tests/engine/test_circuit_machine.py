"""The circuit against a second, simpler model of it, through random histories."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hypothesis import settings as run_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from routes.engine.local_live import LocalLiveState
from routes.engine.types import Outcome
from tests.documents import provider, snapshot

if TYPE_CHECKING:
    from routes.engine.tables.claims import TableClaim


class CircuitMachine(RuleBasedStateMachine):
    """Attempts begin, succeed, fail, are cancelled; time passes. The model knows only periods and counts."""

    claims = Bundle("claims")

    @initialize(threshold=st.integers(1, 8), slots=st.integers(1, 4), needed=st.integers(1, 4))
    def begin(self, threshold: int, slots: int, needed: int) -> None:
        circuit = {
            "failure_threshold": threshold,
            "half_open_max_calls": slots,
            "success_threshold": needed,
            "min_results": 10_000,
        }
        self.target = snapshot([provider("a", circuit=circuit)]).profiles["default"].targets[0]
        self.settings = self.target.provider.circuit
        self.live = LocalLiveState(Random(7))
        self.now = 100.0
        self.period = 0
        self.state = "closed"
        self.failures = self.successes = 0
        self.slots: set[int] = set()
        self.in_flight = 0

    def change(self, state: str) -> None:
        self.state = state
        self.period += 1
        self.failures = self.successes = 0
        self.slots = set()

    def tick(self) -> None:
        if self.state == "open" and self.live.circuit(self.target, self.now).state == "half_open":
            self.change("half_open")

    @rule(target=claims)
    def start(self) -> object:
        claim = self.live.claim(self.target, self.now, lease=1e9)
        self.tick()
        if self.state == "open" or (self.state == "half_open" and len(self.slots) >= self.settings.half_open_max_calls):
            assert claim is None
            return multiple()
        assert claim is not None
        assert claim.half_open == (self.state == "half_open")
        if claim.half_open:
            self.slots.add(id(claim))
        self.in_flight += 1
        return claim, self.period

    @rule(entry=consumes(claims), verdict=st.sampled_from(["success", "failure", "neutral"]))
    def finish(self, entry: tuple[TableClaim, int], verdict: str) -> None:
        claim, period = entry
        before = self.state
        moved = self.live.settle(claim, self.target, Outcome(verdict), self.now)  # type: ignore[arg-type]
        self.live.release(claim, self.now)
        self.in_flight -= 1
        self.slots.discard(id(claim))
        if period != self.period:
            assert moved == []
            return
        if verdict == "failure":
            self.failures += 1
            if self.state == "half_open" or self.failures >= self.settings.failure_threshold:
                self.change("open")
        elif verdict == "success":
            self.failures = 0
            self.successes += 1
            if self.state == "half_open" and self.successes >= self.settings.success_threshold:
                self.change("closed")
        assert [(step.before, step.after) for step in moved] == ([] if before == self.state else [(before, self.state)])

    @rule(entry=consumes(claims))
    def cancel(self, entry: tuple[TableClaim, int]) -> None:
        self.live.release(entry[0], self.now)
        self.live.release(entry[0], self.now)  # idempotent
        self.in_flight -= 1
        self.slots.discard(id(entry[0]))

    @rule(seconds=st.floats(0.1, 200.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def the_two_agree(self) -> None:
        if hasattr(self, "live"):
            seen = self.live.circuit(self.target, self.now).state
            assert seen == self.state or (self.state, seen) == ("open", "half_open")
            assert self.live.stats(self.target.id).in_flight == self.in_flight


TestCircuitMachine = CircuitMachine.TestCase
TestCircuitMachine.settings = run_settings(max_examples=30, stateful_step_count=40, deadline=None)
