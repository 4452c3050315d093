"""The OpenAI wire: completions, embeddings, models; the other resources live next door.

Shapes follow the official SDK's types, which tests hold in strict mode. No state, no faults, no sockets.
"""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from zlib import crc32

import orjson

from simulator import content
from simulator.script import Event, Role
from simulator.wire.audio import speak, transcribe, translate
from simulator.wire.base import (
    ApiError,
    Voice,
    bearer,
    data_frame,
    demand,
    json_answer,
    known_model,
    missing,
    positive,
    sse_answer,
    text_of,
    token_usage,
)
from simulator.wire.chat import chat
from simulator.wire.images import edit, generate, vary
from simulator.wire.realtime import Realtime
from simulator.wire.responses import respond
from simulator.wire.scoring import moderate, rerank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.behaviour import Behaviour
    from simulator.connection import Request
    from simulator.script import Answer
    from simulator.websocket import Talker

_KEY_PROTOCOL = b"openai-insecure-api-key."
_CREATED = 1_700_000_000
_DIMENSIONS = 1536
_TYPES = {
    401: "invalid_request_error",
    403: "invalid_request_error",
    404: "invalid_request_error",
    429: "requests",
}
_CODES = {
    401: "invalid_api_key",
    402: "insufficient_quota",
    403: "unsupported_country_region_territory",
    429: "rate_limit_exceeded",
}


class OpenAIWire:
    """api.openai.com as far as a router meets it."""

    name = "openai"
    prefix = "/v1"
    default_models = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")

    def answer(self, request: Request, path: str, document: Any, voice: Voice) -> Answer:
        if path == "/models" or path.startswith("/models/"):
            return _models(path, voice, voice.behaviour.models or self.default_models)
        resource = _RESOURCES.get(path)
        if resource is None:
            raise ApiError(404, f"Invalid URL ({request.method} {request.path})")
        demand(request, document, voice, default=_DEFAULT_MODELS.get(path))
        return resource(document, voice)

    def converse(self, request: Request, path: str, voice: Voice) -> Talker:
        if path != "/realtime":
            raise ApiError(404, f"Invalid URL ({request.method} {request.path})")
        model = request.parameter("model")
        known_model(model, voice)
        return Realtime(voice, str(model))

    def subprotocols(self, behaviour: Behaviour) -> tuple[str, ...] | None:
        return behaviour.subprotocols if behaviour.subprotocols is not None else ("realtime",)

    def credential(self, request: Request) -> list[bytes]:
        found = bearer(request)
        for name in (b"api-key", b"x-api-key"):  # Azure and its like
            value = request.header(name)
            if value is not None:
                found.append(value)
        for offered in (request.header(b"sec-websocket-protocol") or b"").split(b","):
            if offered.strip().startswith(_KEY_PROTOCOL):  # browsers cannot set headers
                found.append(offered.strip()[len(_KEY_PROTOCOL) :])
        return found

    def headers(self, voice: Voice) -> list[tuple[bytes, bytes]]:
        return [
            (b"x-request-id", b"req_%012x" % voice.number),
            (b"openai-organization", b"org-simulated"),
            (b"openai-version", b"2020-10-01"),
            (b"server", b"simulator"),
        ]

    def error(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
        kind = _TYPES.get(status) or ("invalid_request_error" if status < 500 else "server_error")
        if code == "insufficient_quota":
            kind = "insufficient_quota"
        elif code == "billing_hard_limit_reached":
            kind = "billing_error"
        return orjson.dumps(
            {"error": {"message": message, "type": kind, "param": param, "code": code or _CODES.get(status)}}
        )

    def error_event(self, status: int, message: str) -> bytes:
        return b"data: " + self.error(status, message) + b"\n\n"

    def event(self, document: Any) -> bytes:
        return data_frame(document)

    def ping(self) -> bytes:
        return b": ping\n\n"


# -- completions -----------------------------------------------------------------------------
def _completion(document: Any, voice: Voice) -> Answer:
    if "prompt" not in document:
        raise missing("prompt")
    prompt = text_of(document["prompt"])
    voice.check_window("openai", document["model"], content.tokens_of(prompt))
    said, short = voice.tokens(prompt, positive(document.get("max_tokens"), "max_tokens"))
    finish = "content_filter" if voice.refused else "length" if short else "stop"
    if voice.refused:
        said = []
    usage = token_usage(content.tokens_of(prompt), len(said), voice)
    base = {
        "id": voice.ident("cmpl-"),
        "object": "text_completion",
        "created": voice.created(),
        "model": document["model"],
        "system_fingerprint": "fp_simulated",
    }

    def choices(text: str, finish_reason: str | None) -> list[dict[str, Any]]:
        return [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish_reason}]

    if not document.get("stream"):
        answer = {**base, "choices": choices("".join(said), finish)}
        if usage is not None:
            answer["usage"] = usage
        return json_answer(answer, voice.whole_delay(len(said)))
    asked = bool((document.get("stream_options") or {}).get("include_usage")) and usage is not None
    extra = {"usage": None} if asked else {}

    def events() -> Iterator[Event]:
        yield from voice.paced(data_frame({**base, "choices": choices(part, None), **extra}) for part in said)
        yield Event(data_frame({**base, "choices": choices("", finish), **extra}), Role.FINISH)
        if asked:
            yield Event(data_frame({**base, "choices": [], "usage": usage}), Role.FINISH)
        yield Event(b"data: [DONE]\n\n", Role.TERMINATOR)

    return sse_answer(events(), voice)


