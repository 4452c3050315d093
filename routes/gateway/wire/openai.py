"""OpenAI's wire format: what its answers and stream events say. Chat, completions, responses, embeddings. Pure.

Structs name only what is read, so decoding validates the JSON and builds almost nothing (about 1 µs an event);
fields are ``Any`` where an odd value must not make a readable event unreadable.
"""

from __future__ import annotations

import re
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

#: Ids of answers that are remembered; real ones have about 50 characters.
MAX_ID_LENGTH = 256
_FIRST_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*"([!-!#-\[\]-~]{1,256})"')

DONE = b"[DONE]"
DONE_EVENT = sse.event(DONE)


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None


class _Choice(msgspec.Struct):
    index: int | str | None = 0
    delta: _Delta | None = None
    text: Any = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


class _Response(msgspec.Struct):
    id: Any = None
    usage: Any = None
    error: Any = None


class _ResponsesEvent(msgspec.Struct):
    type: str = ""
    delta: Any = None
    response: _Response | None = None
    error: Any = None
    message: Any = None


class _MediaEvent(msgspec.Struct):
    type: str = ""
    delta: Any = None
    usage: Any = None
    error: Any = None
    message: Any = None


class _Document(msgspec.Struct):
    id: Any = None
    error: Any = None
    usage: Any = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_responses_event = msgspec.json.Decoder(_ResponsesEvent).decode
_media_event = msgspec.json.Decoder(_MediaEvent).decode
_document = msgspec.json.Decoder(_Document).decode


def usage_of(usage: Any, into: Usage) -> None:
    """Read a ``usage`` object of chat, completions, embeddings or responses."""
    if type(usage) is not dict:
        return
    if "prompt_tokens" in usage:
        taken, given, details = "prompt_tokens", "completion_tokens", "prompt_tokens_details"
    else:
        taken, given, details = "input_tokens", "output_tokens", "input_tokens_details"
    if (number := count(usage.get(taken))) is not None:
        into.input = number
    if (number := count(usage.get(given))) is not None:
        into.output = number
    detail = usage.get(details)
    if type(detail) is dict and (number := count(detail.get("cached_tokens"))) is not None:
        into.cached = number


def read_answer(body: bytes) -> Answer:
    """What a whole answer said. Raises InvalidAnswer when it is not one JSON object."""
    try:
        require_utf8(body)
        document = _document(body)
    except NOT_JSON as error:
        raise InvalidAnswer(str(error)) from None
    usage = Usage()
    usage_of(document.usage, usage)
    if usage.input is not None and usage.output is None:
        usage.output = 0  # embeddings: tokens go in and none come out
    failed = None if document.error is None else error_message(document.error)
    return Answer(usage, failed, text_id(document.id))


def text_id(value: Any) -> str:
    """An answer's id as an upstream wrote it; "" for anything else than a name of sensible length."""
    return value if type(value) is str and len(value) <= MAX_ID_LENGTH else ""


def long_answer_id(beginning: bytes) -> str:
    """The id of an answer that is too long to be read whole: it is the first thing in it, or unknown."""
    found = _FIRST_ID.match(beginning, 0, 1024)
    return found[1].decode("ascii", "replace") if found is not None else ""


# A quote inside a string is always escaped, so this is a member, and its object holds objects of numbers at most.
_LAST_USAGE = re.compile(rb'(?<!\\)"usage"\s*:\s*(\{(?:[^{}]|\{[^{}]*\})*\})')


def usage_of_tail(tail: bytes, into: Usage) -> None:
    """Read the last ``usage`` in the end of an event that was too long to be read whole, if there is one."""
    found = _LAST_USAGE.findall(tail)
    if not found:
        return
    try:
        usage_of(msgspec.json.decode(found[-1]), into)
    except NOT_JSON:
        return
    if into.input is not None and into.output is None:
        into.output = 0  # embeddings


class ChatReader:
    """Streams of ``/chat/completions`` and ``/completions``."""

    end_is_content: ClassVar[bool] = False
    ends_long: ClassVar[bool] = False
    answer_id: ClassVar[str] = ""

    __slots__ = ("_ended", "_open", "error", "hides_usage", "terminator", "text_bytes", "usage")

    def __init__(self) -> None:
        self.hides_usage = False
        self.usage = Usage()
        self.text_bytes = 0
        self.error = ""
        self.terminator = DONE_EVENT
        self._open: set[Any] = set()  # choices that began and have no finish_reason yet
        self._ended = False

    def read(self, event: bytes) -> Kind:
        # Nearly every event is one line of JSON, and the blank line behind it is white space to the decoder.
        if event.startswith(b"data: "):
            try:
                return self._read_chunk(_chunk(event[6:]))
            except NOT_JSON:
                pass
        parsed = sse.fields(event)
        if parsed is None:
            return Kind.MALFORMED
        data = parsed[1]
        if data is None:
            return Kind.HELD
        if data == DONE:
            return Kind.END
        try:
            return self._read_chunk(_chunk(data))
        except NOT_JSON:
            return unknown_shape(data)

    def _read_chunk(self, chunk: _Chunk) -> Kind:
        if chunk.error is not None:
            self.error = error_message(chunk.error)
            return Kind.ERROR
        if chunk.usage is not None:
            usage_of(chunk.usage, self.usage)
            if self.hides_usage and not chunk.choices:
                return Kind.HIDDEN
        kind = Kind.HELD
        for choice in chunk.choices or ():
            if choice.finish_reason is not None:
                self._ended = True
                self._open.discard(choice.index)
                kind = Kind.CONTENT
            elif not self._ended:
                self._open.add(choice.index)
            delta = choice.delta
            if delta is not None and type(delta.content) is str and delta.content:
                content = delta.content
                self.text_bytes += len(content) if content.isascii() else size(content)
                kind = Kind.CONTENT
            elif self._says_something(choice):
                kind = Kind.CONTENT
        return kind

    def _says_something(self, choice: _Choice) -> bool:
        """Whether there is anything but plain text in a choice."""
        said = 0
        delta = choice.delta
        if delta is not None:
            if delta.content:
                said += 1
            if delta.tool_calls or delta.function_call:
                said += _call_bytes(delta.tool_calls) or 1
            if delta.reasoning_content or delta.reasoning:
                said += size(delta.reasoning_content or delta.reasoning) or 1
            if delta.refusal or delta.audio:
                said += size(delta.refusal) or 1
        elif choice.text:
            said = size(choice.text) or 1
        self.text_bytes += said
        return said > 0

    def long_event(self, beginning: bytes) -> None:
        """Content, whatever it says."""

    def long_event_ended(self, tail: bytes) -> None:
        """Nothing: usage is an event of its own here."""

    def complete(self) -> bool:
        return self._ended and not self._open


