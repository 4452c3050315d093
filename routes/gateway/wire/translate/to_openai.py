"""A request of Anthropic messages as one of OpenAI chat completions. Pure.

The lists of fields below are complete against the official SDK's types (a test holds them to that). A turn may
become several messages, in the order of its blocks: each tool result is a message of its own.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import msgspec

from routes.gateway.wire.reading import NOT_JSON
from routes.gateway.wire.translate import models
from routes.gateway.wire.translate.fields import (
    OPENAI,
    Json,
    Untranslatable,
    fields,
    kind,
    listed,
    members,
    no_counterpart,
    required,
    string,
)

REQUEST = fields(
    "messages model max_tokens metadata output_config service_tier stop_sequences stream system temperature thinking"
    " tool_choice tools top_p",
    "cache_control",  # what to keep for the next request; OpenAI keeps prompts by itself
    {
        "container": (),
        "diagnostics": (),
        "inference_geo": (),
        "speed": ("standard",),
        "top_k": (),
        "user_profile_id": (),
        "workspace_id": (),
    },
)
METADATA = fields("user_id")
OUTPUT_CONFIG = fields("effort format")
OUTPUT_FORMAT = fields("type schema")
#: ``display`` is about how much of the thinking comes back.
THINKING_CONFIG = fields("type budget_tokens", "display")
TOOL = fields(
    "type name description input_schema strict",
    "cache_control eager_input_streaming",
    {"allowed_callers": (["direct"],), "defer_loading": (False,), "input_examples": ()},
)
TOOL_CHOICE = fields("type name disable_parallel_tool_use")

MESSAGE = fields("role content")
TEXT = fields("type text", "cache_control", {"citations": ()})
IMAGE = fields("type source", "cache_control", {"transformations": ({"oversized_image": "downsize"},)})
IMAGE_SOURCES = {"base64": fields("type media_type data"), "url": fields("type url")}
DOCUMENT = fields("type source title", "cache_control", {"citations": ({"enabled": False},), "context": ()})
DOCUMENT_SOURCES = {"base64": fields("type media_type data"), "text": fields("type media_type data")}
#: A signature proves to Anthropic that the words are its own; nobody else can read it.
THINKING = fields("type thinking", "signature")
#: Readable by nobody but who wrote it.
REDACTED_THINKING = fields("type", "data")
TOOL_USE = fields("type id name input", "cache_control", {"caller": ({"type": "direct"},), "toolset_name": ()})
TOOL_RESULT = fields("type tool_use_id content is_error", "cache_control", {"toolset_name": ()})

#: Opens the text of a result whose ``is_error`` is set: OpenAI has no such mark.
ERROR_MARK: Final = "Error: "
#: Longer names of users are refused by OpenAI and stand for themselves only as a digest.
MAX_USER_LENGTH: Final = 64
_SCHEMA_NAME: Final = "response"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def request(body: bytes, model: str, *, usage: bool) -> bytes:
    """Raises Untranslatable."""
    try:
        asked = members(_decode(body), REQUEST, "", OPENAI)
    except NOT_JSON as error:
        raise Untranslatable("", f"the request body is not valid JSON: {error}") from None
    document: Json = {"model": model}
    messages = _system(asked.get("system"), "system")
    turns = listed(required(asked, "messages", ""), "messages")
    for index, turn in enumerate(turns):
        messages += _turn(turn, f"messages[{index}]")
    if messages and messages[-1]["role"] == "assistant":
        raise no_counterpart(
            f"messages[{len(turns) - 1}]", OPENAI, "it would answer a last assistant message, not go on with it"
        )
    document["messages"] = messages
    if "max_tokens" in asked:
        document[models.limit_field(model)] = asked["max_tokens"]
    for name, theirs in (("temperature", "temperature"), ("top_p", "top_p"), ("stop_sequences", "stop")):
        if name in asked:
            document[theirs] = asked[name]
    _tools(asked, document)
    _thinking(asked, document)
    _identity(asked, document)
    if "stream" in asked:
        document["stream"] = asked["stream"]
        if usage and asked["stream"] is True:
            document["stream_options"] = {"include_usage": True}
    return _encode(document)


# -- parameters ----------------------------------------------------------------------------------------------
def _thinking(asked: Json, document: Json) -> None:
    """Thinking, effort and the format of the answer."""
    output = members(asked.get("output_config", {}), OUTPUT_CONFIG, "output_config", OPENAI)
    effort = output.get("effort")
    if "thinking" in asked:
        thinking = members(asked["thinking"], THINKING_CONFIG, "thinking", OPENAI)
        what = thinking.get("type")
        if what == "disabled":
            effort = "none"
        elif what == "adaptive":
            effort = effort or models.ADAPTIVE_EFFORT
        elif what == "enabled":
            budget = required(thinking, "budget_tokens", "thinking")
            if type(budget) is not int:
                raise Untranslatable("thinking.budget_tokens", "'thinking.budget_tokens' must be a whole number")
            effort = effort or models.effort_of(budget)
        else:
            raise no_counterpart("thinking.type", OPENAI, f"it cannot think {what!r}")
    if effort is not None:
        document["reasoning_effort"] = effort
    if "format" in output:
        path = "output_config.format"
        wanted = members(output["format"], OUTPUT_FORMAT, path, OPENAI)
        if wanted.get("type") != "json_schema":
            raise no_counterpart(f"{path}.type", OPENAI)
        schema = {"name": _SCHEMA_NAME, "schema": required(wanted, "schema", path), "strict": True}
        document["response_format"] = {"type": "json_schema", "json_schema": schema}


def _identity(asked: Json, document: Json) -> None:
    if "metadata" in asked:
        user = members(asked["metadata"], METADATA, "metadata", OPENAI).get("user_id")
        if user is not None:
            user = string(user, "metadata.user_id")
            if len(user) > MAX_USER_LENGTH:
                user = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
            document["user"] = user
    tier = asked.get("service_tier")
    if tier is not None:
        if tier not in ("auto", "standard_only"):
            raise no_counterpart("service_tier", OPENAI, f"it has no tier {tier!r}")
        document["service_tier"] = "auto" if tier == "auto" else "default"


def _tools(asked: Json, document: Json) -> None:
    if "tools" in asked:
        tools = listed(asked["tools"], "tools")
        document["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    if "tool_choice" not in asked:
        return
    choice = members(asked["tool_choice"], TOOL_CHOICE, "tool_choice", OPENAI)
    what = choice.get("type")
    if what == "tool":
        document["tool_choice"] = {
            "type": "function",
            "function": {"name": required(choice, "name", "tool_choice")},
        }
    else:
        found = {"auto": "auto", "any": "required", "none": "none"}.get(what) if type(what) is str else None
        if found is None:
            raise no_counterpart("tool_choice.type", OPENAI, f"it has no choice {what!r}")
        document["tool_choice"] = found
    if choice.get("disable_parallel_tool_use"):
        document["parallel_tool_calls"] = False


def _tool(tool: Any, path: str) -> Json:
    if type(tool) is dict and (what := tool.get("type")) not in (None, "custom"):
        raise no_counterpart(f"{path}.type", OPENAI, f"{what!r} is a tool of Anthropic's own")
    found = members(tool, TOOL, path, OPENAI)
    function: Json = {"name": required(found, "name", path)}
    if "description" in found:
        function["description"] = found["description"]
    function["parameters"] = required(found, "input_schema", path)
    if "strict" in found:
        function["strict"] = found["strict"]
    return {"type": "function", "function": function}


# -- messages ------------------------------------------------------------------------------------------------
def _system(content: Any, path: str) -> list[Json]:
    if content is None:
        return []
    parts = _texts(content, path)
    return [{"role": "system", "content": _shortest(parts)}] if parts else []


def _turn(turn: Any, path: str) -> list[Json]:
    found = members(turn, MESSAGE, path, OPENAI)
    content = required(found, "content", path)
    role = found.get("role")
    inner = f"{path}.content"
    if role == "system":
        return _system(content, inner)
    if role == "user":
        return _user(content, inner)
    if role == "assistant":
        return _assistant(content, inner)
    raise Untranslatable(f"{path}.role", f"'{path}.role' must be one of Anthropic's roles")


def _blocks(content: Any, path: str) -> list[tuple[str, Any, str]]:
    """(type, block, path) of each block; a string is one block of text."""
    if type(content) is str:
        return [("text", {"type": "text", "text": content}, path)]
    return [
        (kind(block, f"{path}[{index}]"), block, f"{path}[{index}]")
        for index, block in enumerate(listed(content, path))
    ]


def _shortest(parts: list[Json]) -> str | list[Json]:
    """A string where one piece of text is all there is: some servers take nothing else."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _text(block: Any, path: str) -> Json:
    found = members(block, TEXT, path, OPENAI)
    return {"type": "text", "text": string(required(found, "text", path), f"{path}.text")}


