"""Anthropic's stream events as the chunks of a chat completion. Pure but for the clock: OpenAI dates its chunks.

Chunks of one stream differ in their delta alone, so what surrounds it is encoded once. The finish reason goes out
as it comes; the usage waits for the end, where OpenAI has it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from routes.gateway.wire import sse
from routes.gateway.wire.openai import DONE_EVENT
from routes.gateway.wire.reading import NOT_JSON, InvalidAnswer
from routes.gateway.wire.translate import failures, usage
from routes.gateway.wire.translate.answers import Block

if TYPE_CHECKING:
    from routes.gateway.wire.translate.fields import Json

_COMMENT = b": ping\n\n"


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: Any = None
    stop_sequence: Any = None
    stop_details: Any = None


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: Block | None = None
    message: _Message | None = None
    usage: Any = None
    error: Any = None


_event = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode


class ChatStream:
    """``usage``: whether the client asked for it."""

    __slots__ = (
        "_calls",
        "_counted",
        "_ended",
        "_finished",
        "_head",
        "_index",
        "_input",
        "_tail",
        "_thoughts",
        "_usage",
    )

    def __init__(self, *, usage: bool) -> None:
        self._usage = usage
        self._counted: Json = {}
        self._calls = 0  # tool calls that began
        self._thoughts = 0  # blocks of thinking that began
        self._index = 0  # of the open block in its own kind
        self._input: bytes | None = None  # the open call's arguments, as long as no piece of them came
        self._finished = False
        self._ended = False
        self._open("", "")

    def feed(self, event: bytes) -> bytes:
        parsed = sse.fields(event)
        if parsed is None or self._ended:
            return b""
        data = parsed[1]
        if data is None:
            return _COMMENT
        try:
            message = _event(data)
        except NOT_JSON as error:
            raise InvalidAnswer(f"an event of another shape: {error}") from None
        kind = message.type
        if kind == "content_block_delta":
            return self._delta(message.delta)
        if kind == "content_block_start":
            return self._block(message.content_block)
        if kind == "content_block_stop":
            return self._block_stop()
        if kind == "message_start":
            return self._start(message.message)
        if kind == "message_delta":
            return self._message_delta(message)
        if kind == "message_stop":
            return self.finish()
        if kind == "ping":
            return _COMMENT
        if kind == "error" or message.error is not None:
            self._ended = True
            return failures.event_to_openai(data)
        return b""  # Anthropic: new kinds of events are to be ignored by who does not know them

    def finish(self) -> bytes:
        if self._ended:
            return b""
        pieces = [] if self._finished else [self._chunk({}, "stop")]
        if self._usage:
            chunk = self._head + b'],"usage":' + _encode(usage.to_openai(self._counted)) + b"}\n\n"
            pieces.append(chunk)
        pieces.append(DONE_EVENT)
        self._finished = self._ended = True
        return b"".join(pieces)

    # -- chunks ------------------------------------------------------------------------------------------------
    def _open(self, ident: str, model: str, tier: str | None = None) -> None:
        base: Json = {
            "id": ident,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        if tier is not None:
            base["service_tier"] = tier
        self._head = b"data: " + _encode(base)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if self._usage else b"]}\n\n"

    def _say(self, name: bytes, text: str) -> bytes:
        """The chunk of a piece of text."""
        return b'%b{"index":0,"delta":{"%b":%b},"logprobs":null,"finish_reason":null}%b' % (
            self._head,
            name,
            _encode(text),
            self._tail,
        )

    def _chunk(self, delta: Json, finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, **more}
        return self._head + _encode(choice) + self._tail

    # -- events ------------------------------------------------------------------------------------------------
    def _start(self, message: _Message | None) -> bytes:
        if message is not None:
            counted = message.usage if type(message.usage) is dict else {}
            self._counted = dict(counted)
            self._open(message.id, message.model, usage.tier_to_openai(counted.get("service_tier")))
        return self._chunk({"role": "assistant", "content": None, "refusal": None})

    def _block(self, block: Block | None) -> bytes:
        kind = "" if block is None else block.type
        self._input = None
        if block is None or kind == "text":
            return self._say(b"content", block.text) if block is not None and block.text else b""
        if kind == "tool_use":
            self._index = self._calls
            self._calls += 1
            self._input = bytes(block.input)
            function = {"name": block.name, "arguments": ""}
            call = {"index": self._index, "id": block.id, "type": "function", "function": function}
            return self._chunk({"tool_calls": [call]})
        if kind == "thinking":
            self._index = self._thoughts
            self._thoughts += 1
            return self._thinking(block.thinking, block.signature)
        if kind == "redacted_thinking":
            thought = {"index": self._thoughts, "type": kind, "data": block.data}
            self._thoughts += 1
            return self._chunk({"thinking_blocks": [thought]})
        raise InvalidAnswer(f"a block of type {kind!r} has no place in a chat completion")

    def _thinking(self, text: str, signature: str) -> bytes:
        """Thinking as text for who reads it, and as a block for who sends it back with the next request."""
        delta: Json = {"reasoning_content": text} if text else {}
        thought = {"index": self._index, "type": "thinking", "thinking": text, "signature": signature}
        return self._chunk({**delta, "thinking_blocks": [thought]})

    def _delta(self, delta: _Delta | None) -> bytes:
        kind = "" if delta is None else delta.type
        if delta is None or kind == "text_delta":
            return self._say(b"content", delta.text) if delta is not None and delta.text else b""
        if kind == "input_json_delta":
            if not delta.partial_json:
                return b""
            self._input = None
            return self._arguments(delta.partial_json)
        if kind == "thinking_delta":
            return self._thinking(delta.thinking, "")
        if kind == "signature_delta":
            return self._thinking("", delta.signature)
        if kind == "citations_delta":
            return b""  # of documents whose citations a chat request cannot ask for
        raise InvalidAnswer(f"a delta of type {kind!r} has no place in a chat completion")

    def _arguments(self, piece: str) -> bytes:
        return self._chunk({"tool_calls": [{"index": self._index, "function": {"arguments": piece}}]})

    def _block_stop(self) -> bytes:
        whole, self._input = self._input, None
        return b"" if whole is None else self._arguments(whole.decode())

    def _message_delta(self, message: _Event) -> bytes:
        if type(message.usage) is dict:
            self._counted.update({name: number for name, number in message.usage.items() if number is not None})
        delta = message.delta
        if delta is None or delta.stop_reason is None or self._finished:
            return b""
        self._finished = True
        more = {"stop_reason": delta.stop_sequence} if type(delta.stop_sequence) is str else {}
        refusal = usage.refusal_of(delta.stop_details) if delta.stop_reason == "refusal" else None
        said = b"" if refusal is None else self._say(b"refusal", refusal)
        return said + self._chunk({}, usage.finish_reason(delta.stop_reason), **more)
