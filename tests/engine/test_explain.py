"""Packing decisions small and telling them again, in JSON and in plain words."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from routes.engine import strategies, troubles, words
from routes.engine.explain import RECORDED_PLACES, describe, pack_decision, render, sentences, unpack_decision
from routes.engine.types import ERROR_CLASSES
from tests.documents import profile, provider, snapshot, target
from tests.engine.drive import Bench
from tests.engine.situations import situations


def through_the_journal(packed: dict[str, Any]) -> dict[str, Any]:
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(packed))
    assert json.loads(json.dumps(again)) == again
    return again  # type: ignore[no-any-return]


@settings(max_examples=40)
@given(situations())
def test_a_recorded_decision_is_told_again_exactly(situation: tuple[Bench, dict[str, Any]]) -> None:
    line, wishes = situation
    decision = line.decide(**wishes)
    packed = through_the_journal(pack_decision(decision))
    again = unpack_decision(packed, line.snapshot)
    for told, made in zip(again.full_ranking(), decision.full_ranking(), strict=True):
        assert told.target is made.target
        assert (told.model, told.code) == (made.model, made.code)
        assert told.value == (pytest.approx(made.value, rel=1e-5) if isinstance(made.value, float) else made.value)
    key = [(e.target.id, e.stage, e.code) for e in decision.excluded]
    assert sorted((e.target.id, e.stage, e.code) for e in again.excluded) == sorted(key)
    for name in ("profile", "revision", "source", "strategy", "degraded", "panic", "unserved", "operation", "model"):
        assert getattr(again, name) == getattr(decision, name)
    assert [entry.stage for entry in again.stages] == [entry.stage for entry in decision.stages]
    rendered = render(packed, line.snapshot)
    assert json.loads(json.dumps(rendered)) == json.loads(json.dumps(rendered))
    assert sentences(rendered)


@pytest.mark.parametrize("name", strategies.NAMES)
@pytest.mark.parametrize("mode", ["try", "reject"])
@pytest.mark.parametrize("opened", ["", "b", "abcd"])
def test_a_recorded_decision_is_told_again_whatever_was_out(name: str, mode: str, opened: str) -> None:
    providers = [provider(slug, weight=weight) for slug, weight in zip("abcd", (1, 2, 0, 3), strict=True)]
    line = Bench(snapshot(providers, strategy=name, failover={"when_all_unhealthy": mode}))
    for slug in opened:
        line.open(slug)
    decision = line.decide()
    again = unpack_decision(through_the_journal(pack_decision(decision)), line.snapshot)
    assert [(e.target.id, e.code) for e in again.ranked] == [(e.target.id, e.code) for e in decision.full_ranking()]
    assert {(e.target.id, e.code) for e in again.excluded} == {(e.target.id, e.code) for e in decision.excluded}
    assert (again.degraded, again.panic, again.source) == (decision.degraded, decision.panic, decision.source)


@pytest.mark.parametrize("name", strategies.NAMES)
def test_an_ordinary_decision_packs_small(name: str) -> None:
    line = Bench(snapshot([provider(f"p{number}") for number in range(4)], strategy=name))
    assert len(msgspec.msgpack.encode(pack_decision(line.decide()))) < 300


def test_long_rankings_and_names_are_cut_in_the_record_and_completed_on_reading() -> None:
    line = Bench(snapshot([provider(f"p{number}") for number in range(40)], strategy="peak_ewma"))
    decision = line.decide(model="m" * 5000)
    packed = pack_decision(decision)
    assert len(packed["r"]) == RECORDED_PLACES
    assert len(packed["m"]) < 300
    ranking = unpack_decision(packed, line.snapshot).full_ranking()
    assert len(ranking) == 40
    assert [e.code for e in ranking] == ["peak_ewma"] * RECORDED_PLACES + ["backup"] * (40 - RECORDED_PLACES)
    assert "and 24 more" in sentences(render(packed, line.snapshot))[1]


def test_a_rendered_decision_has_the_fields_of_the_contract() -> None:
    providers = [provider("a", region="eu"), provider("b"), provider("c", models={"x": "y"})]
    line = Bench(snapshot(providers, strategy="weighted", number=7))
    line.open("b")
    told = describe(line.decide())
    assert told["revision"] == 7
    assert told["evaluated_stages"] == ["admission", "health", "smart_routing", "affinity", "load_balancer"]
    (first,) = told["ranking"]
    assert first == {
        "rank": 1,
        "target": line.target("a").id,
        "provider": "a",
        "endpoint": "http://127.0.0.1:9/a/v1",
        "head_id": "",
        "model": "gpt-4o",
        "tier": 0,
        "weight": 1.0,
        "code": "only_candidate",
        "score": None,
        "reason": "the only candidate left",
    }
    assert [(line["provider"], line["stage"], line["code"]) for line in told["excluded"]] == [
        ("c", "admission", "model_not_served"),
        ("b", "health", "circuit_open"),
    ]
    assert [(s["stage"], s["in"], s["out"], len(s["dropped"])) for s in told["stages"]] == [
        ("admission", 3, 2, 1),
        ("health", 2, 1, 1),
        ("smart_routing", 1, 1, 0),
        ("affinity", 1, 1, 0),
        ("load_balancer", 1, 1, 0),
    ]
    assert set(told["weights"].values()) == {1.0}


def test_the_story_of_a_failover_in_plain_words() -> None:
    providers = [provider("acme-eu"), provider("acme-us"), provider("spare")]
    line = Bench(snapshot(providers))
    line.set_states(spare="disabled")
    attempts = [
        {
            "provider": "acme-eu",
            "model": "gpt-4o",
            "http_status": None,
            "error_class": "connect_refused",
            "latency_ms": 3.2,
            "transitions": [["closed", "open", "consecutive_failures"]],
        },
        {"provider": "acme-us", "model": "gpt-4o", "http_status": 200, "latency_ms": 812.0, "ttfb_ms": 120.0},
    ]
    assert sentences(describe(line.decide()), attempts) == [
        "Profile default has 3 targets; strategy failover chose acme-eu / gpt-4o: number 1 in the configured order.",
        "spare was left out at admission: disabled by an operator.",
        "Next in line: acme-us / gpt-4o (number 2 in the configured order).",
        "Attempt 1: acme-eu / gpt-4o refused the connection after 3 ms.",
        "Attempt 1 opened its circuit: too many failures in a row.",
        "Attempt 2: acme-us / gpt-4o answered 200 after 812 ms, the first of it after 120 ms.",
    ]


def test_an_attempt_without_times_is_told_without_them() -> None:
    line = Bench(snapshot([provider("a")]))
    attempts = [
        {"provider": "a", "model": "", "http_status": 200, "ttfb_ms": 5.0},
        {"provider": "a", "http_status": 200},
    ]
    assert sentences(describe(line.decide()), attempts)[1:] == [
        "Attempt 1: a answered 200, the first of it after 5 ms.",
        "Attempt 2: a answered 200.",
    ]


def test_the_story_of_a_request_nobody_could_take() -> None:
    line = Bench(snapshot([provider("a")], failover={"when_all_unhealthy": "reject"}))
    line.live.quarantine(line.target("a"), None, 90, "rate_limited", line.now)
    assert sentences(describe(line.decide())) == [
        "None of the 1 target of profile default could take this request.",
        "a was left out for its health: rate-limited for another 1 min 30 s.",
    ]


def test_the_story_of_a_degraded_decision() -> None:
    line = Bench(snapshot([provider("a"), provider("b")]))
    line.open("a")
    line.open("b")
    told = sentences(describe(line.decide()))
    assert "due to be tried in" in told[0]
    assert told[1] == "Nothing healthy was left, so one attempt was allowed on a target that was out."
    assert told[2].startswith("Out as well, and due later: ")
    assert len(told) == 3


@pytest.mark.parametrize(
    ("code", "value", "rank", "expected"),
    [
        ("first_event", 45.0, 1, "lowest first event 45.0 ms"),
        ("first_event", 80.0, 2, "first event 80.0 ms"),
        ("weight", 70.0, 1, "weighted 70.0 %"),
        ("smooth", 50.0, 1, "smoothly weighted 50.0 %"),
        ("usd_per_million", 4.8, 1, "$4.80/1M"),
        ("usd_per_million", 0.0021, 1, "$0.0021/1M"),
        ("usd_per_million", 0.0, 1, "$0.00/1M"),
        ("price_unknown", None, 3, "price unknown"),
        ("per_token", 12.345, 1, "lowest latency 12.35 ms per output token"),
        ("latency", 100.0, 2, "latency 100.0 ms"),
        ("cold_start", 3, 2, "not measured yet (3 outcomes)"),
        ("explore", 0, 1, "being measured (0 outcomes so far)"),
        ("peak_ewma", 45.0, 1, "latency and load score 45.0 ms, the better of two drawn"),
        ("peak_ewma", 45.0, 2, "latency and load score 45.0 ms"),
        ("turn", 17, 1, "its turn (count 17)"),
        ("first", None, 1, "the only target this strategy uses"),
        ("next_try", 12.0, 1, "due to be tried in 12 s"),
        ("next_try", 0.0, 1, "due to be tried"),
        ("backup", None, 9, "further backup"),
        ("of_a_later_version", 1, 1, "of a later version"),
    ],
)
def test_words_for_a_place_in_the_ranking(code: str, value: Any, rank: int, expected: str) -> None:
    assert words.ranked(code, value, rank) == expected


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        ("draining", None, "draining: it gets no new requests"),
        ("model_not_served", None, "does not serve this model"),
        ("wire_unsupported", "anthropic", "speaks the anthropic format, which this request is not written in"),
        ("wire_unsupported", "generic", "serves service requests (/svc) only"),
        ("not_requested", None, "not among the providers the request asked for"),
        ("excluded_by_request", None, "excluded by the request"),
        ("circuit_open", 42.0, "its circuit is open for another 42 s"),
        ("circuit_open", 0.0, "its circuit is open"),
        ("slow_start", 10.0, "recovering: gets 10 % of requests for now"),
        ("weight_zero", 0.0, "has weight 0"),
        ("not_first", None, "not the first target, and this strategy uses no other"),
        ("quarantined_auth_failed", 5400.0, "its credential was refused; kept away for another 1 h 30 min"),
        ("quarantined_something", 0.5, "something for another 500 ms"),
        ("of_a_later_version", None, "of a later version"),
    ],
)
def test_words_for_what_was_left_out(code: str, value: Any, expected: str) -> None:
    assert words.excluded(code, value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.35, "350 ms"),
        (4.25, "4.2 s"),
        (59.0, "59 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (7320, "2 h 2 min"),
    ],
)
def test_durations_as_people_say_them(seconds: float, expected: str) -> None:
    assert words.seconds(seconds) == expected


@pytest.mark.parametrize("error", ERROR_CLASSES)
def test_every_error_class_has_words_and_says_what_to_do(error: str) -> None:
    assert words.outcome(error, None) == troubles.ERRORS[error].told
    assert words.outcome(error, 500).endswith("(500)")
    assert troubles.of(error, "acme").advice.endswith(".")


def test_the_same_code_is_a_targets_or_ours_by_whether_a_provider_was_asked() -> None:
    assert troubles.of("rate_limited", "acme").see == "provider"
    assert troubles.of("rate_limited", "").see == "keys"
    assert troubles.of("connect_refused", "").told == "refused the connection"
    assert troubles.of("of_a_later_version", "acme").told == "of a later version"
    assert troubles.of(None, "").told == "failed for a reason that was not reported"


def test_words_for_outcomes_and_transitions_never_fail() -> None:
    assert words.outcome(None, None) == "answered"
    assert words.outcome("of_a_later_version", None) == "of a later version"
    assert words.transition("closed", "half_open", "by_hand") == "moved its circuit from closed to half-open (by-hand)"
    for reason in (
        "consecutive_failures",
        "failure_rate",
        "half_open_failure",
        "recovery_timeout",
        "successes",
        "degraded_success",
    ):
        assert "circuit" in words.transition("x", "y", reason)
    assert words.stage("affinity") == "by affinity"
    assert words.stage("of_a_later_version") == "by of a later version"


def test_a_decision_for_another_strategy_is_told_with_it() -> None:
    places = [target("a"), target("b")]
    line = Bench(snapshot([provider("a"), provider("b")], [profile(targets=places, strategy="least_latency")]))
    line.first(strategy="round_robin")
    packed = pack_decision(line.decide(strategy="round_robin"))
    assert packed["s"] == "round_robin"
    assert unpack_decision(packed, line.snapshot).ranked[0].target.provider.slug == "b"
