"""The outcome table, row by row, over real sockets: what one failed attempt leads to.

All rows share one revision: every test gets a profile of its own, whose two providers no other test uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.documents import document, profile, provider, target
from tests.gateway.lab import CHAT, Lab, feed_retry_budget
from tests.simulators import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.gateways import Answer, Gateways
    from tests.simulators import ProviderHandle

#: Part of `make test-faults`.
pytestmark = [pytest.mark.faults, pytest.mark.thorough]

PAIRS = 100

#: name -> (fault, its options, error class of the attempt); the same for streams unless noted
NEXT_TARGET: dict[str, tuple[str, dict[str, Any], str]] = {
    "reset before headers": ("reset_before_headers", {}, "reset_before_headers"),
    "closed before headers": ("close_before_headers", {}, "reset_before_headers"),
    "reset on connect": ("reset_on_connect", {}, "reset_before_headers"),
    "500": ("status", {"status": 500}, "upstream_5xx"),
    "502": ("status", {"status": 502, "body": "<html>bad gateway</html>", "content_type": "text/html"}, "upstream_5xx"),
    "503": ("status", {"status": 503}, "upstream_5xx"),
    "504": ("status", {"status": 504}, "upstream_5xx"),
    "529": ("status", {"status": 529}, "overloaded"),
    "429": ("rate_limited", {}, "rate_limited"),
    "401": ("status", {"status": 401}, "auth_failed"),
    "402": ("status", {"status": 402}, "quota_exhausted"),
    "403": ("status", {"status": 403}, "auth_failed"),
    "400 about billing": ("billing", {}, "quota_exhausted"),
    "redirect": ("redirect", {}, "upstream_redirect"),
    "html in a 200": ("html_in_200", {}, "invalid_response"),
    "error in a 200": ("error_in_200", {}, "error_in_200"),
}
DOCUMENTS_ONLY: dict[str, tuple[str, dict[str, Any], str]] = {
    "reset within the body": ("reset_mid_body", {}, "truncated"),
    "cut within the body": ("cut_mid_body", {}, "truncated"),
    "half a document": ("cut_json", {}, "invalid_response"),
    "no JSON": ("invalid_json", {}, "invalid_response"),
}
STREAMS_ONLY: dict[str, tuple[str, dict[str, Any], str]] = {
    "a document": ("ignore_stream", {}, "invalid_response"),
    "reset before content": ("reset_mid_stream", {"after_events": 0}, "truncated"),
    "cut before content": ("cut_mid_stream", {"after_events": 0}, "truncated"),
    "end before content": ("end_without_terminator", {"after_events": 0}, "truncated"),
    "error as the first event": ("error_event", {}, "error_in_200"),
    "error after the opening": ("error_event", {"opening": True}, "error_in_200"),
}
FRAMINGS = (
    *("cl_and_te", "two_lengths", "same_length_twice", "te_foo", "te_gzip_chunked", "te_identity", "obs_fold"),
    *("negative_length", "plus_length", "length_list", "space_before_colon", "bare_cr", "nul", "no_colon"),
    *("bad_chunk_size", "chunk_without_crlf", "body_on_204", "bad_status_line", "huge_header", "many_headers"),
)
#: Outcomes that say nothing about the target's health.
NEUTRAL = {"rate_limited", "auth_failed", "quota_exhausted"}


class Pair:
    """A profile with two targets: ``bad`` first, then ``good``."""

    def __init__(self, gateway: Gateways, number: int, bad: ProviderHandle, good: ProviderHandle) -> None:
        self.lab = Lab(gateway, Simulator())
        self.path = f"/p/pair-{number}/v1/chat/completions"
        self.slugs = (f"bad-{number}", f"good-{number}")
        self.bad = bad
        self.good = good

    def chat(self, *, stream: bool = False) -> Answer:
        return self.lab.gateway.post(self.path, {**CHAT, "stream": stream})


class Pairs:
    """One gateway, two simulated providers, and as many pairs of provider entries as there are tests."""

    def __init__(self, gateway: Gateways, simulator: Simulator) -> None:
        self.gateway = gateway
        self.bad, self.good = simulator.add("bad"), simulator.add("good")
        self.used = 0
        entries = [
            provider(f"{each.name}-{number}", base_url=each.base_url)
            for number in range(PAIRS)
            for each in (self.bad, self.good)
        ]
        profiles = [
            profile(f"pair-{number}", [target(f"bad-{number}"), target(f"good-{number}")]) for number in range(PAIRS)
        ]
        calm = simulator.add("calm")
        entries.append(provider("calm", base_url=calm.base_url))
        gateway.publish(document(entries, [*profiles, profile("calm", [target("calm")])]))

    def take(self) -> Pair:
        self.used += 1
        self.bad.reset()
        self.good.reset()
        feed_retry_budget(self.gateway)
        return Pair(self.gateway, self.used - 1, self.bad, self.good)


@pytest.fixture(scope="module")
def _pairs(_lasting_gateway: Gateways) -> Iterator[Pairs]:
    with Simulator() as simulator:
        yield Pairs(_lasting_gateway, simulator)


@pytest.fixture
def pair(_pairs: Pairs) -> Pair:
    return _pairs.take()


def cases(*tables: dict[str, Any]) -> Any:
    return [pytest.param(*row, id=name) for table in tables for name, row in table.items()]


@pytest.mark.parametrize(("fault", "options", "error_class"), cases(NEXT_TARGET, DOCUMENTS_ONLY))
def test_a_failed_attempt_is_invisible_when_another_target_answers(
    pair: Pair, fault: str, options: dict[str, Any], error_class: str
) -> None:
    pair.bad.fail(fault, **options)

    answer = pair.chat()

    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"]
    assert (answer.headers["x-route-provider"], answer.headers["x-route-attempts"]) == (pair.slugs[1], "2")
    row = pair.lab.row()
    assert (row.status, row.recovered, row.error_code, row.provider) == ("routed", True, None, pair.slugs[1])
    assert pair.lab.attempts() == [(pair.slugs[0], error_class), (pair.slugs[1], None)]


@pytest.mark.parametrize(("fault", "options", "error_class"), cases(NEXT_TARGET, STREAMS_ONLY))
def test_a_stream_that_fails_before_its_content_is_invisible_when_another_target_answers(
    pair: Pair, fault: str, options: dict[str, Any], error_class: str
) -> None:
    pair.bad.fail(fault, **options)

    answer = pair.chat(stream=True)

    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert answer.body.count(b'"role":"assistant"') == 1
    assert answer.headers["x-route-provider"] == pair.slugs[1]
    assert pair.lab.attempts() == [(pair.slugs[0], error_class), (pair.slugs[1], None)]


@pytest.mark.parametrize("kind", FRAMINGS)
def test_an_answer_in_an_ambiguous_frame_is_not_taken_and_its_connection_not_used_again(pair: Pair, kind: str) -> None:
    pair.bad.fail("framing", kind=kind, times=1)

    assert [pair.chat().headers["x-route-provider"] for _ in range(2)] == [pair.slugs[1], pair.slugs[0]]
    assert [attempt.error_class for row in pair.lab.gateway.finished() for attempt in row.attempts] == [
        "upstream_framing",
        None,
        None,
    ]
    first, second = pair.bad.requests()
    assert first.connection != second.connection


@pytest.mark.parametrize(
    ("fault", "options", "status", "error_class"),
    [
        ("status", {"status": 400}, 400, "client_error"),
        ("status", {"status": 404}, 404, "client_error"),
        ("status", {"status": 409}, 409, "client_error"),
        ("status", {"status": 413}, 413, "client_error"),
        ("status", {"status": 422}, 422, "client_error"),
        ("status", {"status": 501}, 501, "upstream_5xx"),
        ("content_filter", {}, 400, "content_filter"),
        ("context_length", {}, 400, "context_length"),
        ("context_length", {"status": 500}, 500, "context_length"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_that_is_the_clients_own_is_handed_on_as_it_is(
    pair: Pair, fault: str, options: dict[str, Any], status: int, error_class: str, stream: bool
) -> None:
    pair.bad.fail(fault, **options)

    answer = pair.chat(stream=stream)

    assert answer.status == status
    assert "simulat" in answer.body.decode().lower() or answer.json()["error"]["message"]
    assert pair.good.count() == 0
    row = pair.lab.row()
    assert (row.status, row.http_status) == ("routed" if status < 500 else "failed", status)
    assert pair.lab.attempts() == [(pair.slugs[0], error_class)]
