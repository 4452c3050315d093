"""WebSockets: the realtime conversation with the official SDK, the echo with the `websockets` client, every fault."""

from __future__ import annotations

import json
import ssl
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.simulator.raw import Wire, ask, connected, request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulators import ProviderHandle, Received, Simulator

UPGRADE = (
    b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def opened(provider: ProviderHandle, path: str = "", **options: Any) -> ClientConnection:
    """A connection without compression and keep-alive pings, for messages of any size."""
    path = path or ("/v1/realtime?model=gpt-realtime" if provider.wire == "openai" else "/any/where")
    url = f"ws://127.0.0.1:{provider.port}{path}"
    return connect(url, **{"compression": None, "ping_interval": None, "max_size": None, "open_timeout": 5, **options})


def ended(provider: ProviderHandle) -> Received:
    """The record of the only request, once its connection is over."""
    (found,) = provider.wait_for(lambda requests: requests[-1].finished or requests[-1].disconnected)
    return found


def closed_with(socket: ClientConnection) -> tuple[int, str] | None:
    """Read to the end: what the close frame said, None when there was none."""
    with pytest.raises(ConnectionClosed) as caught:
        _read_on(socket)
    return None if caught.value.rcvd is None else (caught.value.rcvd.code, caught.value.rcvd.reason)


def _read_on(socket: ClientConnection) -> None:
    while True:
        socket.recv(timeout=5)


# -- realtime --------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")  # the SDK does not yet
def test_the_official_sdk_holds_a_realtime_conversation(acme: ProviderHandle) -> None:
    with (
        openai.OpenAI(api_key="k", base_url=acme.base_url) as client,
        client.realtime.connect(model="gpt-realtime") as connection,
    ):
        created = connection.recv()
        assert created.type == "session.created"
        connection.session.update(session={"type": "realtime", "instructions": "be brief"})
        updated = connection.recv()
        assert updated.type == "session.updated"
        assert updated.session.instructions == "be brief"
        connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
        )
        assert connection.recv().type == "conversation.item.created"
        connection.response.create()
        events = [connection.recv()]
        while events[-1].type != "response.done":
            events.append(connection.recv())

    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert events[0].type == "response.created"
    assert "".join(deltas).startswith("acme ")
    usage = events[-1].response.usage
    assert usage is not None
    assert usage.output_tokens == len(deltas) == 16
    assert usage.total_tokens == (usage.input_tokens or 0) + 16
    logged = ended(acme)
    assert (logged.status, logged.messages_received, logged.close_code) == (101, 3, 1000)
    assert logged.messages_sent == 3 + len(events)


@pytest.mark.parametrize(
    ("event", "param"),
    [
        ('{"type": "odd", "event_id": "e1"}', "type"),
        ("{", None),
        ("[]", None),
        ('{"type": "session.update"}', "session"),
        ('{"type": "conversation.item.create"}', "item"),
    ],
)
def test_an_event_it_does_not_know_is_an_error_and_the_conversation_goes_on(
    acme: ProviderHandle, event: str, param: str | None
) -> None:
    with opened(acme) as socket:
        socket.recv()
        socket.send(event)
        error = json.loads(socket.recv())
        socket.send('{"type": "response.create", "response": {"max_output_tokens": 2}}')
        kinds = [json.loads(socket.recv())["type"]]
        while kinds[-1] != "response.done":
            last = json.loads(socket.recv())
            kinds.append(last["type"])

    assert (error["type"], error["error"]["param"]) == ("error", param)
    assert error["error"]["event_id"] == ("e1" if "e1" in event else None)
    assert kinds.count("response.output_text.delta") == 2
    assert last["response"]["status"] == "incomplete"


