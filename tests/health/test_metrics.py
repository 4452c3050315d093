"""Circuits and probes in ``/metrics``: looked up at the scrape, by the revision on disk and the host's live state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from health.configured import configured
from health.metrics import TargetCollector
from routes import actions, live
from routes.engine.live import Forced
from routing_project.console.metrics.view import scrape
from routing_project.metrics.catalogue import CIRCUIT_TRANSITIONS
from routing_project.metrics.instruments import counter
from tests.control import samples
from tests.control.conftest import actor, env, host_state
from tests.heads.conftest import committed
from tests.series import Series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import DjangoAssertNumQueries

    from routes.engine.circuit import Act
    from routes.engine.snapshot import Snapshot, Target
    from routes.live import SharedLiveState
    from routing_project.env import Env

__all__ = ["env"]

ADMIN = actor("admin")
AGE = "health_check_age_seconds"
pytestmark = pytest.mark.django_db


@pytest.fixture
def host(env: Env) -> Iterator[SharedLiveState]:
    with host_state(env.live_path) as state:
        yield state


@pytest.fixture
def snapshot(env: Env) -> Snapshot:
    """Two providers, published; one of them is not probed."""
    probed: dict[str, Any] = {"kind": "models", "interval": 30}
    with committed():
        actions.create_provider(samples.provider("acme", probe=probed, circuit={"failure_threshold": 1}), actor=ADMIN)
        actions.create_provider(samples.provider("mute", probe={"kind": "off"}), actor=ADMIN)
        actions.create_profile(samples.profile("default", "acme", "mute"), actor=ADMIN)
        actions.publish(actor=ADMIN)
    found = configured()
    assert found is not None
    return found


def target_of(snapshot: Snapshot, slug: str) -> Target:
    return next(each for each in snapshot.profiles["default"].targets if each.provider.slug == slug)


def test_before_the_first_publish_there_are_no_targets(env: Env) -> None:
    assert [metric.samples for metric in TargetCollector(configured()).collect()] == [[], [], []]


def test_the_state_of_a_circuit_is_0_closed_1_half_open_2_open(
    env: Env, snapshot: Snapshot, host: SharedLiveState, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    acme, mute = target_of(snapshot, "acme"), target_of(snapshot, "mute")
    host.published(snapshot)

    def states() -> tuple[float, float]:
        with django_assert_num_queries(0):
            series = Series.parse(scrape(env).decode())
        return series.of("circuit_state", target=acme.id), series.of("circuit_state", target=mute.id)

    assert states() == (0, 0)
    now = time.monotonic()
    host.probed(acme, False, "upstream_5xx", now)
    assert states() == (2, 0)
    series = Series.parse(scrape(env).decode())
    assert series.of("route_target_info", target=acme.id, provider="acme", model="*", head="") == 1
    # Its time has come: whoever asks next may try.
    host._records.of(acme.id).circuit.shift(-1000.0)
    assert states() == (1, 0)


def test_a_check_is_as_old_as_the_last_word_on_its_provider(
    env: Env, snapshot: Snapshot, host: SharedLiveState
) -> None:
    acme = target_of(snapshot, "acme")
    host.published(snapshot)

    def ages() -> dict[str, float]:
        series = Series.parse(scrape(env).decode())
        return {dict(labels)["provider"]: value for (name, labels), value in series.items() if name == AGE}

    fresh = ages()
    assert fresh.keys() == {"acme"}  # nobody asks the other
    assert 0 <= fresh["acme"] < 60  # of which nothing was heard: as old as the revision
    now = time.monotonic()
    host.set_observed(acme.id, "healthy", now + 90, now - 500)
    assert 500 <= ages()["acme"] < 560
    host.set_observed(acme.id, "healthy", now + 90, now - 5)
    assert 5 <= ages()["acme"] < 65


def test_what_checks_people_and_time_do_to_circuits_is_counted_where_it_is_done_and_once(
    snapshot: Snapshot, host: SharedLiveState
) -> None:
    """``host`` is another process of the host, a gateway: what it did first is not done again here."""
    target, now, wall = target_of(snapshot, "acme"), time.monotonic(), time.time()

    def count(to: str, reason: str) -> float:
        return float(counter(CIRCUIT_TRANSITIONS).labels(target.id, to, reason)._value.get())

    state = live.current()
    state.published(snapshot)
    host.published(snapshot)
    fork = state.fork()
    for each in (state, fork):
        each.probed(target, False, "timeout", now)
        each.probed(target, True, None, now + 1)
    assert (count("open", "consecutive_failures"), count("half_open", "probe_success")) == (1, 1)

    def force(on: live.SharedLiveState | Any, act: Act, at: float) -> None:
        on.set_forced({target.id: Forced(act, None, at)}, now + 2, wall)

    force(host, "open", wall + 1)
    force(state, "open", wall + 1)
    assert count("open", "forced_open") == 0  # the gateway did, and counts it
    force(state, "closed", wall + 2)
    force(host, "closed", wall + 2)
    force(state, "reset", wall + 3)
    assert (count("closed", "forced_closed"), count("closed", "reset")) == (1, 1)
    state.probed(target, False, "timeout", now + 3)
    state.move_on(now + 1000)
    host.move_on(now + 1000)
    assert (count("open", "consecutive_failures"), count("half_open", "recovery_timeout")) == (2, 1)
