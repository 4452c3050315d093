"""The Anthropic wire: messages (JSON and events), count_tokens, models.

Shapes follow the official SDK's types, which tests hold in strict mode. No state, no faults, no sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from simulator import content
from simulator.script import Answer, Event, Role
from simulator.wire.base import SSE_TYPE, ApiError, Voice, demand, json_answer, positive, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.connection import Request

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class AnthropicWire:
    """api.anthropic.com as far as a router meets it."""

    name = "anthropic"
    default_models = ("claude-sonnet-4-5", "claude-haiku-4-5")

    def answer(self, request: Request, path: str, document: Any, voice: Voice) -> Answer:
        if request.header(b"anthropic-version") is None:
            raise ApiError(400, "anthropic-version: header is required")
        if path == "/models" or path.startswith("/models/"):
            return _models(path, voice, voice.behaviour.models or self.default_models)
        if path not in ("/messages", "/messages/count_tokens"):
            raise ApiError(404, "Not found")
        demand(request, document, voice)
        messages = document.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ApiError(400, "messages: Field required", param="messages")
        if path == "/messages/count_tokens":
            return json_answer({"input_tokens": _prompt_tokens(document)}, voice.head_delay())
        return _message(document, voice)

    def credential(self, request: Request) -> list[bytes]:
        found = []
        key = request.header(b"x-api-key")
        if key is not None:
            found.append(key)
        bearer = request.header(b"authorization")
        if bearer is not None:
            found.append(bearer[7:] if bearer[:7].lower() == b"bearer " else bearer)
        return found

    def headers(self, voice: Voice) -> list[tuple[bytes, bytes]]:
        return [
            (b"request-id", b"req_%012x" % voice.number),
            (b"anthropic-organization-id", b"org-simulated"),
            (b"server", b"simulator"),
        ]

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        kind = _TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
        return orjson.dumps(
            {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"}
        )

    def error_event(self, status: int, message: str) -> bytes:
        return b"event: error\ndata: " + self.error(status, message) + b"\n\n"

    def event(self, document: Any) -> bytes:
        return _frame(document)

    def ping(self) -> bytes:
        return b'event: ping\ndata: {"type": "ping"}\n\n'


def _frame(document: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), orjson.dumps(document))


def _message(document: Any, voice: Voice) -> Answer:
    limit = document.get("max_tokens")
    if limit is None:
        raise ApiError(400, "max_tokens: Field required", param="max_tokens")
    limit = positive(limit, "max_tokens")
    block, said, stop = _block(document, voice, limit)
    thought = _thought(document, voice)
    prompt = _prompt_tokens(document)
    usage = {
        "input_tokens": prompt,
        "output_tokens": len(said) + (len(thought) if thought else 0),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": voice.cached(prompt),
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    }
    message: dict[str, Any] = {
        "id": voice.ident("msg_"),
        "type": "message",
        "role": "assistant",
        "model": document["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    if document.get("stream"):
        events = _events(voice, message, thought, block, said, stop)
        return Answer(200, [SSE_TYPE, (b"cache-control", b"no-cache")], events=events, delay=voice.head_delay())
    if thought:
        message["content"].append({"type": "thinking", "thinking": "".join(thought), "signature": _SIGNATURE})
    if said:
        message["content"].append(block)
    message["stop_reason"] = stop
    return json_answer(message, voice.whole_delay(len(said)))


_SIGNATURE = "c2ltdWxhdGVk"


def _events(
    voice: Voice, message: dict[str, Any], thought: list[str] | None, block: dict[str, Any], said: list[str], stop: str
) -> Iterator[Event]:
    usage = message["usage"]
    yield Event(
        _frame({"type": "message_start", "message": {**message, "usage": {**usage, "output_tokens": 1}}}), Role.OPENING
    )
    index = 0
    if thought:
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        yield Event(_frame({"type": "content_block_start", "index": 0, "content_block": empty}), Role.OPENING)
        yield from voice.paced(_delta(0, {"type": "thinking_delta", "thinking": part}) for part in thought)
        yield Event(_delta(0, {"type": "signature_delta", "signature": _SIGNATURE}), Role.CONTENT)
        yield Event(_frame({"type": "content_block_stop", "index": 0}), Role.CONTENT)
        index = 1
    if said:
        yield from _block_events(voice, index, block, said, opened=thought is not None)
        yield Event(_frame({"type": "content_block_stop", "index": index}), Role.FINISH)
    delta = {"stop_reason": stop, "stop_sequence": None}
    yield Event(
        _frame({"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage["output_tokens"]}}),
        Role.FINISH,
    )
    yield Event(_frame({"type": "message_stop"}), Role.TERMINATOR)


def _block_events(voice: Voice, index: int, block: dict[str, Any], said: list[str], *, opened: bool) -> Iterator[Event]:
    """The block's start and deltas; `opened` when content came before it."""
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    if block["type"] == "tool_use":
        start = _frame({"type": "content_block_start", "index": index, "content_block": {**block, "input": {}}})
        deltas = [_delta(index, {"type": "input_json_delta", "partial_json": part}) for part in said]
        yield Event(ping, Role.CONTENT if opened else Role.OPENING)
        # The name of the tool is content already.
        yield from voice.paced(iter([start, *deltas]), begun=opened)
        return
    role = Role.CONTENT if opened else Role.OPENING
    yield Event(_frame({"type": "content_block_start", "index": index, "content_block": {**block, "text": ""}}), role)
    yield Event(ping, role)
    # Deltas differ only in their text, so all but that is encoded once.
    before, after = _delta(index, {"type": "text_delta", "text": "\0"}).split(b'"\\u0000"')
    yield from voice.paced((before + orjson.dumps(part) + after for part in said), begun=opened)


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _frame({"type": "content_block_delta", "index": index, "delta": delta})


