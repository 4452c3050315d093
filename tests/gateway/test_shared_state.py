"""What two gateway processes of a host agree on before they send: rotation, circuits, half-open slots, seats, pins.
Real processes on one socket; every request comes on a connection of its own, so both get their share."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from routes.live import SharedLiveState
from tests.documents import document, profile, provider, target
from tests.gateways import Gateways, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.gateways import Answer
    from tests.simulators import Simulator

pytestmark = pytest.mark.slow

AT_ONCE = 8
#: Nothing but the number of failures opens a circuit.
CIRCUIT = {"failure_rate": 0, "recovery_timeout": 60, "slow_start": 0}


@pytest.fixture
def pair(start_gateways: Callable[..., Gateways]) -> Gateways:
    return start_gateways(2)


def publish(gateway: Gateways, *entries: dict[str, Any], strategy: str = "failover", **failover: Any) -> None:
    failover = {"same_target_retries": 0, "when_all_unhealthy": "reject", **failover}
    gateway.publish(
        document(
            list(entries),
            [
                profile(
                    "default",
                    [target(entry["slug"]) for entry in entries],
                    strategy=strategy,
                    failover=failover,
                    affinity={"enabled": True},
                )
            ],
        )
    )


def at_once(gateway: Gateways, count: int, at_a_time: int = AT_ONCE, **headers: str) -> list[Answer]:
    with ThreadPoolExecutor(at_a_time) as pool:
        return list(pool.map(lambda _: gateway.chat(**headers), range(count)))


def both_served(gateway: Gateways) -> bool:
    return len(gateway.writers()) >= 2


def test_900_requests_over_3_targets_are_300_for_each(pair: Gateways, simulator: Simulator) -> None:
    publish(
        pair,
        *(provider(slug, base_url=simulator.add(slug).base_url) for slug in ("one", "two", "three")),
        strategy="round_robin",
    )
    counts = Counter(answer.headers["x-route-provider"] for answer in at_once(pair, 900))
    assert sorted(counts) == ["one", "three", "two"]
    assert all(299 <= count <= 301 for count in counts.values()), counts
    assert both_served(pair)


@pytest.mark.faults
def test_failures_of_both_processes_open_one_circuit(pair: Gateways, simulator: Simulator) -> None:
    bad = simulator.add("bad")
    bad.fail("status", status=500)
    publish(pair, provider("bad", base_url=bad.base_url, circuit={**CIRCUIT, "failure_threshold": 20}), max_attempts=1)
    answers = [pair.chat() for _ in range(30)]
    assert [answer.status for answer in answers] == [502] * 20 + [503] * 10
    assert bad.count() == 20
    assert both_served(pair)
    opened = [each for row in pair.finished() for attempt in row.attempts for each in attempt.transitions]
    assert opened == [("closed", "open", "consecutive_failures")]


@pytest.mark.faults
def test_half_open_slots_are_exact_over_both(pair: Gateways, simulator: Simulator) -> None:
    weak, strong = simulator.add("weak"), simulator.add("strong")
    weak.fail("status", status=500)
    circuit = {
        **CIRCUIT,
        "failure_threshold": 2,
        "recovery_timeout": 0.5,
        "half_open_max_calls": 3,
        "success_threshold": 3,
    }
    publish(
        pair, provider("weak", base_url=weak.base_url, circuit=circuit), provider("strong", base_url=strong.base_url)
    )
    for _ in range(2):
        assert pair.chat().status == 200
    weak.forget()
    weak.heal()
    weak.behave(latency=1.5)
    time.sleep(0.7)  # the circuit's own time: nobody can ask it without taking a slot
    answers = at_once(pair, 16, at_a_time=16)
    # None of the trials has answered before the last request came: as many went there as there are slots.
    assert Counter(answer.headers["x-route-provider"] for answer in answers) == {"weak": 3, "strong": 13}
    assert weak.count() == 3
    assert pair.chat().headers["x-route-provider"] == "weak"  # three successes: closed again
    changes = [each[:2] for row in pair.finished() for attempt in row.attempts for each in attempt.transitions]
    assert sorted(changes) == [("closed", "open"), ("half_open", "closed"), ("open", "half_open")]


def test_seats_of_a_provider_are_counted_over_both(pair: Gateways, simulator: Simulator) -> None:
    small = simulator.add("small", latency=1.0)
    publish(pair, provider("small", base_url=small.base_url, max_concurrency=3))
    answers = at_once(pair, 12, at_a_time=12)
    assert Counter(answer.status for answer in answers) == {200: 3, 503: 9}
    refused = next(answer for answer in answers if answer.status == 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "no_target_available"
    assert small.count() == 3
    # They are free again.
    assert [answer.status for answer in at_once(pair, 3, at_a_time=3)] == [200] * 3


def test_who_finds_no_seat_goes_to_the_next_in_the_ranking(pair: Gateways, simulator: Simulator) -> None:
    small, large = simulator.add("small", latency=1.0), simulator.add("large", latency=1.0)
    publish(
        pair,
        provider("small", base_url=small.base_url, max_concurrency=2),
        provider("large", base_url=large.base_url),
    )
    answers = at_once(pair, 10, at_a_time=10)
    assert Counter(answer.headers["x-route-provider"] for answer in answers) == {"small": 2, "large": 8}
    assert {len(row.attempts) for row in pair.finished()} == {1}


@pytest.mark.faults
def test_a_killed_process_gives_back_its_seats_and_keeps_what_all_know(pair: Gateways, simulator: Simulator) -> None:
    bad, slow = simulator.add("bad"), simulator.add("slow")
    bad.fail("status", status=500)
    circuit = {**CIRCUIT, "failure_threshold": 2}
    publish(
        pair,
        provider("bad", base_url=bad.base_url, circuit=circuit),
        provider("slow", base_url=slow.base_url, max_concurrency=2),
    )
    for _ in range(2):
        assert pair.chat().status == 200
    assert bad.count() == 2  # its circuit is open
    assert pair.chat(x_route_session="kept").headers["x-route-provider"] == "slow"
    slow.behave(latency=30.0)
    with ThreadPoolExecutor(2) as pool:
        hanging = [pool.submit(_ignore_errors, pair) for _ in range(2)]
        slow.wait_for(lambda requests: len(requests) == 5)
        refused = pair.chat()  # both seats are taken
        # A seat may be free any moment, whatever the open circuit beside it says.
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        slow.behave(latency=0.0)
        for index in range(pair.count):  # one after the other: the state outlives each of them
            pair.kill(index)
            pair.restart(index)
        for request in hanging:
            request.result()
    answer = wait_until(lambda: (found := pair.chat(x_route_session="kept", x_route_debug="1")).status == 200 and found)
    assert bad.count() == 2
    assert (answer.headers["x-route-provider"], answer.headers["x-route-source"]) == ("slow", "affinity")


def _ignore_errors(gateway: Gateways) -> None:
    with contextlib.suppress(OSError):
        gateway.chat()


def test_publishing_keeps_circuits_counters_and_pins(pair: Gateways, simulator: Simulator) -> None:
    handles = {slug: simulator.add(slug) for slug in ("bad", "one", "two", "three")}
    handles["bad"].fail("status", status=500)

    def entries(weight: int) -> list[dict[str, Any]]:
        circuit = {**CIRCUIT, "failure_threshold": 1}
        return [
            provider(slug, base_url=each.base_url, circuit=circuit, weight=weight) for slug, each in handles.items()
        ]

    publish(pair, *entries(1), strategy="round_robin")
    pinned = pair.chat(x_route_session="mine").headers["x-route-provider"]
    for _ in range(3):
        pair.chat()
    assert handles["bad"].count() == 1  # opened by its first failure
    before = {slug: handle.count() for slug, handle in handles.items()}
    for weight in range(2, 8):
        publish(pair, *entries(weight), strategy="round_robin")
        pair.chat()
        answer = pair.chat(x_route_session="mine", x_route_debug="1")
        assert (answer.headers["x-route-provider"], answer.headers["x-route-source"]) == (pinned, "affinity")
    assert handles["bad"].count() == 1
    # Six requests went round from where the last revision left off, twice, whatever the sessions did.
    got = {slug: handles[slug].count() - before[slug] for slug in ("one", "two", "three")}
    got[pinned] -= 6
    assert got == {"one": 2, "two": 2, "three": 2}


# -- between hosts -----------------------------------------------------------------------------------------


@pytest.fixture
def hosts(tmp_path: Path, redis_url: str) -> Iterator[list[Gateways]]:
    """Two hosts with one process each and one Redis: two data folders."""
    made = []
    for name in ("north", "south"):
        folder = tmp_path / name
        folder.mkdir(mode=0o700)
        made.append(Gateways(folder, environment={"REDIS_URL": redis_url}))
        made[-1].start()
    yield made
    for each in made:
        each.stop()


def test_another_host_learns_of_circuits_and_pins(hosts: list[Gateways], simulator: Simulator) -> None:
    north, south = hosts
    bad, one, two = (simulator.add(slug) for slug in ("bad", "one", "two"))
    bad.fail("status", status=500)
    circuit = {**CIRCUIT, "failure_threshold": 1}
    for host in hosts:
        publish(
            host,
            *(provider(each.name, base_url=each.base_url, circuit=circuit) for each in (bad, one, two)),
            strategy="round_robin",
        )
    pinned = {name: north.chat(x_route_session=name).headers["x-route-provider"] for name in map(str, range(10))}
    assert bad.count() == 1  # that opened it
    bad.heal()  # the other host has seen nothing of it, so all it knows was told
    wait_until(lambda: {south.chat().headers["x-route-provider"] for _ in range(6)} == {"one", "two"})
    with contextlib.closing(SharedLiveState(south.data / "live.state", "test")) as live:
        wait_until(lambda: len(list(live.pins(time.monotonic()))) == len(pinned), what="the pins on the other host")
    for name, slug in pinned.items():
        answer = south.chat(x_route_session=name, x_route_debug="1")
        assert (answer.headers["x-route-provider"], answer.headers["x-route-source"]) == (slug, "affinity")
    assert "exchange" not in south.get("/readyz").json()["degraded"]


def test_a_host_goes_on_by_itself_without_redis_and_says_so(data_dir: Path, simulator: Simulator) -> None:
    host = Gateways(data_dir, 2, {"REDIS_URL": "unix:///nowhere/redis.sock"})
    try:
        host.start()
        publish(
            host,
            *(provider(slug, base_url=simulator.add(slug).base_url) for slug in ("one", "two")),
            strategy="round_robin",
        )
        counts = Counter(answer.headers["x-route-provider"] for answer in at_once(host, 40))
        assert counts == {"one": 20, "two": 20}
        for _ in range(10):  # whichever process answers
            wait_until(lambda: "exchange" in host.get("/readyz").json()["degraded"], what="the exchange being named")
    finally:
        host.stop()
