"""Sessions stay where they were answered; a response is gone on with where it came from. Real processes and sockets."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.documents import access_key, document, profile, provider, rule, target
from tests.gateway.lab import CHAT
from tests.gateway.test_metrics import value, wait_for
from tests.gateways import KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateways import Answer, Gateways
    from tests.simulators import ProviderHandle, Simulator

_numbers = itertools.count(1)
OTHER_KEY = "sbx_" + "o" * 40


class Station:
    """Gateway processes in front of three providers under ``round_robin``, sessions pinned. The providers are new, so
    that nothing that other tests pinned on a shared process leads to them."""

    def __init__(self, gateway: Gateways, simulator: Simulator) -> None:
        self.gateway = gateway
        self.simulator = simulator
        self.providers: dict[str, ProviderHandle] = {}
        number = next(_numbers)
        for slug in (f"red-{number}", f"green-{number}", f"blue-{number}"):
            self.providers[slug] = simulator.add(slug)
        self.publish()

    def publish(self, **of_profile: Any) -> None:
        of_profile = {
            "strategy": "round_robin",
            "affinity": {"enabled": True},
            "failover": {"same_target_retries": 0},
            **of_profile,
        }
        entries = [provider(slug, base_url=handle.base_url) for slug, handle in self.providers.items()]
        self.gateway.publish(
            document(entries, [profile("default", [target(slug) for slug in self.providers], **of_profile)])
        )

    def ask(self, session: str | None = "one", *, resource: str = "chat/completions", **more: Any) -> Answer:
        """One request on a connection of its own."""
        headers = {} if session is None else {"x_route_session": session}
        body = {**CHAT, **more} if resource == "chat/completions" else {"model": "gpt-4o", "input": "hi", **more}
        return self.gateway.post(f"/v1/{resource}", body, x_route_debug="1", **headers)

    def told(self, answer: Answer) -> tuple[str, str]:
        """(who answered, because of what)"""
        assert answer.status == 200, answer.body
        return answer.headers["x-route-provider"], answer.headers["x-route-source"]

    def others(self, slug: str) -> list[str]:
        return [each for each in self.providers if each != slug]


@pytest.fixture
def station(shared_gateway: Gateways, simulator: Simulator) -> Station:
    return Station(shared_gateway, simulator)


@pytest.mark.thorough
@pytest.mark.parametrize("stream", [False, True])
def test_a_session_stays_and_requests_without_one_go_round(station: Station, stream: bool) -> None:
    slug, source = station.told(station.ask("one", stream=stream))
    assert source == "load_balancer"
    assert {station.told(station.ask("one", stream=stream)) for _ in range(4)} == {(slug, "affinity")}
    assert {station.told(station.ask(None, stream=stream))[0] for _ in range(6)} == set(station.providers)
    # Honoured pins advance no counter: six requests without a session went round twice, exactly.
    asked = [handle.count() for name, handle in station.providers.items() if name != slug]
    assert max(asked) - min(asked) <= 1


@pytest.mark.thorough
def test_a_session_sticks_over_two_processes(start_gateways: Callable[..., Gateways], simulator: Simulator) -> None:
    station = Station(start_gateways(2), simulator)
    slug, _ = station.told(station.ask())
    assert {station.told(station.ask()) for _ in range(30)} == {(slug, "affinity")}
    assert len(station.gateway.writers()) == 2, "one process got all connections: nothing was shared"


@pytest.mark.thorough
@pytest.mark.parametrize("stream", [False, True])
def test_a_pin_that_failed_over_moves_to_the_target_that_answered(station: Station, stream: bool) -> None:
    first, _ = station.told(station.ask(stream=stream))
    station.providers[first].fail("status", status=500)
    second, source = station.told(station.ask(stream=stream))
    assert (second != first, source) == (True, "affinity")  # the pin ranked; its target failed
    station.providers[first].heal()
    assert {station.told(station.ask(stream=stream)) for _ in range(4)} == {(second, "affinity")}


@pytest.mark.thorough
def test_an_answer_that_is_the_clients_own_error_pins_nothing(station: Station) -> None:
    for handle in station.providers.values():
        handle.fail("status", status=400)
    assert station.ask().status == 400
    for handle in station.providers.values():
        handle.heal()
    assert station.told(station.ask())[1] == "load_balancer"
    assert station.told(station.ask())[1] == "affinity"


@pytest.mark.thorough
def test_a_stream_pins_at_its_first_content_and_a_cut_behind_it_changes_nothing(station: Station) -> None:
    for handle in station.providers.values():
        handle.behave(faults=[{"name": "cut_mid_stream", "after_events": 3}])
    answer = station.ask(stream=True)
    assert b'"error"' in answer.body
    slug = answer.headers["x-route-provider"]
    for handle in station.providers.values():
        handle.heal()
    assert station.told(station.ask()) == (slug, "affinity")


@pytest.mark.thorough
def test_sessions_of_two_keys_rules_and_profiles_are_strangers(station: Station) -> None:
    gateway = station.gateway
    gateway.overlay(keys=[access_key(KEY, allow=["debug"]), access_key(OTHER_KEY, name="other", allow=["debug"])])
    when = {"all": [{"fact": "tag", "op": "eq", "value": "gold"}]}
    every = [target(slug) for slug in station.providers]
    station.publish(rules=[rule("gold", when, every)])
    assert station.told(station.ask())[1] == "load_balancer"
    assert station.told(station.ask())[1] == "affinity"
    other = gateway.post("/v1/chat/completions", CHAT, key=OTHER_KEY, x_route_session="one", x_route_debug="1")
    assert station.told(other)[1] == "load_balancer"
    # A rule that matches now is never hidden by the pin of requests it did not match.
    gold = {"x_route_session": "one", "x_route_debug": "1", "x_route_tags": "gold"}
    assert station.told(gateway.post("/v1/chat/completions", CHAT, **gold))[1] == "smart_routing"
    assert station.told(gateway.post("/v1/chat/completions", CHAT, **gold))[1] == "affinity"


@pytest.mark.thorough
def test_clients_without_a_session_are_told_apart_by_address_where_asked_for(station: Station) -> None:
    station.publish(affinity={"enabled": True, "client_ip": True})
    slug, source = station.told(station.ask(None))
    assert source == "load_balancer"
    assert {station.told(station.ask(None)) for _ in range(3)} == {(slug, "affinity")}
    # An explicit session is another one, and its pin is its own.
    assert station.told(station.ask("explicit"))[1] == "load_balancer"
    assert station.told(station.ask(None)) == (slug, "affinity")


@pytest.mark.thorough
def test_honoured_and_missing_pins_are_counted(gateway: Gateways, simulator: Simulator) -> None:
    station = Station(gateway, simulator)
    for session in ("one", "one", "one", "two", None):
        station.ask(session)
    series = wait_for(station.gateway, "cache_hits_total", 2, cache="affinity")
    assert value(series, "cache_misses_total", cache="affinity") == 2
    assert value(series, "cache_hits_total", cache="key") == 5
    # A pin is not a strategy: the label is the one that would have ranked.
    label = {"model_type": "chat", "region": "none"}
    assert value(series, "routing_decisions_total", strategy="round_robin", **label) == 5


# -- responses ---------------------------------------------------------------------------------------------


def response_id(answer: Answer) -> str:
    """The id of a response, whole or streamed."""
    if answer.headers["content-type"].startswith("application/json"):
        return str(answer.json()["id"])
    [created] = [
        line for line in answer.body.split(b"\n") if line.startswith(b"data: ") and b"response.created" in line
    ]
    return str(json.loads(created[6:])["response"]["id"])


@pytest.mark.thorough
@pytest.mark.parametrize("stream", [False, True])
def test_a_response_is_gone_on_with_where_it_came_from(station: Station, stream: bool) -> None:
    first = station.ask(None, resource="responses", stream=stream)
    slug = first.headers["x-route-provider"]
    previous = response_id(first)
    for _ in range(4):
        answer = station.ask(None, resource="responses", stream=stream, previous_response_id=previous)
        assert station.told(answer) == (slug, "pinned")
        previous = response_id(answer)
    # The client's own session, or another one, changes nothing about who has the response.
    answer = station.ask("some session", resource="responses", previous_response_id=previous)
    assert station.told(answer) == (slug, "pinned")


@pytest.mark.thorough
def test_a_response_has_no_other_target_to_fail_over_to(station: Station) -> None:
    first = station.ask(None, resource="responses")
    slug = first.headers["x-route-provider"]
    station.providers[slug].fail("status", status=500)
    before = {other: station.providers[other].count() for other in station.others(slug)}
    answer = station.ask(None, resource="responses", previous_response_id=response_id(first))
    assert answer.status == 502
    assert {attempt["provider"] for attempt in answer.json()["error"]["attempts"]} == {slug}
    assert {other: station.providers[other].count() for other in before} == before


@pytest.mark.thorough
def test_a_response_nobody_knows_is_routed_as_any_other_request(station: Station) -> None:
    station.gateway.overlay(
        keys=[access_key(KEY, allow=["debug"]), access_key(OTHER_KEY, name="other", allow=["debug"])]
    )
    assert (
        station.told(station.ask(None, resource="responses", previous_response_id="resp_unknown"))[1] == "load_balancer"
    )
    known = response_id(station.ask(None, resource="responses"))
    # Another key's response is none of ours.
    body = {"model": "gpt-4o", "input": "hi", "previous_response_id": known}
    answer = station.gateway.post("/v1/responses", body, key=OTHER_KEY, x_route_debug="1")
    assert station.told(answer)[1] == "load_balancer"
    # Nor is one from a target that the profile no longer has.
    slug = station.told(station.ask(None, resource="responses", previous_response_id=known))[0]
    del station.providers[slug]
    station.publish()
    assert station.told(station.ask(None, resource="responses", previous_response_id=known))[1] == "load_balancer"


@pytest.mark.thorough
def test_only_responses_read_the_member(station: Station) -> None:
    known = response_id(station.ask(None, resource="responses"))
    assert station.told(station.ask(None, previous_response_id=known))[1] == "load_balancer"
