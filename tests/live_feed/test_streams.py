"""``/events/*``: routes and heads as they happen, to whoever may read, from where the client left off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from routes.actions.actor import Actor
from routing_project.console.sockets import events
from routing_project.console.sockets import opened as opened_module
from routing_project.console.sockets.access import Visitor
from routing_project.console.sockets.events import Stream
from routing_project.console.sockets.opened import WATCHERS, Bound, TooMany
from routing_project.feed.batch import Batch
from routing_project.feed.watcher import Watcher
from routing_project.feed.where import Where
from tests.gateways import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from routing_project.feed.batch import Gap
    from tests.live_feed.clients import Console


def errors(answer: Any) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


# -- what comes ------------------------------------------------------------------------------------------
def test_a_request_is_on_the_stream_as_the_row_that_the_history_lists(console: Console) -> None:
    with console.stream() as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        assert stream.next() == {"retry": "3000"}
        route = console.chat().headers["x-route-id"]
        event = stream.events(1)[0]
        while event.document["id"] != route:  # that of a test before this one was still on its way
            event = stream.events(1)[0]
    assert event["event"] == "route"
    assert event["id"].isdigit()
    console.route(route)  # it is in the database
    [row] = console.request("GET", f"/api/v1/history/?id={route}").json()["results"]
    assert event.document == row


def test_heads_have_a_stream_of_their_own(console: Console) -> None:
    with console.stream("/events/head-status?status__in=active,draining") as stream:
        console.publisher().publish([{"route": 1}])
        console.publisher("heads").publish([{"head_id": "h0", "status": "offline"}])
        console.publisher("heads").publish([{"head_id": "h1", "status": "active"}])
        [event] = stream.events(1)
    assert (event["event"], event.document) == ("head", {"head_id": "h1", "status": "active"})


def test_a_stream_is_filtered_by_its_parameters(console: Console) -> None:
    wanted = {"profile": "p", "provider": "acme", "status": "failed", "session_key": "a talk"}
    others = [{**wanted, name: "other"} for name in wanted]
    with console.stream("/events/routing-decisions/?profile=p&provider=acme&status=failed&session=a%20talk") as stream:
        console.publisher().publish([*others, wanted])
        [event] = stream.events(1)
    assert event.document == wanted


def test_last_event_id_goes_on_where_the_client_stopped(console: Console) -> None:
    with console.stream() as stream:
        console.publisher().publish([{"n": n} for n in range(5)])
        seen = stream.events(5)
    console.publisher().publish([{"n": 5}])
    with console.stream(Last_Event_ID=seen[2]["id"]) as stream:
        assert [event.document["n"] for event in stream.events(3)] == [3, 4, 5]


@pytest.mark.parametrize("given", ["17", "not one of ours"])
def test_a_number_that_is_gone_gives_a_gap_first(console: Console, given: str) -> None:
    console.publisher().publish([{"n": 1}])
    with console.stream(Last_Event_ID=given) as stream:
        gap, event = stream.events(2)
    assert gap["event"] == "gap"
    assert int(gap["id"]) == gap.document["to"] == int(event["id"]) - 1
    assert event["event"] == "route"


# -- who may -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/events/routing-decisions", "/events/head-status/"])
def test_a_stream_needs_a_key_or_a_session_and_the_scope_to_read(console: Console, path: str) -> None:
    answer = console.call("GET", path)
    assert errors(answer) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert errors(console.call("GET", path, Authorization="Bearer sbx_" + "x" * 40)) == (401, "unauthenticated")
    route = {"Authorization": f"Bearer {console.keys['route']}"}
    assert errors(console.call("GET", path, **route)) == (403, "permission_denied")
    read = {"Authorization": f"Bearer {console.keys['read']}"}
    assert errors(console.call("GET", path, X_Api_Key="another", **read)) == (401, "unauthenticated")
    with console.stream(path, key="operate") as stream:
        assert stream.status == 200


def test_a_stream_refuses_what_it_does_not_know(console: Console) -> None:
    read = {"Authorization": f"Bearer {console.keys['read']}"}
    for query in ("colour=x", "status=", "status=a&status=b", "status=%ff", "status=unknown", "recovered__in=1"):
        answer = console.call("GET", f"/events/routing-decisions?{query}", **read)
        assert errors(answer) == (400, "invalid")
        assert query.startswith("status=") or list(answer.json()["error"]["fields"]) == [query.partition("=")[0]]
    assert errors(console.call("GET", "/events/head-status?profile=x", **read)) == (400, "invalid")
    answer = console.call("POST", "/events/routing-decisions", b"{}", **read)
    assert errors(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"
    assert errors(console.call("GET", "/events/other", **read)) == (404, "not_found")


ORIGINS = [("http://{host}", True), ("https://{host}", False), ("https://evil.example", False), ("null", False)]


@pytest.mark.parametrize(("origin", "allowed"), ORIGINS)
def test_a_session_watches_only_from_a_page_of_ours(console: Console, origin: str, allowed: bool) -> None:
    with console.stream(key="", Cookie=console.cookie, Origin=origin.format(host=console.host)) as stream:
        assert stream.status == (200 if allowed else 403)


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, False),
        ({"Sec_Fetch_Site": "same-origin"}, True),
        ({"Sec_Fetch_Site": "cross-site", "Referer": "http://{host}/admin/"}, False),
        ({"Referer": "http://{host}/admin/"}, True),
        ({"Referer": "https://evil.example/http://{host}/"}, False),
    ],
)
def test_a_browser_that_sends_no_origin_must_say_otherwise_that_the_page_is_ours(
    console: Console, headers: dict[str, str], allowed: bool
) -> None:
    told = {name: value.format(host=console.host) for name, value in headers.items()}
    with console.stream(key="", Cookie=console.cookie, **told) as stream:
        assert stream.status == (200 if allowed else 403)


@pytest.mark.parametrize(
    ("origin", "allowed"), [("http://{host}", True), ("http://localhost:3000", True), ("https://evil.example", False)]
)
def test_a_key_needs_no_origin_but_one_that_is_there_must_be_allowed(
    console: Console, origin: str, allowed: bool
) -> None:
    with console.stream(Origin=origin.format(host=console.host)) as stream:
        assert stream.status == (200 if allowed else 403)


def test_a_revoked_key_loses_its_streams(console: Console) -> None:
    key = console.new_key("soon revoked", "read")
    [found] = [
        each
        for each in console.request("GET", "/api/v1/access-keys/?limit=100").json()["results"]
        if each["name"] == "soon revoked"
    ]
    with console.stream(key=key) as stream, console.stream() as other:
        answer = console.request("PATCH", f"/api/v1/access-keys/{found['id']}/", {"enabled": False})
        assert answer.status == 200
        while stream.next() is not None:
            pass
        console.publisher().publish([{"n": 1}])
        assert other.events(1)


def test_what_is_open_is_counted_and_comes_back_to_nothing(console: Console) -> None:
    wait_until(lambda: console.open_now() == (0, 0), 10, "all have gone")
    with (
        console.stream(),
        console.stream("/events/head-status"),
        console.socket(),
        console.socket("/ws/routing-decisions", key="route"),
    ):
        wait_until(lambda: console.open_now() == (2, 2), 10, "four are open")
    wait_until(lambda: console.open_now() == (0, 0), 10, "all have gone")


def test_who_is_killed_is_counted_no_more(console: Console) -> None:
    code = (
        "import sys, websockets.sync.client as ws, http.client\n"
        "port, key = sys.argv[1:]\n"
        "headers = {'Authorization': f'Bearer {key}'}\n"
        "open = []\n"
        "for path in ('/ws/live', '/ws/routing-decisions'):\n"
        "    open.append(ws.connect(f'ws://127.0.0.1:{port}{path}', additional_headers=headers))\n"
        "for path in ('/events/routing-decisions', '/events/head-status'):\n"
        "    open.append(http.client.HTTPConnection('127.0.0.1', int(port)))\n"
        "    open[-1].request('GET', path, headers=headers)\n"
        "    open[-1].getresponse()\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    wait_until(lambda: console.open_now() == (0, 0), 10, "all have gone")
    command = [sys.executable, "-c", code, str(console.port), console.keys["operate"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"open\n"
        wait_until(lambda: console.open_now() == (2, 2), 10, "four are open")
        client.kill()
    wait_until(lambda: console.open_now() == (0, 0), 10, "all have gone")


def test_one_key_has_so_many_open_and_another_key_is_not_kept_out_by_it(console: Console) -> None:
    key = console.new_key("opens and opens", "read")
    before = console.refused()
    with ExitStack() as opened:
        streams = [opened.enter_context(console.stream(key=key)) for _ in range(WATCHERS.most)]
        assert {stream.status for stream in streams} == {200}
        answer = console.call("GET", "/events/head-status", Authorization=f"Bearer {key}")
        assert errors(answer) == (429, "too_many_connections")
        assert answer.headers["retry-after"] == "2"
        with console.socket(key=key) as socket:
            assert socket.close_code() == 1013
        wait_until(lambda: console.refused() == before + 2, 10, "both are counted")
        with console.stream() as other:
            assert other.status == 200
        streams[0].connection.close()
        wait_until(lambda: console.open_now()[0] == WATCHERS.most - 1, 10, "one has gone")
        with console.socket(key=key) as socket:
            assert socket.ask("ping")["type"] == "ping_response"


def test_a_person_is_one_however_many_sessions_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened_module, "count_refused", lambda _kind: None)
    few, opened = Bound("streams", 2), opened_module.Opened()

    def connection(kind: Any, who: str, credential: str) -> Stream:
        nobody: Any = None
        made = Stream({}, Visitor(who, frozenset(), None, ("session", credential), Actor(kind, who, who), ""), nobody)
        monkeypatch.setattr(made, "bound", few)
        return made

    monkeypatch.setattr(opened, "_recheck_on", never)
    one, two, three = (connection("user", "1", session) for session in "abc")

    async def come_and_go() -> None:
        with opened.hold(one):
            with opened.hold(two), pytest.raises(TooMany), opened.hold(three):
                pass
            with opened.hold(three), opened.hold(connection("key", "1", "k")):
                assert opened.counts()["sse"] == 3
        assert opened.counts()["sse"] == 0

    asyncio.run(come_and_go())


# -- time and slowness, where a clock can be passed ------------------------------------------------------
class Client:
    """What a stream writes, and a client that stops reading."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.reading.wait()
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def until(self, text: bytes) -> None:
        while text not in self.body:  # noqa: ASYNC110 - one turn of the loop at a time
            await asyncio.sleep(0)


