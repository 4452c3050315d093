"""The chat completions of the OpenAI wire: text, reasoning, refusals, tool calls, structured answers; JSON and streams.

What is said is decided first, as a `Turn`; how it is sent, whole or in chunks, comes after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from simulator import content
from simulator.script import Event, Role
from simulator.wire.base import (
    ApiError,
    Voice,
    data_frame,
    json_answer,
    missing,
    positive,
    sse_answer,
    text_of,
    token_usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.behaviour import Reply
    from simulator.script import Answer


class Call(NamedTuple):
    """One call of a function; `parts` are its arguments as they are streamed."""

    ident: str
    name: str
    parts: list[str]


class Turn(NamedTuple):
    """What the assistant says, each kind in streamed parts, in the order in which it is sent."""

    finish: str
    reasoning: list[str] = []
    text: list[str] = []
    refusal: list[str] = []
    calls: list[Call] = []
    stop: str | None = None  # the stop sequence that was met, which servers such as vLLM tell

    @property
    def tokens(self) -> int:
        calls = sum(len(call.parts) for call in self.calls)
        return len(self.reasoning) + len(self.text) + len(self.refusal) + calls


def chat(document: Any, voice: Voice) -> Answer:
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise missing("messages")
    limit = positive(document.get("max_completion_tokens", document.get("max_tokens")), "max_tokens")
    texts = [text_of(message.get("content")) for message in messages if isinstance(message, dict)]
    prompt_tokens = content.tokens_of(*texts)
    voice.check_window("openai", document["model"], prompt_tokens)
    turn = _turn(document, voice, texts[-1] if texts else "", limit)
    choices = positive(document.get("n"), "n") or 1
    usage = token_usage(prompt_tokens, turn.tokens * choices, voice, reasoning=len(turn.reasoning) * choices)
    if document.get("stream"):
        return _stream(document, voice, turn, usage, choices)
    message = _message(turn)
    answer: dict[str, Any] = {
        "id": voice.ident("chatcmpl-"),
        "object": "chat.completion",
        "created": voice.created(),
        "model": document["model"],
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": turn.finish, **_met(turn)}
            for index in range(choices)
        ],
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    if usage is not None:
        answer["usage"] = usage
    return json_answer(answer, voice.whole_delay(turn.tokens))


# -- what is said ----------------------------------------------------------------------------
def _turn(document: Any, voice: Voice, prompt: str, limit: int | None) -> Turn:
    if voice.refused:
        return Turn("content_filter")
    if voice.reply is not None:
        return _dictated(voice.reply, voice)
    effort = document.get("reasoning_effort")
    reasoning = content.words(voice.name, "thinking", 6) if effort not in (None, "none") else []
    call = _tool_call(document, voice)
    if call is not None:
        return Turn("tool_calls", reasoning, calls=[call])
    structured = _structured(document, voice)
    if structured is not None:
        return Turn("stop", reasoning, content.fragments(structured))
    said, short = voice.tokens(prompt, limit)
    return Turn("length" if short else "stop", reasoning, said)


def _dictated(reply: Reply, voice: Voice) -> Turn:
    calls = [
        Call(
            call.id or f"{voice.ident('call_')}_{number}",
            call.name,
            content.fragments(orjson.dumps(call.arguments).decode()),
        )
        for number, call in enumerate(reply.tool_calls)
    ]
    return Turn(
        reply.finish_reason or ("tool_calls" if calls else "stop"),
        content.cut(reply.reasoning) if reply.reasoning else [],
        content.cut(reply.text) if reply.text else [],
        content.cut(reply.refusal) if reply.refusal else [],
        calls,
        reply.stop_sequence,
    )


def _met(turn: Turn) -> dict[str, Any]:
    return {} if turn.stop is None else {"stop_reason": turn.stop}


def _tool_call(document: Any, voice: Voice) -> Call | None:
    """One call of the tool the caller forces, else of the first; none when the last message is a tool's result."""
    tools = [tool for tool in document.get("tools") or () if isinstance(tool, dict) and tool.get("type") == "function"]
    choice = document.get("tool_choice", "auto")
    last = document["messages"][-1]
    if not tools or choice == "none" or (isinstance(last, dict) and last.get("role") == "tool"):
        return None
    function = tools[0].get("function") or {}
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name")
        function = next((tool["function"] for tool in tools if tool["function"].get("name") == wanted), None) or {}
        if not function:
            raise ApiError(400, f"Tool choice '{wanted}' not found in 'tools' parameter.", param="tool_choice")
    arguments = orjson.dumps(content.fitting(function.get("parameters") or {"type": "object"}, voice.name)).decode()
    return Call(voice.ident("call_"), function.get("name", ""), content.fragments(arguments))