# -- embeddings and models -------------------------------------------------------------------
def _embeddings(document: Any, voice: Voice) -> Answer:
    asked = document.get("input")
    if not asked:
        raise missing("input")
    # A string, a list of strings, a list of token numbers, or a list of such lists.
    inputs = asked if isinstance(asked, list) and not isinstance(asked[0], int) else [asked]
    dimensions = positive(document.get("dimensions"), "dimensions") or _DIMENSIONS
    packed = document.get("encoding_format") == "base64"
    data = []
    for index, one in enumerate(inputs):
        numbers = _vector(one if isinstance(one, str) else repr(one), dimensions)
        encoded = base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode() if packed else numbers
        data.append({"object": "embedding", "index": index, "embedding": encoded})
    tokens = content.tokens_of(*[one if isinstance(one, str) else "four" * len(one) for one in inputs])
    answer = {
        "object": "list",
        "data": data,
        "model": document["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return json_answer(answer, voice.whole_delay(1))


def _vector(text: str, dimensions: int) -> list[float]:
    """Numbers that depend on the text alone, exact in single precision so that both encodings agree."""
    state = crc32(text.encode("utf-8", "surrogatepass")) or 1
    numbers = []
    for _ in range(dimensions):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
        numbers.append(((state >> 15) - 32_768) / 32_768)
    return numbers


def _models(path: str, voice: Voice, models: tuple[str, ...]) -> Answer:
    entries = [{"id": model, "object": "model", "created": _CREATED, "owned_by": voice.name} for model in models]
    if path == "/models":
        return json_answer({"object": "list", "data": entries}, voice.head_delay())
    wanted = unquote(path.removeprefix("/models/"))
    for entry in entries:
        if entry["id"] == wanted:
            return json_answer(entry, voice.head_delay())
    raise ApiError(404, f"The model '{wanted}' does not exist", code="model_not_found", param="model")


_RESOURCES = {
    "/audio/speech": speak,
    "/audio/transcriptions": transcribe,
    "/audio/translations": translate,
    "/chat/completions": chat,
    "/completions": _completion,
    "/embeddings": _embeddings,
    "/images/edits": edit,
    "/images/generations": generate,
    "/images/variations": vary,
    "/moderations": moderate,
    "/rerank": rerank,
    "/responses": respond,
}
_DEFAULT_MODELS = {
    "/images/edits": "gpt-image-1",
    "/images/generations": "dall-e-2",
    "/images/variations": "dall-e-2",
    "/moderations": "omni-moderation-latest",
}
