"""Answers that a test dictates, reasoning, context windows and usage: both SDKs in strict mode."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from tests.simulator.raw import CHAT, MESSAGE, ask, request, streamed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators import ProviderHandle

HELLO: Any = [{"role": "user", "content": "hello"}]
TOOLS = {
    "text": "I shall look.",
    "reasoning": "They want rain.",
    "tool_calls": [
        {"name": "get_weather", "arguments": {"city": "Ulm", "days": [1, 2, 3]}, "id": "call_one"},
        {"name": "get_time", "arguments": {}},
    ],
}


@pytest.fixture
def chat(acme: ProviderHandle) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=acme.base_url, max_retries=0, _strict_response_validation=True) as client:
        yield client


@pytest.fixture
def messages(claudia: ProviderHandle) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        api_key="k", base_url=claudia.base_url.removesuffix("/v1"), max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def deltas(provider: ProviderHandle, **fields: Any) -> list[Any]:
    """The choices' deltas of a streamed chat."""
    events = ask(provider, streamed(provider, **fields)).events
    return [event["choices"][0]["delta"] for event in events if isinstance(event, dict) and event["choices"]]


# -- dictated --------------------------------------------------------------------------------
def test_a_dictated_chat_is_the_same_whole_and_streamed(chat: openai.OpenAI, acme: ProviderHandle) -> None:
    acme.behave(reply=TOOLS)

    whole = chat.chat.completions.create(model="gpt-4o", messages=HELLO)
    with chat.chat.completions.stream(model="gpt-4o", messages=HELLO) as stream:
        final = stream.get_final_completion()

    for answer in (whole, final):
        message: Any = answer.choices[0].message
        assert (message.content, message.reasoning_content) == ("I shall look.", "They want rain.")
        assert answer.choices[0].finish_reason == "tool_calls"
        assert [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls] == [
            ("get_weather", {"city": "Ulm", "days": [1, 2, 3]}),
            ("get_time", {}),
        ]
        assert message.tool_calls[0].id == "call_one"
        assert message.tool_calls[1].id.startswith("call_")


def test_arguments_of_a_tool_stream_in_parts_that_are_no_json_alone(acme: ProviderHandle) -> None:
    acme.behave(reply=TOOLS)

    calls = [call for delta in deltas(acme) for call in delta.get("tool_calls", ())]
    first = [call["function"]["arguments"] for call in calls if call["index"] == 0]

    assert {call["index"] for call in calls} == {0, 1}
    assert len(first) > 2
    assert json.loads("".join(first)) == {"city": "Ulm", "days": [1, 2, 3]}
    with pytest.raises(json.JSONDecodeError):
        json.loads(first[1])


def test_a_dictated_message_is_the_same_whole_and_streamed(
    messages: anthropic.Anthropic, claudia: ProviderHandle
) -> None:
    claudia.behave(reply=TOOLS)

    whole = messages.messages.create(model="claude", max_tokens=64, messages=HELLO)
    with messages.messages.stream(model="claude", max_tokens=64, messages=HELLO) as stream:
        final = stream.get_final_message()

    for answer in (whole, final):
        blocks: Any = answer.content
        assert [block.type for block in blocks] == ["thinking", "text", "tool_use", "tool_use"]
        assert (blocks[0].thinking, blocks[1].text) == ("They want rain.", "I shall look.")
        assert blocks[0].signature
        assert (blocks[2].id, blocks[2].name, blocks[2].input) == (
            "call_one",
            "get_weather",
            {"city": "Ulm", "days": [1, 2, 3]},
        )
        assert blocks[3].input == {}
        assert answer.stop_reason == "tool_use"


def test_a_dictated_refusal_and_reason_are_said_on_both_wires(acme: ProviderHandle, claudia: ProviderHandle) -> None:
    acme.behave(reply={"refusal": "I will not."})
    claudia.behave(reply={"refusal": "I will not."})
    choice, message = ask(acme).json()["choices"][0], ask(claudia).json()
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "I will not.")
    assert choice["finish_reason"] == "stop"
    assert "".join(delta.get("refusal") or "" for delta in deltas(acme)) == "I will not."
    assert (message["content"][0]["text"], message["stop_reason"]) == ("I will not.", "refusal")

    acme.behave(reply={"text": "a", "finish_reason": "length"})
    claudia.behave(reply={"text": "a", "stop_reason": "stop_sequence"})
    assert ask(acme).json()["choices"][0]["finish_reason"] == "length"
    stopped = ask(claudia, request(claudia, {**MESSAGE, "stop_sequences": ["END"]})).json()
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "END")


def test_a_dictated_text_is_what_other_resources_say(acme: ProviderHandle) -> None:
    acme.behave(reply={"text": "just this"})

    completion = ask(acme, request(acme, {"model": "m", "prompt": "x"}, path="/v1/completions")).json()
    response = ask(acme, request(acme, {"model": "m", "input": "x"}, path="/v1/responses")).json()

    assert completion["choices"][0]["text"] == "just this"
    assert response["output"][0]["content"][0]["text"] == "just this"