def _call_bytes(calls: Any) -> int:
    total = 0
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            total += size(function.get("name")) + size(function.get("arguments"))
    return total


#: Events of ``/responses`` that announce and carry nothing yet.
_ANNOUNCEMENTS = frozenset(
    {
        "",
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
    }
)


_LONG_ID = re.compile(rb'"response"\s*:\s*(\{.*)', re.DOTALL)
_LONG_END = re.compile(
    rb'\Aevent: response\.(?:completed|incomplete)[\r\n]|"type": ?"response\.(?:completed|incomplete)"'
)


class ResponsesReader:
    """Streams of ``/responses``."""

    end_is_content: ClassVar[bool] = True
    ends_long: ClassVar[bool] = True

    __slots__ = ("_ended_long", "_spoken", "answer_id", "error", "hides_usage", "terminator", "text_bytes", "usage")

    def __init__(self) -> None:
        self.hides_usage = False
        self.usage = Usage()
        self.text_bytes = 0
        self.error = ""
        self.terminator = b""
        self.answer_id = ""  # the name by which the client may refer to this answer later
        self._spoken = False
        self._ended_long = False

    def read(self, event: bytes) -> Kind:
        parsed = sse.fields(event)
        if parsed is None:
            return Kind.MALFORMED
        data = parsed[1]
        if data is None:
            return Kind.HELD
        try:
            message = _responses_event(data)
        except NOT_JSON:
            return unknown_shape(data)
        kind = message.type
        response = message.response
        if response is not None and not self.answer_id:
            self.answer_id = text_id(response.id)
        if kind in _ANNOUNCEMENTS and message.error is None:
            return Kind.HELD
        if kind in {"response.completed", "response.incomplete"}:
            if response is not None:
                usage_of(response.usage, self.usage)
            return Kind.END
        if kind == "response.failed":
            if response is not None:
                usage_of(response.usage, self.usage)
            self.error = error_message(response.error if response is not None else None)
            # Once there was content this is how the format ends an answer that failed; before it, another
            # target can still do better.
            return Kind.END if self._spoken else Kind.ERROR
        if kind == "error" or message.error is not None:
            self.error = error_message(message.error if message.error is not None else message.message)
            return Kind.ERROR
        self._spoken = True
        if kind.endswith(".delta"):
            self.text_bytes += size(message.delta)
        return Kind.CONTENT

    def long_event(self, beginning: bytes) -> None:
        # The first event repeats the request, the last one the whole answer: with images in it, it is far too long
        # to be held.
        if not self.answer_id and (found := _LONG_ID.search(beginning, 0, 1024)) is not None:
            self.answer_id = long_answer_id(found[1])
        self._ended_long = _LONG_END.search(beginning, 0, 200) is not None

    def long_event_ended(self, tail: bytes) -> None:
        if self._ended_long:
            usage_of_tail(tail, self.usage)

    def complete(self) -> bool:
        return self._ended_long


#: What ends a picture, a transcript or a piece of speech; several pictures end one by one.
_ENDINGS = frozenset(
    {"image_generation.completed", "image_edit.completed", "transcript.text.done", "speech.audio.done"}
)


class MediaReader:
    """Streams of images and audio: typed events without a terminator, of which any that says something is content."""

    end_is_content: ClassVar[bool] = False
    ends_long: ClassVar[bool] = False
    answer_id: ClassVar[str] = ""

    __slots__ = ("_ended", "error", "hides_usage", "terminator", "text_bytes", "usage")

    def __init__(self) -> None:
        self.hides_usage = False
        self.usage = Usage()
        self.text_bytes = 0
        self.error = ""
        self.terminator = b""
        self._ended = False

    def read(self, event: bytes) -> Kind:
        parsed = sse.fields(event)
        if parsed is None:
            return Kind.MALFORMED
        data = parsed[1]
        if data is None:
            return Kind.HELD
        if data == DONE:
            return Kind.END
        try:
            message = _media_event(data)
        except NOT_JSON:
            return unknown_shape(data)
        if message.type == "error" or message.error is not None:
            self.error = error_message(message.error if message.error is not None else message.message)
            return Kind.ERROR
        if message.usage is not None:
            usage_of(message.usage, self.usage)
        self.text_bytes += size(message.delta)
        self._ended = message.type in _ENDINGS
        return Kind.CONTENT

    def long_event(self, beginning: bytes) -> None:
        # A picture is one event of megabytes, and says first what it is.
        self._ended = any(ending.encode() in beginning[:200] for ending in _ENDINGS)

    def long_event_ended(self, tail: bytes) -> None:
        if self._ended:
            usage_of_tail(tail, self.usage)

    def complete(self) -> bool:
        return self._ended
