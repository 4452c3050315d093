"""Each fault of the connection, seen on the socket."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.simulator.raw import Wire, ask, connected, request, streamed

if TYPE_CHECKING:
    from tests.simulators import ProviderHandle


def test_refused_closes_the_listener_and_resets_open_connections(acme: ProviderHandle) -> None:
    with connected(acme) as wire:
        assert wire.exchange(request(acme)).status == 200
        acme.fail("refused")
        assert wire.read().ending == "reset"
        with pytest.raises(ConnectionRefusedError):
            Wire(acme.port)

    acme.heal()
    assert ask(acme).status == 200


def test_refused_for_a_time_comes_back_by_itself(acme: ProviderHandle) -> None:
    acme.fail("refused", seconds=0.1)
    with pytest.raises(ConnectionRefusedError):
        Wire(acme.port)

    deadline = time.monotonic() + 5
    while True:
        try:
            Wire(acme.port).close()
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert ask(acme).status == 200
    assert acme.behaviour()["faults"] == []


def test_stop_and_start_do_the_same_and_keep_the_port(acme: ProviderHandle) -> None:
    port = acme.port
    acme.stop()
    with pytest.raises(ConnectionRefusedError):
        Wire(port)
    acme.stop()
    acme.start()
    acme.start()

    assert ask(acme).status == 200


def test_a_stopped_provider_resets_a_stream_in_the_middle(acme: ProviderHandle) -> None:
    acme.behave(tokens_per_second=1, output_tokens=50)
    with connected(acme) as wire:
        wire.send(streamed(acme))
        wire.read(until=b'"content":"acme"')
        acme.stop()
        assert wire.read().ending == "reset"


def test_reset_on_connect_answers_nothing_and_is_over_after_its_times(acme: ProviderHandle) -> None:
    acme.fail("reset_on_connect", times=2)

    endings = []
    for _ in range(3):
        try:
            with connected(acme) as wire:
                wire.send(request(acme))
                endings.append(wire.exchange(b"").ending)
        except OSError:
            endings.append("reset")

    assert endings == ["reset", "reset", "open"]
    assert len(acme.requests()) == 1


def test_reset_before_headers_comes_after_the_request_was_read(acme: ProviderHandle) -> None:
    acme.fail("reset_before_headers")

    seen = ask(acme)

    assert (seen.data, seen.ending) == (b"", "reset")
    assert acme.requests()[0].json()["model"] == "gpt-4o"


def test_close_before_headers_is_a_fin(acme: ProviderHandle) -> None:
    acme.fail("close_before_headers")

    seen = ask(acme)

    assert (seen.data, seen.ending) == (b"", "fin")


def test_hang_before_headers_sends_nothing_and_notes_when_the_client_gives_up(acme: ProviderHandle) -> None:
    acme.fail("hang_before_headers")

    with connected(acme) as wire:
        wire.send(request(acme))
        seen = wire.read(seconds=0.2)

    assert (seen.data, seen.ending) == (b"", "open")
    (logged,) = acme.wait_for(lambda requests: requests[0].disconnected)
    assert logged.finished is False
    assert logged.disconnected_after is not None
    assert logged.disconnected_after > 0.1


def test_hang_before_headers_for_a_time_then_answers(acme: ProviderHandle) -> None:
    acme.fail("hang_before_headers", seconds=0.2)
    started = time.monotonic()

    assert ask(acme).status == 200

    assert time.monotonic() - started > 0.19


@pytest.mark.parametrize("stream", [False, True])
def test_hang_after_headers_sends_the_head_alone(acme: ProviderHandle, stream: bool) -> None:
    acme.fail("hang_after_headers")

    with connected(acme) as wire:
        wire.send(streamed(acme) if stream else request(acme))
        seen = wire.read(seconds=0.2)

    assert seen.status == 200
    assert (seen.body, seen.ending) == (b"", "open")


@pytest.mark.parametrize(("how", "ending"), [("close", "fin"), ("reset", "reset")])
def test_keepalive_race_closes_as_the_second_request_of_a_connection_arrives(
    acme: ProviderHandle, how: str, ending: str
) -> None:
    acme.fail("keepalive_race", how=how)

    with connected(acme) as wire:
        assert wire.exchange(request(acme)).status == 200
        seen = wire.exchange(request(acme))

    assert (seen.data, seen.ending) == (b"", ending)
    assert ask(acme).status == 200
    assert [(logged.ordinal, logged.fault) for logged in acme.requests()] == [
        (1, None),
        (2, "keepalive_race"),
        (1, None),
    ]


def test_idle_close_ends_a_connection_that_was_to_be_kept(acme: ProviderHandle) -> None:
    acme.fail("idle_close", seconds=0.05)

    with connected(acme) as wire:
        seen = wire.exchange(request(acme))
        assert "connection" not in seen.headers
        assert wire.read().ending == "fin"


def test_slow_drip_sends_the_whole_answer_in_small_writes(acme: ProviderHandle) -> None:
    whole = ask(acme)
    acme.fail("slow_drip", bytes=100, seconds=0.02)
    started = time.monotonic()

    seen = ask(acme)

    writes = -(-len(whole.data) // 100)
    assert len(seen.data) == len(whole.data)
    assert seen.complete
    assert time.monotonic() - started >= writes * 0.019


def test_slow_drip_counts_the_events_of_a_stream(acme: ProviderHandle) -> None:
    acme.behave(output_tokens=2)
    acme.fail("slow_drip", bytes=200, seconds=0.001)

    seen = ask(acme, streamed(acme))

    assert seen.events[-1] == b"[DONE]"
    assert acme.requests()[-1].events_sent == 5  # role, two words, finish, [DONE]
