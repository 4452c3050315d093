"""What one kind of provider thought is not shown to the other kind, and nothing else is taken from a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routes.gateway.wire.translate.unsigned import UNSIGNED, without_blocks, without_unsigned

OURS = {"type": "thinking", "thinking": "hm", "signature": UNSIGNED}
THEIRS = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
SAID = {"type": "text", "text": "yes"}


def body(*contents: Any) -> bytes:
    messages = [{"role": "assistant", "content": content} for content in contents]
    return json.dumps({"model": "m", "messages": messages, "max_tokens": 9}).encode()


def test_only_unsigned_thinking_is_left_out() -> None:
    made = without_unsigned(body([OURS, SAID], [THEIRS, OURS, SAID], "plain", [THEIRS]))

    assert made == without_unsigned(made)
    assert json.loads(made) == json.loads(body([SAID], [THEIRS, SAID], "plain", [THEIRS]))


def test_a_message_that_was_nothing_else_goes_with_it() -> None:
    assert json.loads(without_unsigned(body([OURS], [SAID]))) == json.loads(body([SAID]))


@pytest.mark.parametrize(
    "given",
    [
        body([THEIRS, SAID]),
        b'{ "messages" : [] }',
        b'{"model": "m", "prompt": "signalbox-unsigned"}',
        b'{"messages": "signalbox-unsigned"}',
        b'{"messages": [["signalbox-unsigned"]]}',
        b'{"messages": [{"content": [1, "signalbox-unsigned"]}]}',
        b'{"signalbox-unsigned": ',
        b"signalbox-unsigned\xff",
    ],
)
def test_what_has_none_or_cannot_be_read_stays_byte_for_byte(given: bytes) -> None:
    assert without_unsigned(given) == given


def test_what_stays_is_as_it_was_written() -> None:
    odd = b'{ "a": 1.0e5, "a":\t12345678901234567890123, "b": "\\u00e9" }'
    unsigned = b'{"type":"thinking","signature":"signalbox-unsigned"}'
    given = b'{"messages":[{"content":[%b,%b]}],"x":%b}' % (unsigned, odd, odd)

    assert without_unsigned(given) == b'{"messages":[{"content":[%b]}],"x":%b}' % (odd, odd)


def test_the_mark_inside_a_text_is_a_text() -> None:
    text = {"type": "text", "text": f"signature: {UNSIGNED}"}

    assert json.loads(without_unsigned(body([text]))) == json.loads(body([text]))


def test_signed_blocks_of_an_answer_are_not_sent_to_openai() -> None:
    kept = {"role": "assistant", "content": "yes", "reasoning_content": "hm"}
    given = json.dumps({"messages": [{"role": "user", "content": "?"}, {**kept, "thinking_blocks": [THEIRS]}], "n": 1})

    assert json.loads(without_blocks(given.encode())) == {"messages": [{"role": "user", "content": "?"}, kept], "n": 1}


@pytest.mark.parametrize(
    "given",
    [
        b'{ "messages" : [ {"role": "user", "content": "say \\"thinking_blocks\\""} ] }',
        b'{"messages": [], "thinking_blocks":  1}',
        b'{"messages": "\\"thinking_blocks\\""}',
        b'{"thinking_blocks": ',
    ],
)
def test_a_request_without_such_blocks_keeps_every_byte(given: bytes) -> None:
    assert without_blocks(given) == given
