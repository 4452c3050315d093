"""The live feed while the database is stopped: over the real processes, and with its people and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateways import wait_until

if TYPE_CHECKING:
    from tests.live_feed.clients import Console, Socket, Stream

CANNOT_LOOK = "who is connected cannot be looked up at the moment"


def told(socket: Socket) -> str:
    """The id of the next route."""
    message = socket.hear()
    assert message["type"] == "routes", message
    [event] = message["payload"]["events"]
    return str(event["id"])


def told_by(stream: Stream) -> str:
    return str(stream.events(1)[0].document["id"])


@pytest.mark.faults
def test_routes_are_told_to_who_watches_and_to_keys_that_come_now(console: Console) -> None:
    person = {"key": "", "Cookie": console.cookie, "Origin": f"http://{console.host}"}
    with console.socket(**person) as in_browser, console.socket() as by_key, console.stream() as stream:
        for socket in (in_browser, by_key):
            assert socket.ask("subscribe")["type"] == "subscribe_response"
        console.database.stop()
        try:
            first = console.chat().headers["x-route-id"]
            assert told(in_browser) == told(by_key) == told_by(stream) == first
            with console.socket() as new, console.stream("/events/routing-decisions?status=routed") as new_stream:
                assert new.ask("subscribe")["type"] == "subscribe_response"
                second = console.chat().headers["x-route-id"]
                assert told(in_browser) == told(by_key) == told_by(stream) == second
                assert told(new) == told_by(new_stream) == second
            # People's sessions are in the database, and so is what decisions are made of.
            for path, who in (("/ws/live", person), ("/ws/routing-decisions", {"key": "route"})):
                with console.socket(path, **who) as refused:
                    assert refused.close_code() == 1013
            answer = console.call("GET", "/events/routing-decisions", Cookie=console.cookie, Origin=person["Origin"])
            assert (answer.status, answer.json()["error"]["code"]) == (503, "database_unavailable")
            route = {"Authorization": f"Bearer {console.keys['route']}"}
            assert console.call("GET", "/events/routing-decisions", **route).status == 403
            # Nobody is put out meanwhile, though who they are is asked every second.
            wait_until(lambda: sum(CANNOT_LOOK in line for line in console.lines) >= 2, 30, "it was asked")
            assert in_browser.ask("ping")["type"] == by_key.ask("ping")["type"] == "ping_response"
        finally:
            console.database.start()
        assert console.route(second)["status"] == "routed"
        assert in_browser.ask("ping")["type"] == "ping_response"
