"""Streams: byte for byte what the upstream sent, and never a success when it was none."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.lab import CHAT, MESSAGES, events
from tests.gateways import wait_until

if TYPE_CHECKING:
    from tests.gateway.lab import Lab, Provider

#: Part of `make test-faults`.
pytestmark = [pytest.mark.faults, pytest.mark.thorough]

RESPONSES = {"model": "gpt-4o", "input": "hello"}
#: wire and operation -> (path, request, the event that ends a stream)
FORMATS: dict[str, tuple[str, str, dict[str, Any], bytes]] = {
    "chat": ("openai", "/v1/chat/completions", CHAT, b"data: [DONE]"),
    "responses": ("openai", "/v1/responses", RESPONSES, b"event: response.completed"),
    "messages": ("anthropic", "/v1/messages", MESSAGES, b"event: message_stop"),
}


def stream(lab: Lab, operation: str, **more: Any) -> tuple[int, bytes, bool]:
    """(status, body, whether its last chunk is missing)"""
    _, path, document, _ = FORMATS[operation]
    return lab.read_cut({**document, "stream": True, **more}, path)


def says(provider: Provider, body: bytes) -> None:
    """Let a provider send exactly these bytes as its event stream."""
    provider.fail("status", status=200, content_type="text/event-stream", body=body.decode())


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


OPENING = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = OPENING + b": a comment\n\n" + chunk("h\u00e9llo") + chunk(" \u4f60") + chunk(finish="stop") + DONE


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(WHOLE, id="as usual"),
        pytest.param(WHOLE.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(WHOLE.replace(b"\n", b"\r"), id="CR"),
        pytest.param(WHOLE.replace(b"data: ", b"data:"), id="without blanks"),
        pytest.param(WHOLE.replace(b"data: ", b"id: 7\nretry: 3\ndata:  ", 2), id="with ids"),
        pytest.param(b"\xef\xbb\xbf" + WHOLE, id="byte order mark"),
        pytest.param(b"\n\n\n" + WHOLE.replace(b"\n\n", b"\n\n\n\n"), id="more blank lines"),
        pytest.param(
            OPENING + chunk('{"odd": "shape"}', strange={"a": [1, 2]}) + chunk(finish="length") + DONE,
            id="unknown members",
        ),
    ],
)
def test_a_stream_is_relayed_byte_for_byte(lab: Lab, body: bytes) -> None:
    only = lab.provider()
    lab.publish(only)
    says(only, body)

    answer = lab.chat(stream=True)

    assert answer.body.rstrip(b"\n") == body.rstrip(b"\n")
    assert answer.headers["content-type"] == "text/event-stream"
    assert lab.row().status == "routed"


@pytest.mark.parametrize("operation", FORMATS)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 4096])
def test_a_stream_ends_with_its_own_terminator_however_it_is_cut_into_packets(
    lab: Lab, operation: str, chunk_bytes: int
) -> None:
    wire, _, _, terminator = FORMATS[operation]
    only = lab.provider(wire)
    lab.publish(only)
    only.behave(chunk_bytes=chunk_bytes, output_tokens=5)

    status, body, cut = stream(lab, operation)

    assert (status, cut) == (200, False)
    assert events(body)[-1].startswith(terminator)
    assert len(body) == only.requests()[0].bytes_sent or len(body) == lab.row().attempts[0].bytes
    assert lab.row().status == "routed"


CUTS: dict[str, tuple[dict[str, Any], str]] = {
    "reset": ({"fault": "reset_mid_stream"}, "reset_midstream"),
    "cut": ({"fault": "cut_mid_stream"}, "reset_midstream"),
    "ended early": ({"fault": "end_without_terminator"}, "truncated"),
    "stalled": ({"fault": "idle_stall"}, "timeout_idle"),
}


@pytest.mark.slow
@pytest.mark.parametrize("operation", FORMATS)
@pytest.mark.parametrize("after_events", [1, 5])
@pytest.mark.parametrize("how", CUTS)
def test_a_stream_cut_after_content_ends_with_an_error_event_and_no_terminator(
    lab: Lab, operation: str, after_events: int, how: str
) -> None:
    wire, _, _, terminator = FORMATS[operation]
    options, error_class = CUTS[how]
    first, second = lab.provider(wire), lab.provider(wire)
    lab.publish(first, second, timeouts={"idle": 0.3})
    first.fail(options["fault"], after_events=after_events)

    status, body, cut = stream(lab, operation)

    assert (status, cut) == (200, False)
    *before, last = events(body)
    assert not any(event.startswith(terminator) for event in [*before, last])
    assert last.startswith(b"data: " if operation == "chat" else b"event: error\n")
    error = json.loads(last.partition(b"data: ")[2])
    assert error["error"]["code"] == error_class
    assert len(before) >= after_events
    assert second.count == 0
    row = lab.row()
    assert (row.status, row.error_code, row.http_status) == ("failed", error_class, 200)
    assert row.output_tokens
    assert row.usage_estimated


def test_a_cut_counts_against_its_target(lab: Lab) -> None:
    first, second = lab.provider(circuit={"failure_threshold": 1}), lab.provider()
    lab.publish(first, second)
    first.fail("cut_mid_stream")

    lab.chat(stream=True)

    assert lab.chat(stream=True).headers["x-route-provider"] == second.slug


def test_a_missing_done_after_the_finish_reason_is_supplied(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("no_done")

    answer = lab.chat(stream=True)

    assert events(answer.body)[-1] == DONE
    assert answer.body.count(DONE) == 1
    assert lab.row().status == "routed"


@pytest.mark.parametrize("operation", ["responses", "messages"])
def test_in_other_formats_a_missing_end_event_is_a_cut(lab: Lab, operation: str) -> None:
    only = lab.provider(FORMATS[operation][0])
    lab.publish(only)
    only.fail("no_done")

    _, body, _ = stream(lab, operation)

    assert events(body)[-1].startswith(b"event: error\n")
    assert lab.row().status == "failed"


def test_a_last_event_without_its_blank_line_is_not_lost(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    says(only, WHOLE.rstrip(b"\n"))

    assert lab.chat(stream=True).body == WHOLE


@pytest.mark.parametrize("data", ['{"id": "broken", "choices": [', "not json", "\u0000", ""])
def test_a_malformed_event_is_dropped_and_noted_and_the_rest_is_untouched(lab: Lab, data: str) -> None:
    only = lab.provider()
    lab.publish(only)
    bad = b"data: " + data.encode() + b"\n\n"
    says(only, WHOLE.replace(chunk(" \u4f60"), bad + chunk(" \u4f60") + bad))

    assert lab.chat(stream=True).body == WHOLE
    assert lab.row().message == "2 malformed events dropped"


@pytest.mark.parametrize("operation", FORMATS)
def test_an_error_event_of_the_upstream_ends_the_stream_as_a_failure(lab: Lab, operation: str) -> None:
    wire, _, _, terminator = FORMATS[operation]
    only = lab.provider(wire)
    lab.publish(only)
    only.fail("error_event", after_events=2, message="Overloaded, try later")

    _, body, _ = stream(lab, operation)

    assert b"Overloaded, try later" in events(body)[-1]
    assert not any(event.startswith(terminator) for event in events(body))
    assert (lab.row().status, lab.row().error_code) == ("failed", "error_in_200")


def test_a_stream_ends_after_its_longest_time(lab: Lab) -> None:
    only = lab.provider(circuit={"failure_threshold": 1})
    lab.publish(only, timeouts={"stream_max": 0.4})
    only.behave(output_tokens=1000, tokens_per_second=50)

    answer = lab.chat(stream=True)

    assert b"timeout_total" in events(answer.body)[-1]
    assert (lab.row(answer).status, lab.row(answer).error_code) == ("timeout", "timeout_total")
    only.behave(tokens_per_second=0)
    assert lab.chat(stream=True).status == 200  # our limit, not the target's fault


@pytest.mark.parametrize("wait_idle", [0.3])
def test_pings_keep_a_stream_alive_after_its_content(lab: Lab, wait_idle: float) -> None:
    only = lab.provider()
    lab.publish(only, timeouts={"idle": wait_idle, "first_event": 5})
    only.fail("slow_drip", bytes=200, seconds=0.05)

    assert lab.chat(stream=True).body.endswith(DONE)


def test_a_very_long_event_passes_whole(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("huge_body", bytes=3_000_000)

    answer = lab.chat(stream=True)

    assert answer.body.endswith(DONE)
    assert max(map(len, events(answer.body))) >= 3_000_000
    assert lab.row().status == "routed"


def test_packed_streams_and_documents_arrive_unpacked(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("gzip")

    streamed, document = lab.chat(stream=True), lab.chat()

    assert streamed.body.endswith(DONE)
    assert document.json()["usage"]["completion_tokens"]
    assert "content-encoding" not in document.headers
    assert {row.status for row in lab.gateway.finished()} == {"routed"}


def test_the_row_is_written_before_the_client_can_have_read_the_end(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    connection = lab.open({**CHAT, "stream": True})
    response = http.client.HTTPResponse(connection)
    response.begin()

    while not response.readline().startswith(b"data: [DONE]"):
        assert not response.closed

    assert [row.status for row in lab.gateway.finished()] == ["routed"]
    connection.close()


def test_usage_is_taken_from_the_stream_or_estimated_and_marked(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.behave(output_tokens=40)

    told = lab.row(lab.chat(stream=True, stream_options={"include_usage": True}))
    guessed = lab.row(lab.chat(stream=True))

    assert (told.output_tokens, told.usage_estimated) == (40, False)
    assert guessed.usage_estimated
    assert guessed.input_tokens
    assert 20 <= (guessed.output_tokens or 0) <= 80


# -- bodies nobody looks into ------------------------------------------------------------------------------------


def test_a_document_too_large_to_be_held_passes_through(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("huge_body", bytes=6_000_000)

    answer = lab.chat()

    assert len(answer.body) == int(answer.headers["content-length"]) >= 6_000_000
    assert json.loads(answer.body)["choices"]
    assert lab.row().status == "routed"


def test_a_large_document_that_is_cut_ends_visibly_incomplete(lab: Lab) -> None:
    only = lab.provider()
    lab.publish(only, timeouts={"idle": 0.3})
    only.fail("endless_body", seconds=0)
    connection = lab.open(CHAT)
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read(1000)
    only.stop()

    with pytest.raises(http.client.IncompleteRead):
        response.read()
    connection.close()
    assert (lab.row().status, lab.row().error_code) == ("failed", "truncated")


def test_a_client_that_is_slow_to_take_its_answer_does_not_make_us_ask_again(lab: Lab) -> None:
    first, second = lab.provider(), lab.provider()
    lab.publish(first, second, timeouts={"first_byte": 0.5, "total": 0.5, "stream_max": 0.5})
    first.behave(output_tokens=700_000)  # below 4 MB, so it is held and checked, and above any socket's buffer
    connection = lab.open(CHAT)
    first.wait_for(lambda requests: len(requests) == 1 and requests[0].finished)
    time.sleep(1.0)  # longer than all of its limits, on the gateway's own clock

    response = http.client.HTTPResponse(connection)
    response.begin()

    assert response.status == 200
    assert (first.count, second.count) == (1, 0)
    assert [row.status for row in lab.gateway.finished()] == ["routed"]
    connection.close()


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.parametrize("streamed", [False, True])
def test_an_endless_answer_does_not_fill_the_memory_while_the_client_does_not_read(lab: Lab, streamed: bool) -> None:
    only = lab.provider()
    lab.publish(only)
    only.fail("endless_body", seconds=0)
    pid = lab.gateway.processes[0].pid
    before = memory_mb(pid)
    connection = lab.open({**CHAT, "stream": streamed})
    assert connection.recv(10)

    seen: list[int] = []

    def stalled() -> bool:
        seen.append(only.requests()[-1].bytes_sent)
        return len(seen) > 20 and seen[-1] == seen[-20] > 0

    wait_until(stalled)
    grown = memory_mb(pid) - before
    connection.close()

    assert grown < 16
    only.wait_for(lambda requests: requests[-1].disconnected)
