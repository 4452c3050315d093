"""Thinking that only the other format can read, in the conversations that clients send on. Pure.

Such a client reads what an OpenAI provider thought under a mark of ours in place of a signature, and sends it back with
its next request. Anthropic refuses whatever it has not signed itself, so a provider of its kind is not given those
blocks; one of OpenAI's kind gets their text (``to_openai``). The other way round, an OpenAI client sends back the
signed blocks that an Anthropic provider thought (``thinking_blocks``): one of OpenAI's kind refuses the member.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from routes.gateway.wire.reading import NOT_JSON

#: The signature of what nobody signed.
UNSIGNED: Final = "signalbox-unsigned"

_MARK: Final = UNSIGNED.encode()
_BLOCKS: Final = "thinking_blocks"
_BLOCKS_MEMBER: Final = b'"thinking_blocks"'


class _Block(msgspec.Struct):
    type: Any = None
    signature: Any = None


_block = msgspec.json.Decoder(_Block).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def without_unsigned(body: bytes) -> bytes:
    """A request for messages less those blocks, and less the messages that were nothing else; the rest stays as it was
    written. What cannot be read stays as it is. Costs one search in bodies that have none."""
    if _MARK not in body:
        return body
    try:
        members = _members(body)
        messages = [kept for message in _items(members["messages"]) if (kept := _signed(message)) is not None]
    except (*NOT_JSON, KeyError):
        return body
    members["messages"] = msgspec.Raw(_encode(messages))
    return _encode(members)


def without_blocks(body: bytes) -> bytes:
    """A request for a chat completion less that member of its messages, likewise."""
    if _BLOCKS_MEMBER not in body:
        return body
    try:
        members = _members(body)
        messages = [_members(message) for message in _items(members["messages"])]
    except (*NOT_JSON, KeyError):
        return body
    if not any(_BLOCKS in message for message in messages):
        return body
    for message in messages:
        message.pop(_BLOCKS, None)
    members["messages"] = msgspec.Raw(_encode(messages))
    return _encode(members)


def _signed(message: msgspec.Raw) -> msgspec.Raw | None:
    """A message less those blocks; None when nothing is left of it."""
    members = _members(message)
    content = members.get("content")
    if content is None or not bytes(content).startswith(b"["):
        return message
    blocks = _items(content)
    kept = [block for block in blocks if not _is_unsigned(block)]
    if len(kept) == len(blocks):
        return message
    if not kept:
        return None
    members["content"] = msgspec.Raw(_encode(kept))
    return msgspec.Raw(_encode(members))


def _is_unsigned(block: msgspec.Raw) -> bool:
    found = _block(block)
    return bool(found.type == "thinking" and found.signature == UNSIGNED)
