"""The official OpenAI SDK through a real gateway: it reads what the upstream said, and history says the same.
Resource by resource: ``test_sdk_openai_resources``; what goes wrong: ``test_sdk_errors``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.gateway.lab import events
from tests.gateways import KEY, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.lab import Lab

#: The whole client library, and processes to talk to.
pytestmark = pytest.mark.thorough

MESSAGES: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(lab: Lab) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key=KEY, base_url=f"{lab.gateway.url}/v1", max_retries=0, timeout=10, _strict_response_validation=True
    ) as made:
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


async def test_a_realtime_session(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second)
    first.fail("status", status=500)
    second.behave(text="one two three")
    base = f"ws://127.0.0.1:{lab.gateway.port}/v1"
    async with (
        openai.AsyncOpenAI(api_key=KEY, websocket_base_url=base) as client,
        client.realtime.connect(model="gpt-4o") as session,
    ):
        await session.response.create()
        heard = []
        async for event in session:
            heard.append(event)
            if event.type == "response.done":
                break

    told = "".join(event.delta for event in heard if event.type == "response.output_text.delta")
    assert told == "one two three"
    usage = heard[-1].response.usage
    row = wait_until(lab.gateway.finished)[0]
    assert (row.status, row.provider, row.attempt_count) == ("routed", second.slug, 2)
    assert (row.input_tokens, row.output_tokens) == (usage.input_tokens, usage.output_tokens)
