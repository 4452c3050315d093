"""Forty conversations by both official SDKs, strict about types, against a provider of either kind: the client reads
every field of the answer, and the provider received every field of the request, whatever each of them speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest
from pydantic import BaseModel

from tests.conversations import (
    CONVERSATIONS,
    SIGNATURE,
    Call,
    Conversation,
    Reply,
    Result,
    Text,
    Tool,
    anthropic_kwargs,
    asked,
    completion,
    expected_answer,
    expected_request,
    message,
    openai_kwargs,
    scripted,
)
from tests.gateway.pair import HELLO, MODEL, UPSTREAM_MODEL, WIRES, Pair, other

if TYPE_CHECKING:
    from history.records import Finished

#: Those with the most fields; the others run in the whole suite.
FEW = frozenset({"thinking between tools", "an answer by a schema, from the cache"})


def with_names(conversations: tuple[Conversation, ...]) -> list[Any]:
    return [
        pytest.param(each, id=each.name, marks=() if each.name in FEW else pytest.mark.thorough)
        for each in conversations
    ]


def say(pair: Pair, wire: str, profile: str, conversation: Conversation, *, stream: bool) -> Any:
    """Hold the conversation with the SDK of ``wire``; its answer as the SDK has it in the end."""
    if wire == "openai":
        chats = pair.chat(profile).chat.completions
        if not stream:
            return chats.create(**openai_kwargs(conversation, MODEL))
        kwargs = openai_kwargs(conversation, MODEL, stream=True)
        del kwargs["stream"]
        with chats.stream(**kwargs) as streamed:
            chunks = [event.chunk for event in streamed if event.type == "chunk"]
            return with_stop_reason(streamed.current_completion_snapshot, chunks)
    messages = pair.messages(profile).messages
    if not stream:
        return messages.create(**anthropic_kwargs(conversation, MODEL))
    with messages.stream(**anthropic_kwargs(conversation, MODEL)) as spoken:
        return spoken.get_final_message()


def with_stop_reason(final: Any, chunks: list[Any]) -> dict[str, Any]:
    """What the SDK gathered (its ``get_final_completion`` raises for a cut or filtered answer, by design). Its
    accumulator leaves out fields of a choice that it does not know; they were in its chunks."""
    document: dict[str, Any] = final.to_dict()
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        if "stop_reason" in choice.model_extra:
            document["choices"][0]["stop_reason"] = choice.model_extra["stop_reason"]
    return document


def sent(wire: str, conversation: Conversation, *, stream: bool) -> dict[str, Any]:
    """The body that the SDK of ``wire`` sends for it, less the model, and less what no server of that format reads:
    the blocks of thinking that an answer of Anthropic's left in the conversation."""
    make = openai_kwargs if wire == "openai" else anthropic_kwargs
    kwargs = make(conversation, MODEL, stream=stream)
    body = {name: value for name, value in (kwargs.pop("extra_body", {}) | kwargs).items() if name != "model"}
    for turn in body["messages"]:
        turn.pop("thinking_blocks", None)
    return body


def read(wire: str, answer: Any) -> dict[str, Any]:
    return completion(answer) if wire == "openai" else message(answer)


def assert_recorded(row: Finished, conversation: Conversation, client: str, upstream: str) -> None:
    fresh, cached, written, output = conversation.reply.tokens
    assert (row.status, row.wire, row.operation) == ("routed", client, "chat" if client == "openai" else "messages")
    assert (row.provider, row.model, row.requested_model) == (upstream, UPSTREAM_MODEL, MODEL)
    assert (row.input_tokens, row.cached_tokens, row.output_tokens) == (fresh + cached + written, cached, output)
    assert not row.usage_estimated


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("upstream", WIRES)
@pytest.mark.parametrize("client", WIRES)
@pytest.mark.parametrize("conversation", with_names(CONVERSATIONS))
def test_no_field_is_lost_either_way(
    pair: Pair, conversation: Conversation, client: str, upstream: str, stream: bool
) -> None:
    provider = pair[upstream]
    provider.behave(reply=scripted(conversation, upstream))

    answer = say(pair, client, upstream, conversation, stream=stream)

    assert read(client, answer) == expected_answer(conversation, client, upstream)
    (received,) = provider.requests()
    body = received.json()
    assert asked(upstream, body) == expected_request(conversation)
    assert (body.pop("model"), body.get("stream", False)) == (UPSTREAM_MODEL, stream)
    if client == upstream:
        assert body == sent(client, conversation, stream=stream)
    row = pair.row()
    assert_recorded(row, conversation, client, upstream)
    assert [(attempt.provider, attempt.error_class) for attempt in row.attempts] == [(upstream, None)]