def test_a_key_is_taken_from_the_header_or_from_a_subprotocol(acme: ProviderHandle) -> None:
    acme.behave(credential="right")

    with pytest.raises(InvalidStatus) as caught:
        opened(acme, additional_headers={"authorization": "Bearer wrong"})
    assert caught.value.response.status_code == 401
    assert json.loads(caught.value.response.body)["error"]["code"] == "invalid_api_key"
    with opened(acme, additional_headers={"authorization": "Bearer right"}) as socket:
        assert socket.subprotocol is None
    with opened(acme, subprotocols=["openai-insecure-api-key.right", "realtime"]) as socket:
        assert socket.subprotocol == "realtime"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/realtime", 400),
        ("/v1/realtime?model=other", 404),
        ("/v1/chat/completions?model=gpt-realtime", 404),
        ("/v1/realtime?model=gpt-realtime", 101),
    ],
)
def test_a_conversation_is_had_with_a_served_model_at_its_own_path(
    acme: ProviderHandle, path: str, status: int
) -> None:
    acme.behave(models=["gpt-realtime"])

    with connected(acme) as wire:
        wire.send(UPGRADE % path.encode())
        assert wire.read(until=b"\r\n\r\n").status == status


def test_anthropic_has_no_websockets(claudia: ProviderHandle) -> None:
    with pytest.raises(InvalidStatus) as caught:
        opened(claudia, "/v1/messages")

    assert caught.value.response.status_code == 404


# -- echo ------------------------------------------------------------------------------------
def test_every_message_comes_back_as_it_was(echo: ProviderHandle) -> None:
    messages: list[str | bytes] = ["hi", b"\x00\xff", "", "ä" * 100_000, b"x" * 3_000_000, "close:1000", "flood:x:y"]
    with opened(echo) as socket:
        for message in messages[:-1]:
            socket.send(message)
            assert socket.recv() == message
        socket.send(iter(["in ", "three ", "parts"]))
        assert socket.recv() == "in three parts"
        socket.send(messages[-1])
        assert str(socket.recv()).startswith("error:")

    logged = ended(echo)
    assert (logged.messages_received, logged.messages_sent) == (8, 8)
    assert (logged.close_code, logged.finished, logged.disconnected) == (1000, True, False)


def test_many_messages_sent_ahead_come_back_in_order(echo: ProviderHandle) -> None:
    with opened(echo) as socket:
        for number in range(500):
            socket.send(f"{number}")
        assert [socket.recv() for _ in range(500)] == [f"{number}" for number in range(500)]


def test_texts_tell_it_what_to_do(echo: ProviderHandle) -> None:
    with opened(echo, subprotocols=["b", "a"], additional_headers={"X-Odd": "One"}) as socket:
        assert socket.subprotocol == "b"
        socket.send("subprotocol")
        assert socket.recv() == "b"
        socket.send("headers")
        assert ["X-Odd", "One"] in json.loads(socket.recv())
        socket.send("ping")
        assert socket.recv() == "pong:are you there"
        socket.send("flood:3:1000")
        assert [socket.recv() for _ in range(3)] == [b"x" * 1000] * 3
        socket.send("close:4001:so: long")
        assert closed_with(socket) == (4001, "so: long")


@pytest.mark.parametrize("text", ["close:1005:x", "close:99:x", "close:one:x", "flood:0:1", "flood:9999999:1"])
def test_a_text_that_cannot_be_done_is_an_error_and_no_end(echo: ProviderHandle, text: str) -> None:
    with opened(echo) as socket:
        socket.send(text)
        assert str(socket.recv()).startswith("error:")
        socket.send("still here")
        assert socket.recv() == "still here"


@pytest.mark.parametrize(
    ("agreeable", "offered", "agreed"),
    [(["a", "c"], ["b", "c", "a"], "c"), (["a"], ["b"], None), ([], ["b"], None), (["a"], None, None)],
)
def test_the_first_offered_subprotocol_that_is_agreeable_is_taken(
    echo: ProviderHandle, agreeable: list[str], offered: Any, agreed: str | None
) -> None:
    echo.behave(subprotocols=agreeable)

    with opened(echo, subprotocols=offered) as socket:
        assert socket.subprotocol == agreed


def test_a_slow_reader_is_not_sent_more_than_it_takes(echo: ProviderHandle) -> None:
    with opened(echo, max_queue=1) as socket:
        socket.send("flood:2000:100000")
        sizes: list[int] = []

        def settled(requests: list[Received]) -> bool:
            sizes.append(requests[0].bytes_sent)
            return len(sizes) > 5 and sizes[-1] > 0 and len(set(sizes[-4:])) == 1

        echo.wait_for(settled)
        assert sizes[-1] < 100_000_000
        received = sum(len(socket.recv()) for _ in range(2000))

    assert received == 200_000_000
    assert ended(echo).messages_sent == 2000


