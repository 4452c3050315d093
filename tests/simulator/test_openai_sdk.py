"""The official OpenAI SDK, strict about types, directly against the simulated upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators import ProviderHandle

HELLO: Any = [{"role": "user", "content": "hello"}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "kelvin"]}},
            "required": ["city"],
        },
    },
}
RESPONSES_TOOL: Any = {"type": "function", **TOOL["function"], "strict": None}


@pytest.fixture
def client(acme: ProviderHandle) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=acme.base_url, max_retries=0, _strict_response_validation=True) as client:
        yield client


def test_a_chat_names_the_provider_and_counts_its_tokens(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO)

    assert (answer.choices[0].message.content or "").startswith("acme ")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "gpt-4o"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 16
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 16


def test_the_same_prompt_gets_the_same_words_and_another_prompt_others(client: openai.OpenAI) -> None:
    def said(prompt: str) -> str | None:
        answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": prompt}])
        return answer.choices[0].message.content

    assert said("one") == said("one")
    assert said("one") != said("two")


def test_a_token_limit_cuts_the_answer_and_says_so(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, max_completion_tokens=3)

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


def test_a_streamed_chat_says_what_the_whole_one_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="gpt-4o", messages=HELLO)
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_usage_comes_last_and_only_when_asked_for(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )

    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 16
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_several_choices_are_answered_and_streamed(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, n=2)
    chunks = list(client.chat.completions.create(model="gpt-4o", messages=HELLO, n=2, stream=True))

    assert [choice.index for choice in answer.choices] == [0, 1]
    assert [chunk.choices[0].index for chunk in chunks if chunk.choices[0].finish_reason] == [0, 1]


def test_offered_tools_are_called_with_arguments_that_fit(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO, tools=[TOOL])

    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    assert calls[0].function.arguments == '{"city":"acme","unit":"celsius"}'


def test_a_tools_result_is_answered_in_words(client: openai.OpenAI) -> None:
    call = client.chat.completions.create(model="gpt-4o", messages=HELLO, tools=[TOOL]).choices[0].message
    assert call.tool_calls is not None
    history: Any = [*HELLO, call, {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "sunny"}]

    answer = client.chat.completions.create(model="gpt-4o", messages=history, tools=[TOOL])

    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content


def test_tool_calls_stream_in_parts_that_the_sdk_puts_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="gpt-4o", messages=HELLO, tools=[TOOL]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()

    assert "tool_calls.function.arguments.delta" in kinds
    assert kinds[-1] == "tool_calls.function.arguments.done" or "tool_calls.function.arguments.done" in kinds
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.arguments == '{"city":"acme","unit":"celsius"}'


class Reply(BaseModel):
    city: str
    degrees: int


def test_a_structured_answer_parses_into_the_callers_class(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=Reply)

    assert answer.choices[0].message.parsed == Reply(city="acme", degrees=1)


def test_plain_completions_answer_and_stream(client: openai.OpenAI, acme: ProviderHandle) -> None:
    model, prompt = "gpt-3.5-turbo-instruct", "hello"
    whole = client.completions.create(model=model, prompt=prompt, max_tokens=4)
    # Until the last chunk the finish reason is null on the real wire, which the SDK's type has no room for.
    with openai.OpenAI(api_key="k", base_url=acme.base_url, max_retries=0) as lenient:
        chunks = list(lenient.completions.create(model=model, prompt=prompt, max_tokens=4, stream=True))

    assert whole.choices[0].finish_reason == "length"
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_response_answers_with_text_and_usage(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="gpt-4o", input="hello")

    assert answer.output_text.startswith("acme ")
    assert answer.status == "completed"
    assert answer.usage is not None
    assert answer.usage.output_tokens == 16


def test_a_response_cut_by_its_limit_is_incomplete(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="gpt-4o", input="hello", max_output_tokens=2)
    events = list(client.responses.create(model="gpt-4o", input="hello", max_output_tokens=2, stream=True))

    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert events[-1].type == "response.incomplete"


def test_a_streamed_response_has_the_documented_events_in_order(client: openai.OpenAI) -> None:
    with client.responses.stream(model="gpt-4o", input="hello") as stream:
        events = list(stream)
        final = stream.get_final_response()

    kinds = [event.type for event in events]
    assert list(dict.fromkeys(kinds)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text == client.responses.create(model="gpt-4o", input="hello").output_text


def test_a_response_calls_an_offered_function(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="gpt-4o", input="hello", tools=[RESPONSES_TOOL])
    with client.responses.stream(model="gpt-4o", input="hello", tools=[RESPONSES_TOOL]) as stream:
        kinds = {event.type for event in stream}

    assert answer.output[0].type == "function_call"
    assert answer.output[0].arguments == '{"city":"acme","unit":"celsius"}'
    assert {"response.function_call_arguments.delta", "response.function_call_arguments.done"} <= kinds


def test_embeddings_are_the_same_numbers_in_both_encodings(client: openai.OpenAI, acme: ProviderHandle) -> None:
    floats = client.embeddings.create(model="e", input=["one", "two"], dimensions=8, encoding_format="float")
    # Unasked, the SDK sends encoding_format base64 and decodes; its strict mode refuses its own form.
    with openai.OpenAI(api_key="k", base_url=acme.base_url, max_retries=0) as lenient:
        packed = lenient.embeddings.create(model="e", input=["one", "two"], dimensions=8)

    assert acme.requests()[-1].json()["encoding_format"] == "base64"
    assert [one.embedding for one in packed.data] == [one.embedding for one in floats.data]
    assert len(floats.data[0].embedding) == 8
    assert floats.data[0].embedding != floats.data[1].embedding


def test_embeddings_take_token_numbers(client: openai.OpenAI) -> None:
    one = client.embeddings.create(model="e", input=[1, 2, 3], encoding_format="float")
    several = client.embeddings.create(model="e", input=[[1, 2, 3], [4]], encoding_format="float")

    assert len(one.data) == 1
    assert len(one.data[0].embedding) == 1536
    assert several.data[0].embedding == one.data[0].embedding
    assert len(several.data) == 2


def test_models_are_listed_and_looked_up(client: openai.OpenAI, acme: ProviderHandle) -> None:
    acme.behave(models=["gpt-4o", "org/model"])

    assert [model.id for model in client.models.list()] == ["gpt-4o", "org/model"]
    assert client.models.retrieve("org/model").owned_by == "acme"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.models.retrieve("other")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (402, openai.APIStatusError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (502, openai.InternalServerError),
        (503, openai.InternalServerError),
        (504, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
def test_error_statuses_become_the_sdks_own_exceptions(
    client: openai.OpenAI, acme: ProviderHandle, status: int, kind: type[openai.APIStatusError]
) -> None:
    acme.fail("status", status=status, message="so it goes")

    with pytest.raises(kind, match="so it goes") as caught:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)

    assert caught.value.status_code == status
    assert caught.value.request_id


def test_an_honest_provider_refuses_what_is_missing_or_wrong(client: openai.OpenAI, acme: ProviderHandle) -> None:
    with pytest.raises(openai.BadRequestError, match="messages") as caught:
        client.chat.completions.create(model="gpt-4o", messages=[])
    assert caught.value.param == "messages"
    with pytest.raises(openai.BadRequestError, match="model"):
        client.chat.completions.create(model="", messages=HELLO)
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        client.files.list()

    acme.behave(models=["gpt-4o"])
    with pytest.raises(openai.NotFoundError) as caught_model:
        client.chat.completions.create(model="gpt-5", messages=HELLO)
    assert caught_model.value.code == "model_not_found"


def test_a_wrong_key_is_refused_and_the_right_one_served(client: openai.OpenAI, acme: ProviderHandle) -> None:
    acme.behave(credential="sk-right")

    with pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)

    assert caught.value.code == "invalid_api_key"
    assert client.with_options(api_key="sk-right").chat.completions.create(model="gpt-4o", messages=HELLO).id


def test_a_content_filter_may_refuse_in_an_answer_or_instead_of_one(
    client: openai.OpenAI, acme: ProviderHandle
) -> None:
    acme.fail("content_filter")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert caught.value.code == "content_filter"

    acme.fail("content_filter", form="answer")
    answer = client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.choices[0].finish_reason == "content_filter"
    response = client.responses.create(model="gpt-4o", input="hello")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "content_filter"


def test_an_error_event_in_a_stream_is_raised_by_the_sdk(client: openai.OpenAI, acme: ProviderHandle) -> None:
    acme.fail("error_event", after_events=2)

    got = []
    with pytest.raises(openai.APIError, match="Overloaded"):
        got.extend(client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True))


async def test_the_asynchronous_client_streams_too(acme: ProviderHandle) -> None:
    async with openai.AsyncOpenAI(
        api_key="k", base_url=acme.base_url, max_retries=0, _strict_response_validation=True
    ) as client:
        stream = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert "".join(said).startswith("acme ")
