"""The chunks of a chat completion as Anthropic's stream events. Pure.

Anthropic speaks in blocks, one after the other: a block begins when its kind of content first comes and ends when
another does. What OpenAI says at its end and Anthropic in one event (the finish reason, the usage) waits for the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from routes.gateway.wire import sse
from routes.gateway.wire.openai import DONE
from routes.gateway.wire.reading import NOT_JSON, InvalidAnswer
from routes.gateway.wire.translate import failures, usage
from routes.gateway.wire.translate.answers import call_id, text_of
from routes.gateway.wire.translate.unsigned import UNSIGNED

if TYPE_CHECKING:
    from routes.gateway.wire.translate.fields import Json

_PING = sse.event(b'{"type":"ping"}', b"ping")


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    audio: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    stop_reason: Any = None  # of vLLM and its like: the stop sequence that was met


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: str | None = None
    model: str | None = None
    usage: Any = None
    service_tier: str | None = None
    error: Any = None


class _Tool:
    """One tool call: its block once there is a name to open it with, what it said before."""

    __slots__ = ("block", "early", "id", "name")

    def __init__(self) -> None:
        self.block: int | None = None
        self.early = ""
        self.id = ""
        self.name = ""


_chunk = msgspec.json.Decoder(_Chunk).decode
_encode = msgspec.json.Encoder().encode


class MessagesStream:
    __slots__ = (
        "_blocks",
        "_counted",
        "_ended",
        "_finish",
        "_id",
        "_kind",
        "_numbered",
        "_refusal",
        "_sequence",
        "_started",
        "_tier",
        "_tools",
    )

    def __init__(self) -> None:
        self._started = False
        self._ended = False
        self._id = ""
        self._blocks = 0  # that began
        self._kind = ""  # of the open block, "" when none is
        self._tools: list[_Tool] = []
        self._numbered: dict[int, _Tool] = {}  # by the index that the server gives them
        self._finish: str | None = None
        self._sequence: str | None = None
        self._refusal: list[str] = []
        self._counted: Any = None
        self._tier: str | None = None

    def feed(self, event: bytes) -> bytes:
        parsed = sse.fields(event)
        if parsed is None or self._ended:
            return b""
        data = parsed[1]
        if data is None:
            return _PING
        if data == DONE:
            return self.finish()
        try:
            chunk = _chunk(data)
        except NOT_JSON as error:
            raise InvalidAnswer(f"a chunk of another shape: {error}") from None
        if chunk.error is not None:
            self._ended = True
            return failures.event_to_anthropic(data)
        if chunk.usage is not None:
            self._counted = chunk.usage
        if chunk.service_tier is not None:
            self._tier = chunk.service_tier
        pieces: list[bytes] = []
        if not self._started and chunk.choices:
            self._start(chunk, pieces)
        for choice in chunk.choices or ():
            self._choice(choice, pieces)
        return b"".join(pieces)

    def finish(self) -> bytes:
        if self._ended:
            return b""
        pieces: list[bytes] = []
        if not self._started:
            self._start(_Chunk(), pieces)
        self._stop_block(pieces)
        for tool in self._tools:
            if tool.block is None:
                raise InvalidAnswer("a tool call has no name")
        self._ended = True
        refusal = "".join(self._refusal)
        reason = usage.stop_reason(
            self._finish, sequence=self._sequence, refused=bool(refusal), called=bool(self._tools)
        )
        delta = {
            "stop_reason": reason,
            "stop_sequence": self._sequence if reason == "stop_sequence" else None,
            "stop_details": usage.refusal_details(refusal) if reason == "refusal" else None,
        }
        counted = usage.to_anthropic(self._counted)
        pieces.append(_event("message_delta", delta=delta, usage=counted))
        pieces.append(_event("message_stop"))
        return b"".join(pieces)

    def _start(self, chunk: _Chunk, pieces: list[bytes]) -> None:
        self._started = True
        self._id = chunk.id or ""
        counted = usage.to_anthropic(self._counted)
        counted["output_tokens"] = 0
        if (tier := usage.tier_to_anthropic(self._tier)) is not None:
            counted["service_tier"] = tier
        message: Json = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": chunk.model or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": counted,
        }
        pieces.append(_event("message_start", message=message))

    def _choice(self, choice: _Choice, pieces: list[bytes]) -> None:
        if choice.index != 0:
            raise InvalidAnswer("more choices came than one")
        delta = choice.delta
        if delta is not None:
            if delta.audio is not None or delta.function_call is not None:
                raise InvalidAnswer("audio and function calls have no place in a message")
            if thought := delta.reasoning_content or delta.reasoning:
                self._text("thinking", thought, pieces)
            if delta.content and (text := text_of(delta.content)):
                self._text("text", text, pieces)
            if delta.refusal:
                self._refusal.append(delta.refusal)
            for call in delta.tool_calls or ():
                self._call(call, pieces)
        if choice.finish_reason is not None:
            self._finish = choice.finish_reason
            if type(choice.stop_reason) is str:
                self._sequence = choice.stop_reason
            self._stop_block(pieces)

    # -- blocks ------------------------------------------------------------------------------------------------
    def _text(self, kind: str, text: str, pieces: list[bytes]) -> None:
        if self._kind != kind:
            block: Json = {"type": kind, kind: ""}
            if kind == "thinking":
                block["signature"] = ""
            self._start_block(kind, block, pieces)
        pieces.append(
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":"%b_delta","%b":%b}}\n\n'
            % (self._blocks - 1, kind.encode(), kind.encode(), _encode(text))
        )

    def _start_block(self, kind: str, block: Json, pieces: list[bytes]) -> None:
        self._stop_block(pieces)
        self._kind = kind
        pieces.append(_event("content_block_start", index=self._blocks, content_block=block))
        self._blocks += 1

    def _stop_block(self, pieces: list[bytes]) -> None:
        if self._kind:
            if self._kind == "thinking":
                delta = {"type": "signature_delta", "signature": UNSIGNED}
                pieces.append(_event("content_block_delta", index=self._blocks - 1, delta=delta))
            pieces.append(_event("content_block_stop", index=self._blocks - 1))
            self._kind = ""

    def _call(self, call: _Call, pieces: list[bytes]) -> None:
        tool = self._tool(call)
        function = call.function
        if call.id and not tool.id:
            tool.id = call.id
        if function is not None and function.name and not tool.name:
            tool.name = function.name
        arguments = (function.arguments or "") if function is not None else ""
        if tool.block is None:
            if not tool.name:
                tool.early += arguments
                return
            ident = tool.id or call_id(self._id, self._tools.index(tool))
            tool.block = self._blocks
            block = {"type": "tool_use", "id": ident, "name": tool.name, "input": {}}
            self._start_block("tool_use", block, pieces)
            arguments = tool.early + arguments
        if arguments:
            # A server may go back to a call whose block ended: the index says which one it is.
            delta = {"type": "input_json_delta", "partial_json": arguments}
            pieces.append(_event("content_block_delta", index=tool.block, delta=delta))

    def _tool(self, call: _Call) -> _Tool:
        """The call that a piece belongs to. Some servers number all of them 0, or none, and send each whole."""
        index = call.index if call.index is not None else len(self._tools) - (0 if call.id else 1)
        tool = self._numbered.get(index)
        if tool is None or (call.id and tool.id and call.id != tool.id):
            tool = _Tool()
            self._numbered[index] = tool
            self._tools.append(tool)
        return tool


def _event(kind: str, **more: Any) -> bytes:
    return sse.event(_encode({"type": kind, **more}), kind.encode())
