"""What a request body says, in any of the wire formats: messages, texts, tools, images. Pure functions on JSON.

The client chooses every type and every depth, so nothing here trusts a shape: what is of the wrong type is not there.
Walks use a stack and are linear in the size of the body.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NamedTuple

import orjson

#: Operations with a prompt: in their bodies, or, for decisions without a body, told as facts. Text facts are read for
#: these and never for embeddings, images, audio.
TEXT_OPERATIONS: Final = frozenset({"chat", "completion", "responses", "messages", "count_tokens", "decision"})

_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_TEXT_BLOCKS: Final = frozenset({"text", "input_text", "output_text"})
_IMAGE_BLOCKS: Final = frozenset({"image", "image_url", "input_image", "computer_screenshot"})
#: Blocks that hold media and no text.
_MEDIA_BLOCKS: Final = _IMAGE_BLOCKS | {"input_audio", "audio", "video_url", "file", "input_file", "container_upload"}

#: Where the text of a request is, by member of the body.
_ROOTS: Final = ("system", "instructions", "messages", "input", "prompt")
#: Members of messages and blocks that hold text, or something that does.
_TEXT_MEMBERS: Final = frozenset(
    {
        "arguments",
        "content",
        "context",
        "custom",
        "function",
        "function_call",
        "input",
        "output",
        "reasoning_content",
        "refusal",
        "source",
        "summary",
        "text",
        "thinking",
        "title",
        "tool_calls",
    }
)


def load(body: bytes) -> dict[str, Any]:
    """The members of a JSON object; {} for anything else."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _load_leniently(body)
    return document if type(document) is dict else {}


