"""Each fault of a body, seen on the socket."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from tests.simulator.raw import ask, connected, request, streamed

if TYPE_CHECKING:
    from tests.simulators import ProviderHandle


@pytest.mark.parametrize(("fault", "ending"), [("reset_mid_body", "reset"), ("cut_mid_body", "fin")])
def test_a_body_cut_in_the_middle_is_shorter_than_promised(acme: ProviderHandle, fault: str, ending: str) -> None:
    acme.fail(fault, after_bytes=20)

    seen = ask(acme)

    assert seen.ending == ending
    assert len(seen.body) == 20
    assert int(seen.headers["content-length"]) > 20


@pytest.mark.parametrize(("fault", "ending"), [("reset_mid_body", "reset"), ("cut_mid_body", "fin")])
def test_a_stream_cut_by_bytes_may_end_inside_an_event(acme: ProviderHandle, fault: str, ending: str) -> None:
    acme.fail(fault, after_bytes=30)

    seen = ask(acme, streamed(acme))

    assert seen.ending == ending
    assert len(seen.stream) == 30
    assert not seen.complete


def test_a_slow_reader_gets_all_that_was_sent_before_a_reset(acme: ProviderHandle) -> None:
    acme.behave(text="word " * 800_000)
    acme.fail("reset_mid_body", after_bytes=3_000_000)

    with connected(acme) as wire:
        wire.send(request(acme))
        acme.wait_for(lambda requests: requests[0].finished)
        seen = wire.read()

    assert seen.ending == "reset"
    assert len(seen.body) == 3_000_000


def test_a_body_cut_by_default_lacks_half(acme: ProviderHandle) -> None:
    whole = ask(acme)
    acme.fail("cut_mid_body")

    assert len(ask(acme).body) == len(whole.body) // 2


def test_cut_json_is_framed_as_if_it_were_all(acme: ProviderHandle) -> None:
    acme.fail("cut_json")

    seen = ask(acme)

    assert seen.complete
    with pytest.raises(json.JSONDecodeError):
        seen.json()


def test_cut_json_on_a_stream_ends_it_cleanly_inside_an_event(acme: ProviderHandle) -> None:
    acme.fail("cut_json", after_bytes=50)

    seen = ask(acme, streamed(acme))

    assert seen.complete
    assert len(seen.stream) == 50


def test_invalid_json_says_it_is_json(acme: ProviderHandle) -> None:
    acme.fail("invalid_json")

    seen = ask(acme)

    assert (seen.status, seen.headers["content-type"]) == (200, "application/json")
    with pytest.raises(json.JSONDecodeError):
        seen.json()


def test_html_in_a_200(acme: ProviderHandle) -> None:
    acme.fail("html_in_200")

    seen = ask(acme)

    assert seen.status == 200
    assert seen.headers["content-type"].startswith("text/html")
    assert seen.body.startswith(b"<!DOCTYPE html>")


def test_an_error_document_in_a_200_is_in_the_providers_own_form(acme: ProviderHandle, claudia: ProviderHandle) -> None:
    acme.fail("error_in_200", message="no luck")
    claudia.fail("error_in_200", message="no luck")

    for provider in (acme, claudia):
        for asked in (request(provider), streamed(provider)):
            seen = ask(provider, asked)
            assert (seen.status, seen.headers["content-type"]) == (200, "application/json")
            assert seen.json()["error"]["message"] == "no luck"
    assert seen.json()["type"] == "error"


def test_ignore_stream_answers_json_where_a_stream_was_asked_for(acme: ProviderHandle) -> None:
    acme.fail("ignore_stream")

    seen = ask(acme, streamed(acme))

    assert seen.headers["content-type"] == "application/json"
    assert seen.json()["object"] == "chat.completion"


def test_gzip_packs_the_honest_body_unasked(acme: ProviderHandle) -> None:
    acme.fail("gzip")

    seen = ask(acme)
    stream = ask(acme, streamed(acme))

    assert seen.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(seen.body))["object"] == "chat.completion"
    assert gzip.decompress(stream.body).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("size", [100_000, 5_000_000])
def test_a_huge_body_is_valid_json_of_that_size(acme: ProviderHandle, size: int) -> None:
    acme.fail("huge_body", bytes=size)

    seen = ask(acme)

    assert len(seen.body) == size
    assert seen.json()["object"] == "chat.completion"


def test_a_huge_event_is_one_valid_event_in_an_otherwise_whole_stream(acme: ProviderHandle) -> None:
    acme.fail("huge_body", bytes=400_000)

    seen = ask(acme, streamed(acme))

    assert max(map(len, seen.chunks)) == 400_000
    assert seen.events[-1] == b"[DONE]"
    assert all(isinstance(event, dict) for event in seen.events[:-1])


@pytest.mark.parametrize("stream", [False, True])
def test_an_endless_body_goes_on_as_long_as_it_is_read(acme: ProviderHandle, stream: bool) -> None:
    acme.fail("endless_body")

    with connected(acme) as wire:
        wire.send(streamed(acme) if stream else request(acme))
        seen = wire.read(limit=3_000_000)
        assert len(seen.data) >= 3_000_000
        assert seen.ending == "open"

    (logged,) = acme.wait_for(lambda requests: requests[0].disconnected)
    assert logged.bytes_sent >= 3_000_000


def test_an_endless_body_waits_for_a_slow_reader(acme: ProviderHandle) -> None:
    acme.fail("endless_body")

    with connected(acme) as wire:
        wire.send(request(acme))
        wire.read(until=b"padding")
        sizes = [acme.requests()[0].bytes_sent]
        acme.wait_for(lambda requests: _settled(sizes, requests[0].bytes_sent))

    assert sizes[-1] < 64 * 1024 * 1024


def _settled(sizes: list[int], size: int) -> bool:
    """Nothing more was sent since the last look."""
    sizes.append(size)
    return len(sizes) > 5 and len(set(sizes[-4:])) == 1