def test_a_peer_that_leaves_is_noted_also_while_nothing_is_read(echo: ProviderHandle) -> None:
    def leave(first: str) -> Received:
        echo.forget()
        with connected(echo) as wire:
            wire.send(UPGRADE % b"/x")
            wire.read(until=b"\r\n\r\n")
            frame = bytes([0x81, 0x80 + len(first), 0, 0, 0, 0]) + first.encode()
            wire.send(frame)
            wire.read(until=b"x")
        return ended(echo)

    for first in ("x", "flood:1000:100000"):
        logged = leave(first)
        assert (logged.disconnected, logged.finished, logged.close_code) == (True, False, None)
    echo.fail("ws_stall")
    assert leave("x").disconnected


def test_frames_sent_right_behind_the_handshake_are_read(echo: ProviderHandle) -> None:
    echo.behave(latency=0.05)
    with connected(echo) as wire:
        wire.send(UPGRADE % b"/x" + b"\x81\x82\0\0\0\0hi")
        assert wire.read(until=b"hi").body == b"\x81\x02hi"


def test_what_is_no_valid_frame_closes_with_1002(echo: ProviderHandle) -> None:
    with connected(echo) as wire:
        wire.send(UPGRADE % b"/x")
        wire.read(until=b"\r\n\r\n")
        wire.send(b"\x81\x02hi")  # not masked
        seen = wire.read()

    assert seen.data[2:4] == (1002).to_bytes(2, "big")
    assert seen.ending == "fin"


def test_a_text_that_is_not_utf8_closes_with_1007(echo: ProviderHandle) -> None:
    with connected(echo) as wire:
        wire.send(UPGRADE % b"/x")
        wire.read(until=b"\r\n\r\n")
        wire.send(b"\x81\x82\0\0\0\0\xff\xff")
        assert wire.read(until=b"\x03\xef").data == b"\x88\x02\x03\xef"


@pytest.mark.parametrize("line", [b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"sec-websocket-version: 13\r\n"])
def test_a_handshake_without_what_it_needs_is_refused(echo: ProviderHandle, line: bytes) -> None:
    seen = ask(echo, (UPGRADE % b"/x").replace(line, b""))

    assert seen.status == 400
    assert "Sec-WebSocket" in seen.json()["error"]


def test_an_upgrade_to_something_else_is_an_ordinary_request(echo: ProviderHandle) -> None:
    with connected(echo) as wire:
        asked = b"GET /x HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: h2c\r\n\r\n"
        assert wire.exchange(asked).json()["target"] == "/x"
        assert wire.exchange(b"GET /y HTTP/1.1\r\nhost: x\r\n\r\n").json()["target"] == "/y"


