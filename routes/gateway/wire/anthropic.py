"""Anthropic's wire format: what its answers and stream events say. Messages and count_tokens. Pure.

``input`` of a usage is everything that went in, cached or not, as OpenAI counts it: Anthropic reports tokens
read from and written to its cache beside ``input_tokens``.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from routes.gateway.exchange import Usage
from routes.gateway.wire import sse
from routes.gateway.wire.reading import (
    NOT_JSON,
    Answer,
    InvalidAnswer,
    Kind,
    count,
    error_message,
    require_utf8,
    size,
    unknown_shape,
)


class _Delta(msgspec.Struct):
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    stop_reason: Any = None


class _Block(msgspec.Struct):
    type: Any = ""
    text: Any = None
    thinking: Any = None


class _Message(msgspec.Struct):
    usage: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: Any = None
    error: Any = None


class _Document(msgspec.Struct):
    type: Any = None
    error: Any = None
    usage: Any = None


_event = msgspec.json.Decoder(_Event).decode
_document = msgspec.json.Decoder(_Document).decode


def usage_of(usage: Any, into: Usage) -> None:
    """Read a ``usage`` object; numbers it does not name keep what they are (streams report in two parts)."""
    if type(usage) is not dict:
        return
    if (fresh := count(usage.get("input_tokens"))) is not None:
        read = count(usage.get("cache_read_input_tokens"))
        written = count(usage.get("cache_creation_input_tokens"))
        into.input = fresh + (read or 0) + (written or 0)
        if read is not None:
            into.cached = read
    if (number := count(usage.get("output_tokens"))) is not None:
        into.output = number


def read_answer(body: bytes) -> Answer:
    """What a whole answer said. Raises InvalidAnswer when it is not one JSON object."""
    try:
        require_utf8(body)
        document = _document(body)
    except NOT_JSON as error:
        raise InvalidAnswer(str(error)) from None
    usage = Usage()
    usage_of(document.usage, usage)
    failed = document.error is not None or document.type == "error"
    return Answer(usage, error_message(document.error) if failed else None)


class MessagesReader:
    """Streams of ``/messages``."""

    end_is_content: ClassVar[bool] = False
    ends_long: ClassVar[bool] = False
    answer_id: ClassVar[str] = ""

    __slots__ = ("error", "hides_usage", "terminator", "text_bytes", "usage")

    def __init__(self) -> None:
        self.hides_usage = False
        self.usage = Usage()
        self.text_bytes = 0
        self.error = ""
        self.terminator = b""

    def read(self, event: bytes) -> Kind:
        parsed = sse.fields(event)
        if parsed is None:
            return Kind.MALFORMED
        data = parsed[1]
        if data is None:
            return Kind.HELD
        try:
            message = _event(data)
        except NOT_JSON:
            return unknown_shape(data)
        kind = message.type
        if kind == "content_block_delta":
            delta = message.delta
            if delta is not None:
                self.text_bytes += size(delta.text or delta.thinking or delta.partial_json)
            return Kind.CONTENT
        if kind == "content_block_start":
            block = message.content_block
            # A text block opens empty; a tool call opens with its name, and other blocks arrive whole.
            if block is None or (block.type in {"text", "thinking"} and not (block.text or block.thinking)):
                return Kind.HELD
            return Kind.CONTENT
        if kind == "message_delta":
            usage_of(message.usage, self.usage)
            return Kind.CONTENT if message.delta is not None and message.delta.stop_reason else Kind.HELD
        if kind == "message_stop":
            return Kind.END
        if kind == "message_start":
            if message.message is not None:
                usage_of(message.message.usage, self.usage)
                self.usage.output = None  # what message_start says of the output is a beginning
            return Kind.HELD
        if kind == "error" or message.error is not None:
            self.error = error_message(message.error)
            return Kind.ERROR
        return Kind.HELD

    def long_event(self, beginning: bytes) -> None:
        """Content, whatever it says."""

    def long_event_ended(self, tail: bytes) -> None:
        """Nothing: usage comes in short events here."""

    def complete(self) -> bool:
        return False
