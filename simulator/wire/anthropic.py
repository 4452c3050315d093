"""The Anthropic wire: messages (JSON and events), count_tokens, models.

Shapes follow the official SDK's types, which tests hold in strict mode. No state, no faults, no sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import orjson

from simulator import content
from simulator.script import Event, Role
from simulator.wire.base import ApiError, Voice, bearer, demand, json_answer, positive, sse_answer, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.behaviour import Behaviour, Reply
    from simulator.connection import Request
    from simulator.script import Answer
    from simulator.websocket import Talker

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
    prefix = "/v1"
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

    def converse(self, request: Request, path: str, voice: Voice) -> Talker:
        raise ApiError(404, "Not found")

    def subprotocols(self, behaviour: Behaviour) -> tuple[str, ...] | None:
        return ()

    def credential(self, request: Request) -> list[bytes]:
        key = request.header(b"x-api-key")
        return [*bearer(request), *([key] if key is not None else [])]

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
        return _PING


def _frame(document: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), orjson.dumps(document))


def _message(document: Any, voice: Voice) -> Answer:
    limit = document.get("max_tokens")
    if limit is None:
        raise ApiError(400, "max_tokens: Field required", param="max_tokens")
    limit = positive(limit, "max_tokens")
    prompt = _prompt_tokens(document)
    voice.check_window("anthropic", document["model"], prompt)
    blocks, stop = _blocks(document, voice, limit)
    tokens = sum(len(block.parts) for block in blocks)
    usage: dict[str, Any] = {
        "input_tokens": prompt,
        "output_tokens": tokens,
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
    sequences = document.get("stop_sequences") or [None]
    end: dict[str, Any] = {"stop_reason": stop, "stop_sequence": sequences[0] if stop == "stop_sequence" else None}
    if (reply := voice.reply) is not None:
        if reply.stop_sequence is not None:
            end["stop_sequence"] = reply.stop_sequence
        if reply.explanation is not None:
            end["stop_details"] = {"type": "refusal", "category": None, "explanation": reply.explanation}
        if (told := reply.tokens) is not None:
            usage["input_tokens"], usage["output_tokens"] = told.fresh, told.output
            usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"] = told.cached, told.written
    if document.get("stream"):
        return sse_answer(_events(voice, message, blocks, end), voice)
    return json_answer({**message, "content": [block.whole for block in blocks], **end}, voice.whole_delay(tokens))


_SIGNATURE = "c2ltdWxhdGVk"
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


class Block(NamedTuple):
    """One block of content: as it is when whole, as its start announces it, and its parts as they are streamed."""

    whole: dict[str, Any]
    start: dict[str, Any]
    parts: list[str]


def _events(voice: Voice, message: dict[str, Any], blocks: list[Block], end: dict[str, Any]) -> Iterator[Event]:
    usage = message["usage"]
    yield Event(
        _frame({"type": "message_start", "message": {**message, "usage": {**usage, "output_tokens": 1}}}), Role.OPENING
    )
    for index, block in enumerate(blocks):
        last = index == len(blocks) - 1
        yield from _block_events(voice, index, block)
        yield Event(_frame({"type": "content_block_stop", "index": index}), Role.FINISH if last else Role.CONTENT)
    counted = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    total = {name: usage[name] for name in counted}
    yield Event(_frame({"type": "message_delta", "delta": end, "usage": total}), Role.FINISH)
    yield Event(_frame({"type": "message_stop"}), Role.TERMINATOR)


def _block_events(voice: Voice, index: int, block: Block) -> Iterator[Event]:
    """The block's start and deltas; a ping comes within the first one that is no thinking."""
    begun = index > 0
    role = Role.CONTENT if begun else Role.OPENING
    start = _frame({"type": "content_block_start", "index": index, "content_block": block.start})
    kind = block.whole["type"]
    if kind == "tool_use":
        deltas = [_delta(index, {"type": "input_json_delta", "partial_json": part}) for part in block.parts]
        yield Event(_PING, role)
        # The name of the tool is content already.
        yield from voice.paced(iter([start, *deltas]), begun=begun)
        return
    yield Event(start, role)
    field = "thinking" if kind == "thinking" else "text"
    if kind == "text":
        yield Event(_PING, role)
    # Deltas differ only in their text, so all but that is encoded once.
    before, after = _delta(index, {"type": f"{field}_delta", field: "\0"}).split(b'"\\u0000"')
    yield from voice.paced((before + orjson.dumps(part) + after for part in block.parts), begun=begun)
    if kind == "thinking":
        yield Event(_delta(index, {"type": "signature_delta", "signature": _SIGNATURE}), Role.CONTENT)


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _frame({"type": "content_block_delta", "index": index, "delta": delta})


# -- what is said ----------------------------------------------------------------------------
def _blocks(document: Any, voice: Voice, limit: int | None) -> tuple[list[Block], str]:
    """The blocks that answer, and the stop reason."""
    if voice.refused:
        return [], "refusal"
    if voice.reply is not None:
        return _dictated(voice.reply, voice)
    blocks = []
    wanted = document.get("thinking")
    if isinstance(wanted, dict) and wanted.get("type") in ("enabled", "adaptive"):
        blocks.append(_thinking(content.words(voice.name, "thinking", 6)))
    tool = _tool(document)
    if tool is not None:
        value = content.fitting(tool.get("input_schema") or {"type": "object"}, voice.name)
        return [*blocks, _use(voice.ident("toolu_"), tool.get("name", ""), value)], "tool_use"
    said, short = voice.tokens(text_of(document["messages"][-1].get("content")), limit)
    if said:
        blocks.append(_text(said))
    return blocks, "max_tokens" if short else "end_turn"


def _dictated(reply: Reply, voice: Voice) -> tuple[list[Block], str]:
    blocks = [_thinking(content.cut(reply.reasoning))] if reply.reasoning else []
    blocks += [_text(content.cut(text)) for text in (reply.text, reply.refusal) if text]
    blocks += [
        _use(call.id or f"{voice.ident('toolu_')}_{number}", call.name, call.arguments)
        for number, call in enumerate(reply.tool_calls)
    ]
    fitting = "tool_use" if reply.tool_calls else "refusal" if reply.refusal or reply.explanation else "end_turn"
    if reply.stop_sequence is not None:
        fitting = "stop_sequence"
    return blocks, reply.stop_reason or fitting


def _thinking(parts: list[str]) -> Block:
    whole = {"type": "thinking", "thinking": "".join(parts), "signature": _SIGNATURE}
    return Block(whole, {"type": "thinking", "thinking": "", "signature": ""}, parts)


def _text(parts: list[str]) -> Block:
    return Block({"type": "text", "text": "".join(parts)}, {"type": "text", "text": ""}, parts)


def _use(ident: str, name: str, value: Any) -> Block:
    start = {"type": "tool_use", "id": ident, "name": name, "input": {}}
    return Block({**start, "input": value}, start, content.fragments(orjson.dumps(value).decode()))


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