@pytest.mark.thorough
@pytest.mark.parametrize("upstream", WIRES)
@pytest.mark.parametrize("client", WIRES)
async def test_the_asynchronous_clients_read_the_same_from_streams(pair: Pair, client: str, upstream: str) -> None:
    async with pair.async_chat(upstream) as chat, pair.async_messages(upstream) as messages:
        for conversation in CONVERSATIONS:
            pair[upstream].behave(reply=scripted(conversation, upstream))
            if client == "openai":
                kwargs = openai_kwargs(conversation, MODEL, stream=True)
                del kwargs["stream"]
                async with chat.chat.completions.stream(**kwargs) as streamed:
                    chunks = [event.chunk async for event in streamed if event.type == "chunk"]
                    answer = completion(with_stop_reason(streamed.current_completion_snapshot, chunks))
            else:
                async with messages.messages.stream(**anthropic_kwargs(conversation, MODEL)) as spoken:
                    answer = message(await spoken.get_final_message())

            assert answer == expected_answer(conversation, client, upstream), conversation.name
            assert asked(upstream, pair[upstream].requests()[-1].json()) == expected_request(conversation)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("first", WIRES)
@pytest.mark.parametrize("client", WIRES)
def test_a_conversation_fails_over_to_a_provider_of_the_other_kind(
    pair: Pair, client: str, first: str, stream: bool
) -> None:
    """Both providers get the whole request, each in its own format."""
    second = other(first)
    (conversation,) = (each for each in CONVERSATIONS if each.name == "thinking between tools")
    pair[first].fail("error_event" if stream else "status")
    pair[second].behave(reply=scripted(conversation, second))

    answer = say(pair, client, f"{first}-first", conversation, stream=stream)

    assert read(client, answer) == expected_answer(conversation, client, second)
    for wire in WIRES:
        (received,) = pair[wire].requests()
        assert asked(wire, received.json()) == expected_request(conversation)
    assert_recorded(pair.row(), conversation, client, second)
    assert pair.row().recovered
    assert pair.attempts() == [(first, "error_in_200" if stream else "upstream_5xx"), (second, None)]


