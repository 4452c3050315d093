"""The OpenAI wire: chat completions, completions, embeddings, models; responses live next door.

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
from simulator.script import Answer, Event, Role
from simulator.wire.base import SSE_TYPE, ApiError, Voice, demand, json_answer, missing, positive, text_of
from simulator.wire.responses import respond

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.connection import Request

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
    default_models = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")

    def answer(self, request: Request, path: str, document: Any, voice: Voice) -> Answer:
        if path == "/models" or path.startswith("/models/"):
            return _models(path, voice, voice.behaviour.models or self.default_models)
        resource = _RESOURCES.get(path)
        if resource is None:
            raise ApiError(404, f"Invalid URL ({request.method} {request.path})")
        demand(request, document, voice)
        return resource(document, voice)

    def credential(self, request: Request) -> list[bytes]:
        found = []
        bearer = request.header(b"authorization")
        if bearer is not None:
            found.append(bearer[7:] if bearer[:7].lower() == b"bearer " else bearer)
        for name in (b"api-key", b"x-api-key"):  # Azure and its like
            value = request.header(name)
            if value is not None:
                found.append(value)
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
        return _frame(document)

    def ping(self) -> bytes:
        return b": ping\n\n"


def _frame(document: Any) -> bytes:
    return b"data: " + orjson.dumps(document) + b"\n\n"


# -- chat completions ------------------------------------------------------------------------
def _chat(document: Any, voice: Voice) -> Answer:
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError(
            400, "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    limit = positive(document.get("max_completion_tokens", document.get("max_tokens")), "max_tokens")
    texts = [text_of(message.get("content")) for message in messages if isinstance(message, dict)]
    prompt_tokens = content.tokens_of(*texts)
    call = _tool_call(document, voice)
    structured = _structured(document, voice)
    if call is not None:
        said, finish = content.fragments(call["function"]["arguments"]), "tool_calls"
    elif structured is not None:
        said, finish = content.fragments(structured), "stop"
    else:
        said, short = voice.tokens(texts[-1] if texts else "", limit)
        finish = "length" if short else "stop"
    if voice.refused:
        said, finish, call = [], "content_filter", None
    choices = positive(document.get("n"), "n") or 1
    usage = _usage(prompt_tokens, len(said) * choices, voice)
    if document.get("stream"):
        return _chat_stream(document, voice, said, finish, call, usage, choices)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said), "refusal": None, "annotations": []}
    if call is not None:
        message["content"] = None
        message["tool_calls"] = [call]
    elif voice.refused:
        message["content"] = None
    answer: dict[str, Any] = {
        "id": voice.ident("chatcmpl-"),
        "object": "chat.completion",
        "created": voice.created(),
        "model": document["model"],
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": finish} for index in range(choices)
        ],
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    if usage is not None:
        answer["usage"] = usage
    return json_answer(answer, voice.whole_delay(len(said)))


def _chat_stream(
    document: Any,
    voice: Voice,
    said: list[str],
    finish: str,
    call: dict[str, Any] | None,
    usage: dict[str, Any] | None,
    choices: int,
) -> Answer:
    asked = bool((document.get("stream_options") or {}).get("include_usage")) and usage is not None
    base: dict[str, Any] = {
        "id": voice.ident("chatcmpl-"),
        "object": "chat.completion.chunk",
        "created": voice.created(),
        "model": document["model"],
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    # Chunks differ only in their text, so all but that is encoded once for the stream.
    start = b"data: " + orjson.dumps(base)[:-1] + b',"choices":['
    end = b'],"usage":null}\n\n' if asked else b"]}\n\n"

    def chunk(index: int, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return start + orjson.dumps(choice) + end

    def contents() -> Iterator[bytes]:
        for index in range(choices):
            if call is not None:
                function = {"name": call["function"]["name"], "arguments": ""}
                opened = {"index": 0, "id": call["id"], "type": "function", "function": function}
                yield chunk(index, {"tool_calls": [opened]})
                for part in said:
                    yield chunk(index, {"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
                continue
            before, after = chunk(index, {"content": "\0"}).split(b'"\\u0000"')
            for part in said:
                yield before + orjson.dumps(part) + after

    def events() -> Iterator[Event]:
        for index in range(choices):
            said_first = "" if call is None else None
            yield Event(chunk(index, {"role": "assistant", "content": said_first, "refusal": None}), Role.OPENING)
        yield from voice.paced(contents())
        for index in range(choices):
            yield Event(chunk(index, {}, finish), Role.FINISH)
        if asked:
            yield Event(_frame({**base, "choices": [], "usage": usage}), Role.FINISH)
        yield Event(b"data: [DONE]\n\n", Role.TERMINATOR)

    return Answer(200, [SSE_TYPE, (b"cache-control", b"no-cache")], events=events(), delay=voice.head_delay())


def _usage(prompt: int, completion: int, voice: Voice) -> dict[str, Any] | None:
    if not voice.behaviour.usage:
        return None
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": voice.cached(prompt), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _tool_call(document: Any, voice: Voice) -> dict[str, Any] | None:
    """One call of the tool the caller forces, else of the first; none when the last message is a tool's result."""
    tools = [tool for tool in document.get("tools") or () if isinstance(tool, dict) and tool.get("type") == "function"]
    choice = document.get("tool_choice", "auto")
    last = document["messages"][-1]
    if not tools or choice == "none" or (isinstance(last, dict) and last.get("role") == "tool"):
        return None
    function = tools[0].get("function") or {}
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name")
        function = next((tool["function"] for tool in tools if tool["function"].get("name") == wanted), None) or {}
        if not function:
            raise ApiError(400, f"Tool choice '{wanted}' not found in 'tools' parameter.", param="tool_choice")
    arguments = orjson.dumps(content.fitting(function.get("parameters") or {"type": "object"}, voice.name)).decode()
    return {
        "id": voice.ident("call_"),
        "type": "function",
        "function": {"name": function.get("name", ""), "arguments": arguments},
    }


def _structured(document: Any, voice: Voice) -> str | None:
    """The text of a structured answer, when the request wants one."""
    wanted = document.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return None
    schema = (wanted.get("json_schema") or {}).get("schema") or {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
    }
    return orjson.dumps(content.fitting(schema, voice.name)).decode()


# -- completions -----------------------------------------------------------------------------
def _completion(document: Any, voice: Voice) -> Answer:
    if "prompt" not in document:
        raise missing("prompt")
    prompt = text_of(document["prompt"])
    said, short = voice.tokens(prompt, positive(document.get("max_tokens"), "max_tokens"))
    finish = "content_filter" if voice.refused else "length" if short else "stop"
    if voice.refused:
        said = []
    usage = _usage(content.tokens_of(prompt), len(said), voice)
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
        yield from voice.paced(_frame({**base, "choices": choices(part, None), **extra}) for part in said)
        yield Event(_frame({**base, "choices": choices("", finish), **extra}), Role.FINISH)
        if asked:
            yield Event(_frame({**base, "choices": [], "usage": usage}), Role.FINISH)
        yield Event(b"data: [DONE]\n\n", Role.TERMINATOR)

    return Answer(200, [SSE_TYPE, (b"cache-control", b"no-cache")], events=events(), delay=voice.head_delay())


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
    "/chat/completions": _chat,
    "/completions": _completion,
    "/embeddings": _embeddings,
    "/responses": respond,
}
