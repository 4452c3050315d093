"""What the simulated models say: the same words for the same prompt, beginning with the provider's name.

A token is one word here. Also makes values that fit a JSON Schema, for tool arguments and structured answers.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

_TEXT = (
    "the line is clear and the signal at the junction shows green so the next train may pass over the points while "
    "the one behind it waits on the loop until its road is set and the lever comes over with a clean sound in the "
    "frame where each of them is locked against every other that could lead two trains onto one stretch of track"
)
_WORDS = _TEXT.split()
_RING = [f" {word}" for word in _WORDS] * 2
_MAX_DEPTH = 6


def words(name: str, prompt: str, count: int) -> list[str]:
    """`count` tokens, the first of which is the provider's name, chosen by the prompt."""
    length = len(_WORDS)
    start = crc32(prompt.encode("utf-8", "surrogatepass")) % length
    if count <= length:
        return [name, *_RING[start : start + count - 1]] if count > 0 else []
    ring = _RING[start : start + length]
    whole, rest = divmod(count - 1, length)
    return [name, *(ring * whole), *ring[:rest]]


def cut(text: str) -> list[str]:
    """A given text as tokens: words with the blank before them."""
    first, *rest = text.split(" ")
    return [first, *[f" {word}" for word in rest]]


def fragments(text: str, size: int = 12) -> list[str]:
    """A text in pieces of `size` characters, as tool arguments are streamed."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def tokens_of(*texts: str) -> int:
    """The usual rule of thumb, four characters a token; at least one."""
    return max(1, sum(map(len, texts)) // 4)


def fitting(schema: Any, name: str, depth: int = 0) -> Any:
    """A value that satisfies the plain part of a JSON Schema: types, enum, const, required and nested properties."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return name
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for union in ("anyOf", "oneOf", "allOf"):
        if schema.get(union):
            return fitting(schema[union][0], name, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties") or {}
        return {key: fitting(value, name, depth + 1) for key, value in properties.items()}
    if kind == "array":
        return [fitting(schema.get("items"), name, depth + 1)]
    return {"integer": schema.get("minimum", 1), "number": 1.5, "boolean": True, "null": None}.get(str(kind), name)
