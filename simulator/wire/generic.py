"""The generic wire: a service that is no model. Answers any request with what it received, any WebSocket with an echo.

An object with `"stream": true` gets server-sent events instead. Some texts tell the WebSocket what to do, see `Echo`.
"""

from __future__ import annotations

import base64
from itertools import repeat
from typing import TYPE_CHECKING, Any

import orjson

from simulator.script import Event, Role
from simulator.wire.base import ApiError, Voice, data_frame, json_answer, known_model, sse_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.behaviour import Behaviour
    from simulator.connection import Request
    from simulator.script import Answer
    from simulator.websocket import Message, Session, Talker

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_MOST_MESSAGES = 1_000_000
_MOST_BYTES = 16 * 1024 * 1024
_PING = b"are you there"


class GenericWire:
    """Any HTTP service."""

    name = "generic"
    prefix = ""
    default_models = ()

    def answer(self, request: Request, path: str, document: Any, voice: Voice) -> Answer:
        if request.method not in _METHODS:
            raise ApiError(405, f"{request.method} is not allowed here")
        asked = document if isinstance(document, dict) else {}
        if "model" in asked:
            known_model(asked["model"], voice)
        if asked.get("stream"):
            return sse_answer(_events(asked, voice), voice)
        return json_answer(_received(request, voice), voice.whole_delay(1))

    def converse(self, request: Request, path: str, voice: Voice) -> Talker:
        return Echo()

    def subprotocols(self, behaviour: Behaviour) -> tuple[str, ...] | None:
        return behaviour.subprotocols

    def credential(self, request: Request) -> list[bytes]:
        """The value of every header, with and without a scheme before it: services differ in where they look."""
        values = [value for _, value in request.headers]
        return [*values, *[value.partition(b" ")[2] for value in values if b" " in value]]

    def headers(self, voice: Voice) -> list[tuple[bytes, bytes]]:
        return [(b"server", b"simulator")]

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        return orjson.dumps({"error": message})

    def error_event(self, status: int, message: str) -> bytes:
        return b"event: error\ndata: " + self.error(status, message) + b"\n\n"

    def event(self, document: Any) -> bytes:
        return data_frame(document)

    def ping(self) -> bytes:
        return b": ping\n\n"


def _headers(request: Request) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers]


def _received(request: Request, voice: Voice) -> dict[str, Any]:
    """A body that is not UTF-8 comes as `body_base64`."""
    found: dict[str, Any] = {
        "name": voice.name,
        "method": request.method,
        "target": request.target.decode("latin-1"),
        "headers": _headers(request),
    }
    try:
        found["body"] = request.body.decode()
    except UnicodeDecodeError:
        found["body_base64"] = base64.b64encode(request.body).decode()
    return found


def _events(asked: dict[str, Any], voice: Voice) -> Iterator[Event]:
    """The usual words, one an event; nothing but the end of the body ends them."""
    said, _ = voice.tokens(str(asked.get("prompt", "")), None)
    yield Event(data_frame({"name": voice.name}), Role.OPENING)
    yield from voice.paced(data_frame({"text": part}) for part in said)


class Echo:
    """Every message comes back as it was, but for these texts:

    `close:CODE:REASON` closes; `flood:N:BYTES` brings N binary messages of that size; `ping` has it ping and tell the
    pong as `pong:PAYLOAD`; `subprotocol` and `headers` tell what the handshake had.
    """

    def begin(self, session: Session) -> None:
        pass

    def hear_pong(self, session: Session, payload: bytes) -> None:
        session.say(f"pong:{payload.decode('latin-1')}")

    def hear(self, session: Session, message: Message) -> None:
        if isinstance(message, bytes):
            session.say(message)
            return
        word, *arguments = message.split(":", 2)
        try:
            match word, arguments:
                case "close", [code, reason]:
                    session.close(int(code), reason)
                case "flood", [number, size]:
                    _flood(session, int(number), int(size))
                case "ping", []:
                    session.ping(_PING)
                case "subprotocol", []:
                    session.say(session.subprotocol or "")
                case "headers", []:
                    session.say(orjson.dumps(_headers(session.request)).decode())
                case _:
                    session.say(message)
        except ValueError as error:
            session.say(f"error:{error}")


def _flood(session: Session, number: int, size: int) -> None:
    if not (0 < number <= _MOST_MESSAGES and 0 <= size <= _MOST_BYTES):
        raise ValueError("too much")
    session.say_all(repeat(b"x" * size, number))
