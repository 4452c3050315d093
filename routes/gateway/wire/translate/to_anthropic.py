"""A request of OpenAI chat completions as one of Anthropic messages. Pure.

The lists of fields below are complete against the official SDK's types (a test holds them to that). Messages
become turns: system and developer messages that lead the conversation become ``system``, later ones stay where they
are; a tool's results join the user turn that follows them; consecutive messages of a role become one turn.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

import msgspec

from routes.gateway.wire.reading import NOT_JSON
from routes.gateway.wire.translate import models
from routes.gateway.wire.translate.fields import (
    ANTHROPIC,
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
    "messages model max_completion_tokens max_tokens parallel_tool_calls reasoning_effort response_format"
    " safety_identifier service_tier stop stream stream_options temperature tool_choice tools top_p user",
    # Hints of what to expect and what to keep; the answer is the same without them.
    "prediction prompt_cache_key prompt_cache_options prompt_cache_retention",
    {
        "audio": (),
        "frequency_penalty": (0,),
        "function_call": (),
        "functions": (),
        "logit_bias": (),
        "logprobs": (False,),
        "metadata": (),
        "modalities": (["text"],),
        "moderation": (),
        "n": (1,),
        "presence_penalty": (0,),
        "seed": (),
        "store": (False,),
        "top_logprobs": (0,),
        "verbosity": ("medium",),
        "web_search_options": (),
    },
)
STREAM_OPTIONS = fields("include_usage", "include_obfuscation")
RESPONSE_FORMAT = fields("type json_schema")
JSON_SCHEMA = fields("schema description", "name strict")  # a schema always binds
TOOL = fields("type function")
FUNCTION = fields("name description parameters strict")
NAMED_CHOICE = fields("type function")
NAMED_FUNCTION = fields("name")

SYSTEM = fields("role content", refused={"name": ()})
USER = SYSTEM
ASSISTANT = fields(
    "role content refusal tool_calls thinking_blocks",
    # Thinking is carried with its proof (``thinking_blocks``) or not at all: Anthropic takes no other.
    "reasoning_content reasoning",
    {"annotations": (), "audio": (), "function_call": (), "name": ()},
)
TOOL_MESSAGE = fields("role content tool_call_id", "name")  # the name repeats the call's

TEXT_PART = fields("type text", "prompt_cache_breakpoint")
REFUSAL_PART = fields("type refusal")
IMAGE_PART = fields("type image_url", "prompt_cache_breakpoint")
IMAGE_URL = fields("url", refused={"detail": ("auto", "high")})
FILE_PART = fields("type file", "prompt_cache_breakpoint")
FILE = fields("file_data filename", refused={"file_id": ()})
TOOL_CALL = fields("id type function", "index")
CALLED_FUNCTION = fields("name arguments")
THINKING = fields("type thinking signature", "index")
REDACTED_THINKING = fields("type data", "index")

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")

_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def request(body: bytes, model: str) -> bytes:
    """Raises Untranslatable."""
    try:
        asked = members(_decode(body), REQUEST, "", ANTHROPIC)
    except NOT_JSON as error:
        raise Untranslatable("", f"the request body is not valid JSON: {error}") from None
    document: Json = {"model": model, "max_tokens": 0}
    _turns(listed(required(asked, "messages", ""), "messages"), document)
    _limits(asked, document, model)
    _tools(asked, document)
    _response_format(asked.get("response_format"), document)
    _identity(asked, document)
    if "stream_options" in asked:
        members(asked["stream_options"], STREAM_OPTIONS, "stream_options", ANTHROPIC)
    if "stream" in asked:
        document["stream"] = asked["stream"]
    return _encode(document)


# -- parameters ----------------------------------------------------------------------------------------------
def _limits(asked: Json, document: Json, model: str) -> None:
    limit = asked.get("max_completion_tokens", asked.get("max_tokens"))
    if limit != asked.get("max_tokens", limit):
        raise Untranslatable("max_tokens", "'max_tokens' and 'max_completion_tokens' say different things")
    if limit is not None and (type(limit) is not int or limit < 1):
        name = "max_completion_tokens" if "max_completion_tokens" in asked else "max_tokens"
        raise Untranslatable(name, f"'{name}' must be a whole number above 0")
    temperature = asked.get("temperature")
    if temperature is not None:
        if isinstance(temperature, int | float) and temperature > 1:
            raise no_counterpart("temperature", ANTHROPIC, "its temperatures end at 1")
        document["temperature"] = temperature
    if "top_p" in asked:
        document["top_p"] = asked["top_p"]
    if "stop" in asked:
        stop = asked["stop"]
        document["stop_sequences"] = [stop] if type(stop) is str else listed(stop, "stop")
    effort = asked.get("reasoning_effort")
    if effort is not None:
        limit = _thinking(effort, limit, document, model)
    document["max_tokens"] = models.DEFAULT_MAX_TOKENS if limit is None else limit


def _thinking(effort: Any, limit: int | None, document: Json, model: str) -> int | None:
    """Say how much to think; returns the limit of the answer, which may depend on it."""
    if effort == "none":
        document["thinking"] = {"type": "disabled"}
        return limit
    if type(effort) is not str or effort not in models.EFFORTS:
        raise no_counterpart("reasoning_effort", ANTHROPIC, "it is no effort that is known")
    if not models.takes_budget(model):
        document["thinking"] = {"type": "adaptive"}
        document["output_config"] = {"effort": models.EFFORTS[effort]}
        return models.DEFAULT_MAX_TOKENS_THINKING if limit is None else limit
    budget = models.BUDGETS[effort]
    if limit is None:
        limit = models.DEFAULT_MAX_TOKENS_THINKING
    elif limit <= models.MIN_BUDGET:
        raise no_counterpart(
            "reasoning_effort",
            ANTHROPIC,
            f"thinking needs a limit above {models.MIN_BUDGET} tokens and this is {limit}",
        )
    # Thinking counts against the limit: leave a quarter of it to the answer.
    document["thinking"] = {"type": "enabled", "budget_tokens": max(models.MIN_BUDGET, min(budget, limit * 3 // 4))}
    return limit


def _response_format(wanted: Any, document: Json) -> None:
    if wanted is None:
        return
    found = members(wanted, RESPONSE_FORMAT, "response_format", ANTHROPIC)
    what = string(found.get("type"), "response_format.type")
    if what == "text":
        return
    if what != "json_schema":
        raise no_counterpart("response_format.type", ANTHROPIC, "it has JSON answers only with a schema (json_schema)")
    path = "response_format.json_schema"
    inner = members(required(found, "json_schema", "response_format"), JSON_SCHEMA, path, ANTHROPIC)
    schema = required(inner, "schema", path)
    description = inner.get("description")
    if description is not None:
        if type(schema) is not dict or schema.get("description") not in (None, description):
            raise no_counterpart(f"{path}.description", ANTHROPIC, "the schema has a description of its own")
        schema = {**schema, "description": description}
    document.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}


def _identity(asked: Json, document: Json) -> None:
    user = asked.get("safety_identifier", asked.get("user"))
    if user != asked.get("user", user):
        raise no_counterpart("user", ANTHROPIC, "it has one name for a user, and 'safety_identifier' says another")
    if user is not None:
        document["metadata"] = {"user_id": user}
    tier = asked.get("service_tier")
    if tier is not None:
        if tier not in ("auto", "default"):
            raise no_counterpart("service_tier", ANTHROPIC, f"it has no tier {tier!r}")
        document["service_tier"] = "auto" if tier == "auto" else "standard_only"


def _tools(asked: Json, document: Json) -> None:
    if "tools" in asked:
        tools = listed(asked["tools"], "tools")
        document["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    choice = _choice(asked["tool_choice"]) if "tool_choice" in asked else None
    if asked.get("parallel_tool_calls") is False and (choice is not None or document.get("tools")):
        choice = {"type": "auto"} if choice is None else choice
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice is not None:
        document["tool_choice"] = choice


def _tool(tool: Any, path: str) -> Json:
    if (what := kind(tool, path)) != "function":
        raise no_counterpart(f"{path}.type", ANTHROPIC, f"it has no tools of type {what!r}")
    found = members(tool, TOOL, path, ANTHROPIC)
    path = f"{path}.function"
    function = members(required(found, "function", path.rpartition(".")[0]), FUNCTION, path, ANTHROPIC)
    schema = function.get("parameters", {})
    if type(schema) is not dict:
        raise Untranslatable(f"{path}.parameters", f"'{path}.parameters' must be an object")
    made: Json = {"name": required(function, "name", path)}
    if "description" in function:
        made["description"] = function["description"]
    made["input_schema"] = schema if "type" in schema else {"type": "object", **schema}
    if "strict" in function:
        made["strict"] = function["strict"]
    return made


def _choice(choice: Any) -> Json:
    if type(choice) is str:
        found = {"auto": "auto", "none": "none", "required": "any"}.get(choice)
        if found is None:
            raise no_counterpart("tool_choice", ANTHROPIC, f"it has no choice {choice!r}")
        return {"type": found}
    if (what := kind(choice, "tool_choice")) != "function":
        raise no_counterpart(
            "tool_choice.allowed_tools" if what == "allowed_tools" else "tool_choice.type",
            ANTHROPIC,
            f"it has no choice of type {what!r}",
        )
    named = members(choice, NAMED_CHOICE, "tool_choice", ANTHROPIC)
    function = members(required(named, "function", "tool_choice"), NAMED_FUNCTION, "tool_choice.function", ANTHROPIC)
    return {"type": "tool", "name": required(function, "name", "tool_choice.function")}


# -- messages ------------------------------------------------------------------------------------------------
def _turns(messages: list[Any], document: Json) -> None:
    system: list[Json] = []
    turns: list[Json] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        role = message.get("role") if type(message) is dict else None
        if role in ("system", "developer"):
            blocks = _texts(members(message, SYSTEM, path, ANTHROPIC), path)
            if not turns:
                system += blocks
            else:
                _add(turns, "system", blocks)
        elif role == "user":
            _add(turns, "user", _parts(members(message, USER, path, ANTHROPIC), path))
        elif role == "assistant":
            _add(turns, "assistant", _assistant(members(message, ASSISTANT, path, ANTHROPIC), path))
        elif role == "tool":
            _add(turns, "user", [_result(members(message, TOOL_MESSAGE, path, ANTHROPIC), path)])
        elif role == "function":
            raise no_counterpart(f"{path}.role", ANTHROPIC, "functions are carried over as tools only")
        else:
            raise Untranslatable(f"{path}.role", f"'{path}.role' must be one of OpenAI's roles")
    if not turns:
        raise no_counterpart("messages", ANTHROPIC, "it needs a message that says something")
    if turns[-1]["role"] == "assistant":
        raise no_counterpart(
            f"messages[{len(messages) - 1}]", ANTHROPIC, "it would go on with a last assistant message, not answer it"
        )
    for turn in turns:
        turn["content"] = _shortest(turn["content"])
    if system:
        document["system"] = _shortest(system)
    document["messages"] = turns


def _shortest(blocks: list[Json]) -> str | list[Json]:
    """Both formats have a string for what is one piece of text."""
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        return str(blocks[0]["text"])
    return blocks


def _add(turns: list[Json], role: str, blocks: list[Json]) -> None:
    """A message that says nothing is none: Anthropic refuses empty ones."""
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _text(text: Any, path: str) -> list[Json]:
    """Anthropic takes no empty text; nothing is said by it."""
    return [{"type": "text", "text": text}] if string(text, path) else []


def _texts(message: Json, path: str) -> list[Json]:
    """Content that is text alone: of system messages and of a tool's results."""
    path = f"{path}.content"
    content = message.get("content", "")
    if type(content) is str:
        return _text(content, path)
    blocks: list[Json] = []
    for index, part in enumerate(listed(content, path)):
        inner = f"{path}[{index}]"
        if (what := kind(part, inner)) != "text":
            raise no_counterpart(f"{inner}.type", ANTHROPIC, f"this message takes text, not {what!r}")
        blocks += _text(required(members(part, TEXT_PART, inner, ANTHROPIC), "text", inner), f"{inner}.text")
    return blocks


