"""The official OpenAI SDK through a real gateway: what it reads is what the upstream said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.gateway.lab import events
from tests.gateways import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.lab import Lab

#: The whole client library, and processes to talk to.
pytestmark = pytest.mark.slow

MESSAGES: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(lab: Lab) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=KEY, base_url=f"{lab.gateway.url}/v1", max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
async def async_client(lab: Lab) -> Any:
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{lab.gateway.url}/v1", max_retries=0, timeout=10) as made:
        yield made


def test_chat(lab: Lab, client: openai.OpenAI) -> None:
    only = lab.provider()
    lab.publish(only)
    only.behave(text="the points are set", cached_tokens=1)

    completion = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    assert completion.choices[0].message.content == "the points are set"
    assert completion.usage is not None
    row = lab.row()
    assert (row.input_tokens, row.output_tokens) == (completion.usage.prompt_tokens, completion.usage.completion_tokens)
    assert row.cached_tokens == 1


def test_a_chat_stream_with_usage(lab: Lab, client: openai.OpenAI) -> None:
    only = lab.provider()
    lab.publish(only)
    only.behave(text="one two three")

    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
    assert chunks[-1].usage is not None
    assert lab.row().output_tokens == chunks[-1].usage.completion_tokens


async def test_the_async_client_streams(lab: Lab, async_client: openai.AsyncOpenAI) -> None:
    lab.publish(lab.provider())

    stream = await async_client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    finish = [chunk.choices[0].finish_reason async for chunk in stream if chunk.choices]

    assert finish[-1] == "stop"


def test_the_bytes_of_a_stream_are_the_upstreams_event_for_event(lab: Lab, client: openai.OpenAI) -> None:
    only = lab.provider()
    lab.publish(only)
    choice = {"index": 0, "delta": {"content": "h\u00e9"}, "finish_reason": None}
    body = b"".join(
        [
            b": OPENROUTER PROCESSING\n\n",
            b'data:  {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\r\n\r\n',
            b"data: " + json.dumps({"choices": [choice]}, indent=None).encode() + b"\n\n",
            b'id: 4\ndata: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_odd":1.0}\n\n',
            b"data: [DONE]\n\n",
        ]
    )
    only.fail("status", status=200, content_type="text/event-stream", body=body.decode())

    with client.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=MESSAGES, stream=True
    ) as response:
        received = b"".join(response.iter_bytes())

    assert received == body


def test_completions(lab: Lab, client: openai.OpenAI) -> None:
    only = lab.provider()
    lab.publish(only)
    only.behave(text="said")

    whole = client.completions.create(model="gpt-4o", prompt="say")
    streamed = list(client.completions.create(model="gpt-4o", prompt="say", stream=True))

    assert whole.choices[0].text == "said"
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == "said"
    assert [row.operation for row in lab.gateway.finished()] == ["completion", "completion"]


def test_responses(lab: Lab, client: openai.OpenAI) -> None:
    only = lab.provider()
    lab.publish(only)
    only.behave(text="set for platform two")

    whole = client.responses.create(model="gpt-4o", input="which platform?")
    with client.responses.stream(model="gpt-4o", input="which platform?") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()

    assert whole.output_text == final.output_text == "set for platform two"
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert whole.usage is not None
    assert [row.output_tokens for row in lab.gateway.finished()] == [whole.usage.output_tokens] * 2


def test_embeddings(lab: Lab, client: openai.OpenAI) -> None:
    only = lab.provider(models={"text-embedding-3-small": "acme-embed"})
    lab.publish(only)

    answer = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])

    assert len(answer.data) == 2
    assert isinstance(answer.data[0].embedding[0], float)
    row = lab.row()
    assert (row.operation, row.model, row.input_tokens, row.output_tokens) == (
        "embedding",
        "acme-embed",
        answer.usage.prompt_tokens,
        0,
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
    ],
)
def test_the_clients_own_errors_keep_their_class(
    lab: Lab, client: openai.OpenAI, status: int, kind: type[openai.APIStatusError]
) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("status", status=status, message="no such thing", code="nope")

    with pytest.raises(kind) as caught:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    assert caught.value.code == "nope"
    assert "no such thing" in str(caught.value)


def test_our_own_errors_are_the_sdks_too(lab: Lab, client: openai.OpenAI) -> None:
    only = lab.provider(models={"gpt-4o": "gpt-4o"})
    lab.publish(only, same_target_retries=0)

    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-9", messages=MESSAGES)
    only.fail("rate_limited", retry_after=30)
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    assert unknown.value.code == "model_not_found"
    assert limited.value.code == "rate_limited"
    assert int(limited.value.response.headers["retry-after"]) <= 30


def test_an_unavailable_upstream_is_an_internal_server_error(lab: Lab, client: openai.OpenAI) -> None:
    only = lab.provider()
    lab.publish(only, same_target_retries=0)
    only.stop()

    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    assert caught.value.code == "all_targets_failed"


@pytest.mark.faults
def test_the_sdk_does_not_retry_what_was_tried_twice(lab: Lab, client: openai.OpenAI) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second, same_target_retries=0)
    for each in (first, second):
        each.fail("status", status=500)

    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=2).chat.completions.create(model="gpt-4o", messages=MESSAGES)

    assert (first.count, second.count) == (1, 1)


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["cut_mid_stream", "reset_mid_stream", "end_without_terminator"])
@pytest.mark.parametrize("operation", ["chat", "responses"])
def test_a_stream_cut_upstream_raises_in_the_client(
    lab: Lab, client: openai.OpenAI, operation: str, fault: str
) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail(fault, after_events=3)
    seen: list[Any] = []

    with pytest.raises(openai.APIError, match="cut off"):  # noqa: PT012 - the error comes while iterating
        stream: Any = (
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
            if operation == "chat"
            else client.responses.create(model="gpt-4o", input="hello", stream=True)
        )
        seen.extend(stream)

    assert len(seen) >= 3
    assert lab.row().status == "failed"


@pytest.mark.faults
def test_a_failed_provider_is_not_noticed_by_the_sdk(lab: Lab, client: openai.OpenAI) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second)
    first.fail("error_event")

    with client.chat.completions.with_streaming_response.create(
        model="gpt-4o", messages=MESSAGES, stream=True
    ) as response:
        body = b"".join(response.iter_bytes())

    assert response.headers["x-route-provider"] == second.slug
    assert events(body)[-1] == b"data: [DONE]\n\n"


def test_the_stream_options_of_the_client_reach_the_upstream_unchanged(lab: Lab, client: openai.OpenAI) -> None:
    only = lab.provider()
    lab.publish(only)

    list(client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True, extra_body={"odd": [1, None]}))

    document = only.requests()[0].json()
    assert document["odd"] == [1, None]
    assert "stream_options" not in document
