"""The official Anthropic SDK, strict about types, directly against the simulated upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators import ProviderHandle

HELLO: Any = [{"role": "user", "content": "hello"}]
TOOL: Any = {
    "name": "get_weather",
    "description": "The weather somewhere.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
        "required": ["city"],
    },
}


def root(provider: ProviderHandle) -> str:
    """This SDK adds `/v1` by itself."""
    return provider.base_url.removesuffix("/v1")


@pytest.fixture
def client(claudia: ProviderHandle) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        api_key="k", base_url=root(claudia), max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def test_a_message_names_the_provider_and_counts_its_tokens(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="claude", max_tokens=64, messages=HELLO)

    assert answer.content[0].type == "text"
    assert answer.content[0].text.startswith("claudia ")
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens == 16


def test_a_token_limit_cuts_the_message_and_says_so(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="claude", max_tokens=3, messages=HELLO)

    assert answer.stop_reason == "max_tokens"
    assert answer.usage.output_tokens == 3


def test_a_streamed_message_has_the_documented_events_and_the_same_words(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(model="claude", max_tokens=64, messages=HELLO)
    kinds = [event.type for event in client.messages.create(model="claude", max_tokens=64, messages=HELLO, stream=True)]
    with client.messages.stream(model="claude", max_tokens=64, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert list(dict.fromkeys(kinds)) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert whole.content[0].type == "text"
    assert text == whole.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.stop_reason == "end_turn"


def test_offered_tools_are_used_whole_and_streamed(client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model="claude", max_tokens=64, messages=HELLO, tools=[TOOL])
    with client.messages.stream(model="claude", max_tokens=64, messages=HELLO, tools=[TOOL]) as stream:
        final = stream.get_final_message()

    assert answer.stop_reason == final.stop_reason == "tool_use"
    for message in (answer, final):
        block = message.content[0]
        assert block.type == "tool_use"
        assert block.name == "get_weather"
        assert block.input == {"city": "claudia", "days": 2}


def test_a_tools_result_is_answered_in_words(client: anthropic.Anthropic) -> None:
    used = client.messages.create(model="claude", max_tokens=64, messages=HELLO, tools=[TOOL])
    assert used.content[0].type == "tool_use"
    result: Any = {"type": "tool_result", "tool_use_id": used.content[0].id, "content": "sunny"}
    history: Any = [*HELLO, {"role": "assistant", "content": used.content}, {"role": "user", "content": [result]}]

    answer = client.messages.create(model="claude", max_tokens=64, messages=history, tools=[TOOL])

    assert answer.stop_reason == "end_turn"


def test_thinking_comes_before_the_text_whole_and_streamed(client: anthropic.Anthropic) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    answer = client.messages.create(model="claude", max_tokens=2048, messages=HELLO, thinking=thinking)
    with client.messages.stream(model="claude", max_tokens=2048, messages=HELLO, thinking=thinking) as stream:
        final = stream.get_final_message()

    for message in (answer, final):
        assert [block.type for block in message.content] == ["thinking", "text"]
        assert message.content[0].type == "thinking"
        assert message.content[0].signature


def test_tokens_are_counted_as_a_message_counts_them(client: anthropic.Anthropic) -> None:
    question: Any = [{"role": "user", "content": [{"type": "text", "text": "word " * 100}]}]
    counted = client.messages.count_tokens(model="claude", system="be kind", messages=question, tools=[TOOL])
    message = client.messages.create(model="claude", max_tokens=9, system="be kind", messages=question, tools=[TOOL])

    assert counted.input_tokens == message.usage.input_tokens > 100


def test_models_are_listed_and_looked_up(client: anthropic.Anthropic, claudia: ProviderHandle) -> None:
    claudia.behave(models=["claude-a", "claude-b"])

    assert [model.id for model in client.models.list()] == ["claude-a", "claude-b"]
    assert client.models.retrieve("claude-b").display_name == "claude-b (claudia)"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-c")


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (402, anthropic.APIStatusError, "billing_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.APIStatusError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.InternalServerError, "overloaded_error"),
    ],
)
def test_error_statuses_become_the_sdks_own_exceptions(
    client: anthropic.Anthropic,
    claudia: ProviderHandle,
    status: int,
    kind: type[anthropic.APIStatusError],
    word: str,
) -> None:
    claudia.fail("status", status=status, message="so it goes")

    with pytest.raises(kind, match="so it goes") as caught:
        client.messages.create(model="claude", max_tokens=9, messages=HELLO)

    assert caught.value.status_code == status
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == word


def test_an_honest_provider_refuses_what_is_missing_or_wrong(
    client: anthropic.Anthropic, claudia: ProviderHandle
) -> None:
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        client.messages.create(model="claude", max_tokens=9, messages=[])
    claudia.behave(credential="sk-ant-right")
    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(model="claude", max_tokens=9, messages=HELLO)
    assert client.with_options(api_key="sk-ant-right").messages.create(model="c", max_tokens=9, messages=HELLO).id


def test_a_content_filter_may_refuse_in_an_answer_or_instead_of_one(
    client: anthropic.Anthropic, claudia: ProviderHandle
) -> None:
    claudia.fail("content_filter")
    with pytest.raises(anthropic.BadRequestError, match="content filtering"):
        client.messages.create(model="claude", max_tokens=9, messages=HELLO)

    claudia.fail("content_filter", form="answer")
    assert client.messages.create(model="claude", max_tokens=9, messages=HELLO).stop_reason == "refusal"
    with client.messages.stream(model="claude", max_tokens=9, messages=HELLO) as stream:
        assert stream.get_final_message().stop_reason == "refusal"


def test_an_error_event_in_a_stream_is_raised_by_the_sdk(client: anthropic.Anthropic, claudia: ProviderHandle) -> None:
    claudia.fail("error_event", after_events=2)

    with (
        pytest.raises(anthropic.APIStatusError, match="overloaded_error"),
        client.messages.stream(model="claude", max_tokens=64, messages=HELLO) as stream,
    ):
        stream.get_final_message()


async def test_the_asynchronous_client_streams_too(claudia: ProviderHandle) -> None:
    async with (
        anthropic.AsyncAnthropic(api_key="k", base_url=root(claudia), max_retries=0) as client,
        client.messages.stream(model="claude", max_tokens=64, messages=HELLO) as stream,
    ):
        text = [part async for part in stream.text_stream]

    assert "".join(text).startswith("claudia ")
