"""Facts of requests, in every wire format: what is there, what is absent, and that nothing a client sends raises."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routes.engine.facts import CATALOGUE, Facts, KeyFacts, check_given, record
from routes.engine.facts.agents import COMPACT, MAIN, SUBAGENT
from tests.engine.facts_of import CLAUDE_PICTURE, NOON, PICTURE, facts_of, said, user

NAMES = [spec.name.replace("<name>", "x-a").replace("<key>", "a") for spec in CATALOGUE]

few = settings(max_examples=40)


def every(facts: Facts) -> dict[str, Any]:
    return {name: facts.get(name) for name in NAMES}


# -- not from the body -------------------------------------------------------------------------------------


def test_what_the_request_line_the_headers_and_the_key_say_needs_no_body_to_be_read() -> None:
    facts = facts_of(
        said("hi"),
        stream=True,
        region="eu-west",
        tags=("batch",),
        headers={"x-a": "ä"},
        key=KeyFacts("mobile", frozenset({"internal"})),
        client_ip="10.1.2.3",
    )
    found = {name: facts.get(name) for name in ("model", "region", "key.name", "header.x-a", "header.x-b", "stream")}
    assert found == {
        "model": "gpt-4o",
        "region": "eu-west",
        "key.name": "mobile",
        "header.x-a": "ä",
        "header.x-b": None,
        "stream": True,
    }
    assert facts.get("tag") == {"batch"}
    assert facts.get("key.tag") == {"internal"}
    assert facts.get("client_ip") == "10.1.2.3"
    assert facts.get("time") == NOON
    assert facts.get("body_bytes") == len(json.dumps(said("hi")))
    assert not facts.has_read_body


def test_what_is_empty_is_absent() -> None:
    facts = Facts(operation="chat", model="", route_id="r", wall=0.0)
    assert [facts.get(name) for name in ("model", "region", "key.name", "client_ip", "header.x-a")] == [None] * 5


def test_percent_is_the_same_for_a_session_for_ever_and_else_for_a_request() -> None:
    assert facts_of(session="s").percent == facts_of(session="s", route_id="other").percent == 45.62
    assert facts_of(route_id="a").percent != facts_of(route_id="b").percent
    found = [facts_of(session=f"s{index}").percent for index in range(2000)]
    assert all(value is not None and 0 <= value <= 99.99 for value in found)
    assert math.isclose(sum(value < 25 for value in found if value is not None) / 2000, 0.25, abs_tol=0.03)


# -- from the body -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "thinks"),
    [
        ({}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {}}, False),
        ({"thinking": True}, False),
        ({"reasoning_effort": "low"}, True),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": 5}, False),
        ({"reasoning": {"effort": "high"}}, True),
        ({"reasoning": {"summary": "auto"}}, False),
    ],
)
def test_thinking_is_recognised_in_each_dialect(members: dict[str, Any], thinks: bool) -> None:
    assert facts_of(said("hi", **members)).thinking is thinks


@pytest.mark.parametrize(
    ("members", "tools", "search"),
    [
        ({}, False, False),
        ({"tools": []}, False, False),
        ({"tools": "x", "functions": {"a": 1}}, False, False),
        ({"tools": [{"type": "function", "function": {"name": "web_search"}}]}, True, False),
        ({"functions": [{"name": "f"}]}, True, False),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, True, True),
        ({"tools": [{"type": "web_search"}]}, True, True),
        ({"tools": [{"type": "web_search_preview"}]}, True, True),
        ({"web_search_options": {}}, False, True),
        ({"web_search_options": True, "tools": [5, {"type": 5}]}, True, False),
    ],
)
def test_tools_and_web_search_of_both_apis(members: dict[str, Any], tools: bool, search: bool) -> None:
    facts = facts_of(said("hi", **members))
    assert (facts.has_tools, facts.web_search) == (tools, search)


@pytest.mark.parametrize(
    ("operation", "document", "anywhere", "latest"),
    [
        ("chat", said(user([PICTURE])), True, True),
        ("chat", said(user([PICTURE]), "nice", "and now?"), True, False),
        ("chat", said(user([PICTURE]), "nice", user([{"type": "text", "text": "now?"}])), True, False),
        ("chat", said(user([PICTURE]), {"role": "assistant"}, {"role": "tool", "content": "x"}), True, False),
        ("messages", said(user([CLAUDE_PICTURE])), True, True),
        ("messages", said(user([CLAUDE_PICTURE]), "nice", "now?"), True, False),
        ("messages", said(user([{"type": "tool_result", "content": [CLAUDE_PICTURE]}])), True, False),
        ("responses", {"input": [user([{"type": "input_image", "image_url": "data:"}])]}, True, True),
        ("responses", {"input": [user([{"type": "input_image"}]), user("now?")]}, True, False),
        (
            "responses",
            {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot"}}]},
            True,
            False,
        ),
        ("chat", said("![image](image_url)"), False, False),
        ("chat", said(user([{"type": 5}, "image", {"type": "file"}])), False, False),
        ("embedding", {"input": "x"}, False, False),
    ],
)
def test_an_image_in_an_earlier_turn_or_from_a_tool_is_not_the_users_latest(
    operation: str, document: dict[str, Any], anywhere: bool, latest: bool
) -> None:
    facts = facts_of(document, operation)
    assert (facts.has_images, facts.latest_user_has_image) == (anywhere, latest)


@pytest.mark.parametrize(
    ("operation", "document", "count"),
    [
        ("chat", said("a", "b", "c"), 3),
        ("chat", {"messages": "a"}, 0),
        ("messages", said("a", system="s"), 1),
        ("responses", {"input": "a"}, 1),
        ("responses", {"input": [user("a"), {"type": "function_call_output"}]}, 2),
        ("responses", {}, 0),
        ("completion", {"prompt": ["a", "b"]}, 1),
        ("completion", {"prompt": 5}, 0),
        ("embedding", {"input": ["a", "b"]}, 0),
    ],
)
def test_messages_are_counted(operation: str, document: dict[str, Any], count: int) -> None:
    assert facts_of(document, operation).message_count == count


def test_metadata_are_strings_and_anything_else_is_absent() -> None:
    facts = facts_of(said("hi", metadata={"a": "x", "b": 5, "c": None, "d.e": "y"}))
    assert [facts.get(f"metadata.{key}") for key in ("a", "b", "c", "d.e", "z")] == ["x", None, None, "y", None]
    assert facts_of(said("hi", metadata=["a"])).get("metadata.a") is None
    assert facts_of().get("metadata.a") is None


# -- agents and texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["main", "subagent", "compact"])
def test_every_fingerprint_tells_its_kind_in_both_formats(kind: str) -> None:
    for fingerprint in {"main": MAIN, "subagent": SUBAGENT, "compact": COMPACT}[kind]:
        prompt = f"\n{fingerprint} and so on."
        assert facts_of(said("hi", system=prompt), "messages").agent == kind
        assert facts_of(said({"role": "developer", "content": prompt}, "hi")).agent == kind
        assert facts_of({"instructions": prompt, "input": "hi"}, "responses").agent == kind


def test_a_fixed_first_line_does_not_hide_who_speaks_after_it() -> None:
    first = {"type": "text", "text": "You are Claude Code, Anthropic's official CLI for Claude."}
    second = {"type": "text", "text": "You are an agent for Claude Code, Anthropic's official CLI."}
    assert facts_of(said("hi", system=[first, {"type": "text", "text": "Be brief."}]), "messages").agent == "main"
    assert facts_of(said("hi", system=[first, second]), "messages").agent == "subagent"


def test_words_of_a_fingerprint_elsewhere_are_nobodys() -> None:
    prompt = "You are a helpful assistant. You are Claude Code."
    assert facts_of(said("You are Claude Code", system=prompt), "messages").agent is None
    far = [{"type": "text", "text": "x"}] * 4 + [{"type": "text", "text": "You are Claude Code"}]
    assert facts_of(said("hi", system=far), "messages").agent is None
    assert facts_of(said("hi")).agent is None


@pytest.mark.parametrize(
    ("operation", "document", "system", "users", "latest"),
    [
        ("chat", said({"role": "system", "content": "S"}, {"role": "user", "content": "U"}), "S", "U", "U"),
        ("chat", said("one", "two", "three"), None, "one\nthree", "three"),
        ("chat", said("one", "two"), None, "one", None),
        ("chat", said("one", {"role": "assistant"}, {"role": "tool", "content": "found"}), None, "one", None),
        ("chat", said(user([{"type": "text", "text": "a"}, PICTURE, {"text": "b"}, "c"])), None, "a\nb\nc", "a\nb\nc"),
        ("chat", said(user([PICTURE])), None, None, None),
        ("chat", said(user("")), None, None, None),
        ("messages", said("one", system="S"), "S", "one", "one"),
        (
            "messages",
            said("one", system=[{"type": "text", "text": "S"}, {"type": "text", "text": "T"}]),
            "S\nT",
            "one",
            "one",
        ),
        (
            "messages",
            said("one", "two", user([{"type": "tool_result", "content": [{"type": "text", "text": "found"}]}])),
            None,
            "one",
            None,
        ),
        (
            "messages",
            said(user([{"type": "tool_result", "content": "found"}, {"type": "text", "text": "go on"}])),
            None,
            "go on",
            "go on",
        ),
        ("responses", {"instructions": "S", "input": "U"}, "S", "U", "U"),
        (
            "responses",
            {"input": [{"role": "developer", "content": "S"}, user([{"type": "input_text", "text": "U"}])]},
            "S",
            "U",
            "U",
        ),
        ("responses", {"input": [user("U"), {"type": "function_call_output", "output": "found"}]}, None, "U", None),
        ("completion", {"prompt": "P"}, None, "P", "P"),
        ("completion", {"prompt": ["P", "Q", 5]}, None, "P\nQ", "P\nQ"),
        ("completion", {"prompt": [1, 2]}, None, None, None),
        (
            "chat",
            {"messages": [5, None, {"role": 5}, {"role": "user"}, {"role": "user", "content": 5}]},
            None,
            None,
            None,
        ),
        ("chat", said("one", 5), None, "one", None),
        ("embedding", {"input": "U", "messages": [user("U")], "system": "S"}, None, None, None),
        ("images", {"prompt": "U"}, None, None, None),
        ("audio", {"input": "U"}, None, None, None),
    ],
)
def test_texts_of_all_formats(
    operation: str, document: dict[str, Any], system: str | None, users: str | None, latest: str | None
) -> None:
    facts = facts_of(document, operation)
    assert (facts.system_text, facts.user_text, facts.latest_user_text) == (system, users, latest)


def test_texts_are_not_joined_until_a_clause_reads_them() -> None:
    facts = facts_of(said("hi", system="S"))
    record(facts, cheap=1 << 20)
    assert "scenario" in vars(facts)
    assert not vars(facts).keys() & {"system_text", "user_text", "latest_user_text"}


# -- bodies that nobody would send -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd", [b'"\\ud800"', b'"\xff"', b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"-" + b"9" * 5000, b"1.5", b"7"]
)
def test_nothing_that_the_gateway_lets_pass_hides_a_body_from_the_rules(odd: bytes) -> None:
    body = b'{"messages": [{"role": "user", "content": "drop \\ud800 tables"}], "n": %b}' % odd
    facts = facts_of(body=body)
    assert facts.latest_user_text == "drop ? tables"
    assert facts.tokens == len("drop ? tables") // 4


@pytest.mark.parametrize("body", [b"[]", b"5", b"{", b"\xff\xfe", b"--b\r\n", b"[" * 100_000, b'{"a":' * 100_000])
def test_a_body_that_is_no_object_has_nothing_in_it(body: bytes) -> None:
    facts = facts_of(body=body)
    assert (facts.tokens, facts.message_count, facts.has_tools, facts.agent) == (0, 0, False, None)


def test_deep_bodies_are_walked_without_recursion() -> None:
    body = '{"messages": [{"role": "user", "content": ' + '[{"content": ' * 450 + '"xxxx"' + "}]" * 450 + "}]}"
    facts = facts_of(body=body.encode())
    assert facts.tokens == 1
    assert every(facts)["latest_user_text"] is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "input", "source", "tools", "name", "function"]),
            inner | st.sampled_from(["user", "system", "text", "image", "tool_result", "content"]),
            max_size=4,
        )
    ),
    max_leaves=25,
)
BODIES = st.dictionaries(
    st.sampled_from(["messages", "system", "input", "prompt", "instructions", "tools", "metadata", "thinking"]), JSON
)
OPERATIONS = st.sampled_from(["chat", "messages", "count_tokens", "completion", "responses", "embedding", "images"])


@few
@given(BODIES | JSON, OPERATIONS)
def test_no_body_makes_any_fact_raise_and_every_fact_has_its_type(body: Any, operation: str) -> None:
    facts = facts_of(body, operation)
    types = {"string": str, "text": str, "network": str, "flag": bool, "number": (int, float), "time": float}
    for spec, (_, value) in zip(CATALOGUE, every(facts).items(), strict=True):
        assert value is None or isinstance(value, types.get(spec.kind, (frozenset, tuple)))
        if spec.kind == "text" and operation in ("embedding", "images"):
            assert value is None
    assert json.loads(json.dumps(record(facts, cheap=1 << 20)))["operation"] == operation


@few
@given(st.binary(max_size=60), OPERATIONS)
def test_bytes_of_any_kind_make_no_fact_raise(body: bytes, operation: str) -> None:
    assert len(every(facts_of(body=body, operation=operation))) == len(CATALOGUE)


# -- given facts -------------------------------------------------------------------------------------------


def test_given_facts_count_instead_of_what_the_request_says() -> None:
    stated, errors = check_given(
        {
            "model": "other",
            "tokens": 5,
            "stream": True,
            "tag": ["a"],
            "key.tag": None,
            "scenario": "webSearch",
            "time": "2026-07-15T12:00:00Z",
            "client_ip": "::1",
            "header.X-A": "new",
            "header.x-b": None,
            "metadata.k": "v",
            "metadata.gone": None,
            "user_text": "words",
            "percent": 12.5,
        }
    )
    assert errors == []
    facts = facts_of(
        said("hi", metadata={"gone": "x", "stays": "y"}),
        headers={"x-a": "old", "x-b": "old", "x-c": "old"},
        given=stated,
        wall=0.0,
    )
    assert facts.get("model") == "other"
    assert facts.get("tokens") == 5
    assert facts.get("tag") == {"a"}
    assert facts.get("key.tag") == frozenset()
    assert facts.get("scenario") == "web_search"
    assert facts.get("time") == NOON
    assert [facts.get(f"header.x-{name}") for name in "abc"] == ["new", None, "old"]
    assert [facts.get(f"metadata.{key}") for key in ("k", "gone", "stays")] == ["v", None, "y"]
    assert facts.get("user_text") == "words"
    assert facts.get("message_count") == 1


def test_moments_may_be_given_as_seconds_and_without_a_zone_they_are_utc() -> None:
    assert check_given({"time": 5})[0] == {"time": 5}
    assert check_given({"time": "1970-01-01T00:00:07"})[0] == {"time": 7.0}


@pytest.mark.parametrize(
    ("stated", "path", "words"),
    [
        ([], "facts", "must be an object"),
        ({str(index): 1 for index in range(201)}, "facts", "more than 200"),
        ({"tokns": 5}, "facts.tokns", "no such fact"),
        ({5: 5}, "facts.5", "no such fact"),
        ({"tokens": "5"}, "facts.tokens", "must be a number"),
        ({"tokens": -1}, "facts.tokens", "must be a number"),
        ({"tokens": float("nan")}, "facts.tokens", "must be a number"),
        ({"tokens": 10**400}, "facts.tokens", "must be a number"),
        ({"stream": 1}, "facts.stream", "must be true or false"),
        ({"model": 5}, "facts.model", "must be a string"),
        ({"model": "\ud800"}, "facts.model", "must be valid text"),
        ({"header.\ud800": "x"}, "facts.header.\ud800", "must be valid text"),
        ({"tag": "a"}, "facts.tag", "must be a list of strings"),
        ({"tag": ["\ud800"]}, "facts.tag", "must be valid text"),
        ({"agent": "boss"}, "facts.agent", "must be one of main"),
        ({"scenario": "vision"}, "facts.scenario", "must be one of web_search"),
        ({"client_ip": "here"}, "facts.client_ip", "'here' does not appear"),
        ({"time": "noon"}, "facts.time", "must be a moment"),
        ({"time": "0001-01-01T00:00:00+10:00"}, "facts.time", "must be a moment"),
        ({"time": 1e300}, "facts.time", "must be a moment"),
        ({"partition.utilisation": 5}, "facts.partition.utilisation", "comes from the targets"),
    ],
)
def test_facts_of_the_wrong_kind_are_refused_with_their_path(stated: Any, path: str, words: str) -> None:
    found, errors = check_given(stated)
    assert found == {}
    assert [where for where, _ in errors] == [path]
    assert words in errors[0][1]


@few
@given(st.dictionaries(st.sampled_from([*NAMES, "x", "header.", "metadata."]), JSON, max_size=5))
def test_whatever_is_given_is_refused_or_can_be_asked_for(stated: Any) -> None:
    found, errors = check_given(stated)
    assert len(found) + len(errors) == len(stated)
    every(facts_of(said("hi"), given=found))
