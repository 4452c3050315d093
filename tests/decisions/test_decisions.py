"""A caller that dispatches itself asks where to go, and later says what came of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from history.render import detail
from routes.engine.types import ERROR_CLASSES
from tests.control import samples
from tests.control.api import Api

if TYPE_CHECKING:
    from routes.engine.live import PinEntry
    from tests.decisions.conftest import Desk

pytestmark = pytest.mark.django_db(transaction=True)

#: What our own attempts do not count against a target: refusals of the client, and what quarantines are for.
NEUTRAL = {
    *("cancelled", "client_error", "content_filter", "context_length", "internal"),
    *("auth_failed", "quota_exhausted", "rate_limited"),
}
ANSWER = {
    *("id", "status", "head_id", "endpoint", "provider", "model", "region", "strategy_used", "source", "reason"),
    *(
        "evaluated_stages",
        "matched_rule",
        "matched_rule_index",
        "degraded",
        "revision",
        "metadata",
        "ranking",
        "excluded",
    ),
}


def test_a_decision_names_where_to_go_and_why_and_forwards_nothing(desk: Desk) -> None:
    desk.publish(samples.provider("alpha", region="eu-west"), samples.provider("beta"))
    decision = desk.decide(model="gpt-4o", route_type="service")
    assert set(decision) == ANSWER
    assert decision["status"] == "decided"
    assert (decision["provider"], decision["model"], decision["region"]) == ("alpha", "gpt-4o", "eu-west")
    assert decision["endpoint"] == "https://alpha.example/v1"
    assert (decision["strategy_used"], decision["source"], decision["revision"]) == ("round_robin", "load_balancer", 1)
    assert decision["evaluated_stages"] == ["admission", "health", "smart_routing", "affinity", "load_balancer"]
    assert [line["provider"] for line in decision["ranking"]] == ["alpha", "beta"]
    assert all(line["reason"] for line in decision["ranking"])
    assert decision["metadata"] == {"model": "gpt-4o", "region": "eu-west"}


def test_decisions_turn_the_same_wheel_as_requests(desk: Desk) -> None:
    desk.publish()
    assert Counter(desk.decide()["provider"] for _ in range(6)) == {"alpha": 3, "beta": 3}


def test_a_decision_is_a_row_that_waits_for_its_outcome(desk: Desk) -> None:
    desk.publish()
    decision = desk.decide(route_type="session", session="talk-1", source={"client_ip": "192.0.2.7"})
    row = desk.row(decision["id"])
    assert (row.status, row.route_type, row.session_key) == ("decided", "session", "talk-1")
    assert (row.provider, row.latency_ms) == (decision["provider"], None)
    assert row.source_info["client_ip"] == "192.0.2.7"
    assert detail(row)["routing_decision"]["ranking"][0]["provider"] == decision["provider"]


def test_an_outcome_completes_the_row_and_its_metrics(desk: Desk) -> None:
    desk.publish()
    decision = desk.decide()
    metrics = [{"metric_name": "queue_time", "metric_value": 3.5, "metric_unit": "ms"}]
    assert (
        desk.report(decision["id"], latency_ms=840, ttfb_ms=120, http_status=200, output_tokens=7, metrics=metrics)
        == 200
    )
    told = detail(desk.row(decision["id"]))
    assert (told["status"], told["latency_ms"], told["ttfb_ms"], told["output_tokens"]) == ("routed", 840, 120, 7)
    assert ("queue_time", 3.5, "ms") in {
        (m["metric_name"], m["metric_value"], m["metric_unit"]) for m in told["metrics"]
    }


def test_the_same_outcome_twice_is_fine_and_another_one_is_a_conflict(desk: Desk) -> None:
    desk.publish()
    decision = desk.decide()
    assert desk.report(decision["id"]) == 200
    assert desk.report(decision["id"]) == 200
    assert desk.report(decision["id"], "failed") == 409
    assert desk.row(decision["id"]).status == "routed"


def test_an_outcome_of_nothing_is_not_found(desk: Desk) -> None:
    desk.publish()
    assert desk.report(str(uuid4())) == 404
    assert desk.report("no-id") == 404


def test_what_was_chosen_counts_as_in_flight_until_its_outcome_is_reported(desk: Desk) -> None:
    desk.publish(samples.provider("alpha"))
    decision = desk.decide()
    assert desk.in_flight(decision) == 1
    desk.report(decision["id"])
    assert desk.in_flight(decision) == 0


def test_a_caller_that_never_reports_gives_its_place_back_when_the_lease_is_over(desk: Desk) -> None:
    desk.publish(samples.provider("alpha"), failover={"timeouts": {"total": 30}})
    decision = desk.decide()
    desk.clock.now += 29
    desk.decisions.claims.sweep()
    assert desk.in_flight(decision) == 1
    desk.clock.now += 2
    desk.decisions.claims.sweep()
    assert desk.in_flight(decision) == 0


def test_reported_failures_open_the_circuit_like_our_own(desk: Desk) -> None:
    desk.publish(strategy="failover")
    for _ in range(5):
        decision = desk.decide()
        assert decision["provider"] == "alpha"
        assert desk.report(decision["id"], "failed", error_code="connect_refused") == 200
    after = desk.decide()
    assert after["provider"] == "beta"
    assert [(line["provider"], line["code"]) for line in after["excluded"]] == [("alpha", "circuit_open")]


def test_refusals_that_are_the_clients_own_fault_say_nothing_about_the_target(desk: Desk) -> None:
    desk.publish(strategy="failover")
    for _ in range(6):
        decision = desk.decide()
        desk.report(decision["id"], "failed", http_status=422)
    assert desk.decide()["provider"] == "alpha"


def test_an_error_class_teaches_what_it_does_in_our_own_attempts(desk: Desk) -> None:
    desk.publish(samples.provider("alpha"))
    counted = set()
    for code in ERROR_CLASSES:
        decision = desk.decide()
        before = desk.live.stats(decision["ranking"][0]["target"]).consecutive_failures
        desk.report(decision["id"], "failed", error_code=code)
        if desk.live.stats(decision["ranking"][0]["target"]).consecutive_failures > before:
            counted.add(code)
        desk.clock.now += 10_000  # past every quarantine
        desk.report(desk.decide()["id"])
    assert set(ERROR_CLASSES) - counted == NEUTRAL


def test_a_reported_429_keeps_traffic_away_like_our_own(desk: Desk) -> None:
    desk.publish(strategy="failover")
    decision = desk.decide(model="gpt-4o")
    desk.report(decision["id"], "failed", http_status=429)
    after = desk.decide(model="gpt-4o")
    assert after["provider"] == "beta"
    assert after["excluded"][0]["code"] == "quarantined_rate_limited"


def test_the_same_failure_reported_twice_counts_once(desk: Desk) -> None:
    desk.publish(
        samples.provider("alpha", circuit={"failure_threshold": 2}), samples.provider("beta"), strategy="failover"
    )
    decision = desk.decide()
    desk.report(decision["id"], "failed")
    desk.report(decision["id"], "failed")
    assert desk.decide()["provider"] == "alpha"


def test_an_outcome_still_counts_after_the_console_was_restarted(desk: Desk) -> None:
    desk.publish(
        samples.provider("alpha", circuit={"failure_threshold": 1}), samples.provider("beta"), strategy="failover"
    )
    decision = desk.decide()
    desk.row(decision["id"])
    desk.decisions = desk.fresh()
    assert desk.report(decision["id"], "timeout") == 200
    assert desk.decide()["provider"] == "beta"


def test_half_open_slots_are_taken_by_decisions_too(desk: Desk) -> None:
    desk.publish(
        samples.provider("alpha", circuit={"failure_threshold": 1, "half_open_max_calls": 2, "recovery_timeout": 10}),
        samples.provider("beta"),
        strategy="failover",
    )
    desk.report(desk.decide()["id"], "failed")
    desk.clock.now += 13
    assert [desk.decide()["provider"] for _ in range(3)] == ["alpha", "alpha", "beta"]


def test_a_session_stays_where_it_was_sent_until_that_fails(desk: Desk) -> None:
    desk.publish(affinity={"enabled": True})
    first = desk.decide(session="talk-1")
    for _ in range(3):
        again = desk.decide(session="talk-1")
        assert (again["provider"], again["source"]) == (first["provider"], "affinity")
    assert desk.decide(session="talk-2")["provider"] != first["provider"]
    desk.report(again["id"], "failed")
    assert desk.decide(session="talk-1")["source"] == "load_balancer"


def pins(desk: Desk) -> list[PinEntry]:
    return list(desk.live.pins(desk.clock.now))


def test_the_pin_of_a_decision_names_its_session_and_use_does_not_extend_it(desk: Desk) -> None:
    desk.publish(samples.provider("alpha"), affinity={"enabled": True, "ttl": 100})
    desk.report(desk.decide(session="talk-1")["id"])
    (pin,) = pins(desk)
    assert (pin.session, pin.pinned_at, pin.expires) == ("talk-1", desk.clock.now, desk.clock.now + 100)
    for _ in range(5):
        desk.report(desk.decide()["id"], "failed")
    desk.clock.now += 30
    again = desk.decide(session="talk-1")
    assert (again["degraded"], again["source"]) == (True, "load_balancer"), "not by the pin, though it says the same"
    assert pins(desk) == [pin]


def test_use_extends_a_sliding_pin_of_a_decision_and_keeps_its_age(desk: Desk) -> None:
    desk.publish(affinity={"enabled": True, "ttl": 100, "sliding": True})
    desk.decide(session="talk-1")
    began = desk.clock.now
    desk.clock.now += 50
    desk.decide(session="talk-1")
    (pin,) = pins(desk)
    assert (pin.pinned_at, pin.expires) == (began, began + 150)


def test_a_late_failure_leaves_alone_where_the_session_has_gone_since(desk: Desk) -> None:
    desk.publish(affinity={"enabled": True})
    late, second = desk.decide(session="talk-1"), desk.decide(session="talk-1")
    desk.report(second["id"], "failed")
    moved = desk.decide(session="talk-1")
    assert moved["provider"] != late["provider"]
    desk.report(late["id"], "failed")
    assert desk.decide(session="talk-1")["provider"] == moved["provider"]


def test_rules_about_text_see_the_text_a_caller_gives(desk: Desk) -> None:
    when = {"fact": "latest_user_text", "op": "contains", "value": "zebra"}
    desk.publish(strategy="failover", rules=[{"name": "zebra", "when": when, "targets": [{"provider": "beta"}]}])
    assert desk.decide()["matched_rule"] is None
    decision = desk.decide(facts={"latest_user_text": "a zebra"})
    assert (decision["provider"], decision["matched_rule"]) == ("beta", "zebra")
    assert "a zebra" not in str(desk.row(decision["id"]).routing_decision)


def test_rules_see_the_facts_a_caller_gives(desk: Desk) -> None:
    rule = {"name": "long", "when": {"fact": "tokens", "op": "gte", "value": 1000}, "targets": [{"provider": "beta"}]}
    desk.publish(strategy="failover", rules=[rule])
    assert desk.decide(facts={"tokens": 999})["provider"] == "alpha"
    decision = desk.decide(facts={"tokens": 1000})
    assert (decision["provider"], decision["matched_rule"], decision["matched_rule_index"]) == ("beta", "long", 0)
    assert desk.row(decision["id"]).rule == "long"


def test_nothing_available_is_an_answer_and_a_record(desk: Desk) -> None:
    desk.publish(samples.provider("alpha", models={"gpt-4o": "gpt-4o"}))
    decision = desk.decide(model="claude")
    assert (decision["status"], decision["head_id"], decision["endpoint"]) == ("rejected", "", "")
    assert (decision["strategy_used"], decision["source"]) == ("none", "none")
    row = desk.row(decision["id"])
    assert (row.status, row.error_code, row.strategy) == ("rejected", "model_not_found", "none")


def test_without_a_profile_an_operator_decides_over_every_provider_by_the_default_strategy(desk: Desk) -> None:
    desk.publish()
    answer = desk.api.post("decisions/", {"route_type": "service"})
    assert (answer.status, answer.body["strategy_used"]) == (201, "failover")
    assert {line["provider"] for line in answer.body["ranking"]} == {"alpha", "beta"}
    assert desk.row(answer.body["id"]).status == "decided"


def test_without_a_profile_a_routing_key_uses_its_own(desk: Desk) -> None:
    desk.publish()
    answer = Api("route").post("decisions/", {"route_type": "service"})
    assert (answer.status, answer.body["strategy_used"]) == (201, "round_robin")


def test_a_routing_key_reports_its_own_decisions_and_nobody_elses(desk: Desk) -> None:
    desk.publish()
    key = Api("route")
    own, other = desk.decide(key), desk.decide()
    report = {"status": "routed", "latency_ms": 1}
    assert key.patch(f"decisions/{own['id']}/", report).status == 200
    assert key.patch(f"decisions/{other['id']}/", report).status == 404
    assert desk.report(desk.decide(key)["id"]) == 200  # an operator's word counts for every decision


def test_choosing_the_strategy_needs_the_keys_permission(desk: Desk) -> None:
    desk.publish()
    body = {"route_type": "inference", "strategy": "failover"}
    assert Api("route").post("decisions/", body).status == 403
    assert desk.decide(strategy="least-cost")["strategy_used"] == "least_cost"


@pytest.mark.parametrize("scopes", [("read",), ()])
def test_deciding_needs_the_scope(desk: Desk, scopes: tuple[str, ...]) -> None:
    desk.publish()
    assert Api(*scopes).post("decisions/", {"route_type": "inference"}).status == (403 if scopes else 401)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"route_type": "other"}, "route_type"),
        ({"bogus": 1}, "bogus"),
        ({"strategy": "nope"}, "strategy"),
        ({"requirements": {"size": 1}}, "requirements.size"),
        ({"source": {"client_ip": "nowhere"}}, "source.client_ip"),
        ({"facts": {"nope": 1}}, "facts.nope"),
        ({"facts": {"tokens": "many"}}, "facts.tokens"),
        ({"facts": {"key.name": "boss"}}, "facts.key.name"),
        ({"facts": {"model": "x" * 1001}}, "facts.model"),
        ({"facts": {"tag": ["x"] * 101}}, "facts.tag"),
        ({"facts": {"tag": ["x" * 1001]}}, "facts.tag"),
        ({"tags": [f"tag-{number}" for number in range(33)]}, "tags"),
        ({"requirements": {"capabilities": [f"tag-{number}" for number in range(33)]}}, "requirements.capabilities"),
        ({"session": ""}, "session"),
    ],
)
def test_a_wrong_request_is_refused_naming_the_field(desk: Desk, fields: dict[str, object], path: str) -> None:
    desk.publish()
    answer = desk.api.post("decisions/", {"route_type": "inference", "profile": "default", **fields})
    assert (answer.status, list(answer.error["fields"])) == (400, [path])


@pytest.mark.parametrize(
    ("report", "path"),
    [
        ({"status": "decided", "latency_ms": 1}, "status"),
        ({"status": "routed"}, "latency_ms"),
        ({"status": "routed", "latency_ms": -1}, "latency_ms"),
        ({"status": "failed", "latency_ms": 1, "error_code": "Not A Code"}, "error_code"),
    ],
)
def test_a_wrong_outcome_is_refused_naming_the_field(desk: Desk, report: dict[str, object], path: str) -> None:
    desk.publish()
    answer = desk.api.patch(f"decisions/{desk.decide()['id']}/", report)
    assert (answer.status, list(answer.error["fields"])) == (400, [path])


def test_before_the_first_publish_there_is_nothing_to_decide_by(desk: Desk) -> None:
    answer = desk.api.post("decisions/", {"route_type": "inference"})
    assert (answer.status, answer.error["code"]) == (409, "conflict")


def test_an_unknown_profile_is_not_found(desk: Desk) -> None:
    desk.publish()
    assert desk.api.post("decisions/", {"route_type": "inference", "profile": "nope"}).status == 404
