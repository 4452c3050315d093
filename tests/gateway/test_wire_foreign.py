"""A conversation that an answer of the other format has been part of goes on at a target of the client's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routes.gateway.wire.foreign import without

ASKED = {"role": "user", "content": "why?"}
UNSIGNED = {"type": "thinking", "thinking": "hm", "signature": ""}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
TEXT = {"type": "text", "text": "because"}


def changed(operation: str, *messages: Any) -> Any:
    body = json.dumps({"model": "m", "messages": messages, "max_tokens": 5}).encode()
    return json.loads(without(operation, body))["messages"]


def test_thinking_without_a_signature_is_not_shown_to_anthropic() -> None:
    said = {"role": "assistant", "content": [UNSIGNED, TEXT]}
    assert changed("messages", ASKED, said, ASKED) == [ASKED, {"role": "assistant", "content": [TEXT]}, ASKED]


def test_signed_thinking_and_everything_else_stays() -> None:
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {"signature": "", "type": "thinking"}}
    messages = [ASKED, {"role": "assistant", "content": [SIGNED, TEXT, tool]}]
    assert changed("messages", *messages) == messages


def test_blocks_of_thinking_are_not_shown_to_openai() -> None:
    said = {"role": "assistant", "content": "because", "reasoning_content": "hm", "thinking_blocks": [SIGNED]}
    kept = {"role": "assistant", "content": "because", "reasoning_content": "hm"}
    assert changed("chat", ASKED, said) == [ASKED, kept]


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m",  "messages": [ {"role":"user","content":"say \\"signature\\":\\"\\" and thinking_blocks"} ] }',
        b'{"model": "m", "messages": "\\"signature\\"", "x": {"signature": "", "thinking_blocks": 1}}',
        b'{"model": "m", "messages": [{"role": "assistant", "content": [{"type": "thinking", "signature": ""}]}]}',
    ],
)
@pytest.mark.parametrize("operation", ["chat", "messages", "responses"])
def test_a_body_that_holds_nothing_of_the_kind_keeps_every_byte(operation: str, body: bytes) -> None:
    assert without(operation, body) == body
