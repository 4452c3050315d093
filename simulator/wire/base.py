"""What every wire format offers the provider and the faults: answers, error documents, comments between events.

A wire reads only the request and a `Voice`; it knows nothing of faults, sockets or the control endpoint.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from simulator import content, multipart
from simulator.script import Answer, Event, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.behaviour import Behaviour, Reply
    from simulator.connection import Request
    from simulator.websocket import Talker

JSON_TYPE = (b"content-type", b"application/json")
SSE_TYPE = (b"content-type", b"text/event-stream; charset=utf-8")


class Voice(NamedTuple):
    """Who answers, and how: the provider's name, its behaviour, the running number of the request."""

    name: str
    behaviour: Behaviour
    number: int
    extra_delay: float = 0.0  # this request's jitter
    refused: bool = False  # a content filter stops this answer

    def ident(self, prefix: str) -> str:
        return f"{prefix}{self.name.encode().hex()[:12]}{self.number:012x}"

    def created(self) -> int:
        return int(time.time())

    def cached(self, prompt_tokens: int) -> int:
        """How many of the prompt's tokens count as read from a cache."""
        return min(self.behaviour.cached_tokens, prompt_tokens)

    @property
    def reply(self) -> Reply | None:
        """The dictated answer, unless a content filter stops it."""
        return None if self.refused else self.behaviour.reply

    def check_window(self, wire: str, model: str, prompt_tokens: int) -> None:
        """Refuse a prompt longer than the model's context window. Raises ApiError."""
        windows = self.behaviour.context
        window = windows.get(model, windows.get("*"))
        if window is not None and prompt_tokens > window:
            raise ApiError(400, too_long(wire, window, prompt_tokens), code="context_length_exceeded", param="messages")

    def tokens(self, prompt: str, limit: int | None) -> tuple[list[str], bool]:
        """The answer's tokens and whether the caller's limit cut them short."""
        behaviour = self.behaviour
        text = behaviour.text
        if behaviour.reply is not None and behaviour.reply.text is not None:
            text = behaviour.reply.text
        if text is not None:
            said = content.cut(text)
            return (said, False) if limit is None or limit >= len(said) else (said[:limit], True)
        wanted = behaviour.output_tokens
        if limit is not None and limit < wanted:
            return content.words(self.name, prompt, limit), True
        return content.words(self.name, prompt, wanted), False

    def whole_delay(self, tokens: int) -> float:
        """Seconds until a JSON answer of so many tokens is there."""
        behaviour = self.behaviour
        delay = behaviour.latency + behaviour.first_event + self.extra_delay
        if behaviour.tokens_per_second and tokens > 1:
            delay += (tokens - 1) / behaviour.tokens_per_second
        return delay

    def head_delay(self) -> float:
        """Seconds until the head of a stream is there."""
        return self.behaviour.latency + self.extra_delay

    def paced(self, frames: Iterator[bytes], *, begun: bool = False) -> Iterator[Event]:
        """Content events at the provider's speed, the first after `first_event` unless content has begun before."""
        behaviour = self.behaviour
        step = 1 / behaviour.tokens_per_second if behaviour.tokens_per_second else 0.0
        delay = step if begun else behaviour.first_event
        for frame in frames:
            yield Event(frame, Role.CONTENT, delay)
            delay = step


