"""``/ws/live`` and ``/ws/routing-decisions``: who may, what is asked and answered, and how they end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import websockets.sync.client

from tests.gateways import wait_until

if TYPE_CHECKING:
    from tests.live_feed.clients import Console, Socket

SUBSCRIBED = {"success": True, "message": "subscribed"}
PATHS = ["/ws/live", "/ws/routing-decisions/"]
BOTH = pytest.mark.parametrize("path", PATHS)
EVERY = pytest.mark.parametrize("path", [*PATHS, "/ws/head-management"])


def events(socket: Socket, count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        message = socket.hear()
        assert message["type"] == "routes", message
        found += message["payload"]["events"]
        assert isinstance(message["payload"]["seq"], int)
    return found


# -- who may -----------------------------------------------------------------------------------------------
@BOTH
def test_a_socket_closes_with_4401_for_nobody_and_4403_for_who_may_not(console: Console, path: str) -> None:
    for key in ("", "sbx_" + "x" * 40):
        with console.socket(path, key=key) as socket:
            assert socket.close_code() == 4401
    with console.socket(path, key="route" if path == "/ws/live" else "read") as socket:
        assert socket.close_code() == 4403


@BOTH
@pytest.mark.parametrize(
    ("origin", "session", "key"),
    [("http://{host}", True, True), ("https://evil.example", False, False), ("", False, True), ("null", False, False)],
)
def test_a_session_needs_our_origin_and_a_key_no_foreign_one(
    console: Console, path: str, origin: str, session: bool, key: bool
) -> None:
    named = {"Origin": origin.format(host=console.host)} if origin else {}
    for headers, allowed in (({"key": "operate"}, key), ({"key": "", "Cookie": console.cookie}, session)):
        with console.socket(path, **headers, **named) as socket:
            if allowed:
                assert socket.ask("subscribe")["payload"] == SUBSCRIBED
            else:
                assert socket.close_code() == 4403


def test_a_signed_out_session_loses_its_socket(console: Console) -> None:
    cookie = console.sign_in()
    with console.socket(key="", Cookie=cookie, Origin=f"http://{console.host}") as socket:
        assert socket.ask("ping")["type"] == "ping_response"
        console.sign_out(cookie)
        assert socket.close_code() == 4401


def test_a_key_that_may_no_longer_read_goes_on_with_its_own_routes_only(console: Console) -> None:
    path, body = "/api/v1/access-keys/", {"name": "less by and by", "scopes": ["route", "read"], "profile": "default"}
    value = console.request("POST", path, body).json()["value"]
    with console.socket("/ws/routing-decisions", key=value) as socket:
        assert socket.ask("subscribe")["payload"] == SUBSCRIBED  # to everybody's
        assert console.request("PATCH", f"{path}less%20by%20and%20by/", {"scopes": ["route"]}).status == 200
        assert socket.close_code() == 1013
    with console.socket("/ws/routing-decisions", key=value) as socket:
        assert socket.ask("subscribe")["payload"] == SUBSCRIBED
        console.publisher().publish([{"access_key": "another"}, {"access_key": "less by and by"}])
        assert events(socket, 1) == [{"access_key": "less by and by"}]


def test_an_unknown_socket_is_closed_with_4404(console: Console) -> None:
    with console.socket("/ws/nothing") as socket:
        assert socket.close_code() == 4404


# -- the envelope --------------------------------------------------------------------------------------------
@BOTH
def test_an_answer_carries_the_id_of_its_question(console: Console, path: str) -> None:
    with console.socket(path, key="operate") as socket:
        for identifier in ("a", 7):
            assert socket.ask("subscribe", {}, id=identifier)["id"] == identifier
            assert socket.ask("nothing", {}, id=identifier)["id"] == identifier
        assert "id" not in socket.ask("subscribe")


@EVERY
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"payload": {}}',
        '{"type": 7}',
        '{"type": "subscribe", "payload": []}',
        '{"type": "subscribe", "id": {}}',
        '{"type": "subscribe", "id": true}',
        '{"type": "subscribe", "type": "subscribe"}',
        '{"type": "subscribe", "payload": {}, "more": 1}',
        '{"type": "subscribe", "payload": {"filter": {"a": NaN}}}',
        '{"type": "subscribe", "payload": {"filter": []}}',
        '{"type": "subscribe", "payload": {"filter": {"colour": "x"}}}',
        '{"type": "subscribe", "payload": {"filters": {}}}',
        '{"type": "subscribe", "payload": {"after": "x"}}',
        '{"type": "subscribe", "payload": {"after": true}}',
        '{"type": "subscribe", "payload": {"after": -1}}',
        '{"type": "\\ud800"}',
        '{"type": "subscribe", "payload": ' + "[" * 50_000 + "]" * 50_000 + "}",
        b"\x00\xff",
    ],
)
def test_what_is_no_message_is_an_error_and_the_socket_goes_on(console: Console, path: str, text: str | bytes) -> None:
    with console.socket(path, key="operate") as socket:
        socket.connection.send(text)
        answer = socket.hear()
        assert (answer["type"], answer["payload"]["code"]) == ("error", "invalid")
        assert answer["payload"]["message"]
        assert socket.ask("subscribe")["type"] == "subscribe_response"


def test_a_message_larger_than_one_mebibyte_ends_the_socket(console: Console) -> None:
    with console.socket() as socket:
        socket.connection.send("x" * (1024 * 1024 + 1))
        assert socket.close_code() == 1009


# -- /ws/live ------------------------------------------------------------------------------------------------
def test_a_subscription_gets_what_its_filter_lets_through_and_another_takes_its_place(console: Console) -> None:
    publisher = console.publisher()
    with console.socket() as socket:
        publisher.publish([{"n": 0, "status": "failed"}])
        assert socket.ask("subscribe", {"filter": {"status": "failed"}}, id=1) == {
            "type": "subscribe_response",
            "payload": SUBSCRIBED,
            "id": 1,
        }
        publisher.publish([{"n": 1, "status": "failed"}, {"n": 2, "status": "routed"}, {"n": 3, "status": "failed"}])
        assert [event["n"] for event in events(socket, 2)] == [1, 3]
        assert socket.ask("subscribe", filter={"status": "routed"})["type"] == "subscribe_response"
        publisher.publish([{"n": 4, "status": "failed"}, {"n": 5, "status": "routed"}])
        assert [event["n"] for event in events(socket, 1)] == [5]


def test_a_pause_is_quiet_and_ends_with_a_gap(console: Console) -> None:
    publisher = console.publisher()
    with console.socket() as socket, console.socket() as other:
        for each in (socket, other):
            each.ask("subscribe")
        assert socket.ask("pause")["payload"]["success"] is True
        publisher.publish([{"n": 1}, {"n": 2}])
        events(other, 2)
        assert socket.ask("ping")["payload"] == {"success": True, "message": "pong", "missed": 2}
        assert socket.ask("resume")["payload"] == {"success": True, "message": "resumed", "missed": 2}
        gap = socket.hear()
        assert gap["type"] == "gap"
        assert gap["payload"]["to"] == gap["payload"]["from"] + 1
        publisher.publish([{"n": 3}])
        assert [event["n"] for event in events(socket, 1)] == [3]


def test_a_subscription_goes_on_behind_the_last_event_its_sender_has(console: Console) -> None:
    publisher = console.publisher()
    with console.socket() as socket:
        socket.ask("subscribe", {"filter": {"status": "failed"}})
        publisher.publish([{"n": 1, "status": "failed"}, {"n": 2, "status": "failed"}])
        heard = socket.hear()["payload"]
        while len(heard["events"]) < 2:
            heard["events"] += (more := socket.hear()["payload"])["events"]
            heard["seq"] = more["seq"]
    publisher.publish([{"n": 3, "status": "failed"}, {"n": 4, "status": "routed"}, {"n": 5, "status": "failed"}])
    with console.socket() as socket:
        socket.ask("subscribe", {"filter": {"status": "failed"}, "after": heard["seq"] - 1})
        assert [event["n"] for event in events(socket, 3)] == [2, 3, 5]
    with console.socket() as socket:
        socket.ask("subscribe", {"after": 17})
        assert socket.hear()["payload"]["from"] == 18


def test_a_filter_takes_lists_and_true_and_false_as_json_has_them(console: Console) -> None:
    wanted = {"status__in": ["timeout", "cancelled"], "recovered": False, "model": "gpt-4o"}
    rows = [
        {"n": 1, "status": "timeout", "recovered": False, "model": "gpt-4o"},
        {"n": 2, "status": "routed", "recovered": False, "model": "gpt-4o"},
        {"n": 3, "status": "timeout", "recovered": True, "model": "gpt-4o"},
        {"n": 4, "status": "cancelled", "recovered": False, "model": "gpt-4o"},
    ]
    with console.socket() as socket:
        socket.ask("subscribe", {"filter": wanted})
        console.publisher().publish(rows)
        assert [event["n"] for event in events(socket, 2)] == [1, 4]
        refused = socket.ask("subscribe", {"filter": {"status__in": ["failed", "x"]}})
        assert list(refused["payload"]["fields"]) == ["filter.status__in"]


def test_there_is_nothing_to_pause_before_a_subscription(console: Console) -> None:
    with console.socket() as socket:
        for kind in ("pause", "resume"):
            assert socket.ask(kind)["payload"]["code"] == "conflict"


# -- /ws/routing-decisions -------------------------------------------------------------------------------
def test_a_decision_over_the_socket_is_a_decision_of_the_api(console: Console) -> None:
    wanted = {"route_type": "session", "model": "gpt-4o", "session": "over a socket"}
    posted = console.request("POST", "/api/v1/decisions/", wanted, key=console.keys["route"]).json()
    with console.socket("/ws/routing-decisions", key="route") as socket:
        answer = socket.ask("get_routing_decision", wanted, id="q1")
    assert (answer["type"], answer["id"]) == ("get_routing_decision_response", "q1")
    decision = answer["payload"]
    assert set(decision) == set(posted)
    assert (decision["status"], decision["provider"], decision["endpoint"]) == ("decided", "acme", posted["endpoint"])
    row = console.route(decision["id"])
    assert (row["status"], row["access_key"], row["session_key"]) == ("decided", "may route", "over a socket")
    outcome = {"status": "routed", "latency_ms": 12}
    with console.socket() as watching:
        watching.ask("subscribe", {"filter": {"session": "over a socket", "status": "routed"}})
        reported = console.request("PATCH", f"/api/v1/decisions/{decision['id']}/", outcome, key=console.keys["route"])
        assert reported.status == 200
        assert [event["id"] for event in events(watching, 1)] == [decision["id"]]


@pytest.mark.parametrize(
    ("wanted", "code", "field"),
    [
        ({"route_type": "other"}, "invalid", "route_type"),
        ({"route_type": "session", "facts": {"key.name": "x"}}, "invalid", "facts.key.name"),
        ({"route_type": "session", "profile": "nothing"}, "not_found", None),
        ({"route_type": "session", "strategy": "random"}, "permission_denied", None),
    ],
)
def test_what_the_api_refuses_the_socket_refuses(
    console: Console, wanted: dict[str, Any], code: str, field: str | None
) -> None:
    with console.socket("/ws/routing-decisions", key="route") as socket:
        answer = socket.ask("get_routing_decision", wanted, id=1)
    assert (answer["type"], answer["id"], answer["payload"]["code"]) == ("error", 1, code)
    assert field is None or field in answer["payload"]["fields"]


def test_strategies_are_named_described_and_enabled_by_the_policy(console: Console) -> None:
    with console.socket("/ws/routing-decisions", key="route") as socket:
        listed = socket.ask("get_routing_strategies")["payload"]["strategies"]
    by_name = {each["name"]: each for each in listed}
    assert len(by_name) == len(listed) > 20
    assert all(each["description"] and each["enabled"] for each in listed)
    assert [each["name"] for each in listed if each["default"]] == ["failover"]


def test_a_key_that_may_only_route_is_told_of_its_own_routes(console: Console) -> None:
    with (
        console.socket("/ws/routing-decisions", key="route") as own,
        console.socket("/ws/routing-decisions", key="operate") as all_of_them,
    ):
        for socket in (own, all_of_them):
            assert socket.ask("subscribe")["payload"] == SUBSCRIBED
        with console.socket("/ws/routing-decisions", key="route") as asking:
            chosen = asking.ask("get_routing_decision", {"route_type": "inference"})["payload"]["id"]
        assert UUID(chosen)
        console.publisher().publish([{"access_key": "another", "id": "1"}, {"access_key": "may route", "id": "2"}])
        assert {event["id"] for event in events(own, 2)} == {chosen, "2"}
        assert {event["id"] for event in events(all_of_them, 3)} == {chosen, "1", "2"}


# -- how they end ----------------------------------------------------------------------------------------
def test_a_stopped_console_says_1001_on_sockets_and_ends_streams(console: Console) -> None:
    with console.socket() as live, console.socket("/ws/routing-decisions", key="route") as other:
        live.ask("subscribe")
        other.ask("subscribe")
        with console.stream() as stream:
            pid = console.kill("console", signal.SIGTERM)
            assert live.close_code() == 1001
            assert other.close_code() == 1001
            while stream.next() is not None:
                pass
    console.wait_replaced(console=pid)
    with console.socket() as socket:
        assert socket.ask("ping")["type"] == "ping_response"


@pytest.mark.faults
def test_watchers_hear_again_by_themselves_after_redis_was_killed(console: Console) -> None:
    with console.socket() as socket, console.stream() as stream:
        socket.ask("subscribe")
        console.publisher().publish([{"n": 1}])
        assert events(socket, 1) == [{"n": 1}]
        assert stream.events(1)[0].document == {"n": 1}
        console.wait_replaced(redis=console.kill("redis"))
        wait_until(console.redis_answers, 20, "the new Redis answers")
        route = console.chat().headers["x-route-id"]
        heard = socket.hear()
        assert heard["type"] == "gap"
        assert events(socket, 1)[0]["id"] == route
        gap, event = stream.events(2)
        assert (gap["event"], event.document["id"]) == ("gap", route)


def test_a_subprotocol_is_no_way_in(console: Console) -> None:
    with (
        websockets.sync.client.connect(
            f"ws://{console.host}/ws/live",
            subprotocols=[f"openai-insecure-api-key.{console.keys['read']}"],  # type: ignore[list-item]
        ) as connection,
        pytest.raises(websockets.exceptions.ConnectionClosed) as closed,
    ):
        connection.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
