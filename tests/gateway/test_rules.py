"""Smart rules over the wire: what real bodies of both formats match, whom a request reaches, what is told of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from routes.engine.strategies import NAMES
from tests.documents import access_key, rule, target
from tests.gateway.lab import CHAT, MESSAGES, VERSION
from tests.gateways import KEY

if TYPE_CHECKING:
    from tests.gateway.lab import Lab
    from tests.gateways import Answer

LONG = "word " * 400  # 500 tokens
PIXEL = "iVBORw0KGgo="
STAGES = "admission,health,smart_routing,affinity,load_balancer"


def clause(fact: str, op: str, value: Any) -> dict[str, Any]:
    return {"all": [{"fact": fact, "op": op, "value": value}]}


def content(wire: str, text: str, *, image: bool) -> Any:
    if not image:
        return text
    if wire == "anthropic":
        picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    else:
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    return [{"type": "text", "text": text}, picture]


def tool(wire: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}}
    if wire == "anthropic":
        return {"name": "weather", "input_schema": schema}
    return {"type": "function", "function": {"name": "weather", "parameters": schema}}


def told(answer: Answer) -> tuple[str, str, str]:
    """(provider, rule, source) as the debug headers say."""
    headers = answer.headers
    return headers["x-route-provider"], headers["x-route-rule"], headers["x-route-source"]


class Asking:
    """Sends requests of one wire format with debug headers, and says who answered under which rule."""

    def __init__(self, lab: Lab, wire: str) -> None:
        self.lab = lab
        self.wire = wire
        self.path = "/v1/messages" if wire == "anthropic" else "/v1/chat/completions"

    def __call__(self, text: str = "hello", *, image: bool = False, tools: bool = False, **headers: str) -> Answer:
        body = {**(MESSAGES if self.wire == "anthropic" else CHAT)}
        body["messages"] = [{"role": "user", "content": content(self.wire, text, image=image)}]
        if tools:
            body["tools"] = [tool(self.wire)]
        answer = self.lab.gateway.post(self.path, body, x_route_debug="1", **VERSION, **headers)
        assert answer.status == 200, answer.body
        return answer


@pytest.mark.thorough
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_rules_read_real_bodies_headers_and_tags_and_the_first_that_matches_wins(lab: Lab, wire: str) -> None:
    conditions = {
        "tag": clause("tag", "eq", "gold"),
        "header": clause("header.x-team", "in", ["blue", "green"]),
        "key tag": clause("key.tag", "eq", "batch"),
        "tool": clause("has_tools", "is", True),
        "image": clause("latest_user_has_image", "is", True),
        "tokens": clause("tokens", "gte", 500),
        "text": clause("latest_user_text", "regex", r"(?i)\binvoice\b"),
    }
    base = lab.provider(wire)
    special = {name: lab.provider(wire) for name in conditions}
    rules = [rule(name, when, [target(special[name].slug)]) for name, when in conditions.items()]
    lab.publish(base, *special.values(), only=[base], of_profile={"rules": rules})
    batch = "sbx_" + "b" * 40
    lab.gateway.overlay(
        keys=[
            access_key(KEY, allow=["debug", "overrides"]),
            access_key(batch, name="batch", tags=["batch"], allow=["debug"]),
        ]
    )
    ask = Asking(lab, wire)

    def matched(answer: Answer) -> str:
        provider, name, source = told(answer)
        assert source == "smart_routing"
        assert provider == special[name].slug
        assert answer.headers["x-route-stages"] == STAGES
        assert lab.row(answer).rule == name
        return name

    unmatched = ask()
    assert told(unmatched) == (base.slug, "none", "load_balancer")
    assert lab.row(unmatched).rule is None
    assert matched(ask("please pay this Invoice")) == "text"
    assert matched(ask(LONG)) == "tokens"
    assert matched(ask(LONG, image=True)) == "image"
    assert matched(ask(image=True, tools=True)) == "tool"
    assert matched(ask(key=batch)) == "key tag"
    assert matched(ask(tools=True, x_team="blue")) == "header"
    assert matched(ask(tools=True, x_team="blue", x_route_tags=" silver , gold ")) == "tag"
    assert told(ask(x_team="red", x_route_tags="silver")) == (base.slug, "none", "load_balancer")
    # Rules of one request leave none behind for the next.
    assert told(ask("an invoiced thing")) == (base.slug, "none", "load_balancer")


@pytest.mark.thorough
def test_what_belongs_to_a_rule_is_never_reached_without_it(lab: Lab) -> None:
    base, special = lab.provider(), lab.provider()
    rules = [rule("tagged", clause("tag", "eq", "gold"), [target(special.slug)])]
    lab.publish(base, special, only=[base], of_profile={"rules": rules}, max_attempts=3, same_target_retries=0)
    base.fail("status", status=500)
    assert lab.chat().status == 502
    for strategy in ("round_robin", "peak_ewma", "weighted"):
        assert lab.gateway.post("/v1/chat/completions", CHAT, x_route_strategy=strategy).status == 502
    assert special.count == 0


@pytest.mark.thorough
def test_a_partition_that_is_down_falls_back_to_the_profile_only_where_the_rule_says_so(lab: Lab) -> None:
    base, kind, strict = lab.provider(), lab.provider(), lab.provider()
    rules = [
        rule("kind", clause("tag", "eq", "kind"), [target(kind.slug)], fallback_to_profile=True),
        rule("strict", clause("tag", "eq", "strict"), [target(strict.slug)], fallback_to_profile=False),
    ]
    lab.publish(base, kind, strict, only=[base], of_profile={"rules": rules}, max_attempts=3, same_target_retries=0)
    kind.fail("status", status=500)
    strict.fail("status", status=500)
    answer = lab.gateway.post("/v1/chat/completions", CHAT, x_route_tags="kind")
    assert answer.status == 200
    assert lab.attempts(answer) == [(kind.slug, "upstream_5xx"), (base.slug, None)]
    answer = lab.gateway.post("/v1/chat/completions", CHAT, x_route_tags="strict")
    assert answer.status == 502
    assert lab.attempts(answer) == [(strict.slug, "upstream_5xx")]


@pytest.mark.thorough
def test_embeddings_never_match_a_rule_that_holds_a_text_fact_anywhere(lab: Lab) -> None:
    base, special, by_model = lab.provider(), lab.provider(), lab.provider()
    not_said = {"not": {"fact": "user_text", "op": "contains", "value": "never said"}}
    either = {
        "any": [
            {"fact": "model", "op": "eq", "value": "gpt-4o"},
            {"fact": "system_text", "op": "contains", "value": "x"},
        ]
    }
    rules = [
        rule("not", not_said, [target(special.slug)]),
        rule("either", either, [target(special.slug)]),
        rule("model", clause("model", "eq", "gpt-4o"), [target(by_model.slug)]),
    ]
    lab.publish(base, special, by_model, only=[base], of_profile={"rules": rules})
    body = {"model": "gpt-4o", "input": "never said"}
    answer = lab.gateway.post("/v1/embeddings", body, x_route_debug="1")
    assert answer.status == 200
    assert told(answer) == (by_model.slug, "model", "smart_routing")
    assert told(lab.gateway.post("/v1/chat/completions", CHAT, x_route_debug="1"))[1] == "not"


@pytest.mark.thorough
@pytest.mark.parametrize("stream", [False, True])
def test_a_rule_may_send_another_model_than_the_one_asked_for(lab: Lab, stream: bool) -> None:
    base = lab.provider()
    small = lab.provider(models={"small": "acme-small-2"})
    rules = [rule("small", clause("tag", "eq", "cheap"), [target(small.slug, "small")])]
    lab.publish(base, small, only=[base], of_profile={"rules": rules})
    answer = lab.gateway.post("/v1/chat/completions", {**CHAT, "stream": stream}, x_route_tags="cheap")
    assert answer.status == 200
    assert answer.headers["x-route-model"] == "acme-small-2"
    [received] = small.requests()
    assert received.json() == {**CHAT, "stream": stream, "model": "acme-small-2"}
    row = lab.row(answer)
    assert (row.requested_model, row.model, row.rule) == ("gpt-4o", "acme-small-2", "small")


@pytest.mark.thorough
def test_the_strategy_of_the_header_ranks_inside_the_rule(lab: Lab) -> None:
    base, one, two = lab.provider(), lab.provider(), lab.provider()
    rules = [rule("pair", clause("tag", "eq", "pair"), [target(one.slug), target(two.slug)], strategy="failover")]
    lab.publish(base, one, two, only=[base], of_profile={"rules": rules})
    for _ in range(4):
        answer = lab.gateway.post(
            "/v1/chat/completions", CHAT, x_route_tags="pair", x_route_strategy="round-robin", x_route_debug="1"
        )
        assert answer.headers["x-route-strategy"] == "round_robin"
        assert answer.headers["x-route-rule"] == "pair"
    assert (base.count, one.count, two.count) == (0, 2, 2)


@pytest.mark.thorough
def test_every_strategy_can_be_asked_for(lab: Lab) -> None:
    providers = [lab.provider(), lab.provider(), lab.provider()]
    lab.publish(*providers)
    for name in NAMES:
        answer = lab.gateway.post("/v1/chat/completions", CHAT, x_route_strategy=name, x_route_debug="1")
        assert answer.status == 200
        assert answer.headers["x-route-strategy"] == name


@pytest.mark.thorough
def test_a_target_without_a_tag_that_is_asked_for_is_left_out_where_the_profile_requires_tags(lab: Lab) -> None:
    plain, tagged = lab.provider(), lab.provider(tags=["eu", "gdpr", "fast"])
    lab.publish(plain, tagged, of_profile={"require_tags": True})

    def answered_by(tags: str) -> str | None:
        answer = lab.gateway.post("/v1/chat/completions", CHAT, x_route_tags=tags)
        assert answer.status == (200 if "x-route-provider" in answer.headers else 503)
        return answer.headers.get("x-route-provider")

    assert answered_by("") == plain.slug
    assert answered_by("eu,gdpr") == tagged.slug
    assert answered_by("eu,us") is None


@pytest.mark.thorough
def test_tags_without_bound_are_refused(lab: Lab) -> None:
    lab.publish(lab.provider())
    for tags in (",".join(f"tag-{number}" for number in range(40)), "t" * 65):
        answer = lab.gateway.post("/v1/chat/completions", CHAT, x_route_tags=tags)
        assert answer.status == 400
        assert answer.json()["error"]["param"] == "x-route-tags"


@pytest.mark.thorough
def test_a_session_stays_where_its_long_context_is(lab: Lab) -> None:
    base, large = lab.provider(), lab.provider()
    rules = [rule("long", clause("scenario", "eq", "long_context"), [target(large.slug)])]
    of_profile = {"rules": rules, "scenario": {"long_context_threshold": 10_000}, "affinity": {"enabled": False}}
    lab.publish(base, large, only=[base], of_profile=of_profile)

    def answered_by(tokens: int, session: str) -> str:
        body = {**CHAT, "messages": [{"role": "user", "content": "x" * (4 * tokens)}]}
        answer = lab.gateway.post("/v1/chat/completions", body, x_route_session=session)
        assert answer.status == 200
        return answer.headers["x-route-provider"]

    assert answered_by(6_000, "short") == base.slug
    assert answered_by(8_500, "short") == base.slug  # with history the whole threshold counts, not 80 % of it
    assert answered_by(8_500, "fresh") == large.slug
    assert answered_by(11_000, "long") == large.slug
    assert answered_by(6_000, "long") == large.slug
    assert answered_by(6_000, "long") == base.slug  # the last one was not long


@pytest.mark.thorough
def test_the_record_keeps_what_the_rules_saw_and_none_of_the_words(lab: Lab) -> None:
    base, special = lab.provider(), lab.provider()
    rules = [rule("text", clause("user_text", "contains", "secret plan"), [target(special.slug)])]
    lab.publish(base, special, only=[base], of_profile={"rules": rules})
    body = {**CHAT, "messages": [{"role": "user", "content": "the secret plan is Ulysses"}]}
    answer = lab.gateway.post("/v1/chat/completions", body, x_route_tags="gold")
    packed = lab.row(answer).decision
    assert packed is not None
    assert "Ulysses" not in json.dumps(packed)
    assert "gold" in json.dumps(packed)


@pytest.mark.thorough
def test_a_hash_of_a_fact_sends_equal_values_to_one_target_without_any_rule(lab: Lab) -> None:
    providers = [lab.provider() for _ in range(3)]
    lab.publish(*providers, strategy="consistent_hash", of_profile={"params": {"fact": "header.x-tenant"}})

    def answered_by(tenant: str) -> str:
        answer = lab.gateway.post("/v1/chat/completions", CHAT, x_tenant=tenant)
        assert answer.status == 200
        return answer.headers["x-route-provider"]

    homes = {tenant: answered_by(tenant) for tenant in map(str, range(12))}
    assert len(set(homes.values())) > 1
    assert {tenant: answered_by(tenant) for tenant in homes} == homes
