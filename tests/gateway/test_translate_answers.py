"""Whole answers and errors carried to the other format, held to the official SDKs' types."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from anthropic.types import Message, StopReason
from anthropic.types.shared import ErrorResponse
from openai.types.chat import ChatCompletion

from routes.gateway.wire.reading import InvalidAnswer
from routes.gateway.wire.translate import Translation, translation, usage
from tests.conversations import CONVERSATIONS, completion, expected_answer, message, upstream_answer

#: Many of a kind.
pytestmark = pytest.mark.thorough

BY_NAME = {conversation.name: conversation for conversation in CONVERSATIONS}


def found(operation: str, wire: str) -> Translation:
    made = translation(operation, wire)
    assert made is not None
    return made


OPENAI_CLIENT = found("chat", "anthropic")
ANTHROPIC_CLIENT = found("messages", "openai")


def as_completion(body: bytes) -> dict[str, Any]:
    return ChatCompletion.model_validate_json(body, strict=True).to_dict()


def as_message(body: bytes) -> dict[str, Any]:
    return Message.model_validate_json(body, strict=True).to_dict()


def said(*blocks: Any, stop: str | None = "end_turn", **more: Any) -> bytes:
    """A message of Anthropic's."""
    return json.dumps(
        {"id": "msg_1", "content": blocks, "model": "m", "stop_reason": stop, "usage": {}, **more}
    ).encode()


def chosen(finish: str | None = "stop", *, choice: Any = None, **more: Any) -> bytes:
    """A completion of OpenAI's."""
    one = {"index": 0, "message": {"role": "assistant", **more}, "finish_reason": finish, **(choice or {})}
    return json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [one]}).encode()


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_of_an_answer_is_lost_on_the_way_from_anthropic(name: str) -> None:
    body = json.dumps(upstream_answer(BY_NAME[name], "anthropic")).encode()

    assert message(as_message(body)) == expected_answer(BY_NAME[name], "anthropic", "anthropic")
    answer = as_completion(OPENAI_CLIENT.answer(body))

    assert completion(answer) == expected_answer(BY_NAME[name], "openai", "anthropic")
    assert (answer["id"], answer["model"]) == ("msg_1", "upstream-model")


@pytest.mark.parametrize("name", BY_NAME)
def test_nothing_of_an_answer_is_lost_on_the_way_from_openai(name: str) -> None:
    body = json.dumps(upstream_answer(BY_NAME[name], "openai")).encode()

    assert completion(as_completion(body)) == expected_answer(BY_NAME[name], "openai", "openai")
    answer = as_message(ANTHROPIC_CLIENT.answer(body))

    assert message(answer) == expected_answer(BY_NAME[name], "anthropic", "openai")
    assert (answer["id"], answer["model"]) == ("chatcmpl-1", "upstream-model")


def test_every_reason_to_stop_of_the_sdks_has_a_counterpart() -> None:
    finish = ChatCompletion.model_fields["choices"].annotation
    reasons = get_args(get_args(finish)[0].model_fields["finish_reason"].annotation)

    assert set(usage.FINISH_REASONS) == set(get_args(StopReason))
    assert set(usage.FINISH_REASONS.values()) <= set(reasons)
    assert set(usage.STOP_REASONS) == set(reasons)
    assert set(usage.STOP_REASONS.values()) <= set(get_args(StopReason))


@pytest.mark.parametrize(("stop", "finish"), usage.FINISH_REASONS.items())
def test_reasons_to_stop_from_anthropic(stop: str, finish: str) -> None:
    answer = as_completion(OPENAI_CLIENT.answer(said({"type": "text", "text": "a"}, stop=stop)))

    assert answer["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize(("finish", "stop"), usage.STOP_REASONS.items())
def test_reasons_to_stop_from_openai(finish: str, stop: str) -> None:
    assert as_message(ANTHROPIC_CLIENT.answer(chosen(finish, content="a")))["stop_reason"] == stop


def test_a_stop_with_calls_is_a_call_and_with_a_refusal_a_refusal() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    called = as_message(ANTHROPIC_CLIENT.answer(chosen(tool_calls=[call])))
    refused = as_message(ANTHROPIC_CLIENT.answer(chosen(refusal="no")))

    assert (called["stop_reason"], called["content"][0]["input"]) == ("tool_use", {})
    assert (refused["stop_reason"], refused["stop_details"]["explanation"]) == ("refusal", "no")


def test_the_sequence_that_was_met_is_told_where_the_server_tells_it() -> None:
    answer = as_message(ANTHROPIC_CLIENT.answer(chosen(content="a", choice={"stop_reason": "END"})))
    unknown = as_message(ANTHROPIC_CLIENT.answer(chosen(content="a", choice={"stop_reason": 128001})))

    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "END")
    assert (unknown["stop_reason"], unknown["stop_sequence"]) == ("end_turn", None)


def test_the_prompt_of_openai_counts_what_the_cache_did_and_anthropics_does_not() -> None:
    counted = {
        "input_tokens": 5,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 20,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
        "service_tier": "standard",
    }
    there = OPENAI_CLIENT.answer(said(usage=counted))
    answer = as_completion(there)

    assert answer["usage"] == {
        "prompt_tokens": 125,
        "completion_tokens": 9,
        "total_tokens": 134,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    assert answer["service_tier"] == "default"
    assert as_message(ANTHROPIC_CLIENT.answer(there))["usage"] == counted


@pytest.mark.parametrize(
    "reported",
    [None, {}, "many", {"prompt_tokens": -1}, {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 9}}],
)
def test_odd_numbers_of_tokens_do_not_spoil_an_answer(reported: Any) -> None:
    body = json.loads(chosen(content="a"))
    answer = as_message(ANTHROPIC_CLIENT.answer(json.dumps({**body, "usage": reported}).encode()))

    assert answer["usage"]["input_tokens"] == 0


