"""Each fault of a stream, seen on the socket, on both wires."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.raw import Seen, ask, connected, request, streamed

if TYPE_CHECKING:
    from tests.simulators import ProviderHandle


@pytest.fixture(params=["acme", "claudia"])
def provider(request: pytest.FixtureRequest) -> ProviderHandle:
    found: ProviderHandle = request.getfixturevalue(request.param)
    return found


def words(seen: Seen) -> list[str]:
    """The content of each content event."""
    found = []
    for event in seen.events:
        if not isinstance(event, dict):
            continue
        if event.get("choices"):
            found.append(event["choices"][0]["delta"].get("content"))
        elif event.get("type") == "content_block_delta":
            found.append(event["delta"]["text"])
    return [word for word in found if word]


def finished(seen: Seen) -> bool:
    """Whether a finish reason came."""
    return b'"finish_reason":"stop"' in seen.stream or b'"stop_reason":"end_turn"' in seen.stream


def terminated(seen: Seen) -> bool:
    return b"data: [DONE]" in seen.stream or b"event: message_stop" in seen.stream


def test_an_honest_stream_is_whole(provider: ProviderHandle) -> None:
    seen = ask(provider, streamed(provider))

    assert len(words(seen)) == 16
    assert (finished(seen), terminated(seen), seen.complete, seen.ending) == (True, True, True, "fin")


@pytest.mark.parametrize("after", [0, 1, 5])
@pytest.mark.parametrize(
    ("fault", "ending", "complete"),
    [("reset_mid_stream", "reset", False), ("cut_mid_stream", "fin", False), ("end_without_terminator", "fin", True)],
)
def test_a_stream_ends_after_so_many_content_events(
    provider: ProviderHandle, fault: str, ending: str, complete: bool, after: int
) -> None:
    provider.fail(fault, after_events=after)

    seen = ask(provider, streamed(provider))

    assert (len(words(seen)), seen.ending, seen.complete) == (after, ending, complete)
    assert (finished(seen), terminated(seen)) == (False, False)
    assert seen.events, "what comes before the first content is sent too"


def test_the_opening_can_be_left_out(provider: ProviderHandle) -> None:
    provider.fail("reset_mid_stream", after_events=0, opening=False)

    seen = ask(provider, streamed(provider))

    assert seen.status == 200
    assert seen.body == b""


def test_no_done_leaves_out_the_terminator_alone(provider: ProviderHandle) -> None:
    provider.fail("no_done")

    seen = ask(provider, streamed(provider))

    assert len(words(seen)) == 16
    assert (finished(seen), terminated(seen), seen.complete) == (True, False, True)


@pytest.mark.parametrize(("opening", "pings"), [(True, 0), (True, 3), (False, 2)])
def test_slow_first_content_may_be_preceded_by_pings(provider: ProviderHandle, opening: bool, pings: int) -> None:
    provider.fail("slow_first_content", seconds=0.3, pings=pings, opening=opening)
    mark = b'"acme"' if provider.name == "acme" else b'"claudia"'

    with connected(provider) as wire:
        started = time.monotonic()
        wire.send(streamed(provider))
        sent = wire.read(until=mark).data

    assert time.monotonic() - started > 0.29
    ping = b": ping\n" if provider.name == "acme" else b"event: ping\n"
    honest_pings = 1 if provider.name == "claudia" and opening else 0
    assert sent.count(ping) == pings + honest_pings
    assert (b'"role":"assistant"' in sent) is opening


def test_slow_first_content_sends_head_and_opening_at_once(provider: ProviderHandle) -> None:
    provider.fail("slow_first_content", seconds=3600)

    with connected(provider) as wire:
        wire.send(streamed(provider))
        assert wire.read(until=b'"role":"assistant"').data.startswith(b"HTTP/1.1 200 OK\r\n")

    assert provider.requests()[0].events_sent > 0


def test_an_idle_stall_is_silence_for_ever(provider: ProviderHandle) -> None:
    provider.fail("idle_stall", after_events=2)

    with connected(provider) as wire:
        wire.send(streamed(provider))
        seen = wire.read(seconds=0.3)

    assert (len(words(seen)), seen.ending) == (2, "open")
    provider.wait_for(lambda requests: requests[0].disconnected)


def test_an_idle_stall_for_a_time_goes_on_with_the_rest(provider: ProviderHandle) -> None:
    provider.fail("idle_stall", after_events=2, seconds=0.2)
    started = time.monotonic()

    seen = ask(provider, streamed(provider))

    assert time.monotonic() - started > 0.19
    assert (len(words(seen)), terminated(seen)) == (16, True)


@pytest.mark.parametrize("after", [0, 3, 99])
def test_a_malformed_event_is_one_more_in_a_whole_stream(provider: ProviderHandle, after: int) -> None:
    provider.fail("malformed_event", after_events=after)

    seen = ask(provider, streamed(provider))

    assert seen.events.count(b'{"id": "broken", "choices": [') == 1
    place = seen.stream.index(b'"broken"')
    assert len(words(Seen(b"\r\n\r\n" + _chunk(seen.stream[:place])))) == min(after, 16)
    assert (len(words(seen)), terminated(seen)) == (16, True)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_a_malformed_event_may_be_any_bytes(acme: ProviderHandle) -> None:
    acme.fail("malformed_event", after_events=1, data="[1, 2")

    assert b"data: [1, 2\n\n" in ask(acme, streamed(acme)).stream


def test_an_error_event_comes_first_unless_told_otherwise(provider: ProviderHandle) -> None:
    provider.fail("error_event")
    first = ask(provider, streamed(provider))
    provider.fail("error_event", after_events=3)
    later = ask(provider, streamed(provider))

    assert "error" in first.events[0]
    assert len(first.events) == 1
    assert len(words(later)) == 3
    assert "error" in later.events[-1]
    assert (first.complete, later.complete) == (True, True)


def test_stream_faults_leave_whole_answers_alone(provider: ProviderHandle) -> None:
    provider.fail("reset_mid_stream", times=1)

    assert ask(provider, request(provider)).complete
    assert ask(provider, streamed(provider)).ending == "reset", "the fault was not spent on the other request"


def test_a_stream_fault_leaves_an_honest_refusal_alone(acme: ProviderHandle) -> None:
    acme.behave(credential="right", faults=["cut_mid_stream"])

    assert ask(acme, streamed(acme)).status == 401


def test_responses_are_cut_by_their_content_too(acme: ProviderHandle) -> None:
    acme.fail("end_without_terminator", after_events=4)
    document: Any = {"model": "gpt-4o", "input": "hello", "stream": True}

    seen = ask(acme, request(acme, document, path="/v1/responses"))

    kinds = [event["type"] for event in seen.events]
    assert kinds.count("response.output_text.delta") == 4
    assert kinds[-1] == "response.output_text.delta"
