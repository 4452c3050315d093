"""A client that leaves: the upstream hears of it within a second, whatever it was doing, and the row says so."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.lab import CHAT, MESSAGES
from tests.gateways import wait_until

if TYPE_CHECKING:
    from history.records import Finished
    from tests.gateway.lab import Lab, Provider


#: Part of `make test-faults`.
pytestmark = pytest.mark.faults


def expect_cancelled(lab: Lab, provider: Provider) -> Finished:
    """The upstream saw the connection close within a second; one row says cancelled."""
    provider.wait_for(lambda requests: len(requests) == 1 and requests[0].disconnected, 1.0)
    rows: list[Finished] = wait_until(lab.gateway.finished)
    assert [(row.status, row.error_code) for row in rows] == [("cancelled", "cancelled")]
    assert [attempt.error_class for attempt in rows[0].attempts] == ["cancelled"]
    return rows[0]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
def test_leaving_before_the_headers_cancels_the_upstream(lab: Lab, wire: str, stream: bool) -> None:
    only = lab.provider(wire)
    lab.publish(only)
    only.fail("hang_before_headers")
    document, path = (MESSAGES, "/v1/messages") if wire == "anthropic" else (CHAT, "/v1/chat/completions")
    connection = lab.open({**document, "stream": stream}, path)
    only.wait_for(lambda requests: len(requests) == 1)

    connection.close()

    assert expect_cancelled(lab, only).http_status is None


def test_leaving_in_the_middle_of_a_document_cancels_the_upstream(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("hang_after_headers")
    connection = lab.open(CHAT)
    only.wait_for(lambda requests: len(requests) == 1 and requests[0].bytes_sent > 0)

    connection.close()

    expect_cancelled(lab, only)


@pytest.mark.parametrize("pings", [0, 300])
def test_leaving_before_the_first_event_cancels_the_upstream(lab: Lab, pings: int) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("slow_first_content", seconds=30, pings=pings)
    connection = lab.open({**CHAT, "stream": True})
    only.wait_for(lambda requests: len(requests) == 1 and requests[0].bytes_sent > 0)

    connection.close()

    assert expect_cancelled(lab, only).output_tokens is None


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param({"faults": [{"name": "idle_stall", "after_events": 3}]}, id="while it is silent"),
        pytest.param({"output_tokens": 100_000, "tokens_per_second": 100}, id="while it speaks"),
    ],
)
def test_leaving_in_the_middle_of_a_stream_cancels_the_upstream_and_keeps_what_was_used(
    lab: Lab, behaviour: dict[str, Any]
) -> None:
    only = lab.provider()
    lab.publish(only)
    only.behave(**behaviour)
    connection = lab.open({**CHAT, "stream": True})
    response = http.client.HTTPResponse(connection)
    response.begin()
    for _ in range(6):
        response.readline()

    response.close()
    connection.close()

    row = expect_cancelled(lab, only)
    assert row.output_tokens
    assert row.usage_estimated


def test_leaving_while_a_request_waits_behind_another_cancels_the_first(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("hang_before_headers")
    connection = lab.open(CHAT)
    only.wait_for(lambda requests: len(requests) == 1)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")

    connection.close()

    expect_cancelled(lab, only)


def test_leaving_between_two_attempts_ends_the_request(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("rate_limited", retry_after=4)
    connection = lab.open(CHAT)
    only.wait_for(lambda requests: len(requests) == 1)

    connection.close()

    rows = wait_until(lab.gateway.finished)
    assert [row.status for row in rows] == ["cancelled"]
    assert only.count == 1


def test_a_cancelled_request_says_nothing_about_its_target(lab: Lab) -> None:
    only = lab.provider(circuit={"failure_threshold": 1})
    lab.publish(only)
    only.fail("hang_before_headers", times=1)
    connection = lab.open(CHAT)
    only.wait_for(lambda requests: len(requests) == 1)
    connection.close()
    expect_cancelled(lab, only)

    assert lab.chat().status == 200