class ApiError(Exception):
    """A refusal an honest provider would send, in words; the wire makes the document."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


class Wire(Protocol):
    """One wire format. Shared by all providers, so it keeps no state."""

    @property
    def name(self) -> str:
        """`openai`, `anthropic` or `generic`."""

    @property
    def prefix(self) -> str:
        """What a base URL ends with."""

    @property
    def default_models(self) -> tuple[str, ...]:
        """What the model list shows of a provider that serves anything."""

    def answer(self, request: Request, path: str, document: Any, voice: Voice) -> Answer:
        """The honest answer. `path` is without its `/v1`; raises ApiError."""

    def converse(self, request: Request, path: str, voice: Voice) -> Talker:
        """Who is at the other end of a WebSocket at this path. Raises ApiError."""

    def subprotocols(self, behaviour: Behaviour) -> tuple[str, ...] | None:
        """What a WebSocket may agree on; None for whatever is offered first."""

    def credential(self, request: Request) -> list[bytes]:
        """The credentials the request carries, in the places this wire looks."""

    def headers(self, voice: Voice) -> list[tuple[bytes, bytes]]:
        """Headers that this kind of provider adds to every answer."""

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        """The error document for a status."""

    def error_event(self, status: int, message: str) -> bytes:
        """An error as a server-sent event."""

    def event(self, document: Any) -> bytes:
        """A document as a server-sent event."""

    def ping(self) -> bytes:
        """What this wire sends to keep a silent stream alive."""


def data_frame(document: Any) -> bytes:
    """A server-sent event without a name."""
    return b"data: " + orjson.dumps(document) + b"\n\n"


def sse_answer(events: Iterator[Event], voice: Voice) -> Answer:
    return Answer(200, [SSE_TYPE, (b"cache-control", b"no-cache")], events=events, delay=voice.head_delay())


def token_usage(prompt: int, completion: int, voice: Voice, *, reasoning: int = 0) -> dict[str, Any] | None:
    """OpenAI's usage of a chat or completion, reasoning being part of `completion`; None when none is to be told."""
    if not voice.behaviour.usage:
        return None
    details = {"cached_tokens": voice.cached(prompt), "audio_tokens": 0}
    if voice.reply is not None and (told := voice.reply.tokens) is not None:
        prompt, completion = told.fresh + told.cached + told.written, told.output
        details |= {"cached_tokens": told.cached, "cache_write_tokens": told.written}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def json_answer(document: Any, delay: float = 0.0, status: int = 200) -> Answer:
    return Answer(status, [JSON_TYPE], body=orjson.dumps(document), delay=delay)


def text_of(value: Any) -> str:
    """All text in a message content, whether a string or a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(text_of(part) for part in value)
    if isinstance(value, dict):
        return " ".join(text_of(value[key]) for key in ("text", "content", "input", "output") if key in value)
    return ""


def demand(request: Request, document: Any, voice: Voice, *, default: str | None = None) -> None:
    """What every resource asks of a request: POST, a JSON object or a form, a model that is served. Raises ApiError.

    `default` is the model of a request that names none, where the resource has one.
    """
    if request.method != "POST":
        raise ApiError(405, f"Not allowed to {request.method} on {request.path} (HINT: use POST)")
    if not isinstance(document, dict):
        form = multipart.boundary(request.header(b"content-type")) is not None
        raise ApiError(400, f"We could not parse the {'multipart form' if form else 'JSON body'} of your request.")
    if default is not None:
        document.setdefault("model", default)
    known_model(document.get("model"), voice)


def known_model(model: Any, voice: Voice) -> None:
    """Raises ApiError unless it is the name of a model that is served."""
    if not isinstance(model, str) or not model:
        raise ApiError(400, "you must provide a model parameter", param="model")
    served = voice.behaviour.models
    if served is not None and model not in served:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise ApiError(404, message, code="model_not_found")


def too_long(wire: str, window: int, asked: int) -> str:
    """The words in which a prompt is refused that is longer than the window."""
    if wire == "anthropic":
        return f"prompt is too long: {asked} tokens > {window} maximum"
    return (
        f"This model's maximum context length is {window} tokens. However, your messages resulted in "
        f"{asked} tokens. Please reduce the length of the messages."
    )


def bearer(request: Request) -> list[bytes]:
    """The value of the Authorization header without its scheme, if there is one."""
    value = request.header(b"authorization")
    if value is None:
        return []
    return [value[7:] if value[:7].lower() == b"bearer " else value]


def missing(param: str) -> ApiError:
    """OpenAI's refusal of a request without a required field."""
    return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def positive(value: Any, param: str) -> int | None:
    """A token limit: None when absent, ApiError when it is not a positive whole number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ApiError(400, f"Invalid value for '{param}': expected a positive integer.", param=param)
    return value
