"""Whole answers, from one format to the other. Pure but for the clock: OpenAI dates its answers.

An answer holds only what its request asked for, and requests that ask for more than both formats have are refused;
a block or a field beyond that (a tool of the server's, audio) is no answer of ours and raises InvalidAnswer.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic_core import from_json

from routes.gateway.wire.reading import NOT_JSON, InvalidAnswer, require_utf8
from routes.gateway.wire.translate import usage
from routes.gateway.wire.translate.unsigned import UNSIGNED

if TYPE_CHECKING:
    from routes.gateway.wire.translate.fields import Json


class Block(msgspec.Struct):
    """A block of a message of Anthropic's, whole or as it begins in a stream."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Message(msgspec.Struct):
    content: list[Block]
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    usage: Any = None


class _Function(msgspec.Struct):
    name: str
    arguments: str = ""


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Said(msgspec.Struct):
    content: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    audio: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct):
    message: _Said
    finish_reason: str | None = None
    stop_reason: Any = None  # of vLLM and its like: the stop sequence that was met


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    id: str | None = None
    model: str | None = None
    usage: Any = None
    service_tier: str | None = None


_message = msgspec.json.Decoder(_Message).decode
_completion = msgspec.json.Decoder(_Completion).decode
_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def to_openai(body: bytes) -> bytes:
    """A message as a chat completion. Raises InvalidAnswer."""
    try:
        require_utf8(body)
        message = _message(body)
    except NOT_JSON as error:
        raise InvalidAnswer(str(error)) from None
    texts: list[str] = []
    thoughts: list[Json] = []
    calls: list[Json] = []
    for block in message.content:
        if block.type == "text":
            texts.append(block.text)
        elif block.type == "tool_use":
            function = {"name": block.name, "arguments": bytes(block.input).decode()}
            calls.append({"id": block.id, "type": "function", "function": function})
        elif block.type == "thinking":
            thoughts.append(
                {
                    "index": len(thoughts),
                    "type": "thinking",
                    "thinking": block.thinking,
                    "signature": block.signature,
                }
            )
        elif block.type == "redacted_thinking":
            thoughts.append({"index": len(thoughts), "type": "redacted_thinking", "data": block.data})
        else:
            raise InvalidAnswer(f"a block of type {block.type!r} has no place in a chat completion")
    refused = message.stop_reason == "refusal"
    said: Json = {
        "role": "assistant",
        "content": "".join(texts) or None,
        "refusal": usage.refusal_of(message.stop_details) if refused else None,
    }
    if thoughts:
        if reasoning := "".join(thought.get("thinking", "") for thought in thoughts):
            said["reasoning_content"] = reasoning
        said["thinking_blocks"] = thoughts
    if calls:
        said["tool_calls"] = calls
    choice: Json = {
        "index": 0,
        "message": said,
        "logprobs": None,
        "finish_reason": usage.finish_reason(message.stop_reason),
    }
    if message.stop_sequence is not None:
        choice["stop_reason"] = message.stop_sequence
    document: Json = {
        "id": message.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": message.model,
        "choices": [choice],
        "usage": usage.to_openai(message.usage),
    }
    reported = message.usage
    if type(reported) is dict and (tier := usage.tier_to_openai(reported.get("service_tier"))) is not None:
        document["service_tier"] = tier
    return _encode(document)


def to_anthropic(body: bytes) -> bytes:
    """A chat completion as a message. Raises InvalidAnswer."""
    try:
        require_utf8(body)
        completion = _completion(body)
    except NOT_JSON as error:
        raise InvalidAnswer(str(error)) from None
    if len(completion.choices) != 1:
        raise InvalidAnswer(f"{len(completion.choices)} choices came where one was asked for")
    choice = completion.choices[0]
    ident = completion.id or ""
    said = choice.message
    if said.audio is not None or said.function_call is not None:
        raise InvalidAnswer("audio and function calls have no place in a message")
    blocks: list[Json] = []
    if reasoning := said.reasoning_content or said.reasoning:
        blocks.append({"type": "thinking", "thinking": reasoning, "signature": UNSIGNED})
    if text := text_of(said.content):
        blocks.append({"type": "text", "text": text})
    calls = said.tool_calls or []
    cut = choice.finish_reason == "length"
    for index, call in enumerate(calls):
        blocks.append(
            {
                "type": "tool_use",
                "id": call.id or call_id(ident, index),
                "name": call.function.name,
                "input": _input(call.function.arguments, cut=cut),
            }
        )
    sequence = choice.stop_reason if type(choice.stop_reason) is str else None
    refusal = said.refusal or ""
    reason = usage.stop_reason(choice.finish_reason, sequence=sequence, refused=bool(refusal), called=bool(calls))
    counted = usage.to_anthropic(completion.usage)
    if (tier := usage.tier_to_anthropic(completion.service_tier)) is not None:
        counted["service_tier"] = tier
    return _encode(
        {
            "id": ident,
            "type": "message",
            "role": "assistant",
            "model": completion.model or "",
            "content": blocks,
            "stop_reason": reason,
            "stop_sequence": sequence if reason == "stop_sequence" else None,
            "stop_details": usage.refusal_details(refusal) if reason == "refusal" else None,
            "usage": counted,
        }
    )


def text_of(content: Any) -> str:
    """The text of a content: a string, nothing, or (as some servers write it) a list of parts."""
    if type(content) is str:
        return content
    if content is None:
        return ""
    if type(content) is list:
        texts = [part["text"] for part in content if _is_text(part)]
        if len(texts) == len(content):
            return "".join(texts)
    raise InvalidAnswer("the content is no text")


def _is_text(part: Any) -> bool:
    return type(part) is dict and part.get("type") == "text" and type(part.get("text")) is str


def call_id(answer: str, index: int) -> str:
    """A name for a tool call whose server gave none."""
    return f"{answer or 'call'}_{index}"


def _input(arguments: str, *, cut: bool) -> msgspec.Raw | Json:
    """Arguments as an object. ``cut``: the answer met its limit, maybe in the middle of them."""
    arguments = arguments.strip() or "{}"
    try:
        _arguments(arguments)
    except NOT_JSON as error:
        if not cut:
            raise InvalidAnswer(f"the arguments of a tool call are no JSON object: {error}") from None
        try:
            whole = from_json(arguments, allow_partial="trailing-strings")
        except ValueError:
            whole = None
        return whole if type(whole) is dict else {}
    return msgspec.Raw(arguments.encode())