async def never() -> Mapping[str, Any]:
    await asyncio.Event().wait()
    return {}


async def no_past(_watcher: Watcher, _after: int, _newest: int) -> AsyncIterator[Batch | Gap]:
    return
    yield


def watching(where: Where = Where(), **options: Any) -> Watcher:  # noqa: B008 - immutable
    watcher = Watcher(where, None, no_past, **options)
    watcher.join(10)
    return watcher


def running(client: Client, watcher: Watcher) -> asyncio.Task[None]:
    nobody: Any = None  # who it is, is not asked here
    return asyncio.create_task(Stream({}, nobody, client.send).run(watcher, "route", never))


async def test_a_quiet_stream_shows_that_it_lives_and_a_filtered_one_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "BEAT_SECONDS", 0.01)
    plain, filtered = Client(), Client()
    filter_ = watching(Where.parse({"profile": "a"}))
    tasks = [running(plain, watching()), running(filtered, filter_)]
    filter_.offer(11, 20, None)
    await plain.until(events.BEAT + events.BEAT)
    await filtered.until(events.BEAT + b"id: 20\n\n")
    assert b"id:" not in plain.body
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_client_that_falls_too_far_behind_gets_a_gap_and_is_cut_off() -> None:
    client, watcher = Client(), watching(max_waiting=3)
    task = running(client, watcher)
    await client.until(events.RETRY)
    client.reading.clear()
    watcher.offer(11, 11, Batch(((11, b"{}"),)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for number in range(12, 17):
        watcher.offer(number, number, Batch(((number, b"{}"),)))
    client.reading.set()
    await task
    assert client.body.endswith(b'event: gap\ndata: {"from":12,"to":15}\n\n')
    assert client.sent[-1]["more_body"] is False
    assert client.body.count(b"id:") == 1  # a gap that is made good by coming back moves no id


async def test_a_client_that_does_not_read_at_all_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SEND_SECONDS", 0.01)
    client, watcher = Client(), watching()
    task = running(client, watcher)
    await client.until(events.RETRY)
    client.reading.clear()
    watcher.offer(11, 11, Batch(((11, b"{}"),)))
    await task
