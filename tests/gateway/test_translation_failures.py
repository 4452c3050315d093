"""What goes wrong between a client of one kind and a provider of the other, as the official SDKs see it: their own
exception classes with the upstream's words, refused fields by name, streams that end in their own error."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import anthropic
import openai
import pytest

from tests.gateway.pair import HELLO, MODEL, UPSTREAM_MODEL, WIRES, Pair, other

#: The whole client library, and processes to talk to.
pytestmark = pytest.mark.thorough

SDKS: dict[str, Any] = {"openai": openai, "anthropic": anthropic}


# -- errors of the upstream --------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "BadRequestError"),
        (404, "NotFoundError"),
        (409, "ConflictError"),
        (413, "APIStatusError"),
        (418, "APIStatusError"),
        (422, "UnprocessableEntityError"),
        (501, "InternalServerError"),
    ],
)
@pytest.mark.parametrize("client", WIRES)
def test_an_error_of_the_other_kind_is_the_clients_own_with_the_upstreams_words(
    pair: Pair, client: str, status: int, kind: str, stream: bool
) -> None:
    upstream = other(client)
    pair[upstream].fail("status", status=status, message="the points are frozen")

    with pytest.raises(getattr(SDKS[client], kind), match="the points are frozen") as caught:
        pair.ask(client, upstream, stream=stream)

    assert caught.value.status_code == status
    assert (caught.value.request_id or "").startswith("req_")
    error = caught.value.body if client == "openai" else caught.value.body["error"]
    assert error["message"] == "the points are frozen"
    assert error["type"]
    if client == "anthropic":
        assert caught.value.body["type"] == "error"
    assert pair[upstream].count() == 1
    assert pair.attempts() == [(upstream, "client_error" if status < 500 else "upstream_5xx")]


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "", '{"detail": "no"}', "[]", '{"error": "no"}'])
@pytest.mark.parametrize("client", WIRES)
def test_an_error_that_is_no_document_of_its_format_becomes_one_of_the_clients(
    pair: Pair, client: str, body: str
) -> None:
    upstream = other(client)
    pair[upstream].fail("status", status=422, body=body, content_type="text/html")

    with pytest.raises(SDKS[client].UnprocessableEntityError) as caught:
        pair.ask(client, upstream)

    error: Any = caught.value.body if client == "openai" else caught.value.body["error"]
    assert error["message"] == ("no" if "no" in body else "the upstream answered with HTTP 422 and no message")
    assert caught.value.response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("client", WIRES)
def test_a_context_that_is_too_long_for_the_other_kind_is_told_as_such(pair: Pair, client: str) -> None:
    upstream = other(client)
    pair[upstream].fail("context_length")

    with pytest.raises(SDKS[client].BadRequestError, match=r"too long|maximum context length") as caught:
        pair.ask(client, upstream)

    if client == "openai":
        assert caught.value.code == "context_length_exceeded"
    assert pair.attempts() == [(upstream, "context_length")]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", WIRES)
def test_a_rate_limit_of_the_other_kind_is_the_clients_rate_limit(pair: Pair, client: str, stream: bool) -> None:
    upstream = other(client)
    pair[upstream].fail("rate_limited", retry_after=20)
    model = f"limited-{client}-{stream}"

    with pytest.raises(SDKS[client].RateLimitError) as caught:
        pair.ask(client, upstream, stream=stream, model=model)

    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 20
    assert pair.attempts() == [(upstream, "rate_limited")]


# -- streams that go wrong -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["cut_mid_stream", "reset_mid_stream", "end_without_terminator"])
@pytest.mark.parametrize("client", WIRES)
def test_a_translated_stream_that_is_cut_raises_in_the_client(pair: Pair, client: str, fault: str) -> None:
    upstream = other(client)
    pair[upstream].fail(fault, after_events=3)
    said: list[str] = []

    with pytest.raises(SDKS[client].APIError, match="cut off"):
        read_text(pair, client, upstream, said)

    assert len(said) == 3
    row = pair.row()
    assert (row.status, row.provider, row.attempt_count) == ("failed", upstream, 1)
    assert row.error_code == ("truncated" if fault == "end_without_terminator" else "reset_midstream")
    assert row.output_tokens


@pytest.mark.parametrize("client", WIRES)
def test_an_error_event_in_a_translated_stream_raises_with_the_upstreams_words(pair: Pair, client: str) -> None:
    upstream = other(client)
    pair[upstream].fail("error_event", after_events=3, message="the frame is overloaded")
    said: list[str] = []

    with pytest.raises(SDKS[client].APIError, match="the frame is overloaded"):
        read_text(pair, client, upstream, said)

    assert len(said) == 3
    assert (pair.row().status, pair.row().error_code) == ("failed", "error_in_200")


@pytest.mark.parametrize("client", WIRES)
def test_a_malformed_event_in_a_translated_stream_costs_no_other(pair: Pair, client: str) -> None:
    upstream = other(client)
    pair[upstream].behave(text="one two three four")
    pair[upstream].fail("malformed_event", after_events=2)
    said: list[str] = []

    read_text(pair, client, upstream, said)

    assert "".join(said) == "one two three four"
    assert pair.row().status == "routed"


def read_text(pair: Pair, client: str, profile: str, said: list[str]) -> None:
    """Stream an answer, its pieces of text into ``said``."""
    if client == "openai":
        for chunk in pair.chat(profile).chat.completions.create(model=MODEL, messages=HELLO, stream=True):
            said += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        return
    with pair.messages(profile).messages.stream(model=MODEL, max_tokens=64, messages=HELLO) as stream:
        said.extend(stream.text_stream)


@pytest.mark.parametrize(
    "behaviour",
    [{"chunk_bytes": 5}, {"newline": "crlf"}, {"newline": "cr", "chunk_bytes": 3}, {"faults": ["gzip"]}],
    ids=str,
)
@pytest.mark.parametrize("client", WIRES)
def test_how_a_stream_is_cut_into_pieces_and_packed_changes_nothing(
    pair: Pair, client: str, behaviour: dict[str, Any]
) -> None:
    upstream = other(client)
    pair[upstream].behave(text="one two Größe 🚂 four", **behaviour)
    said: list[str] = []

    read_text(pair, client, upstream, said)

    assert said == ["one", " two", " Größe", " 🚂", " four"]


@pytest.mark.parametrize("client", WIRES)
def test_a_packed_answer_is_unpacked_to_be_translated(pair: Pair, client: str) -> None:
    pair[other(client)].fail("gzip")

    assert pair.ask(client, other(client)).id


def test_openais_missing_done_is_no_cut_for_a_messages_client(pair: Pair) -> None:
    """A finish reason and the end of the body are a whole answer, whatever the client speaks."""
    pair.openai.fail("no_done")

    events = pair.ask("anthropic", "openai", stream=True)

    assert events[-1].type == "message_stop"
    assert pair.row().status == "routed"


def test_anthropics_missing_end_is_a_cut_for_a_chat_client(pair: Pair) -> None:
    pair.anthropic.fail("no_done")

    with pytest.raises(openai.APIError, match="cut off"):
        pair.ask("openai", "anthropic", stream=True)

    assert pair.row().status == "failed"


@pytest.mark.parametrize(
    ("fault", "stream", "error"),
    [
        ("error_in_200", False, "error_in_200"),
        ("html_in_200", False, "invalid_response"),
        ("invalid_json", False, "invalid_response"),
        ("cut_json", False, "invalid_response"),
        ("cut_mid_body", False, "truncated"),
        ("error_in_200", True, "error_in_200"),
        ("html_in_200", True, "invalid_response"),
        ("ignore_stream", True, "invalid_response"),
    ],
)
@pytest.mark.parametrize("client", WIRES)
def test_a_broken_answer_of_the_other_kind_is_another_targets_turn(
    pair: Pair, client: str, fault: str, stream: bool, error: str
) -> None:
    upstream = other(client)
    pair[upstream].fail(fault)

    assert pair.ask(client, f"{upstream}-first", stream=stream)

    assert pair.attempts() == [(upstream, error), (client, None)]


@pytest.mark.parametrize("client", WIRES)
def test_a_client_that_leaves_a_translated_stream_cancels_it_upstream(pair: Pair, client: str) -> None:
    upstream = other(client)
    pair[upstream].behave(output_tokens=10_000, tokens_per_second=20)
    if client == "openai":
        with pair.chat(upstream).chat.completions.create(model=MODEL, messages=HELLO, stream=True) as chunks:
            next(iter(chunks))
    else:
        with pair.messages(upstream).messages.stream(model=MODEL, max_tokens=64_000, messages=HELLO) as spoken:
            next(iter(spoken.text_stream))

    pair[upstream].wait_for(lambda requests: requests[-1].disconnected)

    assert (pair.row().status, pair.attempts()) == ("cancelled", [(upstream, "cancelled")])


# -- answers that cannot be carried over ---------------------------------------------------------------------------
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
STRANGE: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {"id": "c", "choices": [CHOICE, {**CHOICE, "index": 1}]},
        {"id": "c", "choices": []},
        {"id": "c", "choices": [{**CHOICE, "message": {"role": "assistant", "audio": {"id": "a"}}}]},
    ],
    "anthropic": [
        {"id": "m", "content": [{"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}]},
        {"id": "m", "content": None},
    ],
}


@pytest.mark.parametrize(
    ("upstream", "document"), [(wire, document) for wire, documents in STRANGE.items() for document in documents]
)
def test_an_answer_that_the_client_could_not_be_told_is_another_targets_turn(
    pair: Pair, upstream: str, document: dict[str, Any]
) -> None:
    client = other(upstream)
    pair[upstream].fail("status", status=200, body=json.dumps(document))

    pair.ask(client, f"{upstream}-first")

    assert pair.attempts() == [(upstream, "invalid_response"), (client, None)]


# -- fields that cannot be carried over ----------------------------------------------------------------------------
class Refused(NamedTuple):
    client: str
    param: str
    more: dict[str, Any]


AUDIO = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
REFUSED = [
    Refused("openai", "n", {"n": 2}),
    Refused("openai", "seed", {"seed": 7}),
    Refused("openai", "logprobs", {"logprobs": True}),
    Refused("openai", "temperature", {"temperature": 1.5}),
    Refused("openai", "frequency_penalty", {"frequency_penalty": 0.5}),
    Refused("openai", "response_format.type", {"response_format": {"type": "json_object"}}),
    Refused("openai", "messages[0].content[0].input_audio", {"messages": [{"role": "user", "content": [AUDIO]}]}),
    Refused("openai", "a_field_of_tomorrow", {"extra_body": {"a_field_of_tomorrow": 1}}),
    Refused("anthropic", "top_k", {"extra_body": {"top_k": 5}}),
    Refused("anthropic", "tools[0].type", {"tools": [SEARCH]}),
    Refused("anthropic", "a_field_of_tomorrow", {"extra_body": {"a_field_of_tomorrow": 1}}),
    Refused(
        "anthropic",
        "messages[0].content[0].citations",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "a"},
                            "citations": {"enabled": True},
                        }
                    ],
                }
            ]
        },
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.client}-{case.param}")
def test_a_field_that_the_other_kind_does_not_have_is_refused_by_name(pair: Pair, case: Refused) -> None:
    upstream = other(case.client)

    with pytest.raises(SDKS[case.client].BadRequestError, match="cannot be carried over") as caught:
        pair.ask(case.client, upstream, retries=2, **case.more)

    assert f"'{case.param}'" in caught.value.message
    if case.client == "openai":
        assert (caught.value.param, caught.value.code) == (case.param, "unsupported_field")
    else:
        assert caught.value.body["error"]["code"] == "unsupported_field"
    assert pair[upstream].count() == 0
    row = pair.row()
    assert (row.status, row.error_code, row.attempts) == ("rejected", "unsupported_field", [])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.client}-{case.param}")
def test_a_target_that_can_be_told_the_field_is_used_instead(pair: Pair, case: Refused, stream: bool) -> None:
    client, upstream = case.client, other(case.client)
    sdk: Any = pair.chat(f"{upstream}-first") if client == "openai" else pair.messages(f"{upstream}-first")
    resource = sdk.chat.completions if client == "openai" else sdk.messages
    arguments: dict[str, Any] = {"model": MODEL, "messages": HELLO, "max_tokens": 64, "stream": stream, **case.more}

    raw = resource.with_raw_response.create(**arguments)

    assert raw.headers["x-route-provider"] == client
    assert raw.headers["x-route-attempts"] == "1"
    answer = raw.parse()
    if stream:
        assert list(answer)
    assert (pair[client].count(), pair[upstream].count()) == (1, 0)
    (received,) = pair[client].requests()
    expected = {**arguments, **arguments.pop("extra_body", {}), "model": UPSTREAM_MODEL, "stream": stream}
    expected.pop("extra_body", None)
    assert received.json() == expected
    assert pair.attempts() == [(client, None)]


@pytest.mark.parametrize("client", WIRES)
def test_what_only_the_first_target_can_be_told_is_not_sent_to_the_second_when_it_fails(
    pair: Pair, client: str
) -> None:
    pair[client].fail("status", status=500)
    more: dict[str, Any] = {"seed": 7} if client == "openai" else {"extra_body": {"top_k": 5}}

    with pytest.raises(SDKS[client].InternalServerError, match="1 attempt"):
        pair.ask(client, f"{client}-first", **more)

    assert pair.attempts() == [(client, "upstream_5xx")]
    assert pair[other(client)].count() == 0


@pytest.mark.parametrize("client", WIRES)
def test_a_field_is_not_refused_for_good_while_who_can_be_told_it_is_away(pair: Pair, client: str) -> None:
    """The provider of the client's kind is rate-limited: it will be back, and then the request can be told."""
    model = f"away-{client}"
    more: dict[str, Any] = {"seed": 7} if client == "openai" else {"extra_body": {"top_k": 5}}
    pair[client].fail("rate_limited", retry_after=30, times=1)
    with pytest.raises(SDKS[client].RateLimitError):
        pair.ask(client, client, model=model)
    pair.gateway.forget()

    with pytest.raises(SDKS[client].InternalServerError, match="no target that takes") as caught:
        pair.ask(client, f"{client}-first", model=model, **more)

    assert caught.value.status_code == 503
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 30
    assert (pair.row().status, pair.row().error_code) == ("rejected", "no_target_available")
    assert pair[other(client)].count() == 0


