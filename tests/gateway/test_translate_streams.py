"""Streams carried to the other format, event by event: the SDKs' own accumulators come to the whole answer."""

from __future__ import annotations

import json
from typing import Any, cast

import openai
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter

from routes.gateway.wire import formats, sse
from routes.gateway.wire.reading import InvalidAnswer, Kind
from routes.gateway.wire.translate import StreamTranslation, translation
from tests.conversations import (
    CONVERSATIONS,
    Call,
    Conversation,
    Reply,
    completion,
    expected_answer,
    message,
    upstream_answer,
    upstream_events,
)

#: Many of a kind.
pytestmark = pytest.mark.thorough

_RAW_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
BY_NAME = {conversation.name: conversation for conversation in CONVERSATIONS}
USAGE = b'{"stream":true,"stream_options":{"include_usage":true}}'


def chat_stream(body: bytes = USAGE) -> StreamTranslation:
    """Anthropic's events for a client of OpenAI's."""
    found = translation("chat", "anthropic")
    assert found is not None
    return found.stream(body)


def messages_stream() -> StreamTranslation:
    """OpenAI's chunks for a client of Anthropic's."""
    found = translation("messages", "openai")
    assert found is not None
    return found.stream(b"{}")


def run(stream: StreamTranslation, events: list[bytes]) -> bytes:
    return b"".join([*map(stream.feed, events), stream.finish()])


def documents(stream: bytes) -> list[tuple[str | None, Any]]:
    """(name, data) of the events with data; comments say nothing."""
    found: list[tuple[str | None, Any]] = []
    splitter = sse.Splitter()
    for event in splitter.feed(stream):
        fields = sse.fields(event)
        assert fields is not None
        name, data = fields
        if data is not None:
            found.append((name.decode() if name else None, data if data == b"[DONE]" else json.loads(data)))
    assert splitter.flush() == b""
    return found


def as_completion(stream: bytes) -> dict[str, Any]:
    """By the official SDK's accumulator, its types held strictly."""
    state = ChatCompletionStreamState(input_tools=openai.omit, response_format=openai.omit)
    found = documents(stream)
    assert found[-1] == (None, b"[DONE]")
    for name, data in found[:-1]:
        assert name is None
        state.handle_chunk(ChatCompletionChunk.model_validate(data, strict=True))
    answer = cast("dict[str, Any]", state.current_completion_snapshot.to_dict())
    for _, data in found[:-1]:
        for choice in data["choices"]:
            if "stop_reason" in choice:  # the accumulator keeps only the fields of a choice that it knows
                answer["choices"][0]["stop_reason"] = choice["stop_reason"]
    return answer