def _parts(message: Json, path: str) -> list[Json]:
    path = f"{path}.content"
    content = message.get("content", "")
    if type(content) is str:
        return _text(content, path)
    blocks: list[Json] = []
    for index, part in enumerate(listed(content, path)):
        inner = f"{path}[{index}]"
        what = kind(part, inner)
        if what == "text":
            blocks += _text(required(members(part, TEXT_PART, inner, ANTHROPIC), "text", inner), f"{inner}.text")
        elif what == "image_url":
            blocks.append(_image(required(members(part, IMAGE_PART, inner, ANTHROPIC), what, inner), f"{inner}.{what}"))
        elif what == "file":
            blocks.append(_file(required(members(part, FILE_PART, inner, ANTHROPIC), what, inner), f"{inner}.{what}"))
        else:
            raise no_counterpart(f"{inner}.{what}", ANTHROPIC, f"it takes no {what!r}")
    return blocks


def _image(image: Any, path: str) -> Json:
    found = members(image, IMAGE_URL, path, ANTHROPIC)
    path = f"{path}.url"
    url = string(found.get("url"), path)
    if url[:5].lower() != "data:":
        return {"type": "image", "source": {"type": "url", "url": url}}
    media, data = _data(url, path)
    return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}


def _data(url: str, path: str) -> tuple[str, str]:
    """(media type, base64) of a data: URL."""
    head = _DATA_URL.match(url)
    if head is None:
        raise no_counterpart(path, ANTHROPIC, "data must come as a data: URL in base64")
    return head[1].lower(), url[head.end() :]