def test_thinking_is_text_to_who_reads_it_and_a_block_to_who_sends_it_back() -> None:
    blocks = [
        {"type": "thinking", "thinking": "one, ", "signature": "s1"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "thinking", "thinking": "two", "signature": "s2"},
    ]
    answer = as_completion(OPENAI_CLIENT.answer(said(*blocks, {"type": "text", "text": "three"})))

    told = answer["choices"][0]["message"]
    assert (told["reasoning_content"], told["content"]) == ("one, two", "three")
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "a"}, told, {"role": "user", "content": "b"}]}
    )
    asked = json.loads(OPENAI_CLIENT.request(body.encode(), "claude-next"))
    assert asked["messages"][1]["content"] == [*blocks, {"type": "text", "text": "three"}]


def test_arguments_keep_every_digit() -> None:
    body = b'{"content":[{"type":"tool_use","id":"a","name":"f","input":{"n": 1.0, "m": 12345678901234567890123}}]}'
    answer = as_completion(OPENAI_CLIENT.answer(body))
    arguments = answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]

    assert arguments == '{"n": 1.0, "m": 12345678901234567890123}'
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    assert arguments.encode() in ANTHROPIC_CLIENT.answer(chosen("tool_calls", tool_calls=[call]))


def test_arguments_cut_by_the_limit_are_what_there_is_of_them() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"city": "Par'}}

    answer = as_message(ANTHROPIC_CLIENT.answer(chosen("length", tool_calls=[call])))

    assert (answer["stop_reason"], answer["content"][0]["input"]) == ("max_tokens", {"city": "Par"})


def test_a_call_without_an_id_gets_one() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert as_message(ANTHROPIC_CLIENT.answer(chosen(tool_calls=[call])))["content"][0]["id"] == "chatcmpl-1_0"


def test_content_in_parts_is_text() -> None:
    answer = as_message(ANTHROPIC_CLIENT.answer(chosen(content=[{"type": "text", "text": "a"}], reasoning="hm")))
    assert [block["type"] for block in answer["content"]] == ["thinking", "text"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"content":[{"type":"te',
        b'{"content":"text"}',
        b'{"content":[{"type":"text","text":"\xff"}]}',
        said({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        said({"type": "web_search_tool_result", "tool_use_id": "s"}),
    ],
)
def test_what_is_no_message_or_says_more_than_a_completion_can_is_no_answer(body: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        OPENAI_CLIENT.answer(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":[{"message":{"content":"\xff"}}]}',
        json.dumps({"choices": [{"message": {"content": "a"}}] * 2}).encode(),
        chosen(content=7),
        chosen(content=[{"type": "image"}]),
        chosen(audio={"id": "a"}),
        chosen(function_call={"name": "f", "arguments": "{}"}),
        chosen(tool_calls=[{"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]),
        chosen("tool_calls", tool_calls=[{"id": "a", "function": {"name": "f", "arguments": "{broken"}}]),
    ],
)
def test_what_is_no_completion_or_says_more_than_a_message_can_is_no_answer(body: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        ANTHROPIC_CLIENT.answer(body)


# -- errors --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "kind", "text", "expected"),
    [
        (400, "invalid_request_error", "max_tokens: too large", ("invalid_request_error", None)),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 9 > 8",
            ("invalid_request_error", "context_length_exceeded"),
        ),
        (401, "authentication_error", "invalid x-api-key", ("invalid_request_error", "invalid_api_key")),
        (404, "not_found_error", "model: x", ("invalid_request_error", "not_found")),
        (429, "rate_limit_error", "slow down", ("rate_limit_error", "rate_limit_exceeded")),
        (500, "api_error", "internal", ("server_error", None)),
        (529, "overloaded_error", "Overloaded", ("server_error", "overloaded")),
    ],
)
def test_an_error_of_anthropics_is_one_of_openais(
    status: int, kind: str, text: str, expected: tuple[str, str | None]
) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": text}, "request_id": "r"}).encode()

    error = json.loads(OPENAI_CLIENT.error(status, body, "route-1"))["error"]

    assert error == {"message": text, "type": expected[0], "param": None, "code": expected[1]}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_an_error_of_openais_is_one_of_anthropics(status: int, kind: str) -> None:
    text = "long " * 300
    body = json.dumps({"error": {"message": text, "type": "x", "param": "messages", "code": "some_code"}}).encode()

    made = ANTHROPIC_CLIENT.error(status, body, "route-1")
    document = ErrorResponse.model_validate_json(made, strict=True).to_dict()

    assert document == {
        "type": "error",
        "error": {"type": kind, "message": text, "code": "some_code", "param": "messages"},
        "request_id": "route-1",
    }


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"[]", b"\xff", b'{"error":null}', b'{"error":[]}'])
@pytest.mark.parametrize("made", [OPENAI_CLIENT, ANTHROPIC_CLIENT])
def test_whatever_came_in_place_of_an_error_the_client_gets_one(made: Translation, body: bytes) -> None:
    assert (
        json.loads(made.error(502, body, "r"))["error"]["message"]
        == "the upstream answered with HTTP 502 and no message"
    )


@pytest.mark.parametrize(
    "body", [b'{"error":"no"}', b'{"message":"no"}', b'{"detail":"no"}', b'{"error":{"code":"no"}}']
)
@pytest.mark.parametrize("made", [OPENAI_CLIENT, ANTHROPIC_CLIENT])
def test_a_message_is_found_wherever_it_is(made: Translation, body: bytes) -> None:
    assert json.loads(made.error(500, body, "r"))["error"]["message"] == "no"
