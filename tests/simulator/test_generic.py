"""The generic wire: what it was sent comes back, whatever the method and the path; faults strike it as any other."""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING

import pytest

from tests.simulator.raw import ask, connected, request

if TYPE_CHECKING:
    from tests.simulators import ProviderHandle


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_any_method_and_path_is_answered_with_what_was_received(echo: ProviderHandle, method: str) -> None:
    sent = f"{method} /a%20b/v1/c?x=%2F&y HTTP/1.1\r\nHost: x\r\nX-Odd: One\r\ncontent-length: 2\r\n\r\nhi"

    seen = ask(echo, sent.encode())

    document = seen.json()
    assert seen.status == 200
    assert (document["name"], document["method"], document["body"]) == ("echo", method, "hi")
    assert document["target"] == "/a%20b/v1/c?x=%2F&y"
    assert ["X-Odd", "One"] in document["headers"]


def test_head_is_answered_without_a_body_also_by_faults(echo: ProviderHandle) -> None:
    asked = b"HEAD /x HTTP/1.1\r\nhost: x\r\n\r\n"
    plain = ask(echo, asked)
    echo.fail("status", status=503)
    failed = ask(echo, asked)
    echo.fail("early_hints", count=2)
    hinted = ask(echo, asked)
    echo.fail("slow_drip", bytes=3, seconds=0)
    dripped = ask(echo, asked)

    assert (plain.status, plain.body) == (200, b"")
    assert int(plain.headers["content-length"]) > 0
    assert (failed.status, failed.body) == (503, b"")
    assert hinted.data.count(b"HTTP/1.1 103 ") == 2
    assert hinted.data.count(b"HTTP/1.1 200 ") == 1
    assert hinted.data.endswith(b"\r\n\r\n")
    assert (dripped.status, dripped.body) == (200, b"")


def test_a_connection_is_kept_after_head(echo: ProviderHandle) -> None:
    with connected(echo) as wire:
        wire.send(b"HEAD /x HTTP/1.1\r\nhost: x\r\n\r\n")
        wire.read(until=b"\r\n\r\n")
        assert wire.exchange(b"GET /y HTTP/1.1\r\nhost: x\r\n\r\n").json()["target"] == "/y"


def test_a_body_that_is_no_text_comes_back_packed(echo: ProviderHandle) -> None:
    seen = ask(echo, b"PUT /x HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n\xff\x00\xfe")

    assert base64.b64decode(seen.json()["body_base64"]) == b"\xff\x00\xfe"
    assert "body" not in seen.json()


def test_its_base_url_is_the_root_and_its_errors_are_plain(echo: ProviderHandle) -> None:
    assert echo.base_url == f"http://127.0.0.1:{echo.port}"

    echo.fail("status", status=502, message="so it goes")
    assert ask(echo).json() == {"error": "so it goes"}
    assert ask(echo).status == 502
    echo.heal()
    assert ask(echo, b"TRACE / HTTP/1.1\r\nhost: x\r\n\r\n").status == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("authorization: Bearer right\r\n", 200),
        ("x-service-key: right\r\n", 200),
        ("authorization: Token right\r\n", 200),
        ("x-service-key: wrong\r\n", 401),
        ("", 401),
    ],
)
def test_a_credential_is_found_in_whatever_header_the_service_wants(
    echo: ProviderHandle, headers: str, status: int
) -> None:
    echo.behave(credential="right")

    assert ask(echo, request(echo, headers=headers)).status == status


def test_a_model_that_is_not_served_is_refused_and_none_is_needed(echo: ProviderHandle) -> None:
    echo.behave(models=["m"])

    answers = [ask(echo, request(echo, document)).status for document in ({"model": "m"}, {"model": "n"}, {"x": 1})]

    assert answers == [200, 404, 200]


def test_a_stream_is_events_that_only_the_body_ends(echo: ProviderHandle) -> None:
    asked = request(echo, {"stream": True}, path="/any")

    whole = ask(echo, asked)
    echo.fail("reset_mid_stream", after_events=2)
    cut = ask(echo, asked)
    echo.fail("error_event")
    failed = ask(echo, asked)

    assert whole.complete
    assert [event.get("text") for event in whole.events][:2] == [None, "echo"]
    assert len(whole.events) == 17
    assert (len(cut.events), cut.ending) == (3, "reset")
    assert failed.events == [{"error": "Overloaded"}]


def test_large_and_broken_answers_work_as_on_any_wire(echo: ProviderHandle) -> None:
    echo.fail("huge_body", bytes=3_000_000)
    huge = ask(echo)
    echo.fail("slow_drip", bytes=50, seconds=0.001)
    dripped = ask(echo)
    echo.fail("reset_mid_body", after_bytes=20)
    cut = ask(echo)
    echo.fail("gzip")
    packed = ask(echo)

    assert (len(huge.body), huge.json()["name"]) == (3_000_000, "echo")
    assert dripped.json()["name"] == "echo"
    assert (len(cut.body), cut.ending) == (20, "reset")
    assert json.loads(gzip.decompress(packed.body))["name"] == "echo"


@pytest.mark.parametrize("ending", ["stall_mid_body", "cut_mid_body"])
def test_a_body_may_stall_or_end_after_some_bytes(echo: ProviderHandle, ending: str) -> None:
    echo.fail(ending, after_bytes=10)

    with connected(echo) as wire:
        wire.send(request(echo))
        seen = wire.read(seconds=0.3)

    assert (len(seen.body), seen.ending) == (10, "open" if ending == "stall_mid_body" else "fin")
    echo.wait_for(lambda requests: requests[0].disconnected is (ending == "stall_mid_body"))