def _structured(document: Any, voice: Voice) -> str | None:
    """The text of a structured answer, when the request wants one."""
    wanted = document.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return None
    schema = (wanted.get("json_schema") or {}).get("schema") or {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
    }
    return orjson.dumps(content.fitting(schema, voice.name)).decode()


# -- how it is sent --------------------------------------------------------------------------
def _message(turn: Turn) -> dict[str, Any]:
    silent = not turn.text and bool(turn.calls or turn.refusal or turn.finish == "content_filter")
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if silent else "".join(turn.text),
        "refusal": "".join(turn.refusal) if turn.refusal else None,
        "annotations": [],
    }
    if turn.reasoning:
        message["reasoning_content"] = "".join(turn.reasoning)
    if turn.calls:
        message["tool_calls"] = [
            {"id": call.ident, "type": "function", "function": {"name": call.name, "arguments": "".join(call.parts)}}
            for call in turn.calls
        ]
    return message


def _stream(document: Any, voice: Voice, turn: Turn, usage: dict[str, Any] | None, choices: int) -> Answer:
    asked = bool((document.get("stream_options") or {}).get("include_usage")) and usage is not None
    base: dict[str, Any] = {
        "id": voice.ident("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": voice.created(),
        "model": document["model"],
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    # Chunks differ only in their text, so all but that is encoded once for the stream.
    start = b"data: " + orjson.dumps(base)[:-1] + b',"choices":['
    end = b'],"usage":null}\n\n' if asked else b"]}\n\n"

    def chunk(index: int, delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason, **more}
        return start + orjson.dumps(choice) + end

    def texts(index: int, field: str, parts: list[str]) -> Iterator[bytes]:
        before, after = chunk(index, {field: "\0"}).split(b'"\\u0000"')
        for part in parts:
            yield before + orjson.dumps(part) + after

    def contents() -> Iterator[bytes]:
        for index in range(choices):
            yield from texts(index, "reasoning_content", turn.reasoning)
            yield from texts(index, "content", turn.text)
            yield from texts(index, "refusal", turn.refusal)
            for number, call in enumerate(turn.calls):
                function = {"name": call.name, "arguments": ""}
                opened = {"index": number, "id": call.ident, "type": "function", "function": function}
                yield chunk(index, {"tool_calls": [opened]})
                for part in call.parts:
                    yield chunk(index, {"tool_calls": [{"index": number, "function": {"arguments": part}}]})

    def events() -> Iterator[Event]:
        for index in range(choices):
            said_first = None if turn.calls and not turn.text else ""
            yield Event(chunk(index, {"role": "assistant", "content": said_first, "refusal": None}), Role.OPENING)
        yield from voice.paced(contents())
        for index in range(choices):
            yield Event(chunk(index, {}, turn.finish, **_met(turn)), Role.FINISH)
        if asked:
            yield Event(data_frame({**base, "choices": [], "usage": usage}), Role.FINISH)
        yield Event(b"data: [DONE]\n\n", Role.TERMINATOR)

    return sse_answer(events(), voice)
