"""The official Anthropic SDK through a real gateway: it reads what the upstream said, and history says the same.
Resource by resource: ``test_sdk_anthropic_resources``; what goes wrong: ``test_sdk_errors``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

from tests.gateways import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.lab import Lab

#: The whole client library, and processes to talk to.
pytestmark = pytest.mark.thorough

MESSAGES: Any = [{"role": "user", "content": "hello"}]


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    return f"event: {kind}\ndata: {data}\n\n".encode()


@pytest.fixture
def client(lab: Lab) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        api_key=KEY, base_url=lab.gateway.url, max_retries=0, timeout=10, _strict_response_validation=True
    ) as made:
        yield made


def test_messages(lab: Lab, client: anthropic.Anthropic) -> None:
    only = lab.provider("anthropic", models={"claude": "acme-claude"})
    lab.publish(only)
    only.behave(text="the line is clear", cached_tokens=1)

    message = client.messages.create(model="claude", max_tokens=64, messages=MESSAGES)

    assert message.content[0].type == "text"
    assert message.content[0].text == "the line is clear"
    row = lab.row()
    assert (row.operation, row.model, row.wire) == ("messages", "acme-claude", "anthropic")
    assert row.output_tokens == message.usage.output_tokens
    read = message.usage.cache_read_input_tokens or 0
    assert (row.input_tokens, row.cached_tokens) == (message.usage.input_tokens + read, read)


def test_the_credential_and_the_version_reach_the_upstream(lab: Lab, client: anthropic.Anthropic) -> None:
    only = lab.provider("anthropic", credential="sk-ant-acme")
    lab.publish(only)

    client.messages.create(model="claude", max_tokens=64, messages=MESSAGES)

    received = only.requests()[0]
    assert received.header("x-api-key") == "sk-ant-acme"
    assert received.header("anthropic-version")
    assert KEY not in str(received.headers)


def test_the_bytes_of_a_stream_are_the_upstreams_event_for_event(lab: Lab, client: anthropic.Anthropic) -> None:
    only = lab.provider("anthropic")
    lab.publish(only)
    body = b"".join(
        [
            event("message_start", message={"usage": {"input_tokens": 3, "output_tokens": 1}}),
            event("ping"),
            event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": "h\u00e9"}).replace(
                b"\n", b"\r\n"
            ),
            event("future_event", payload=[1, None]),
            event("content_block_stop", index=0),
            event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
            event("message_stop"),
        ]
    )
    only.fail("status", status=200, content_type="text/event-stream; charset=utf-8", body=body.decode())

    with client.messages.with_streaming_response.create(
        model="claude", max_tokens=64, messages=MESSAGES, stream=True
    ) as response:
        received = b"".join(response.iter_bytes())

    assert received == body
    assert (lab.row().input_tokens, lab.row().output_tokens) == (3, 2)


def test_count_tokens(lab: Lab, client: anthropic.Anthropic) -> None:
    lab.publish(lab.provider("anthropic"))

    counted = client.messages.count_tokens(model="claude", messages=MESSAGES)

    assert counted.input_tokens > 0
    row = lab.row()
    assert (row.operation, row.status, row.output_tokens, row.cost_micro_usd) == ("count_tokens", "routed", None, None)


def test_our_own_errors_are_the_sdks_too(lab: Lab, client: anthropic.Anthropic) -> None:
    only = lab.provider("anthropic", models={"claude": "claude"})
    lab.publish(only, same_target_retries=0)

    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.create(model="other", max_tokens=64, messages=MESSAGES)
    only.fail("rate_limited", retry_after=30)
    with pytest.raises(anthropic.RateLimitError) as limited:
        client.messages.create(model="claude", max_tokens=64, messages=MESSAGES)

    assert unknown.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    assert limited.value.body["error"]["code"] == "rate_limited"  # type: ignore[index]
    assert limited.value.body["request_id"] == limited.value.response.headers["x-route-id"]  # type: ignore[index]


def test_a_stream_that_lacks_its_terminator_raises_in_the_client(lab: Lab, client: anthropic.Anthropic) -> None:
    only = lab.provider("anthropic")
    lab.publish(only)
    only.fail("no_done")
    seen: list[Any] = []

    with pytest.raises(anthropic.APIStatusError, match="cut off"):
        seen.extend(client.messages.create(model="claude", max_tokens=64, messages=MESSAGES, stream=True))

    assert len(seen) >= 3
    assert lab.row().status == "failed"


def test_a_failed_provider_is_not_noticed_by_the_sdk(lab: Lab, client: anthropic.Anthropic) -> None:
    first, second = lab.provider("anthropic"), lab.provider("anthropic")
    lab.publish(first, second)
    first.fail("status", status=529)

    message = client.messages.with_raw_response.create(model="claude", max_tokens=64, messages=MESSAGES)

    assert message.headers["x-route-provider"] == second.slug
    assert message.parse().content