def test_websockets_work_over_tls(simulator: Simulator, certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    (safe,) = simulator.add_all(
        [{"name": "safe", "wire": "generic", "certificate": str(chain), "private_key": str(key)}]
    )

    with connect(
        f"wss://127.0.0.1:{safe.port}/x", ssl=ssl.create_default_context(cafile=str(chain)), compression=None
    ) as socket:
        socket.send("hi")
        assert socket.recv() == "hi"
    assert ended(safe).close_code == 1000


# -- faults of the handshake -----------------------------------------------------------------
@pytest.mark.parametrize(
    ("fault", "options", "status"),
    [
        ("status", {"status": 503}, 503),
        ("rate_limited", {}, 429),
        ("billing", {}, 400),
        ("redirect", {}, 307),
        ("html_in_200", {}, 200),
        ("error_in_200", {}, 200),
        ("invalid_json", {}, 200),
    ],
)
def test_a_handshake_can_be_refused_by_any_answer(
    acme: ProviderHandle, echo: ProviderHandle, fault: str, options: dict[str, Any], status: int
) -> None:
    for provider in (acme, echo):
        provider.fail(fault, times=1, **options)

        # By hand: the client of the package would follow the redirect.
        with connected(provider) as wire:
            refused = wire.exchange(UPGRADE % b"/v1/realtime?model=m")
            assert refused.status == status
            # The connection is an ordinary one still, and the fault is spent.
            wire.send(UPGRADE % b"/v1/realtime?model=m")
            assert wire.read(until=b"\r\n\r\n").status == 101

        assert provider.requests()[0].fault == fault


@pytest.mark.parametrize(
    ("fault", "ending"),
    [("reset_before_headers", "reset"), ("close_before_headers", "fin"), ("hang_before_headers", "open")],
)
def test_a_handshake_can_get_no_answer(echo: ProviderHandle, fault: str, ending: str) -> None:
    echo.fail(fault)

    with connected(echo) as wire:
        wire.send(UPGRADE % b"/x")
        seen = wire.read(seconds=0.2 if ending == "open" else 5)

    assert (seen.data, seen.ending) == (b"", ending)


def test_a_handshake_can_be_late_slow_or_preceded_by_hints(echo: ProviderHandle) -> None:
    for fault, options in (
        ("hang_before_headers", {"seconds": 0.1}),
        ("slow_drip", {"bytes": 20, "seconds": 0.001}),
        ("early_hints", {}),
    ):
        echo.fail(fault, **options)
        with connected(echo) as wire:
            wire.send(UPGRADE % b"/x" + b"\x81\x82\0\0\0\0hi")
            assert wire.read(until=b"\x81\x02hi").data.count(b"HTTP/1.1 101 ") == 1
    echo.fail("hang_after_headers")
    with connected(echo) as wire:
        wire.send(UPGRADE % b"/x" + b"\x81\x82\0\0\0\0hi")
        seen = wire.read(seconds=0.2)
    assert (seen.status, seen.body, seen.ending) == (101, b"", "open")


def test_refused_and_stopped_end_open_websockets_with_a_reset(echo: ProviderHandle) -> None:
    with connected(echo) as wire:
        wire.send(UPGRADE % b"/x")
        wire.read(until=b"\r\n\r\n")
        echo.stop()
        assert wire.read().ending == "reset"
        with pytest.raises(ConnectionRefusedError):
            Wire(echo.port)


@pytest.mark.parametrize("fault", ["gzip", "cut_mid_body", "framing", "no_done", "huge_body"])
def test_faults_of_bodies_and_streams_leave_handshakes_alone(echo: ProviderHandle, fault: str) -> None:
    echo.fail(fault, times=1)

    with opened(echo) as socket:
        socket.send("hi")
        assert socket.recv() == "hi"

    assert ended(echo).fault is None


def test_a_wrong_accept_is_noticed_by_a_client(echo: ProviderHandle) -> None:
    echo.fail("ws_bad_accept")

    with pytest.raises(InvalidHandshake, match="Sec-WebSocket-Accept"):
        opened(echo)


@pytest.mark.parametrize("offered", [None, ["a", "b"]])
def test_a_subprotocol_nobody_offered_is_noticed_by_a_client(echo: ProviderHandle, offered: Any) -> None:
    echo.fail("ws_wrong_subprotocol")

    with pytest.raises(InvalidHandshake, match="subprotocol"):
        opened(echo, subprotocols=offered)


def test_faults_of_websockets_leave_requests_alone(echo: ProviderHandle) -> None:
    echo.fail("ws_close", after_messages=0, times=1)

    assert ask(echo, request(echo)).status == 200
    with opened(echo) as socket:
        assert closed_with(socket) == (1011, "")


def test_faults_of_open_websockets_leave_an_honest_refusal_alone(acme: ProviderHandle) -> None:
    for fault in ("ws_bad_accept", "ws_close", "ws_no_pong"):
        acme.behave(credential="right", faults=[fault])
        with pytest.raises(InvalidStatus) as caught:
            opened(acme)
        assert caught.value.response.status_code == 401


# -- faults of the open connection -----------------------------------------------------------
def test_a_close_comes_after_so_many_messages_with_code_and_reason(echo: ProviderHandle) -> None:
    echo.fail("ws_close", after_messages=2, code=4008, reason="enough")

    with opened(echo) as socket:
        socket.send("one")
        assert socket.recv() == "one"
        socket.send("two")
        assert socket.recv() == "two"
        assert closed_with(socket) == (4008, "enough")

    logged = ended(echo)
    assert (logged.messages_received, logged.messages_sent, logged.close_code) == (2, 2, 4008)


def test_a_realtime_conversation_can_be_closed_after_what_is_said_at_once(acme: ProviderHandle) -> None:
    acme.fail("ws_close", after_messages=0, code=1001)

    with opened(acme) as socket:
        assert json.loads(socket.recv())["type"] == "session.created"
        assert closed_with(socket) == (1001, "")


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_reset_comes_without_a_close_frame(echo: ProviderHandle, after: int) -> None:
    echo.fail("ws_reset", after_messages=after)

    with connected(echo) as wire:
        wire.send(UPGRADE % b"/x" + b"\x81\x82\0\0\0\0hi" * 5)
        seen = wire.read()

    assert seen.body == b"\x81\x02hi" * after
    assert seen.ending == "reset"
    logged = ended(echo)
    assert (logged.finished, logged.close_code) == (True, None)


def test_a_stall_reads_and_sends_nothing_for_so_long_and_loses_nothing(echo: ProviderHandle) -> None:
    echo.fail("ws_stall", after_messages=1, seconds=0.3)

    with opened(echo) as socket:
        socket.send("one")
        assert socket.recv() == "one"
        started = time.monotonic()
        socket.send("two")
        socket.send("three")
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.1)
        assert [socket.recv(), socket.recv()] == ["two", "three"]
        assert time.monotonic() - started > 0.25


