"""Which reader belongs to which operation, and how a stream of it says that it failed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from routes.gateway.errors import document
from routes.gateway.wire import anthropic, openai, sse

if TYPE_CHECKING:
    from collections.abc import Callable

    from routes.gateway.errors import Refusal
    from routes.gateway.exchange import Exchange
    from routes.gateway.wire.reading import Answer, StreamReader

_READERS: Final[dict[str, Callable[[], StreamReader]]] = {
    "chat": openai.ChatReader,
    "completion": openai.ChatReader,
    "responses": openai.ResponsesReader,
    "messages": anthropic.MessagesReader,
    "image": openai.MediaReader,
    "image_edit": openai.MediaReader,
    "speech": openai.MediaReader,
    "transcription": openai.MediaReader,
}


def reader_for(operation: str) -> StreamReader:
    """A reader for one stream."""
    return _READERS[operation]()


def read_answer(wire: str, body: bytes) -> Answer:
    """What a whole JSON answer said. Raises InvalidAnswer."""
    return anthropic.read_answer(body) if wire == "anthropic" else openai.read_answer(body)


def error_event(exchange: Exchange, refusal: Refusal) -> bytes:
    """The event that ends a stream which failed after content, so that the client's SDK raises."""
    data = document(exchange.wire, refusal, exchange.route_id)
    if exchange.wire == "anthropic":
        return sse.event(data, b"error")
    if exchange.operation == "responses":
        # The format's own error event has the fields at the top; SDKs raise on ``error``.
        error: dict[str, Any] = orjson.loads(data)["error"]
        merged = {**error, "type": "error", "sequence_number": 0, "error": error}
        return sse.event(orjson.dumps(merged), b"error")
    return sse.event(data)