# -- what an application does with an answer -----------------------------------------------------------------------
LOOP = Conversation(
    "a loop",
    (("user", (Text("What is the weather in Paris?"),)),),
    Reply(
        "Let me look.",
        reasoning="I need the weather.",
        calls=(Call("call_paris", "get_weather", {"city": "Paris"}), Call("call_time", "get_time", {})),
        finish="tool_calls",
    ),
    tools=(
        Tool("get_weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}}),
        Tool("get_time"),
    ),
    effort="high",
    max_tokens=4096,
)
RESULTS = (Result("call_paris", "sunny"), Result("call_time", "no clock", error=True))


def go_round(pair: Pair, client: str, first: str, second: str, *, stream: bool) -> None:
    """Ask one provider, run the tools, and give another what the SDK returned, as it is."""
    if client == "openai":
        kwargs = openai_kwargs(LOOP, MODEL)
        chats = pair.chat(first).chat.completions
        if stream:
            with chats.stream(**kwargs) as streamed:
                said: Any = streamed.get_final_completion().choices[0].message
        else:
            said = chats.create(**kwargs).choices[0].message
        results = [
            {"role": "tool", "tool_call_id": result.call, "content": ("Error: " if result.error else "") + result.text}
            for result in RESULTS
        ]
        pair.chat(second).chat.completions.create(**{**kwargs, "messages": [*kwargs["messages"], said, *results]})
        return
    kwargs = anthropic_kwargs(LOOP, MODEL)
    messages = pair.messages(first).messages
    if stream:
        with messages.stream(**kwargs) as spoken:
            answer: Any = spoken.get_final_message()
    else:
        answer = messages.create(**kwargs)
    blocks = [
        {"type": "tool_result", "tool_use_id": result.call, "content": result.text, "is_error": result.error}
        for result in RESULTS
    ]
    turns = [{"role": "assistant", "content": answer.content}, {"role": "user", "content": blocks}]
    pair.messages(second).messages.create(**{**kwargs, "messages": [*kwargs["messages"], *turns]})


@pytest.mark.thorough
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("second", WIRES)
@pytest.mark.parametrize("first", WIRES)
@pytest.mark.parametrize("client", WIRES)
def test_an_answer_goes_back_as_the_sdk_returned_it_to_a_provider_of_either_kind(
    pair: Pair, client: str, first: str, second: str, stream: bool
) -> None:
    pair[first].behave(reply=scripted(LOOP, first))

    go_round(pair, client, first, second, stream=stream)

    body = pair[second].requests()[-1].json()
    heard = asked(second, body)["said"]
    thought = ("assistant", "thought", "I need the weather.")
    # A provider of Anthropic's takes no thinking but its own kind's, which has a signature.
    assert heard.count(thought) == (0 if (first, second) == ("openai", "anthropic") else 1)
    assert [said for said in heard if said != thought] == [
        ("user", "text", "What is the weather in Paris?"),
        ("assistant", "text", "Let me look."),
        ("assistant", "call", "call_paris", "get_weather", {"city": "Paris"}),
        ("assistant", "call", "call_time", "get_time", {}),
        ("tool", "call_paris", "sunny", False),
        ("tool", "call_time", "no clock", True),
    ]
    if (first, second) == ("anthropic", "anthropic"):
        assert body["messages"][1]["content"][0]["signature"] == SIGNATURE


class Place(BaseModel):
    city: str


@pytest.mark.thorough
@pytest.mark.parametrize("upstream", WIRES)
@pytest.mark.parametrize("client", WIRES)
def test_a_structured_answer_parses_into_the_callers_class(pair: Pair, client: str, upstream: str) -> None:
    pair[upstream].behave(reply={"text": '{"city": "Ulm"}'})

    if client == "openai":
        chats = pair.chat(upstream).chat.completions
        whole: Any = chats.parse(model=MODEL, messages=HELLO, response_format=Place).choices[0].message.parsed
        with chats.stream(model=MODEL, messages=HELLO, response_format=Place) as streamed:
            final: Any = streamed.get_final_completion().choices[0].message.parsed
    else:
        messages = pair.messages(upstream).messages
        ask: Any = {"model": MODEL, "max_tokens": 64, "messages": HELLO, "output_format": Place}
        whole = messages.parse(**ask).parsed_output
        with messages.stream(**ask) as spoken:
            final = spoken.get_final_message().parsed_output

    assert whole == final == Place(city="Ulm")
    for request in pair[upstream].requests():
        assert asked(upstream, {"tools": [], **request.json()})["schema"]["required"] == ["city"]


@pytest.mark.thorough
@pytest.mark.parametrize("upstream", WIRES)
def test_a_tool_made_of_a_class_is_called_with_its_arguments(pair: Pair, upstream: str) -> None:
    call = Call("call_1", "Place", {"city": "Ulm"})
    pair[upstream].behave(reply=scripted(Conversation("", (), Reply(calls=(call,), finish="tool_calls")), upstream))
    tools = [openai.pydantic_function_tool(Place)]

    with pair.chat(upstream).chat.completions.stream(model=MODEL, messages=HELLO, tools=tools) as streamed:
        (made,) = streamed.get_final_completion().choices[0].message.tool_calls or ()

    assert (made.id, made.function.parsed_arguments) == ("call_1", Place(city="Ulm"))