def test_faults_and_filters_come_before_what_is_dictated(acme: ProviderHandle) -> None:
    acme.behave(reply={"text": "one two three"}, faults=[{"name": "end_without_terminator", "after_events": 2}])
    assert [delta["content"] for delta in deltas(acme)] == ["", "one", " two"]

    acme.fail("content_filter", form="answer")
    choice = ask(acme).json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("content_filter", None)


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        ({"txt": "x"}, "txt"),
        ({"tool_calls": [{"arguments": {}}]}, "name"),
        ({"tool_calls": [{"name": "f", "arguments": "{}"}]}, "arguments"),
    ],
)
def test_a_reply_that_cannot_be_said_is_refused(acme: ProviderHandle, reply: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        acme.behave(reply=reply)


# -- reasoning and usage ---------------------------------------------------------------------
def test_reasoning_comes_before_the_text_when_it_is_asked_for(acme: ProviderHandle) -> None:
    whole = ask(acme, request(acme, {**CHAT, "reasoning_effort": "low"})).json()
    parts = deltas(acme, reasoning_effort="low")

    assert whole["choices"][0]["message"]["reasoning_content"].startswith("acme ")
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == 6
    assert whole["usage"]["completion_tokens"] == 6 + 16
    kinds = [next(iter(delta)) for delta in parts[1:-1]]
    assert kinds == ["reasoning_content"] * 6 + ["content"] * 16
    assert (
        "reasoning_content"
        not in ask(acme, request(acme, {**CHAT, "reasoning_effort": "none"})).json()["choices"][0]["message"]
    )


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_stream_usage_is_null_in_every_chunk_but_one_more_without_choices(acme: ProviderHandle, path: str) -> None:
    document = {**CHAT, "prompt": "hello", "stream": True}

    plain = ask(acme, request(acme, document, path=path)).events
    asked = ask(acme, request(acme, {**document, "stream_options": {"include_usage": True}}, path=path)).events

    assert len(asked) == len(plain) + 1
    assert plain[-1] == asked[-1] == b"[DONE]"
    assert all("usage" not in event for event in plain[:-1])
    assert all(event["usage"] is None and event["choices"] for event in asked[:-2])
    assert asked[-2]["choices"] == []
    assert asked[-2]["usage"]["total_tokens"] == asked[-2]["usage"]["prompt_tokens"] + 16


def test_a_messages_stream_ends_with_the_usage_of_the_whole(claudia: ProviderHandle) -> None:
    claudia.behave(cached_tokens=1)

    events = ask(claudia, streamed(claudia)).events
    (delta,) = [event for event in events if event["type"] == "message_delta"]

    assert delta["usage"]["output_tokens"] == 16
    assert delta["usage"]["cache_read_input_tokens"] == 1
    assert delta["usage"]["input_tokens"] == events[0]["message"]["usage"]["input_tokens"]


def test_the_signature_is_the_last_delta_of_a_thinking_block(claudia: ProviderHandle) -> None:
    claudia.behave(reply={"reasoning": "so it is", "text": "yes"})

    events = ask(claudia, streamed(claudia)).events
    kinds = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"]

    assert kinds == ["thinking_delta"] * 3 + ["signature_delta", "text_delta"]


# -- windows ---------------------------------------------------------------------------------
def test_a_prompt_is_refused_by_a_small_window_and_taken_by_a_larger_one(
    acme: ProviderHandle, claudia: ProviderHandle
) -> None:
    long = [{"role": "user", "content": "word " * 1_000}]
    acme.behave(context={"gpt-4o": 1_000, "*": 2_000})
    claudia.behave(context={"*": 1_000})

    def status(provider: ProviderHandle, **fields: Any) -> int:
        base = MESSAGE if provider is claudia else CHAT
        return ask(provider, request(provider, {**base, **fields})).status

    assert (status(acme), status(acme, messages=long), status(acme, messages=long, model="big")) == (200, 400, 200)
    assert (status(claudia), status(claudia, messages=long)) == (200, 400)
    refused = ask(acme, request(acme, {**CHAT, "messages": long})).json()["error"]
    assert refused["code"] == "context_length_exceeded"
    assert "1000 tokens" in refused["message"]
    assert "resulted in 1250 tokens" in refused["message"]
    refused = ask(claudia, request(claudia, {**MESSAGE, "messages": long})).json()["error"]
    assert refused["message"] == "prompt is too long: 1250 tokens > 1000 maximum"


@pytest.mark.parametrize(("path", "field"), [("/v1/completions", "prompt"), ("/v1/responses", "input")])
def test_windows_hold_for_every_kind_of_prompt(acme: ProviderHandle, path: str, field: str) -> None:
    acme.behave(context={"*": 10})

    seen = ask(acme, request(acme, {"model": "m", field: "word " * 100}, path=path))

    assert (seen.status, seen.json()["error"]["code"]) == (400, "context_length_exceeded")
