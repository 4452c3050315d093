"""Two hosts, which are two data folders with a gateway process each, on one Redis: what one learns, both act on."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from routes.engine.circuit import SHARE_UNTIL
from tests.documents import access_key, document, provider
from tests.faults.circuits import Burst, Look, looking
from tests.gateways import KEY, Gateways, wait_until
from tests.servers import start_own_redis

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.simulators import ProviderHandle, Simulator

#: They start processes, and kill their Redis.
pytestmark = [pytest.mark.faults, pytest.mark.slow]

CIRCUIT = {
    "failure_threshold": 1,
    "failure_rate": 0,
    "recovery_timeout": 60,
    "recovery_timeout_max": 60,
    "half_open_max_calls": 4,
    "slow_start": 0,
}


class Hosts:
    def __init__(self, folder: Path) -> None:
        self._redis_folder = folder / "redis"
        self._redis_folder.mkdir()
        self.start_redis()
        url = f"unix://{self._redis_folder / 'redis.sock'}?db=0"
        self.north, self.south = (Gateways(self._made(folder / name), environment={"REDIS_URL": url}) for name in NAMES)
        self.both = (self.north, self.south)
        for each in self.both:
            each.start()
        self._names = 0

    @staticmethod
    def _made(folder: Path) -> Path:
        folder.mkdir(mode=0o700)
        return folder

    def start_redis(self) -> None:
        (self._redis_folder / "redis.sock").unlink(missing_ok=True)
        self.redis: subprocess.Popen[bytes] = start_own_redis(self._redis_folder)

    def end_redis(self) -> None:
        self.redis.kill()
        self.redis.wait()

    def stop(self) -> None:
        for each in self.both:
            each.stop()
        self.end_redis()

    def publish(self, simulator: Simulator, count: int = 2, **circuit: Any) -> list[ProviderHandle]:
        """New providers, tried in this order by both hosts."""
        handles = []
        for _ in range(count):
            self._names += 1
            handles.append(simulator.add(f"acme-{self._names}"))
        entries = [provider(each.name, base_url=each.base_url, circuit=CIRCUIT | circuit) for each in handles]
        for each in self.both:
            each.publish(document(entries, failover={"same_target_retries": 0}))
        return handles

    def credentials(self, slug: str, generation: int) -> dict[str, int]:
        """Tell both hosts of a new credential; the generations that there are."""
        for each in self.both:
            each.overlay(
                keys=[access_key(KEY)], credentials={slug: {"value": f"sk-{generation}", "generation": generation}}
            )
        return {provider(slug)["id"]: generation}

    @contextlib.contextmanager
    def looking(self, generations: dict[str, int] | None = None) -> Iterator[tuple[Look, Look]]:
        with (
            looking(self.north.data, self.north.document, generations) as north,
            looking(self.south.data, self.south.document, generations) as south,
        ):
            yield north, south

    def degraded(self) -> list[bool]:
        return ["exchange" in each.get("/readyz").json()["degraded"] for each in self.both]


NAMES = ("north", "south")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    made = Hosts(tmp_path_factory.mktemp("hosts"))
    yield made
    made.stop()


def answered_by(host: Gateways) -> str:
    answer = host.chat()
    assert answer.status == 200
    return answer.headers["x-route-provider"]


def test_a_circuit_that_opens_on_one_host_is_open_on_the_other_before_it_has_seen_anything(
    hosts: Hosts, simulator: Simulator
) -> None:
    bad, good = hosts.publish(simulator)
    bad.fail("status", status=500)

    assert answered_by(hosts.north) == good.name

    with hosts.looking() as (north, south):
        south.wait_for(bad.name, "open")
        assert north.circuit(bad.name).until == pytest.approx(south.circuit(bad.name).until, abs=0.1)
    bad.heal()
    assert [answered_by(host) for host in hosts.both] == [good.name] * 2
    assert bad.count() == 1


def test_of_fifty_requests_at_once_to_two_hosts_as_many_are_trials_as_there_are_slots(
    hosts: Hosts, simulator: Simulator
) -> None:
    # Four slots are two for each host, whoever's turn it is; long enough for both to know of it.
    bad, good = hosts.publish(simulator, recovery_timeout=2, recovery_timeout_max=2)
    bad.fail("status", status=500, times=1)
    assert answered_by(hosts.north) == good.name
    with hosts.looking() as looks:
        for look in looks:
            look.wait_for(bad.name, "half_open")
            cells = look.live._records.of(look.target(bad.name).id).circuit.cells
            assert cells[SHARE_UNTIL] > time.monotonic(), "it has a share, and not all of them"

    burst = Burst(lambda number: hosts.both[number % 2].chat(), bad, 50)

    assert burst.settled(4) == 4
    assert burst.end() == {200: 50}


@pytest.mark.parametrize(
    ("fault", "options", "requests"),
    [("rate_limited", {"retry_after": 200}, 1), ("status", {"status": 403}, 1), ("status", {"status": 401}, 2)],
    ids=["429", "403", "401"],
)
def test_a_quarantine_of_one_host_holds_on_the_other_and_a_changed_credential_lifts_it_on_both(
    hosts: Hosts, simulator: Simulator, fault: str, options: dict[str, Any], requests: int
) -> None:
    bad, good = hosts.publish(simulator)
    generations = hosts.credentials(bad.name, 1)
    bad.fail(fault, **options)

    assert [answered_by(hosts.north) for _ in range(requests)] == [good.name] * requests

    with hosts.looking(generations) as (north, south):
        wait_until(lambda: south.quarantine(bad.name), what="the other host knows of it")
        here, there = north.quarantine(bad.name), south.quarantine(bad.name)
        assert here is not None
        assert there is not None
        assert (here.cause, here.told) == (there.cause, there.told)
        assert here.until == pytest.approx(there.until, abs=0.1)
    bad.heal()
    assert [answered_by(host) for host in hosts.both] == [good.name] * 2
    assert bad.count() == requests

    hosts.credentials(bad.name, 2)

    assert [answered_by(host) for host in hosts.both] == [bad.name] * 2


def test_without_redis_each_host_acts_on_what_it_sees_says_so_and_they_agree_when_it_is_back(
    hosts: Hosts, simulator: Simulator
) -> None:
    bad, good = hosts.publish(simulator)
    assert [answered_by(host) for host in hosts.both] == [bad.name] * 2
    assert hosts.degraded() == [False, False]
    hosts.end_redis()
    wait_until(lambda: hosts.degraded() == [True, True], what="both say so")
    bad.fail("status", status=500, times=1)

    assert answered_by(hosts.north) == good.name
    assert [host.get("/readyz").status for host in hosts.both] == [200, 200]
    with hosts.looking() as (north, south):
        assert (north.circuit(bad.name).state, south.circuit(bad.name).state) == ("open", "closed")
        assert [answered_by(host) for host in hosts.both] == [good.name, bad.name]

        hosts.start_redis()

        wait_until(lambda: hosts.degraded() == [False, False], 20, "both are back")
        south.wait_for(bad.name, "open")
    assert answered_by(hosts.south) == good.name