def _texts(content: Any, path: str) -> list[Json]:
    """Content that is text alone: system prompts and tool results."""
    parts = []
    for what, block, inner in _blocks(content, path):
        if what != "text":
            raise no_counterpart(f"{inner}.{what}", OPENAI, "this message takes only text")
        parts.append(_text(block, inner))
    return parts


def _user(content: Any, path: str) -> list[Json]:
    messages: list[Json] = []
    parts: list[Json] = []
    for what, block, inner in _blocks(content, path):
        if what == "tool_result":
            if parts:
                messages.append({"role": "user", "content": _shortest(parts)})
                parts = []
            messages.append(_result(members(block, TOOL_RESULT, inner, OPENAI), inner))
        elif what == "text":
            parts.append(_text(block, inner))
        elif what == "image":
            parts.append(_image(members(block, IMAGE, inner, OPENAI), inner))
        elif what == "document":
            parts.append(_document(members(block, DOCUMENT, inner, OPENAI), inner))
        else:
            raise no_counterpart(f"{inner}.{what}", OPENAI, f"it takes no block of type {what!r}")
    if parts:
        messages.append({"role": "user", "content": _shortest(parts)})
    return messages


def _result(found: Json, path: str) -> Json:
    parts = _texts(found.get("content", ""), f"{path}.content") or [{"type": "text", "text": ""}]
    if found.get("is_error"):
        parts[0] = {"type": "text", "text": ERROR_MARK + parts[0]["text"]}
    return {"role": "tool", "tool_call_id": required(found, "tool_use_id", path), "content": _shortest(parts)}