def _load_leniently(body: bytes) -> Any:
    """The gateway passes on some JSON that the fast parser refuses: half of a surrogate pair, bytes that are not UTF-8,
    numbers beyond all bounds. A rule must see what the upstream will see, so only what is wrong is left out."""
    try:
        text = body.decode("utf-8", "replace")
        document = json.loads(text, parse_constant=_nothing, parse_float=_finite, parse_int=_finite)
        return orjson.loads(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _nothing(_: str) -> None:
    """``NaN``, ``Infinity``."""


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


# -- messages --------------------------------------------------------------------------------------------


def messages(document: dict[str, Any], operation: str) -> list[Any]:
    """The conversation as a list of messages; a prompt that is a string is the user's only message."""
    if operation == "completion":
        prompt = document.get("prompt")
        return [{"role": "user", "content": prompt}] if type(prompt) in (str, list) else []
    given = document.get("input" if operation == "responses" else "messages")
    if type(given) is list:
        return given
    return [{"role": "user", "content": given}] if type(given) is str and operation == "responses" else []


def _texts(content: Any) -> list[str]:
    """The texts of a message's content: a string, or those of its text blocks. A tool's result is none of them."""
    if type(content) is str:
        return [content] if content else []
    found: list[str] = []
    if type(content) is list:
        for block in content:
            if type(block) is str:
                found.append(block)
            elif type(block) is dict and _is(block.get("type", "text"), _TEXT_BLOCKS):
                text = block.get("text")
                if type(text) is str and text:
                    found.append(text)
    return found


def _is(kind: Any, kinds: frozenset[str]) -> bool:
    return type(kind) is str and kind in kinds


def system_parts(document: dict[str, Any], conversation: list[Any]) -> list[str]:
    """The pieces of the system prompt, in order: the body's own member, then messages of the system's roles."""
    parts = _texts(document.get("system")) + _texts(document.get("instructions"))
    for message in conversation:
        if type(message) is dict and _is(message.get("role"), _SYSTEM_ROLES):
            parts += _texts(message.get("content"))
    return parts


def user_text(conversation: list[Any]) -> str | None:
    """All that the user wrote, message after message; None when that is nothing."""
    parts: list[str] = []
    for message in conversation:
        if type(message) is dict and message.get("role") == "user":
            parts += _texts(message.get("content"))
    return "\n".join(parts) or None


def latest_user_text(conversation: list[Any]) -> str | None:
    """The text of the last message, when it is the user's and carries any."""
    last = _latest_of_user(conversation)
    return None if last is None else "\n".join(_texts(last.get("content"))) or None


def latest_user_has_image(conversation: list[Any]) -> bool:
    """Whether the last message is the user's and an image is among its blocks (not inside a tool's result)."""
    last = _latest_of_user(conversation)
    content = None if last is None else last.get("content")
    if type(content) is not list:
        return False
    return any(type(block) is dict and _is(block.get("type"), _IMAGE_BLOCKS) for block in content)


def _latest_of_user(conversation: list[Any]) -> dict[str, Any] | None:
    last = conversation[-1] if conversation else None
    return last if type(last) is dict and last.get("role") == "user" else None


# -- tools -----------------------------------------------------------------------------------------------


def tools(document: dict[str, Any]) -> list[Any]:
    """The tools it offers, under the present name and the first one (``functions``)."""
    found: list[Any] = []
    for member in ("tools", "functions"):
        given = document.get(member)
        if type(given) is list:
            found += given
    return found


def tool_names(offered: list[Any]) -> set[str]:
    """Names and types of tools, in whichever of the formats' places they are."""
    names: set[str] = set()
    for tool in offered:
        if type(tool) is dict:
            function = tool.get("function")
            inner = function.get("name") if type(function) is dict else None
            names.update(name for name in (tool.get("type"), tool.get("name"), inner) if type(name) is str)
    return names


def web_search(document: dict[str, Any], offered: list[Any]) -> bool:
    """Whether the API's own web search is among the tools, or switched on by OpenAI's chat option."""
    if type(document.get("web_search_options")) is dict:
        return True
    return any(
        type(tool) is dict and type(kind := tool.get("type")) is str and kind.startswith("web_search")
        for tool in offered
    )


def thinking(document: dict[str, Any]) -> bool:
    """Whether it asks for thinking (Anthropic) or for reasoning (OpenAI: chat, responses)."""
    asked = document.get("thinking")
    if type(asked) is dict:
        return asked.get("type") not in (None, "disabled")
    effort = document.get("reasoning_effort")
    reasoning = document.get("reasoning")
    if type(reasoning) is dict:
        effort = reasoning.get("effort")
    return type(effort) is str and effort != "none"


# -- size ------------------------------------------------------------------------------------------------


class Survey(NamedTuple):
    """``tokens`` by the documented rule of thumb; ``images``: whether there is one anywhere, tools' results too."""

    tokens: int
    images: bool


def survey(document: dict[str, Any], offered: list[Any]) -> Survey:
    """Walk all text once: UTF-8 bytes ÷ 4.

    Counted are the texts of system prompt, messages, reasoning, calls of tools and their results; definitions of
    tools, and arguments given as JSON, as compact JSON. Roles, ids and types are not. A prompt given as token ids
    has as many tokens as ids. Media count nothing.
    """
    size = _json_bytes(offered) if offered else 0
    images = False
    pending: list[Any] = [document.get(root) for root in _ROOTS]
    size += 4 * (_token_ids(document.get("prompt")) + _token_ids(document.get("input")))
    while pending:
        value = pending.pop()
        kind = type(value)
        if kind is str:
            size += len(value) if value.isascii() else len(value.encode())
        elif kind is list:
            pending += value
        elif kind is dict:
            block = value.get("type")
            if block == "text":  # most of them: there is no other member to look at
                pending.append(value.get("text"))
                continue
            if type(block) is str and block in _MEDIA_BLOCKS:
                images = images or block in _IMAGE_BLOCKS
                continue
            for name, inner in value.items():
                if name in _TEXT_MEMBERS:
                    if name == "input" and type(inner) is dict:
                        size += _json_bytes(inner)
                    elif name != "source":
                        pending.append(inner)
                    elif type(inner) is dict:
                        pending.append(_source_text(inner))
    return Survey(size // 4, images)


def _source_text(source: dict[str, Any]) -> Any:
    """The text of a document block's source; nothing of encoded media."""
    kind = source.get("type")
    if kind == "text":
        return source.get("data")
    return source.get("content") if kind == "content" else None


def _token_ids(value: Any) -> int:
    """How many token ids there are in a prompt or input given as such, or as a list of such lists."""
    if type(value) is not list or not value or type(value[0]) not in (int, list):
        return 0
    count = 0
    for entry in value:
        if type(entry) is int:
            count += 1
        elif type(entry) is list:
            count += sum(type(inner) is int for inner in entry)
    return count


def _json_bytes(value: Any) -> int:
    """The size of ``value`` as compact JSON. What is nested too deeply to be written is counted string by string."""
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        pass
    size = 0
    pending = [value]
    while pending:
        inner = pending.pop()
        if type(inner) is str:
            size += len(inner.encode())
        elif type(inner) is list:
            pending += inner
        elif type(inner) is dict:
            pending += inner.keys()
            pending += inner.values()
    return size