def _file(file: Any, path: str) -> Json:
    found = members(file, FILE, path, ANTHROPIC)
    media, data = _data(string(required(found, "file_data", path), f"{path}.file_data"), f"{path}.file_data")
    if media == "application/pdf":
        source = {"type": "base64", "media_type": media, "data": data}
    elif media == "text/plain":
        try:
            text = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Untranslatable(f"{path}.file_data", f"'{path}.file_data' is not base64 of UTF-8 text") from None
        source = {"type": "text", "media_type": media, "data": text}
    else:
        raise no_counterpart(f"{path}.file_data", ANTHROPIC, "its documents are PDF and plain text")
    document: Json = {"type": "document", "source": source}
    if "filename" in found:
        document["title"] = found["filename"]
    return document


def _assistant(message: Json, path: str) -> list[Json]:
    blocks: list[Json] = []
    for index, block in enumerate(listed(message.get("thinking_blocks", []), f"{path}.thinking_blocks")):
        inner = f"{path}.thinking_blocks[{index}]"
        known = REDACTED_THINKING if kind(block, inner) == "redacted_thinking" else THINKING
        found = members(block, known, inner, ANTHROPIC)
        if known is REDACTED_THINKING or found.get("signature"):
            blocks.append(found)
    content = message.get("content", "")
    if type(content) is str:
        blocks += _text(content, f"{path}.content")
    else:
        for index, part in enumerate(listed(content, f"{path}.content")):
            inner = f"{path}.content[{index}]"
            what = kind(part, inner)
            if what not in ("text", "refusal"):
                raise no_counterpart(f"{inner}.type", ANTHROPIC, f"an assistant message takes no {what!r}")
            known = TEXT_PART if what == "text" else REFUSAL_PART
            blocks += _text(required(members(part, known, inner, ANTHROPIC), what, inner), f"{inner}.{what}")
    blocks += _text(message.get("refusal", ""), f"{path}.refusal")
    for index, call in enumerate(listed(message.get("tool_calls", []), f"{path}.tool_calls")):
        blocks.append(_tool_use(call, f"{path}.tool_calls[{index}]"))
    return blocks