def _image(found: Json, path: str) -> Json:
    path = f"{path}.source"
    source, what = _source(required(found, "source", path.rpartition(".")[0]), IMAGE_SOURCES, path)
    if what == "url":
        url = string(required(source, "url", path), f"{path}.url")
    else:
        url = f"data:{required(source, 'media_type', path)};base64,{required(source, 'data', path)}"
    return {"type": "image_url", "image_url": {"url": url}}


def _source(source: Any, known: dict[str, Any], path: str) -> tuple[Json, str]:
    what = kind(source, path)
    if what not in known:
        raise no_counterpart(f"{path}.type", OPENAI, f"it takes no source of type {what!r} here")
    return members(source, known[what], path, OPENAI), what


def _document(found: Json, path: str) -> Json:
    path = f"{path}.source"
    source, what = _source(required(found, "source", path.rpartition(".")[0]), DOCUMENT_SOURCES, path)
    media, data = required(source, "media_type", path), string(required(source, "data", path), f"{path}.data")
    if what == "text":
        data = base64.b64encode(data.encode("utf-8", "surrogatepass")).decode()
    name = found.get("title") or ("document.txt" if what == "text" else "document.pdf")
    return {"type": "file", "file": {"filename": name, "file_data": f"data:{media};base64,{data}"}}


def _assistant(content: Any, path: str) -> list[Json]:
    texts: list[Json] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    for what, block, inner in _blocks(content, path):
        if what == "text":
            texts.append(_text(block, inner))
        elif what == "tool_use":
            calls.append(_call(members(block, TOOL_USE, inner, OPENAI), inner))
        elif what == "thinking":
            found = members(block, THINKING, inner, OPENAI)
            thoughts.append(string(required(found, "thinking", inner), f"{inner}.thinking"))
        elif what == "redacted_thinking":
            members(block, REDACTED_THINKING, inner, OPENAI)
        else:
            raise no_counterpart(f"{inner}.{what}", OPENAI, f"an assistant message takes no {what!r}")
    if not (texts or calls or any(thoughts)):
        return []  # nothing that was said
    # Without calls a content is required.
    message: Json = {"role": "assistant", "content": _shortest(texts) if texts else None if calls else ""}
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return [message]


def _call(found: Json, path: str) -> Json:
    arguments = _encode(found.get("input", {})).decode()
    function = {"name": required(found, "name", path), "arguments": arguments}
    return {"id": required(found, "id", path), "type": "function", "function": function}
