"""A scripted day of one target, with real processes: what was done and what the timeline says agree line by line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from routes.engine.provider import target_id
from tests.gateways import wait_until
from tests.simulators import Simulator
from tests.stack import Stack, document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.simulators import ProviderHandle

#: It starts an installation twice.
pytestmark = pytest.mark.slow


class Day:
    """An installation with two gateways and one provider. Its circuit opens at three failures and stays so for long:
    what happens is what the script does, whatever the time. It is checked when somebody asks for it."""

    def __init__(self, stack: Stack, acme: ProviderHandle) -> None:
        self.stack, self.acme = stack, acme
        circuit = {"failure_threshold": 3, "recovery_timeout": 600, "recovery_timeout_max": 600, "slow_start": 0}
        failover = {"max_attempts": 1, "same_target_retries": 0, "when_all_unhealthy": "reject"}
        probe = {"kind": "models", "interval": 3600}
        tree = document(acme, provider={"circuit": circuit, "probe": probe}, failover=failover)
        stack.import_config(tree)
        self.operator = stack.manage("create_access_key", "olga", "--scopes", "operate")
        wait_until(lambda: self.get("health/acme/") is not None, 10, "the operator's key is live")
        self.target = target_id(self.get("health/acme/")["provider_id"], None)

    def get(self, path: str) -> Any:
        answer = self.stack.request("GET", f"/api/v1/{path}", key=self.operator)
        return answer.json() if answer.status == 200 else None

    def act(self, path: str, **body: Any) -> Any:
        answer = self.stack.request("POST", f"/api/v1/{path}", body, key=self.operator)
        assert answer.status == 200, answer.body
        return answer.json()

    def ask(self, *statuses: int) -> None:
        """One request after the other, answered like this."""
        assert [self.stack.chat().status for _ in statuses] == list(statuses)

    def until_refused(self) -> None:
        """Until no gateway sends anything there: each of the two has heard of it."""
        wait_until(lambda: {self.stack.chat().status for _ in range(8)} == {503}, 10, "both gateways have heard of it")

    def circuit(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"circuits/{self.target}/")
        return found

    def lines(self) -> list[tuple[str, ...]]:
        """The timeline of the target, oldest first."""
        results = self.get(f"circuits/{self.target}/transitions/")["results"]
        names = ("kind", "before", "after", "reason", "actor")
        return [tuple(each[name] for name in names) for each in reversed(results)]


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    with Simulator() as simulator, Stack(tmp_path / "data", workers=2) as stack:
        yield Day(stack, simulator.add("acme"))


def test_what_was_done_and_what_the_timeline_says_agree_line_by_line(day: Day) -> None:
    acme, target = day.acme, day.target
    #: Step by step; what happened at one moment has no order.
    script: list[set[tuple[str, ...]]] = []

    # A check finds it well.
    day.act("health/acme/probe/")
    script.append({("observed", "unknown", "healthy", "first_check", "probe")})
    # It breaks; traffic opens its circuit, once although two gateways see it fail.
    acme.fail("status", status=500)
    day.ask(502, 502, 502)
    script.append({("circuit", "closed", "open", "consecutive_failures", "traffic")})
    day.until_refused()
    # It recovers; a check ends the open period early, two answers close it.
    acme.heal()
    day.act("health/acme/probe/")
    found = ("observed", "healthy", "degraded", "failing", "probe")
    script.append({found, ("circuit", "open", "half_open", "probe_success", "probe")})
    day.ask(200, 200)
    script.append({("circuit", "half_open", "closed", "successes", "traffic")})
    # An operator holds it open for a while.
    until = datetime.now(UTC) + timedelta(seconds=5)
    day.act(f"circuits/{target}/force/", state="open", until=until.isoformat(), reason="wrong answers")
    script.append({("circuit", "closed", "open", "forced_open", "olga")})
    day.until_refused()
    wait_until(lambda: day.stack.chat().status == 200, 15, "the hold has ended")
    script.append({("circuit", "open", "half_open", "force_ended", "clock")})
    day.ask(200)
    script.append({("circuit", "half_open", "closed", "successes", "traffic")})
    # Held closed, failures do not open it; reset, nothing of them is left.
    day.act(f"circuits/{target}/force/", state="closed")
    script.append({("circuit", "closed", "closed", "forced_closed", "olga")})
    assert day.circuit()["forced"]
    acme.fail("status", status=500)
    day.ask(502, 502, 502, 502)
    acme.heal()
    day.act(f"circuits/{target}/reset/", reason="done")
    script.append({("circuit", "closed", "closed", "reset", "olga")})
    # Drained and back again.
    day.act("health/acme/state/", state="draining", reason="new disks")
    script.append({("admin", "active", "draining", "by_hand", "olga")})
    day.until_refused()
    day.act("health/acme/state/", state="active")
    script.append({("admin", "draining", "active", "by_hand", "olga")})
    wait_until(lambda: {day.stack.chat().status for _ in range(8)} == {200}, 10, "both gateways have heard of it")
    # It breaks again, and everything is started anew while its circuit is open.
    acme.fail("status", status=500)
    day.ask(502, 502, 502)
    script.append({("circuit", "closed", "open", "consecutive_failures", "traffic")})
    before = day.circuit()
    assert day.stack.stop() == 0
    day.stack.start()
    after = day.circuit()
    assert (after["circuit"], after["circuit_reason"]) == ("open", "consecutive_failures")
    for name in ("circuit_since", "circuit_until"):
        moved = datetime.fromisoformat(after[name]) - datetime.fromisoformat(before[name])
        assert abs(moved) < timedelta(milliseconds=50), name
    assert "3 consecutive failures: 3 × upstream_5xx; tried again at " in after["why"]
    assert day.stack.chat().status == 503
    acme.heal()
    day.act("health/acme/probe/")
    script.append({("circuit", "open", "half_open", "probe_success", "probe")})
    day.ask(200, 200)
    script.append({("circuit", "half_open", "closed", "successes", "traffic")})

    number = sum(map(len, script))
    wait_until(lambda: len(day.lines()) >= number, 15, "the timeline is written")
    lines = day.lines()
    assert len(lines) == number
    for step in script:
        told, lines = set(lines[: len(step)]), lines[len(step) :]
        assert told == step
