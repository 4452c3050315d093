"""What events and answers of both wire formats mean: content, end, error, usage."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routes.gateway.exchange import Usage
from routes.gateway.wire import anthropic, formats, openai, problems, sse
from routes.gateway.wire.reading import InvalidAnswer, Kind


def data(document: Any, name: str | None = None) -> bytes:
    return sse.event(json.dumps(document).encode(), name.encode() if name else None)


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    return data({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **more})


def typed(kind: str, **fields: Any) -> bytes:
    return data({"type": kind, **fields}, kind)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (chunk({"role": "assistant", "content": ""}), Kind.HELD),
        (chunk({"role": "assistant"}), Kind.HELD),
        (chunk({}), Kind.HELD),
        (data({"choices": [], "prompt_filter_results": []}), Kind.HELD),
        (b": keep-alive\n\n", Kind.HELD),
        (data({"choices": "of another shape"}), Kind.HELD),
        (chunk({"content": "hi"}), Kind.CONTENT),
        (chunk({"reasoning_content": "hm"}), Kind.CONTENT),
        (chunk({"reasoning": "hm"}), Kind.CONTENT),
        (chunk({"refusal": "no"}), Kind.CONTENT),
        (chunk({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}), Kind.CONTENT),
        (chunk({"audio": {"data": "AAAA"}}), Kind.CONTENT),
        (chunk({}, "stop"), Kind.CONTENT),
        (data({"choices": [{"index": 0, "text": "hi", "finish_reason": None}]}), Kind.CONTENT),
        (b"data: [DONE]\n\n", Kind.END),
        (data({"error": {"message": "overloaded"}}), Kind.ERROR),
        (b"data: {broken\n\n", Kind.MALFORMED),
        (b'data: {"choices": [' + b"[" * 3000 + b"\n\n", Kind.MALFORMED),
        (b"no field\n\n", Kind.MALFORMED),
    ],
)
def test_chat_events(event: bytes, kind: Kind) -> None:
    assert openai.ChatReader().read(event) is kind


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (typed("response.created", response={"status": "in_progress", "error": None}), Kind.HELD),
        (typed("response.in_progress", response={}), Kind.HELD),
        (typed("response.output_item.added", item={"type": "message"}), Kind.HELD),
        (typed("response.output_text.delta", delta="hi"), Kind.CONTENT),
        (typed("response.refusal.delta", delta="no"), Kind.CONTENT),
        (typed("response.function_call_arguments.delta", delta="{"), Kind.CONTENT),
        (typed("response.reasoning_summary_text.delta", delta="hm"), Kind.CONTENT),
        (typed("response.completed", response={"usage": None}), Kind.END),
        (typed("response.incomplete", response={}), Kind.END),
        (typed("response.failed", response={"error": {"message": "down"}}), Kind.ERROR),
        (typed("error", message="down", code="server_error"), Kind.ERROR),
        (b"data: {broken\n\n", Kind.MALFORMED),
    ],
)
def test_responses_events(event: bytes, kind: Kind) -> None:
    assert openai.ResponsesReader().read(event) is kind


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (typed("message_start", message={"usage": {"input_tokens": 3}}), Kind.HELD),
        (typed("ping"), Kind.HELD),
        (typed("content_block_start", content_block={"type": "text", "text": ""}), Kind.HELD),
        (typed("content_block_start", content_block={"type": "thinking", "thinking": ""}), Kind.HELD),
        (typed("content_block_start", content_block={"type": "tool_use", "name": "f"}), Kind.CONTENT),
        (typed("content_block_delta", delta={"type": "text_delta", "text": "hi"}), Kind.CONTENT),
        (typed("content_block_delta", delta={"type": "input_json_delta", "partial_json": "{"}), Kind.CONTENT),
        (typed("content_block_stop"), Kind.HELD),
        (typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}), Kind.CONTENT),
        (typed("message_stop"), Kind.END),
        (typed("error", error={"type": "overloaded_error", "message": "Overloaded"}), Kind.ERROR),
        (typed("some_future_event"), Kind.HELD),
        (b"event: ping\ndata: {\n\n", Kind.MALFORMED),
    ],
)
def test_messages_events(event: bytes, kind: Kind) -> None:
    assert anthropic.MessagesReader().read(event) is kind


def test_a_failed_response_after_content_ends_its_stream_and_says_so() -> None:
    reader = openai.ResponsesReader()
    reader.read(typed("response.output_text.delta", delta="hi"))

    assert reader.read(typed("response.failed", response={"error": {"message": "down"}})) is Kind.END
    assert reader.error == "down"


def test_a_chat_stream_is_complete_once_every_choice_that_began_has_finished() -> None:
    reader = openai.ChatReader()
    for index in (0, 1):
        reader.read(data({"choices": [{"index": index, "delta": {"content": "a"}, "finish_reason": None}]}))
    assert not reader.complete()
    reader.read(data({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    assert not reader.complete()
    reader.read(data({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}))

    assert reader.complete()


def test_no_other_stream_is_complete_without_its_end_event() -> None:
    messages = anthropic.MessagesReader()
    messages.read(typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}))
    responses = openai.ResponsesReader()
    responses.read(typed("response.output_text.done", text="hi"))

    assert not messages.complete()
    assert not responses.complete()


def test_a_completed_event_too_long_to_be_read_still_completes_its_stream() -> None:
    reader = openai.ResponsesReader()
    reader.long_event(b'event: response.completed\ndata: {"type":"response.completed","response":{"output":[')

    assert reader.complete()


def test_what_was_used_is_read_from_the_end_of_an_event_that_is_too_long() -> None:
    usage = b'"usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 7}'
    said = b'..." "text": "\\"usage\\": {\\"input_tokens\\": 1}"}], "usage": {"input_tokens": 1}, '
    reader: Any = openai.ResponsesReader()
    reader.long_event(b'event: response.completed\ndata: {"type":"response.completed","response":{"output":[')

    reader.long_event_ended(said + usage + b', "user": null}}\n\n')

    assert (reader.usage.input, reader.usage.cached, reader.usage.output) == (9, 4, 7)


def test_the_end_of_many_embeddings_says_that_nothing_came_out() -> None:
    usage = Usage()

    openai.usage_of_tail(b'0.5]}], "model": "m", "usage": {"prompt_tokens": 4, "total_tokens": 4}}', usage)

    assert (usage.input, usage.output) == (4, 0)


@pytest.mark.parametrize(
    "tail", [b"", b'"usage": null}}', b'"usage": {"input_tokens": }}', b'\\"usage": {"input_tokens": 1}']
)
def test_an_end_without_readable_usage_leaves_it_unknown(tail: bytes) -> None:
    reader: Any = openai.MediaReader()
    reader.long_event(b'data: {"type":"image_generation.completed","b64_json":"')

    reader.long_event_ended(tail)

    assert (reader.usage.input, reader.usage.output) == (None, None)
    assert reader.complete()


def usage_after(reader: Any, *events: bytes) -> tuple[int | None, int | None, int | None]:
    for event in events:
        reader.read(event)
    return reader.usage.input, reader.usage.output, reader.usage.cached


def test_usage_is_read_from_the_streams_own_events() -> None:
    chat = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}
    responses = {"input_tokens": 9, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 2}}

    assert usage_after(openai.ChatReader(), data({"choices": [], "usage": chat})) == (9, 4, 2)
    assert usage_after(openai.ResponsesReader(), typed("response.completed", response={"usage": responses})) == (
        9,
        4,
        2,
    )


def test_anthropic_input_counts_what_was_read_from_and_written_to_the_cache() -> None:
    start = {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 1, "output_tokens": 1}

    assert usage_after(
        anthropic.MessagesReader(),
        typed("message_start", message={"usage": start}),
        typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7}),
    ) == (9, 7, 3)


def test_the_output_count_of_message_start_is_not_taken_for_the_whole() -> None:
    start = {"input_tokens": 5, "output_tokens": 1}

    assert usage_after(anthropic.MessagesReader(), typed("message_start", message={"usage": start})) == (5, None, None)


def test_text_is_counted_in_bytes_for_an_estimate() -> None:
    reader = openai.ChatReader()
    reader.read(chunk({"content": "h\u00e9"}))
    reader.read(chunk({"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}))

    assert reader.text_bytes == 3 + 3


@pytest.mark.parametrize(
    ("wire", "body", "expected"),
    [
        ("openai", {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}, (3, 2, None, None)),
        ("openai", {"object": "list", "usage": {"prompt_tokens": 3, "total_tokens": 3}}, (3, 0, None, None)),
        ("openai", {"error": None, "usage": {"input_tokens": 3, "output_tokens": 2}}, (3, 2, None, None)),
        ("openai", {"error": {"message": "down"}}, (None, None, None, "down")),
        ("openai", {"error": "down"}, (None, None, None, "down")),
        ("openai", {"usage": "none"}, (None, None, None, None)),
        ("openai", {"usage": {"prompt_tokens": -1, "completion_tokens": True}}, (None, None, None, None)),
        ("anthropic", {"usage": {"input_tokens": 3, "output_tokens": 2}}, (3, 2, None, None)),
        ("anthropic", {"input_tokens": 12}, (None, None, None, None)),
        ("anthropic", {"type": "error", "error": {"message": "Overloaded"}}, (None, None, None, "Overloaded")),
    ],
)
def test_answers(wire: str, body: Any, expected: tuple[Any, ...]) -> None:
    answer = formats.read_answer(wire, json.dumps(body).encode())

    assert (answer.usage.input, answer.usage.output, answer.usage.cached, answer.error) == expected


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"a": 1', b"[]", b'"text"', b"{} trailing", b'{"a": "\xff"}', b"null"]
)
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_what_is_not_one_json_object_is_no_answer(wire: str, body: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        formats.read_answer(wire, body)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ({"error": {"message": "x", "code": "context_length_exceeded"}}, "context_length"),
        ({"error": {"message": "This model's maximum context length is 8192 tokens."}}, "context_length"),
        (
            {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 2 > 1"}},
            "context_length",
        ),
        ({"error": {"message": "x", "code": "content_filter"}}, "content_filter"),
        (
            {"error": {"message": "The response was filtered due to Azure's content management policy."}},
            "content_filter",
        ),
        ({"error": {"message": "x", "type": "insufficient_quota"}}, "billing"),
        ({"type": "error", "error": {"message": "Your credit balance is too low to access the API."}}, "billing"),
        ({"message": "You exceeded your current quota."}, "billing"),
        ({"error": {"message": "max_tokens is too large", "code": "invalid_value"}}, None),
        ({"error": {"message": "Unknown parameter: 'context'."}}, None),
        ({"error": None}, None),
        ([1], None),
    ],
)
def test_problems_are_recognised_by_code_and_by_words(body: Any, cause: str | None) -> None:
    assert problems.recognise(json.dumps(body).encode()).cause == cause


def test_a_page_instead_of_an_error_document_is_no_special_problem() -> None:
    assert problems.recognise(b"<html>context window</html>") == (None, "")