def as_message(stream: bytes) -> dict[str, Any]:
    """By the official SDK's accumulator, its types held strictly and the order of events too."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    open_block: int | None = None
    begun = 0
    for name, data in documents(stream):
        assert name == data["type"]
        if name == "ping":
            continue
        if name == "content_block_start":
            assert (open_block, data["index"]) == (None, begun)
            open_block = begun
            begun += 1
        elif name == "content_block_delta":
            assert data["index"] == open_block
        elif name == "content_block_stop":
            assert data["index"] == open_block
            open_block = None
        elif name == "message_delta":
            assert open_block is None
        event = _RAW_EVENT.validate_json(json.dumps(data), strict=True)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert documents(stream)[-1] == ("message_stop", {"type": "message_stop"})
    return cast("dict[str, Any]", snapshot.to_dict())


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return sse.event(json.dumps({"id": "c", "model": "m", "choices": [choice], **more}).encode())


def typed(kind: str, **more: Any) -> bytes:
    return sse.event(json.dumps({"type": kind, **more}).encode(), kind.encode())


START = typed("message_start", message={"id": "m", "model": "x", "usage": {"input_tokens": 3, "output_tokens": 1}})


# -- every conversation --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("size", [1, 4, 100_000])
def test_a_chat_client_reads_the_same_from_a_stream_as_from_a_whole_answer(name: str, size: int) -> None:
    conversation = BY_NAME[name]
    size = max(size, len(conversation.reply.text) // 200)
    stream = run(chat_stream(), upstream_events(conversation, "anthropic", size))

    answer = as_completion(stream)

    assert completion(answer) == expected_answer(conversation, "openai", "anthropic")
    found = translation("chat", "anthropic")
    assert found is not None
    whole = json.loads(found.answer(json.dumps(upstream_answer(conversation, "anthropic")).encode()))
    assert answer["choices"][0]["message"].get("thinking_blocks") == whole["choices"][0]["message"].get(
        "thinking_blocks"
    )
    assert answer["usage"] == whole["usage"]
    assert (answer["id"], answer["model"]) == (whole["id"], whole["model"])


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("size", [1, 4, 100_000])
def test_a_messages_client_reads_the_same_from_a_stream_as_from_a_whole_answer(name: str, size: int) -> None:
    conversation = BY_NAME[name]
    size = max(size, len(conversation.reply.text) // 200)
    stream = run(messages_stream(), upstream_events(conversation, "openai", size))

    answer = as_message(stream)

    assert message(answer) == expected_answer(conversation, "anthropic", "openai")
    found = translation("messages", "openai")
    assert found is not None
    whole = json.loads(found.answer(json.dumps(upstream_answer(conversation, "openai")).encode()))
    assert answer["usage"] == whole["usage"]
    assert (answer["id"], answer["model"], answer["content"]) == (whole["id"], whole["model"], whole["content"])


_CALLS = st.lists(
    st.builds(
        Call,
        id=st.uuids().map(lambda ident: f"call_{ident.hex}"),
        name=st.sampled_from(["f", "get_weather"]),
        arguments=st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=6) | st.none(), max_size=3),
    ),
    max_size=3,
).map(tuple)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_REPLIES = st.builds(Reply, text=_TEXT, reasoning=_TEXT, calls=_CALLS).map(
    lambda reply: Reply(reply.text, reply.reasoning, calls=reply.calls, finish="tool_calls" if reply.calls else "stop")
)


@given(reply=_REPLIES, size=st.integers(1, 40))
def test_any_answer_comes_to_the_same_streamed_or_whole(reply: Reply, size: int) -> None:
    conversation = Conversation("any", (), reply)

    chat = as_completion(run(chat_stream(), upstream_events(conversation, "anthropic", size)))
    said = as_message(run(messages_stream(), upstream_events(conversation, "openai", size)))

    assert completion(chat) == expected_answer(conversation, "openai", "anthropic")
    assert message(said) == expected_answer(conversation, "anthropic", "openai")


@pytest.mark.parametrize("name", BY_NAME)
def test_what_comes_out_is_content_to_the_reader_of_the_clients_format(name: str) -> None:
    for stream, wire, operation in (
        (chat_stream(), "anthropic", "chat"),
        (messages_stream(), "openai", "messages"),
    ):
        reader = formats.reader_for(operation)
        splitter = sse.Splitter()
        kinds = [reader.read(event) for event in splitter.feed(run(stream, upstream_events(BY_NAME[name], wire)))]

        assert kinds[-1] is Kind.END
        assert Kind.CONTENT in kinds
        assert not {Kind.MALFORMED, Kind.ERROR} & set(kinds)


# -- ends ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_an_end_is_written_once_whoever_asks_for_it(wire: str) -> None:
    events = upstream_events(BY_NAME["one question"], wire)
    one, other = (chat_stream(), chat_stream()) if wire == "anthropic" else (messages_stream(), messages_stream())

    by_terminator = b"".join(map(one.feed, events))
    by_finish = b"".join(map(other.feed, events[:-1])) + other.finish()

    assert by_terminator == by_finish
    assert one.finish() == other.finish() == b""
    assert one.feed(events[1]) == b""


def test_the_usage_goes_to_a_chat_client_that_asked_for_it_and_to_no_other() -> None:
    events = upstream_events(BY_NAME["one question"], "anthropic")

    asked = documents(run(chat_stream(), events))
    unasked = documents(run(chat_stream(b'{"stream":true}'), events))

    assert asked[-2][1]["choices"] == []
    assert [data["usage"] for _, data in asked[:-2]] == [None] * (len(asked) - 2)
    assert not any("usage" in data for _, data in unasked[:-1])


def test_usage_in_the_chunk_of_the_finish_reason_counts() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    stream = messages_stream()
    answer = as_message(run(stream, [chunk({"content": "hi"}), chunk({}, "stop", usage=usage)]))

    assert answer["usage"]["input_tokens"] == 1
    assert answer["usage"]["cache_read_input_tokens"] == 4
    assert answer["usage"]["output_tokens"] == 2


def test_later_numbers_of_anthropics_usage_replace_earlier_ones() -> None:
    events = [
        START,
        typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"input_tokens": 9, "output_tokens": 4}),
    ]

    answer = as_completion(run(chat_stream(), events))

    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (9, 4)


# -- errors and what else may come ---------------------------------------------------------------------------
def test_an_error_in_the_stream_is_one_to_the_other_sdk() -> None:
    chat, said = chat_stream(), messages_stream()
    overloaded = {"type": "overloaded_error", "message": "Overloaded"}

    to_chat = documents(chat.feed(typed("error", error=overloaded)))
    to_messages = documents(
        said.feed(sse.event(b'{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}'))
    )

    assert to_chat[0][1]["error"]["message"] == "Overloaded"
    assert to_chat[0][1]["error"]["code"] == "overloaded"
    name, data = to_messages[0]
    assert (name, data["error"]["type"], data["error"]["message"]) == ("error", "rate_limit_error", "slow down")
    assert chat.finish() == said.finish() == b""  # no terminator: nobody may take it for a success


@pytest.mark.parametrize("event", [b": keep-alive\n\n", typed("ping"), b'event: ping\r\ndata: {"type":"ping"}\r\n\r\n'])
def test_a_sign_of_life_is_one_in_the_other_format(event: bytes) -> None:
    assert chat_stream().feed(event) == b": ping\n\n"
    if event.startswith(b":"):
        assert documents(messages_stream().feed(event)) == [("ping", {"type": "ping"})]


@pytest.mark.parametrize(
    "event", [typed("future_event", payload=[1]), b"no field\n\n", typed("content_block_stop", index=0)]
)
def test_events_that_may_be_ignored_are(event: bytes) -> None:
    assert chat_stream().feed(event) == b""


def test_events_may_be_cut_into_lines_as_the_standard_allows() -> None:
    stream = messages_stream()
    first = stream.feed(b'id: 1\r\ndata: {"choices":[{"index":0,\r\ndata: "delta":{"content":"hi"}}]}\r\n\r\n')

    assert [name for name, _ in documents(first)] == ["message_start", "content_block_start", "content_block_delta"]


@pytest.mark.parametrize(
    "event",
    [
        typed(
            "content_block_start", index=0, content_block={"type": "server_tool_use", "id": "s", "name": "web_search"}
        ),
        typed("content_block_delta", index=0, delta={"type": "compaction_delta", "content": "x"}),
        sse.event(b'{"type":"content_block_delta","index":"zero"}'),
        sse.event(b"{broken"),
    ],
)
def test_what_a_chat_completion_has_no_place_for_is_no_answer(event: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        chat_stream().feed(event)


@pytest.mark.parametrize(
    "event",
    [
        chunk({"audio": {"data": "AAAA"}}),
        chunk({"function_call": {"name": "f"}}),
        chunk({"content": [{"type": "image"}]}),
        sse.event(b'{"choices":[{"index":1,"delta":{"content":"second"}}]}'),
        sse.event(b'{"choices":"none"}'),
    ],
)
def test_what_a_message_has_no_place_for_is_no_answer(event: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        messages_stream().feed(event)


def test_a_call_that_never_gets_a_name_is_no_answer() -> None:
    stream = messages_stream()
    stream.feed(chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": "{}"}}]}))

    with pytest.raises(InvalidAnswer, match="no name"):
        stream.finish()


# -- how servers differ --------------------------------------------------------------------------------------
def calls(*deltas: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    events = [chunk({"tool_calls": delta}) for delta in deltas]
    answer = as_message(run(messages_stream(), [*events, chunk({}, "tool_calls")]))
    return [(block["id"], block["name"], block["input"]) for block in answer["content"]]


def test_calls_that_all_have_number_0_are_told_apart_by_their_ids() -> None:
    assert calls(
        [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":1}'}}],
        [{"index": 0, "id": "b", "function": {"name": "f", "arguments": '{"x":2}'}}],
    ) == [("a", "f", {"x": 1}), ("b", "f", {"x": 2})]


def test_calls_without_a_number_and_without_an_id_are_calls() -> None:
    assert calls([{"id": "a", "function": {"name": "f", "arguments": "{}"}}]) == [("a", "f", {})]
    assert calls([{"index": 0, "function": {"name": "f", "arguments": "{}"}}]) == [("c_0", "f", {})]


def test_a_call_may_get_its_name_late_and_its_id_again() -> None:
    assert calls(
        [{"index": 0, "id": "a", "function": {"arguments": '{"x"'}}],
        [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ":1}"}}],
    ) == [("a", "f", {"x": 1})]


def test_pieces_of_calls_may_alternate() -> None:
    deltas = [
        [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}],
        [{"index": 1, "id": "b", "function": {"name": "g", "arguments": '{"y"'}}],
        [{"index": 0, "function": {"arguments": '{"x":1}'}}, {"index": 1, "function": {"arguments": ":2}"}}],
    ]
    stream = run(messages_stream(), [*(chunk({"tool_calls": delta}) for delta in deltas), chunk({}, "tool_calls")])
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for _, data in documents(stream):
        event = _RAW_EVENT.validate_python(data)
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)

    assert [block.input for block in snapshot.content] == [{"x": 1}, {"y": 2}]


def test_a_call_whose_input_came_with_its_start_has_arguments() -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1.0}}
    events = [
        START,
        typed("content_block_start", index=0, content_block=block),
        typed("content_block_stop", index=0),
        typed("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 1}),
    ]

    answer = as_completion(run(chat_stream(), events))

    assert json.loads(answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]) == {"x": 1.0}


def test_hidden_thinking_keeps_its_signature() -> None:
    events = [
        START,
        typed("content_block_start", index=0, content_block={"type": "redacted_thinking", "data": "opaque"}),
        typed("content_block_stop", index=0),
        typed("content_block_start", index=1, content_block={"type": "thinking", "thinking": "", "signature": ""}),
        typed("content_block_delta", index=1, delta={"type": "signature_delta", "signature": "sig"}),
        typed("content_block_stop", index=1),
        typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}),
    ]

    said = as_completion(run(chat_stream(), events))["choices"][0]["message"]

    assert said["thinking_blocks"] == [
        {"index": 0, "type": "redacted_thinking", "data": "opaque"},
        {"index": 1, "type": "thinking", "thinking": "", "signature": "sig"},
    ]
    assert "reasoning_content" not in said


def test_a_stop_without_calls_after_calls_is_a_call() -> None:
    delta = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}

    assert as_message(run(messages_stream(), [chunk(delta), chunk({}, "stop")]))["stop_reason"] == "tool_use"


def test_an_answer_without_content_is_a_message_without_blocks() -> None:
    answer = as_message(run(messages_stream(), [chunk({"role": "assistant"}), chunk({}, "stop")]))

    assert (answer["content"], answer["stop_reason"]) == ([], "end_turn")