@pytest.mark.parametrize("client", WIRES)
def test_bytes_that_are_no_text_are_no_json(pair: Pair, client: str) -> None:
    path = "chat/completions" if client == "openai" else "messages"
    body = b'{"model": "station", "max_tokens": 9, "messages": [{"role": "user", "content": "\xff"}]}'

    answer = pair.gateway.post(f"/p/{other(client)}/v1/{path}", body, anthropic_version="2023-06-01")

    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_json")
    assert pair[other(client)].count() == 0


# -- usage and headers ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("profile", ["anthropic", "anthropic-counted"])
def test_a_chat_client_that_did_not_ask_for_usage_sees_none_and_the_row_has_it(pair: Pair, profile: str) -> None:
    pair.anthropic.behave(text="one two three", cached_tokens=1)

    chunks = pair.ask("openai", profile, stream=True)

    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    row = pair.row()
    assert (row.output_tokens, row.cached_tokens, row.usage_estimated) == (3, 1, False)


def test_a_messages_client_gets_the_usage_that_openai_streams_only_when_asked(pair: Pair) -> None:
    pair.openai.behave(text="one two three", cached_tokens=1)

    events = pair.ask("anthropic", "openai", stream=True)

    (delta,) = [event for event in events if event.type == "message_delta"]
    row = pair.row()
    assert (delta.usage.output_tokens, delta.usage.cache_read_input_tokens) == (3, 1)
    assert (row.output_tokens, row.cached_tokens, row.usage_estimated) == (3, 1, False)
    assert pair.openai.requests()[0].json()["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_usage_that_a_provider_does_not_report_is_estimated_in_the_row(pair: Pair, stream: bool) -> None:
    pair.openai.behave(text="one two three four", usage=False)

    assert pair.ask("anthropic", "openai", stream=stream)

    row = pair.row()
    assert row.usage_estimated
    assert (row.input_tokens or 0) > 0
    assert (row.output_tokens or 0) > 0


@pytest.mark.parametrize("client", WIRES)
def test_a_provider_is_sent_the_headers_of_its_own_kind_and_not_the_clients(pair: Pair, client: str) -> None:
    extra = {"openai-organization": "org-client"} if client == "openai" else {"anthropic-beta": "some-beta"}

    pair.ask(client, other(client), extra_headers=extra, extra_query={"beta": "true"})

    (received,) = pair[other(client)].requests()
    names = [name.lower() for name, _ in received.headers]
    assert not [name for name in names if name.startswith("openai-" if client == "openai" else "anthropic-")]
    assert names.count("anthropic-version") == (1 if client == "openai" else 0)
    assert received.target == ("/v1/messages" if client == "openai" else "/v1/chat/completions")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", WIRES)
def test_the_providers_request_id_is_where_the_clients_sdk_looks_for_it(pair: Pair, client: str, stream: bool) -> None:
    sdk: Any = pair.chat("anthropic") if client == "openai" else pair.messages("openai")
    resource = sdk.chat.completions if client == "openai" else sdk.messages

    raw = resource.with_raw_response.create(model=MODEL, messages=HELLO, max_tokens=64, stream=stream)

    assert raw.request_id.startswith("req_")
    assert raw.headers["x-request-id" if client == "openai" else "request-id"] == raw.request_id
    assert ("request-id" if client == "openai" else "x-request-id") not in raw.headers
    answer = raw.parse()
    if stream:
        list(answer)
    else:
        assert answer._request_id == raw.request_id


def test_counting_tokens_is_not_made_up_for_a_provider_that_cannot(pair: Pair) -> None:
    with pytest.raises(anthropic.NotFoundError, match="/messages/count_tokens"):
        pair.messages("openai").messages.count_tokens(model=MODEL, messages=HELLO)

    assert pair.messages("openai-first").messages.count_tokens(model=MODEL, messages=HELLO).input_tokens > 0
    assert (pair.openai.count(), pair.anthropic.count()) == (0, 1)


@pytest.mark.parametrize(
    ("resource", "call"),
    [
        ("/responses", lambda client: client.responses.create(model=MODEL, input="hello")),
        ("/completions", lambda client: client.completions.create(model=MODEL, prompt="hello")),
        ("/embeddings", lambda client: client.embeddings.create(model=MODEL, input="hello")),
    ],
)
def test_other_resources_go_to_providers_of_their_own_kind_alone(pair: Pair, resource: str, call: Any) -> None:
    with pytest.raises(openai.NotFoundError, match=resource) as caught:
        call(pair.chat("anthropic"))

    assert caught.value.code == "model_not_found"
    assert (pair.openai.count(), pair.anthropic.count()) == (0, 0)


@pytest.mark.parametrize("client", WIRES)
def test_a_wrong_credential_of_the_other_kind_is_not_the_clients(pair: Pair, client: str) -> None:
    pair[other(client)].fail("status", status=401, times=1)

    with pytest.raises(SDKS[client].InternalServerError) as caught:
        pair.ask(client, other(client))

    assert caught.value.status_code == 502
    assert pair.attempts() == [(other(client), "auth_failed")]