def _tool_use(call: Any, path: str) -> Json:
    if (what := kind(call, path)) != "function":
        raise no_counterpart(f"{path}.type", ANTHROPIC, f"it has no tool calls of type {what!r}")
    found = members(call, TOOL_CALL, path, ANTHROPIC)
    inner = f"{path}.function"
    function = members(required(found, "function", path), CALLED_FUNCTION, inner, ANTHROPIC)
    arguments = string(function.get("arguments", ""), f"{inner}.arguments").strip() or "{}"
    try:
        _arguments(arguments)
    except NOT_JSON:
        raise no_counterpart(f"{inner}.arguments", ANTHROPIC, "it is not the text of a JSON object") from None
    return {
        "type": "tool_use",
        "id": _tool_id(string(required(found, "id", path), f"{path}.id")),
        "name": required(function, "name", inner),
        "input": msgspec.Raw(arguments.encode()),  # as it is: numbers keep every digit
    }


def _result(message: Json, path: str) -> Json:
    result: Json = {
        "type": "tool_result",
        "tool_use_id": _tool_id(string(required(message, "tool_call_id", path), f"{path}.tool_call_id")),
    }
    if texts := _texts(message, path):
        result["content"] = _shortest(texts)
    return result


def _tool_id(given: str) -> str:
    """A call and its result name each other by an id in which Anthropic allows fewer characters."""
    if _TOOL_ID.fullmatch(given) is not None:
        return given
    return "call_" + hashlib.blake2s(given.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
