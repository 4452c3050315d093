"""Messages of a socket that ask what REST would answer count with the same caller's requests."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from routes.api.throttling import CallerThrottle
from routing_project.console.sockets.decisions import DecisionSocket
from tests.control.api import Api
from tests.control.conftest import env

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["env"]


def conversation(api: Api, questions: Sequence[str]) -> list[dict[str, Any]]:
    """The answers to messages of these types over one ``/ws/routing-decisions``."""
    heard: list[dict[str, Any]] = []

    async def talk() -> None:
        received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        received.put_nowait({"type": "websocket.connect"})
        for question in questions:
            received.put_nowait({"type": "websocket.receive", "text": json.dumps({"type": question})})

        async def send(message: Any) -> None:
            if message["type"] == "websocket.send":
                heard.append(json.loads(message["text"]))
                if len(heard) == len(questions):
                    received.put_nowait({"type": "websocket.disconnect"})

        headers = [(b"host", b"testserver"), *((n.encode(), v.encode()) for n, v in api.headers.items())]
        scope = {"type": "websocket", "path": "/ws/routing-decisions", "query_string": b"", "headers": headers}
        await DecisionSocket.serve(scope, received.get, send)

    asyncio.run(talk())
    return heard


@pytest.mark.django_db(transaction=True)
def test_too_many_messages_are_an_error_with_the_time_to_wait_and_the_socket_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CallerThrottle, "get_rate", lambda self: "3/min")
    api, other = Api("operate"), Api("operate", "route")
    assert api.get("policy/").status == 200
    asked = ["get_routing_strategies", "get_routing_strategies", "get_routing_decision", "get_routing_strategies", "x"]
    one, two, three, four, last = conversation(api, asked)
    assert [one["type"], two["type"]] == ["get_routing_strategies_response"] * 2
    for refused in (three, four):
        assert (refused["type"], refused["payload"]["code"]) == ("error", "throttled")
        assert 1 <= refused["payload"]["retry_after"] <= 61
    assert last["payload"]["code"] == "invalid"
    assert api.get("policy/").status == 429
    [answer] = conversation(other, ["get_routing_strategies"])
    assert answer["type"] == "get_routing_strategies_response"
