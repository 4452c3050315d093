"""What the engine is asked costs no more than what it asks back: bodies are read for facts, and only then."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from routes.engine.explain import pack_decision
from routes.engine.facts import Calibration
from routes.engine.local_live import LocalLiveState
from routes.engine.pipeline import decide
from routes.engine.snapshot import Snapshot
from routes.gateway import intake, route_request, sessions
from routes.gateway.auth import AccessKey
from routes.gateway.exchange import Exchange, Usage
from tests.documents import access_key, document, provider, rule, target

if TYPE_CHECKING:
    from routes.gateway.geo import Geo

BODY = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * 4000}], "user": "one"})
BY_TOKENS = rule("long", {"all": [{"fact": "tokens", "op": "gte", "value": 500}]}, [target("a")])
BY_SCENARIO = rule("scenario", {"all": [{"fact": "scenario", "op": "eq", "value": "long_context"}]}, [target("a")])


@dataclass
class Asker:
    live: LocalLiveState = field(default_factory=LocalLiveState)
    calibration: Calibration = field(default_factory=Calibration)
    geo: Geo | None = None

    def clock(self) -> float:
        return 1000.0


def an_exchange(**of_profile: Any) -> Exchange:
    snapshot = Snapshot.from_document(document([provider("a")], **of_profile))
    exchange = Exchange(b"", "route", 1000.0, 1_700_000_000_000, "POST", "/v1/chat/completions", b"", [])
    exchange.operation, exchange.model, exchange.body = "chat", "gpt-4o", BODY
    exchange.key = AccessKey.from_document(access_key("sbx_" + "x" * 40))
    exchange.snapshot, exchange.profile = snapshot, snapshot.profiles["default"]
    return exchange


def ask(asker: Asker, exchange: Exchange) -> Any:
    head = intake.parse_body(exchange.body)
    exchange.session = route_request.session_of(exchange, head, {}, None)
    return route_request.build(asker, exchange, head, {})


def test_without_rules_and_estimates_there_are_no_facts() -> None:
    exchange = an_exchange()
    request = ask(Asker(), exchange)
    assert (request.facts, request.estimate_tokens, exchange.facts) == (None, None, None)


@pytest.mark.parametrize(
    "of_profile", [{"strategy": "least_cost"}, {"strategy": "tiered", "params": {"within": "least_cost"}}]
)
def test_a_strategy_that_goes_by_cost_reads_the_body_when_it_asks(of_profile: dict[str, Any]) -> None:
    exchange = an_exchange(**of_profile)
    request = ask(Asker(), exchange)
    assert request.facts is None
    assert exchange.facts is not None
    assert not exchange.facts.has_read_body
    assert 1000 <= request.estimate_tokens() <= 1010
    assert exchange.facts.has_read_body


@pytest.mark.parametrize(
    "of_profile", [{}, {"strategy": "least_cost"}, {"rules": [BY_TOKENS]}, {"rules": [BY_SCENARIO]}]
)
def test_a_request_leaves_nothing_for_the_garbage_collector(of_profile: dict[str, Any]) -> None:
    """What ends in a circle stays in memory until a collection, which stops every request for milliseconds."""
    exchange = an_exchange(**of_profile)
    asker = Asker()
    assert exchange.profile is not None
    assert exchange.snapshot is not None

    def one() -> None:
        again = replace(exchange)
        request = ask(asker, again)
        assert exchange.snapshot is not None
        assert exchange.profile is not None
        again.decision = decide(exchange.snapshot, exchange.profile, request, asker.live, 1000.0, Random(1))
        pack_decision(again.decision)

    one()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            one()
        assert gc.collect() < 50
    finally:
        gc.enable()


def test_with_rules_the_body_is_read_when_one_of_them_asks() -> None:
    request = ask(Asker(), an_exchange(rules=[BY_TOKENS]))
    assert not request.facts.has_read_body
    assert request.facts.tokens >= 1000
    assert request.facts.has_read_body


def test_what_answers_report_corrects_the_expected_cost_and_no_condition() -> None:
    asker = Asker()
    for _ in range(3):
        exchange = an_exchange(strategy="least_cost")
        request = ask(asker, exchange)
        exchange.usage = Usage(input=request.estimate_tokens() * 2, output=1)
        sessions.learn_usage(asker.calibration, exchange)
    exchange = an_exchange(rules=[BY_TOKENS], strategy="least_cost")
    request = ask(asker, exchange)
    assert request.facts.tokens < 1500 < request.estimate_tokens()


def test_an_estimate_teaches_nothing_and_no_body_is_read_to_learn() -> None:
    asker = Asker()
    exchange = an_exchange(strategy="least_cost")
    request = ask(asker, exchange)
    exchange.usage = Usage(input=10_000, output=1)
    sessions.learn_usage(asker.calibration, exchange)  # nobody had asked for tokens
    assert asker.calibration.ratio("gpt-4o") == 1.0
    request.estimate_tokens()
    exchange.usage = Usage(input=10_000, output=1, estimated=True)
    sessions.learn_usage(asker.calibration, exchange)
    assert asker.calibration.ratio("gpt-4o") == 1.0


def test_a_session_is_remembered_only_where_a_rule_asks_for_its_scenario() -> None:
    asker = Asker()

    def last_input(exchange: Exchange) -> int | None:
        ask(asker, exchange)
        sessions.remember_input(asker.live, exchange, 1000.0)
        assert exchange.profile is not None
        assert exchange.key is not None
        return asker.live.last_input(sessions.session_key(exchange.profile, exchange.key, "one"), 1000.0)

    assert last_input(an_exchange()) is None
    assert last_input(an_exchange(rules=[BY_TOKENS])) is None
    assert (last_input(an_exchange(rules=[BY_SCENARIO])) or 0) >= 1000