def _block(document: Any, voice: Voice, limit: int | None) -> tuple[dict[str, Any], list[str], str]:
    """The block that answers, its text in streamed parts, and the stop reason."""
    text = {"type": "text", "text": ""}
    if voice.refused:
        return text, [], "refusal"
    tool = _tool(document)
    if tool is not None:
        value = content.fitting(tool.get("input_schema") or {"type": "object"}, voice.name)
        block = {"type": "tool_use", "id": voice.ident("toolu_"), "name": tool.get("name", ""), "input": value}
        return block, content.fragments(orjson.dumps(value).decode()), "tool_use"
    prompt = text_of(document["messages"][-1].get("content"))
    said, short = voice.tokens(prompt, limit)
    text["text"] = "".join(said)
    return text, said, "max_tokens" if short else "end_turn"


def _thought(document: Any, voice: Voice) -> list[str] | None:
    wanted = document.get("thinking")
    if voice.refused or not isinstance(wanted, dict) or wanted.get("type") not in ("enabled", "adaptive"):
        return None
    return content.words(voice.name, "thinking", 6)


def _tool(document: Any) -> dict[str, Any] | None:
    tools = document.get("tools") or []
    choice = document.get("tool_choice") or {"type": "auto"}
    if not tools or choice.get("type") == "none":
        return None
    last = document["messages"][-1].get("content")
    if isinstance(last, list) and any(isinstance(part, dict) and part.get("type") == "tool_result" for part in last):
        return None
    if choice.get("type") == "tool":
        for tool in tools:
            if tool.get("name") == choice.get("name"):
                return dict(tool)
        raise ApiError(400, f"tool_choice.name: Tool '{choice.get('name')}' not found in provided tools")
    return dict(tools[0])


def _prompt_tokens(document: Any) -> int:
    texts = [text_of(message.get("content")) for message in document["messages"] if isinstance(message, dict)]
    tools = document.get("tools")
    return content.tokens_of(text_of(document.get("system")), *texts, orjson.dumps(tools).decode() if tools else "")


def _models(path: str, voice: Voice, models: tuple[str, ...]) -> Answer:
    entries = [
        {
            "type": "model",
            "id": model,
            "display_name": f"{model} ({voice.name})",
            "created_at": "2025-01-01T00:00:00Z",
            "lifecycle": "active",
        }
        for model in models
    ]
    if path == "/models":
        listing = {"data": entries, "has_more": False, "first_id": models[0], "last_id": models[-1]}
        return json_answer(listing, voice.head_delay())
    wanted = unquote(path.removeprefix("/models/"))
    for entry in entries:
        if entry["id"] == wanted:
            return json_answer(entry, voice.head_delay())
    raise ApiError(404, f"model: {wanted}", code="model_not_found")
