"""Each fault that is an answer, and each broken frame, seen on the socket."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, get_args

import pytest

from simulator.faults.framing import Kind
from tests.simulator.raw import ask, streamed

if TYPE_CHECKING:
    from tests.simulators import ProviderHandle


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 501, 502, 503, 504, 529])
def test_any_status_has_the_wires_own_document(acme: ProviderHandle, claudia: ProviderHandle, status: int) -> None:
    acme.fail("status", status=status)
    claudia.fail("status", status=status)

    openai, anthropic = ask(acme), ask(claudia)

    assert (openai.status, anthropic.status) == (status, status)
    assert set(openai.json()["error"]) == {"message", "type", "param", "code"}
    assert set(anthropic.json()) == {"type", "error", "request_id"}
    assert "retry-after" not in openai.headers


def test_a_status_may_have_any_body(acme: ProviderHandle) -> None:
    acme.fail("status", status=502, body="<h1>Bad Gateway</h1>", content_type="text/html")

    seen = ask(acme)

    assert (seen.body, seen.headers["content-type"]) == (b"<h1>Bad Gateway</h1>", "text/html")


def test_a_503_may_carry_retry_after(acme: ProviderHandle) -> None:
    acme.fail("status", status=503, retry_after=7)

    assert ask(acme).headers["retry-after"] == "7"


@pytest.mark.parametrize(
    ("form", "name", "value"),
    [("seconds", "retry-after", "2.5"), ("ms", "retry-after-ms", "2500"), ("none", "retry-after", None)],
)
def test_a_rate_limit_says_when_in_the_form_asked_for(
    acme: ProviderHandle, form: str, name: str, value: str | None
) -> None:
    acme.fail("rate_limited", retry_after=2.5, retry_form=form)

    seen = ask(acme)

    assert seen.status == 429
    assert seen.headers.get(name) == value
    assert seen.json()["error"]["code"] == "rate_limit_exceeded"


def test_a_rate_limit_may_say_when_as_a_date(acme: ProviderHandle) -> None:
    acme.fail("rate_limited", retry_after=3600, retry_form="http-date")

    when = parsedate_to_datetime(ask(acme).headers["retry-after"])

    assert abs(when - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)


def test_billing_is_a_400_about_money(acme: ProviderHandle, claudia: ProviderHandle) -> None:
    acme.fail("billing")
    claudia.fail("billing")

    assert (ask(acme).status, ask(acme).json()["error"]["code"]) == (400, "billing_hard_limit_reached")
    assert "credit balance is too low" in ask(claudia).json()["error"]["message"]

    acme.fail("billing", status=429)
    assert ask(acme).json()["error"]["code"] == "insufficient_quota"


def test_context_length_names_the_window(acme: ProviderHandle, claudia: ProviderHandle) -> None:
    acme.fail("context_length", window=4096)
    claudia.fail("context_length", window=4096)

    assert ask(acme).json()["error"]["code"] == "context_length_exceeded"
    assert "4096 tokens" in ask(acme).json()["error"]["message"]
    assert "> 4096 maximum" in ask(claudia).json()["error"]["message"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_goes_elsewhere(acme: ProviderHandle, status: int) -> None:
    acme.fail("redirect", status=status, location="http://127.0.0.1:1/x")

    seen = ask(acme)

    assert (seen.status, seen.headers["location"]) == (status, "http://127.0.0.1:1/x")


@pytest.mark.parametrize("status", [100, 102, 103])
def test_interim_answers_come_before_the_honest_one(acme: ProviderHandle, status: int) -> None:
    acme.fail("early_hints", status=status, count=2)

    seen = ask(acme)

    heads = seen.data.split(b"\r\n\r\n")
    assert [head[9:12] for head in heads[:3]] == [str(status).encode()] * 2 + [b"200"]
    assert json.loads(heads[3])["object"] == "chat.completion"


EXPECTED = {
    "cl_and_te": [b"content-length: ", b"transfer-encoding: chunked\r\n"],
    "two_lengths": [b"content-length: "],
    "same_length_twice": [b"content-length: "],
    "te_foo": [b"transfer-encoding: foo\r\n"],
    "te_gzip_chunked": [b"transfer-encoding: gzip, chunked\r\n"],
    "te_identity": [b"transfer-encoding: identity\r\n"],
    "obs_fold": [b"x-folded: one\r\n two\r\n"],
    "negative_length": [b"content-length: -"],
    "plus_length": [b"content-length: +"],
    "length_list": [b", "],
    "space_before_colon": [b"x-spaced : value\r\n"],
    "bare_cr": [b"x-odd: one\rx-injected: two\r\n"],
    "bare_lf": [b"x-odd: one\nx-injected: two\r\n"],
    "nul": [b"x-odd: one\0two\r\n"],
    "no_colon": [b"this is no header\r\n"],
    "bad_chunk_size": [b"\r\n\r\nzz\r\n"],
    "chunk_without_crlf": [b"transfer-encoding: chunked\r\n", b"}0\r\n\r\n"],
    "no_length": [b"content-type: application/json\r\n"],
    "body_on_204": [b"HTTP/1.1 204 ", b'"chat.completion"'],
    "bad_status_line": [b"HTTP/1.1 OK\r\n"],
    "http_10": [b"HTTP/1.0 200 "],
    "huge_header": [b"x-huge: " + b"x" * 131_072],
    "many_headers": [b"x-many-999: x\r\n"],
}
TWO_LENGTHS = {"two_lengths", "same_length_twice"}


def test_every_kind_of_frame_is_looked_at() -> None:
    assert set(EXPECTED) == set(get_args(Kind))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_broken_frame_is_sent_as_named(acme: ProviderHandle, kind: str) -> None:
    acme.fail("framing", kind=kind)

    seen = ask(acme)

    for mark in EXPECTED[kind]:
        assert mark in seen.data
    lengths = seen.head.count(b"content-length: ")
    assert lengths == (2 if kind in TWO_LENGTHS else lengths)
    assert b'"object":"chat.completion"' in seen.data
    assert seen.ending == "fin"
    if kind in {"te_foo", "te_identity", "no_length"}:
        assert lengths == 0


def test_a_broken_frame_carries_a_streams_events_whole(acme: ProviderHandle) -> None:
    acme.fail("framing", kind="no_length")

    seen = ask(acme, streamed(acme))

    assert seen.ending == "fin"
    assert seen.body.endswith(b"data: [DONE]\n\n")
