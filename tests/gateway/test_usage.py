"""What streams used: asked for only where it is wanted, hidden from clients that did not ask, and on the row."""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from tests.documents import access_key
from tests.gateway.lab import CHAT, MODEL, events
from tests.gateway.scripted import answer, scripted
from tests.gateways import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateway.lab import Lab
    from tests.gateways import Answer

#: Many of a kind.
pytestmark = pytest.mark.thorough

COUNTED = "sbx_" + "counted0" * 5
CALLED = "sbx_" + "called00" * 5
ASKING = {"stream_options": {"include_usage": True}}
PRICES = {"*": {"input": 1.0, "output": 10.0}, MODEL: {"input": 1.0, "output": 10.0}}
#: A body whose odd spacing shows whether it was touched.
BODY = b'{ "model" : "gpt-4o","stream":true,  "messages":[{"role":"user","content":"hello"}] }'
LEGACY = b'{ "model" : "gpt-4o","stream":true,  "prompt":"hello" }'


@pytest.fixture
def keys(lab: Lab) -> Iterator[None]:
    """One key with a limit on tokens or money, and one whose limits need no counting of them."""
    lab.gateway.overlay(
        keys=[
            access_key(KEY),
            access_key(COUNTED, name="counted", limits={"usd_month": 1000}),
            access_key(CALLED, name="called", limits={"rpm": 1000, "concurrency": 100}),
        ]
    )
    yield
    lab.gateway.overlay()


def asked(body: bytes) -> bool:
    """Whether the upstream was asked to say what the stream used."""
    options = json.loads(body).get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def shows_usage(got: Answer) -> bool:
    return any(b'"choices":[]' in event and b'"usage":{' in event for event in events(got.body))


def test_a_stream_is_asked_what_it_used_only_where_somebody_wants_to_know(lab: Lab, keys: None) -> None:
    for accounting, tells in product(("off", "when_asked", "always"), (True, False)):
        only = lab.provider(stream_usage=tells, prices=PRICES)
        lab.publish(only, of_profile={"accounting": accounting})
        for client_asks, key in product((True, False), (KEY, COUNTED, CALLED)):
            case = (accounting, tells, client_asks, key)
            document = {**CHAT, "stream": True, **(ASKING if client_asks else {})}
            got = lab.gateway.post("/v1/chat/completions", document, key=key)

            wanted = accounting == "always" or (accounting == "when_asked" and key == COUNTED)
            known = client_asks or (wanted and tells)
            assert asked(only.requests()[-1].body) == known, case
            assert (got.status, shows_usage(got)) == (200, client_asks), case
            assert got.body.endswith(b"data: [DONE]\n\n"), case
            row = lab.row(got)
            assert row.usage_estimated == (not known), case
            assert row.cost_micro_usd == (row.input_tokens or 0) + 10 * (row.output_tokens or 0) > 0, case


@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", BODY), ("/v1/completions", LEGACY)])
def test_a_client_that_did_not_ask_gets_the_upstreams_bytes_less_that_event(lab: Lab, path: str, body: bytes) -> None:
    chunk = b'data: {"choices":[{"index":0,"%b"}],"usage":null}\n\n'
    said = b'delta":{"content":"hi"},"a":"b' if "chat" in path else b'text":"hi'
    begin, end = chunk % said, chunk % b'finish_reason":"stop'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
    odd = b'data: {"choices":[],"note":"filter results"}\n\n'
    done = b"data: [DONE]\n\n"
    sent = [odd, begin, b": ping\n\n", end, usage, done]
    with scripted(answer(b"".join(sent), kind="text/event-stream")) as upstream:
        only = lab.provider()
        only.entry["base_url"] = upstream.base_url
        lab.publish(only, of_profile={"accounting": "always"})
        got = lab.gateway.post(path, body)

    assert got.body == b"".join(each for each in sent if each != usage)
    assert upstream.bodies[0] == body.replace(b"{ ", b'{"stream_options":{"include_usage":true}, ', 1)
    row = lab.row(got)
    assert (row.input_tokens, row.output_tokens, row.usage_estimated) == (7, 3, False)


def test_a_hidden_event_that_comes_last_still_leaves_the_end_of_the_stream(lab: Lab) -> None:
    end = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}'
    for sent in (end + usage + b"\n\n", end + usage):  # some forget the blank line
        with scripted(answer(sent, kind="text/event-stream")) as upstream:
            only = lab.provider()
            only.entry["base_url"] = upstream.base_url
            lab.publish(only, of_profile={"accounting": "always"})
            got = lab.gateway.post("/v1/chat/completions", BODY)

        assert got.body == end + b"data: [DONE]\n\n"
        assert lab.row(got).output_tokens == 3


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_both_kinds_of_completions_say_what_they_used(lab: Lab, path: str) -> None:
    only = lab.provider()
    lab.publish(only, of_profile={"accounting": "always"})
    got = lab.gateway.post(path, BODY if "chat" in path else LEGACY)

    assert asked(only.requests()[0].body)
    assert not shows_usage(got)
    row = lab.row(got)
    assert (row.status, row.usage_estimated, row.output_tokens) == ("routed", False, 16)


def test_nothing_is_added_to_what_is_not_such_a_stream(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only, of_profile={"accounting": "always"})
    for path, document in (
        ("/v1/chat/completions", CHAT),
        ("/v1/responses", {"model": MODEL, "input": "hello", "stream": True}),
        ("/v1/embeddings", {"model": MODEL, "input": "hello"}),
    ):
        body = json.dumps(document).encode()
        assert lab.gateway.post(path, body).status == 200
        assert only.requests()[-1].body == body


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_usage": False, "x": [1]}, {"include_usage": True, "x": [1]}),
        ({"include_usage": "yes"}, {"include_usage": True}),
        ([], []),
    ],
)
def test_other_wishes_of_the_client_stay_as_they_are(lab: Lab, options: Any, sent: Any) -> None:
    only = lab.provider()
    lab.publish(only, of_profile={"accounting": "always"})
    document = {**CHAT, "stream": True, "stream_options": options, "user": "\u00e9 \\ \u2028"}
    got = lab.gateway.post("/v1/chat/completions", document)

    assert got.status == 200
    assert only.requests()[0].json() == {**document, "stream_options": sent}
    assert not shows_usage(got)


def test_a_target_that_cannot_say_it_gets_the_clients_bytes_behind_one_that_can(lab: Lab) -> None:
    bad, good = lab.provider(), lab.provider(stream_usage=False)
    lab.publish(bad, good, of_profile={"accounting": "always"})
    bad.fail("status", status=500)
    got = lab.gateway.post("/v1/chat/completions", BODY)

    assert asked(bad.requests()[0].body)
    assert good.requests()[0].body == BODY
    assert lab.row(got).usage_estimated


def test_a_stream_that_does_not_say_it_after_all_is_estimated(lab: Lab) -> None:
    only = lab.provider(prices=PRICES)
    lab.publish(only, of_profile={"accounting": "always"})
    only.behave(usage=False)
    row = lab.row(lab.gateway.post("/v1/chat/completions", BODY))

    assert (row.status, row.usage_estimated) == ("routed", True)
    assert row.output_tokens
    assert row.cost_micro_usd


def test_a_stream_that_is_cut_is_estimated_by_what_was_said(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only, of_profile={"accounting": "always"})
    only.fail("cut_mid_stream", after_events=8)
    row = lab.row(lab.gateway.post("/v1/chat/completions", BODY))

    assert (row.status, row.usage_estimated) == ("failed", True)
    assert row.output_tokens