@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_arrived_before_a_stall_is_answered_after_it(echo: ProviderHandle, after: int) -> None:
    echo.fail("ws_stall", after_messages=after, seconds=0.2)

    with connected(echo) as wire:
        wire.send(UPGRADE % b"/x" + b"\x81\x82\0\0\0\0hi" * 3)
        before = wire.read(seconds=0.1)
        assert before.body == b"\x81\x02hi" * after
        assert wire.read(until=b"\x81\x02hi" * (3 - after)).data == b"\x81\x02hi" * (3 - after)


def test_a_stall_for_ever_blocks_who_sends(echo: ProviderHandle) -> None:
    echo.fail("ws_stall", after_messages=0)

    with connected(echo) as wire:
        wire.send(UPGRADE % b"/x")
        wire.read(until=b"\r\n\r\n")
        wire.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            wire.send(b"\x82\xff" + (100_000_000).to_bytes(8, "big") + bytes(4) + bytes(100_000_000))


def test_pings_can_stay_unanswered_while_messages_go_through(echo: ProviderHandle) -> None:
    with opened(echo) as socket:
        assert socket.ping().wait(5)
    echo.fail("ws_no_pong")

    with opened(echo) as socket:
        waiter = socket.ping()
        socket.send("hi")
        assert socket.recv() == "hi"
        assert not waiter.is_set()


def test_a_half_close_sends_its_frame_and_stays(echo: ProviderHandle) -> None:
    echo.fail("ws_half_close", code=1001, reason="going")

    with connected(echo) as wire:
        wire.send(UPGRADE % b"/x" + b"\x81\x82\0\0\0\0hi")
        mark = b"\x88\x07\x03\xe9going"
        assert wire.read(until=mark).body == b"\x81\x02hi" + mark
        wire.send(b"\x88\x82\0\0\0\0\x03\xe9")  # our close frame, which is not read
        seen = wire.read(seconds=0.2)
        assert (seen.data, seen.ending) == (b"", "open")
        assert echo.requests()[0].close_code is None

    assert ended(echo).disconnected


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"name": "ws_close", "code": 1005}, "1005"),
        ({"name": "ws_close", "code": 999}, "code"),
        ({"name": "ws_half_close", "code": 1006}, "1006"),
        ({"name": "ws_close", "reason": "x" * 31}, "reason"),
        ({"name": "ws_no_pong", "after_messages": 1}, "after_messages"),
        ({"name": "ws_reset", "stream": True}, "stream means nothing"),
    ],
)
def test_a_fault_that_cannot_be_played_is_refused(echo: ProviderHandle, options: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        echo.behave(faults=[options])


def test_faults_of_websockets_are_narrowed_by_path_and_model(acme: ProviderHandle) -> None:
    acme.fail("ws_close", after_messages=0, model="gpt-realtime", path="/realtime")

    with opened(acme, "/v1/realtime?model=other") as socket:
        socket.recv()
        socket.send("{")
        assert json.loads(socket.recv())["type"] == "error"
    with opened(acme) as socket:
        assert closed_with(socket) == (1011, "")
