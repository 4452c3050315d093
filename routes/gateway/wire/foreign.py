"""Takes out of a conversation what only the other wire format can read, left there by a translated answer. Pure.

A client sends an answer back with its next request, and that request may go to a target of the client's own format:
blocks of thinking without a signature are refused by Anthropic, ``thinking_blocks`` by OpenAI. Everything else stays as
it came, byte for byte; a body without any is only searched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from routes.gateway.wire.reading import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Callable

_UNSIGNED: Final = re.compile(rb'"signature"[ \t\r\n]*:[ \t\r\n]*""')

Members = dict[str, msgspec.Raw]
_members = msgspec.json.Decoder(Members).decode
_messages = msgspec.json.Decoder(list[Members]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class _Block(msgspec.Struct):
    type: str = ""
    signature: str | None = None


_block = msgspec.json.Decoder(_Block).decode


def without(operation: str, body: bytes) -> bytes:
    """``body`` for a target of the client's own format. A body of another shape is left alone: it is not ours."""
    if operation == "messages" and b'"signature"' in body and _UNSIGNED.search(body) is not None:
        return _changed(body, _without_unsigned)
    if operation == "chat" and b'"thinking_blocks"' in body:
        return _changed(body, _without_blocks)
    return body


def _changed(body: bytes, change: Callable[[Members], bool]) -> bytes:
    try:
        members = _members(body)
        messages = _messages(members["messages"])
        kept = [(change(message), message) for message in messages]
    except (KeyError, *NOT_JSON):
        return body
    if not any(changed for changed, _ in kept):
        return body
    members["messages"] = msgspec.Raw(_encode([message for _, message in kept]))
    return _encode(members)


def _without_unsigned(message: Members) -> bool:
    content = bytes(message.get("content", b"")).lstrip()
    if not content.startswith(b"[") or _UNSIGNED.search(content) is None:
        return False
    blocks = _list(content)
    kept = [block for block in blocks if not _is_unsigned(block)]
    if len(kept) == len(blocks) or not kept:
        return False  # a message cannot be empty: whoever reads it says what is wrong with it
    message["content"] = msgspec.Raw(_encode(kept))
    return True


def _is_unsigned(block: msgspec.Raw) -> bool:
    try:
        found = _block(block)
    except NOT_JSON:
        return False
    return found.type == "thinking" and found.signature == ""


def _without_blocks(message: Members) -> bool:
    return message.pop("thinking_blocks", None) is not None
