"""/healthz, /readyz and /health: counts only, answered by the gateway itself."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from routes.engine.provider import target_id
from routes.live import SharedLiveState
from tests.documents import an_id, document, profile, provider, target
from tests.gateways import Gateways, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulators import Simulator

#: Many of a kind.
pytestmark = pytest.mark.thorough


def test_health_counts_providers_by_what_traffic_has_shown(gateway: Gateways, simulator: Simulator) -> None:
    good, bad = simulator.add("good"), simulator.add("bad")
    bad.fail("status", status=500)
    gateway.publish(
        document(
            [
                provider("bad", base_url=bad.base_url, circuit={"failure_threshold": 1}),
                provider("good", base_url=good.base_url),
                provider("idle"),
            ]
        )
    )
    before = gateway.get("/health").json()
    assert (before["total_providers"], before["unknown_providers"]) == (3, 3)
    assert before["average_latency_ms"] is None
    assert gateway.chat().status == 200
    after = gateway.get("/health")
    assert after.status == 200
    counts = after.json()
    assert counts["status"] == "degraded"
    assert (counts["healthy_providers"], counts["unhealthy_providers"], counts["unknown_providers"]) == (1, 1, 1)
    assert counts["average_latency_ms"] > 0
    assert set(counts) == {
        *("status", "total_providers", "healthy_providers", "degraded_providers", "unhealthy_providers"),
        *("unknown_providers", "average_latency_ms", "total_profiles", "available_profiles"),
    }


def test_health_counts_what_checks_and_people_say_as_well(gateway: Gateways) -> None:
    gateway.publish(document([provider("a"), provider("b")]))
    one, other = (target_id(an_id("provider", slug), None) for slug in ("a", "b"))

    def counts() -> tuple[int, ...]:
        found = gateway.get("/health").json()
        return tuple(found[f"{name}_providers"] for name in ("healthy", "degraded", "unhealthy", "unknown"))

    with closing(SharedLiveState(gateway.data / "live.state", "test")) as live:
        live.set_observed(one, "degraded", time.monotonic() + 60)
        live.set_observed(other, "healthy", time.monotonic() + 60)
        assert counts() == (1, 1, 0, 0)
        live.set_observed(one, "unhealthy", time.monotonic() + 60)
        assert counts() == (1, 0, 1, 0)
        answer = gateway.get("/health")
        assert (answer.status, answer.json()["status"]) == (200, "degraded")
        gateway.overlay(circuits={other: {"act": "open", "until": None, "at": time.time()}})
        assert counts() == (0, 0, 2, 0)
        answer = gateway.get("/health")
        assert (answer.status, answer.json()["status"]) == (503, "down"), "nobody is left"
        gateway.overlay(circuits={other: {"act": "reset", "until": None, "at": time.time()}})
        assert gateway.get("/health").status == 200
        live.set_observed(one, "unhealthy", time.monotonic())
        assert counts() == (1, 0, 0, 1), "what checks found holds for a while only"


def test_health_is_degraded_while_a_profile_has_nobody_and_down_when_none_has(gateway: Gateways) -> None:
    profiles = [profile("default", [target("a")]), profile("other", [target("b")])]
    gateway.publish(document([provider("a"), provider("b")], profiles))
    gateway.overlay(admin_states={"b": "draining"})
    found = gateway.get("/health")
    assert (found.status, found.json()["status"]) == (200, "degraded")
    assert (found.json()["total_profiles"], found.json()["available_profiles"]) == (2, 1)
    gateway.overlay(admin_states={"a": "disabled", "b": "draining"})
    assert gateway.get("/health").status == 503


def test_health_is_down_when_no_profile_has_an_eligible_target(gateway: Gateways) -> None:
    gateway.publish(document([provider("a")]))
    assert gateway.get("/health").status == 200
    gateway.overlay(admin_states={"a": "disabled"})
    answer = gateway.get("/health")
    assert (answer.status, answer.json()["status"]) == (503, "down")
    assert gateway.get("/readyz").status == 200  # it still answers requests, with clear refusals


def test_an_admin_state_ends_at_its_time_without_a_new_overlay(gateway: Gateways) -> None:
    gateway.publish(document([provider("a")]))
    gateway.overlay(admin_states={"a": {"state": "disabled", "until": time.time() + 1.5, "reason": ""}})
    assert gateway.get("/health").status == 503
    wait_until(lambda: gateway.get("/health").status == 200)


def test_readiness_names_what_is_degraded_and_stays_200(start_gateways: Callable[..., Gateways]) -> None:
    gateway = start_gateways(REDIS_URL="redis://127.0.0.1:9/0")
    gateway.publish(document([provider("a")]))
    wait_until(lambda: {"console", "redis"} <= set(gateway.get("/readyz").json()["degraded"]))
    answer = gateway.get("/readyz")
    assert (answer.status, answer.json()["status"]) == (200, "degraded")


def test_a_dropped_record_is_named_and_counted_and_routing_goes_on(start_gateways: Callable[..., Gateways]) -> None:
    gateway = start_gateways(SIGNALBOX_JOURNAL_MAX_MB="1")
    gateway.publish(document([provider("a", models={})]))
    filler = gateway.data / "journal" / "00000000000000000001-1-000000.seg"
    filler.write_bytes(b"\0" * (2 * 1024 * 1024))  # another writer has used the folder up
    assert gateway.chat().status == 404
    wait_until(lambda: "journal" in gateway.get("/readyz").json()["degraded"])
    assert gateway.chat().status == 404


def test_answers_need_no_key_and_are_not_cached(shared_gateway: Gateways) -> None:
    shared_gateway.publish(document([provider("secret-name", base_url="http://10.1.2.3/v1", network="private")]))
    for path in ("/healthz", "/readyz", "/health"):
        answer = shared_gateway.get(path)
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        assert "secret-name" not in json.dumps(answer.json())
        assert "10.1.2.3" not in json.dumps(answer.json())
