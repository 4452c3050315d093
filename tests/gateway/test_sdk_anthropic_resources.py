"""Every resource of the official Anthropic SDK that we route, strict about types, through a real gateway: messages and
their helpers, tools, thinking, images, counting, models, with the synchronous and the asynchronous client."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from pydantic import BaseModel

from tests.gateway.pair import HELLO, MODEL, UPSTREAM_MODEL, Pair

if TYPE_CHECKING:
    from collections.abc import Callable

#: The whole client library, and processes to talk to.
pytestmark = pytest.mark.thorough

ASK: Any = {"model": MODEL, "max_tokens": 2048, "messages": HELLO}
TOOL: Any = {
    "name": "get_weather",
    "description": "The weather somewhere.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city"],
    },
}


class Reply(BaseModel):
    city: str
    days: int


@pytest.fixture
def client(pair: Pair) -> anthropic.Anthropic:
    return pair.messages("anthropic")


def test_every_field_of_a_request_reaches_the_provider(pair: Pair, client: anthropic.Anthropic) -> None:
    fields: dict[str, Any] = {
        "max_tokens": 2048,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/png",
                            "data": base64.b64encode(b"\x89PNG").decode(),
                        },
                    },
                    {"type": "text", "text": "Where is this?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}]},
            *HELLO,
        ],
        "metadata": {"user_id": "u"},
        "stop_sequences": ["END"],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [TOOL],
        "tool_choice": {"type": "none"},
        "service_tier": "auto",
    }

    message = client.messages.create(
        model=MODEL, **fields, extra_body={"top_k": 5}, extra_headers={"anthropic-beta": "b-1"}
    )

    assert [block.type for block in message.content] == ["thinking", "text"]
    (received,) = pair.anthropic.requests()
    assert received.json() == {**fields, "top_k": 5, "model": UPSTREAM_MODEL}
    assert received.header("anthropic-beta") == "b-1"


def test_a_tool_is_called_whole_and_streamed_in_parts(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**ASK, tools=[TOOL])
    with client.messages.stream(**ASK, tools=[TOOL]) as stream:
        events = list(stream)
        final = stream.get_final_message()

    assert [event.snapshot for event in events if event.type == "input_json"][-1] == {"city": "anthropic", "days": 2}
    for message in (whole, final):
        assert message.stop_reason == "tool_use"
        (call,) = message.content
        assert call.type == "tool_use"
        assert (call.name, call.input) == ("get_weather", {"city": "anthropic", "days": 2})


def test_thinking_streams_before_the_text_with_its_signature(pair: Pair, client: anthropic.Anthropic) -> None:
    pair.anthropic.behave(reply={"reasoning": "so it is", "text": "yes"})

    with client.messages.stream(**ASK, thinking={"type": "adaptive"}) as stream:
        events = list(stream)
        final = stream.get_final_message()

    kinds = list(dict.fromkeys(event.type for event in events))
    assert kinds.index("thinking") < kinds.index("signature") < kinds.index("text")
    assert final.content[0].type == "thinking"
    assert (final.content[0].thinking, bool(final.content[0].signature)) == ("so it is", True)


def test_a_structured_answer_parses_into_the_callers_class(pair: Pair, client: anthropic.Anthropic) -> None:
    pair.anthropic.behave(text='{"city": "Ulm", "days": 3}')

    whole = client.messages.parse(**ASK, output_format=Reply)
    with client.messages.stream(**ASK, output_format=Reply) as stream:
        final = stream.get_final_message()

    assert whole.parsed_output == final.parsed_output == Reply(city="Ulm", days=3)
    assert "output_config" in pair.anthropic.requests()[0].json()


def test_a_raw_stream_has_the_documented_events(pair: Pair, client: anthropic.Anthropic) -> None:
    pair.anthropic.behave(text="one two", cached_tokens=1)

    kinds = [event.type for event in client.messages.create(**ASK, stream=True)]

    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert (pair.row().output_tokens, pair.row().cached_tokens) == (2, 1)


def test_beta_messages_keep_their_header_and_query(pair: Pair, client: anthropic.Anthropic) -> None:
    message = client.beta.messages.create(**ASK, betas=["b-1"], extra_query={"beta": "true"})

    assert message.content
    (received,) = pair.anthropic.requests()
    assert (received.target, received.header("anthropic-beta")) == ("/v1/messages?beta=true", "b-1")


def test_tokens_are_counted(pair: Pair, client: anthropic.Anthropic) -> None:
    few = client.messages.count_tokens(model=MODEL, messages=HELLO)
    more = client.messages.count_tokens(model=MODEL, messages=HELLO, tools=[TOOL], system="Be brief.")

    assert more.input_tokens > few.input_tokens > 0
    assert [row.operation for row in pair.gateway.finished()] == ["count_tokens", "count_tokens"]
    assert {request.json()["model"] for request in pair.anthropic.requests()} == {UPSTREAM_MODEL}


def test_models_are_listed_and_looked_up(pair: Pair, client: anthropic.Anthropic) -> None:
    assert [(model.id, model.type) for model in client.models.list()] == [(MODEL, "model")]
    assert client.models.retrieve(MODEL).created_at.year == 2026
    with pytest.raises(anthropic.NotFoundError, match="no profile"):
        pair.messages("nowhere").models.retrieve(MODEL)
    assert pair.anthropic.count() == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.messages.batches.list(),
        lambda client: client.beta.files.list(),
    ],
    ids=["batches", "files"],
)
def test_what_is_not_routed_is_a_clear_404(pair: Pair, client: anthropic.Anthropic, call: Callable[[Any], Any]) -> None:
    with pytest.raises(anthropic.NotFoundError, match="no such endpoint") as caught:
        call(client.with_options(max_retries=2))

    error: Any = caught.value.body
    assert (error["type"], error["error"]["type"], error["error"]["code"]) == ("error", "not_found_error", "not_found")
    assert pair.anthropic.count() == 0


async def test_the_asynchronous_client_reads_every_resource(pair: Pair) -> None:
    pair.anthropic.behave(text="mind the gap")
    async with pair.async_messages("anthropic") as client:
        whole = await client.messages.create(**ASK)
        async with client.messages.stream(**ASK) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        raw = await client.messages.create(**ASK, stream=True)
        kinds = [event.type async for event in raw]
        counted = await client.messages.count_tokens(model=MODEL, messages=HELLO)
        pair.anthropic.fail("cut_mid_stream", after_events=2)
        with pytest.raises(anthropic.APIStatusError, match="cut off"):
            async with client.messages.stream(**ASK) as cut:
                await cut.get_final_message()

    assert whole.content[0].type == "text"
    assert whole.content[0].text == final.content[0].text == text == "mind the gap"
    assert kinds[-1] == "message_stop"
    assert counted.input_tokens > 0
    assert [row.status for row in pair.gateway.finished()] == ["routed"] * 4 + ["failed"]
