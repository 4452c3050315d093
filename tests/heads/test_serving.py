"""Heads in a running installation with two gateways: they take traffic in no time, and no dead one gets any."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import websockets.sync.client

from tests.gateways import wait_until
from tests.heads.stage import INTERVAL, Pulse, Stage
from tests.simulators import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
TTL = 3 * INTERVAL


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Simulator() as simulator:
        provider = simulator.add("gpu", models=["gpt-4o"])
        with Stage(tmp_path_factory.mktemp("stage"), provider) as running:
            yield running


@pytest.fixture(autouse=True)
def nobody_left(stage: Stage) -> Iterator[None]:
    yield
    for head in stage.heads("?limit=1000").json()["results"]:
        stage.heads(f"{head['head_id']}/", "DELETE")


def heads_that_answered(stage: Stage, count: int) -> list[str]:
    """Who answered so many requests, by the history."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: stage.chat(), range(count)))
    assert {answer.status for answer in answers} == {200}
    routes = [stage.route(answer.headers["x-route-id"]) for answer in answers]
    return [route["target_info"]["head_id"] for route in routes]


def every_gateway(stage: Stage, status: int, times: int = 12) -> bool:
    """Many connections: the kernel hands them to both processes."""
    return all(stage.chat().status == status for _ in range(times))


def test_a_registered_head_takes_traffic_on_every_process_and_one_that_leaves_does_not(stage: Stage) -> None:
    assert stage.register("one").status == 201
    wait_until(lambda: every_gateway(stage, 200), 2, "a target on both gateways")
    assert set(heads_that_answered(stage, 4)) == {"one"}
    assert stage.heads("one/", "DELETE").status == 204
    stage.register("two", endpoint="http://127.0.0.1:9/v1")  # with a head the base URL is none; this one is closed
    wait_until(lambda: every_gateway(stage, 502), 5, "nobody goes to the head that left")


def test_no_request_goes_to_a_head_that_fell_silent(stage: Stage) -> None:
    names = [f"head-{number:02}" for number in range(20)]
    silent, beating = names[::2], names[1::2]
    with Pulse(stage, names) as pulse:
        for name in names:
            assert stage.register(name).status == 201
        wait_until(lambda: stage.gauge("active_heads") == 20, 5, "20 active heads")
        wait_until(lambda: set(heads_that_answered(stage, 40)) == set(names), 20, "all heads answer")
        pulse.stop(silent)
        wait_until(lambda: stage.gauge("active_heads") == 10, TTL + 3, "10 active heads")
        assert set(heads_that_answered(stage, 40)) == set(beating)
        wait_until(lambda: set(stage.events("offline")) >= set(silent), 10, "all are told of")
        assert sorted(stage.events("offline")) == silent, "each is told of once"
        assert stage.gauge("heads_registered") == 20
        assert {stage.heads(f"{name}/").json()["status"] for name in silent} == {"offline"}
        stage.beat(silent[0])
        wait_until(lambda: stage.gauge("active_heads") == 11, 2, "one is back")
        assert stage.events("online") == [silent[0]]


def test_a_head_outside_the_networks_waits_for_its_approval(stage: Stage) -> None:
    outside = stage.provider.base_url.replace("127.0.0.1", "localhost")
    with Pulse(stage, ["outside"]):
        answer = stage.register("outside", endpoint=outside)
        assert (answer.status, answer.json()["approved"]) == (201, False)
        assert stage.gauge("active_heads") == 0
        assert stage.chat().status >= 500  # the base URL, which leads nowhere
        assert stage.heads("outside/approve/", "POST").json()["approved"] is True
        wait_until(lambda: every_gateway(stage, 200), 5, "it takes traffic")
        assert stage.gauge("active_heads") == 1


def test_the_base_url_serves_while_no_head_does_where_it_is_told_to(stage: Stage) -> None:
    def asked() -> tuple[int, Any]:
        message = {"role": "user", "content": "Hello"}
        answer = stage.request("POST", "/p/fallen/v1/chat/completions", {"model": "gpt-4o", "messages": [message]})
        return answer.status, answer

    with Pulse(stage, ["fast"]) as pulse:
        assert asked()[0] == 200  # no head at all
        stage.register("fast", provider="fallen", endpoint="http://127.0.0.1:9/v1")
        wait_until(lambda: asked()[0] == 502, 5, "only the head, which is broken")
        pulse.stop(["fast"])
        wait_until(lambda: asked()[0] == 200, TTL + 3, "the base URL again")
        route = stage.route(asked()[1].headers["x-route-id"])
        assert route["target_info"]["head_id"] == ""


def test_a_draining_head_takes_no_new_session(stage: Stage) -> None:
    with Pulse(stage, ["stays"]):
        stage.register("stays")
        stage.register("drains")
        wait_until(lambda: set(heads_that_answered(stage, 8)) == {"stays", "drains"}, 10, "both answer")
        stage.beat("drains", status="draining")
        wait_until(lambda: set(heads_that_answered(stage, 8)) == {"stays"}, 10, "one answers")
        assert stage.gauge("active_heads") == 1


def test_a_decision_names_the_head_and_its_endpoint(stage: Stage) -> None:
    stage.register("typed", model_type="embedding")
    stage.register("plain", region="eu")
    wait_until(lambda: stage.gauge("active_heads") == 2, 5, "two heads")
    asked = {"route_type": "inference", "model": "gpt-4o", "profile": "default"}
    told = stage.request("POST", "/api/v1/decisions/", asked).json()
    assert (told["head_id"], told["endpoint"], told["region"]) == ("plain", stage.provider.base_url, "eu")
    typed = stage.request("POST", "/api/v1/decisions/", {**asked, "model_type": "embedding"}).json()
    assert {line["head_id"] for line in typed["ranking"]} == {"typed", "plain"}


# -- sockets and webhooks ---------------------------------------------------------------------------------------
class Line:
    """A WebSocket of JSON messages."""

    def __init__(self, connection: websockets.sync.client.ClientConnection) -> None:
        self._connection = connection

    def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=15))
        return message

    def ask(self, kind: str, payload: Any = None, identifier: Any = None) -> dict[str, Any]:
        self._connection.send(json.dumps({"type": kind, "payload": payload, "id": identifier}))
        return self.hear()


@pytest.fixture
def line(stage: Stage) -> Iterator[Line]:
    with websockets.sync.client.connect(
        f"ws://127.0.0.1:{stage.port}/ws/head-management",
        additional_headers={"Authorization": f"Bearer {stage.operator}"},
        close_timeout=2,
    ) as connection:
        yield Line(connection)


def test_a_head_lives_over_a_socket(stage: Stage, line: Line) -> None:
    body = {"head_id": "wired", "provider": "own-gpus", "endpoint": stage.provider.base_url}
    made = line.ask("register_head", body, 1)
    assert made["type"] == "register_head_response"
    assert made["id"] == 1
    assert made["payload"] | {"generation": 0} == {
        "success": True,
        "message": "registered",
        "head_id": "wired",
        "generation": 0,
        "ttl": TTL,
        "status": "active",
        "approved": True,
    }
    beat = line.ask("update_status", {"head_id": "wired", "status": "active", "load": 3}, "two")
    assert (beat["type"], beat["id"], beat["payload"]["success"]) == ("update_status_response", "two", True)
    (head,) = line.ask("get_heads")["payload"]["heads"]
    assert (head["head_id"], head["load"], head["status"]) == ("wired", 3, "active")
    stranger = line.ask("update_status", {"head_id": "stranger", "status": "active", "load": 3})
    assert (stranger["payload"]["success"], stranger["payload"]["code"]) == (False, "head_not_found")
    stale = line.ask("update_status", {"head_id": "wired", "status": "active", "load": 3, "generation": 99})
    assert (stale["payload"]["success"], stale["payload"]["code"]) == (False, "stale_generation")
    wrong = line.ask("update_status", {"head_id": "wired"}, 7)
    assert (wrong["type"], wrong["id"]) == ("error", 7)
    assert set(wrong["payload"]["fields"]) == {"status", "load"}
    flood = [line.ask("update_status", {"head_id": "wired", "status": "active", "load": 1}) for _ in range(20)]
    assert flood[-1]["payload"].get("code") == "throttled"
    gone = line.ask("deregister_head", {"head_id": "wired"})
    assert gone["payload"]["success"] is True
    assert line.ask("get_heads")["payload"] == {"heads": []}


def test_subscribers_hear_what_happens_to_heads(stage: Stage, line: Line) -> None:
    assert line.ask("subscribe", {"filter": {"head_id": "watched"}})["payload"]["success"] is True
    stage.register("unwatched")
    stage.register("watched")
    stage.beat("watched", status="draining")
    stage.heads("watched/", "DELETE")
    heard: list[dict[str, Any]] = []
    while not heard or heard[-1]["event"] != "deregistered":
        message = line.hear()
        assert message["type"] == "heads"
        heard += message["payload"]["events"]
    assert [head["event"] for head in heard] == ["registered", "approved", "draining", "deregistered"]
    assert {head["head_id"] for head in heard} == {"watched"}
    assert heard[2]["status"] == "draining"


def test_a_socket_needs_operate(stage: Stage) -> None:
    key = stage.key_with("read")
    with websockets.sync.client.connect(
        f"ws://127.0.0.1:{stage.port}/ws/head-management", additional_headers={"Authorization": f"Bearer {key}"}
    ) as connection:
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            connection.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4403


def test_a_head_lives_by_webhooks(stage: Stage) -> None:
    body = {"action": "register", "head_id": "hooked", "provider": "own-gpus", "endpoint": stage.provider.base_url}
    assert stage.webhook(body).status == 200
    wait_until(lambda: every_gateway(stage, 200), 5, "it takes traffic")
    said = {"head_id": "hooked", "status": "active", "load": 1}
    assert stage.webhook(said, secret="wrong").status == 401
    assert stage.webhook(said, at=-400).status == 401
    assert stage.webhook(said).status == 200
    assert stage.webhook(said).status == 401  # the same message once more
    assert stage.webhook({"action": "deregister", "head_id": "hooked"}).json()["success"] is True


# -- last: it takes the database away ----------------------------------------------------------------------------
def test_heads_stay_alive_while_the_database_is_away(stage: Stage) -> None:
    stage.register("one")
    wait_until(lambda: every_gateway(stage, 200), 5, "it takes traffic")
    database = stage.folder / "signalbox.sqlite3"
    parts = [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]
    for part in parts:
        if part.exists():
            part.rename(part.with_name(f"away-{part.name}"))
    database.mkdir()  # nothing can be opened there, nor made anew
    console = stage.kill("console")
    stage.wait_replaced(console=console)
    try:
        with Pulse(stage, ["one"]):
            wait_until(lambda: stage.beat("one", 5).status == 200, 20, "the new console hears heads")
            assert stage.register("two").status in {500, 503}
            wait_until(lambda: stage.gauge("active_heads") == 1, 10, "it is alive")
            with websockets.sync.client.connect(
                f"ws://127.0.0.1:{stage.port}/ws/head-management",
                additional_headers={"Authorization": f"Bearer {stage.operator}"},
                close_timeout=2,
            ) as connection:
                told = Line(connection).ask("update_status", {"head_id": "one", "status": "active", "load": 2})
                assert told["payload"]["success"] is True
            assert stage.webhook({"head_id": "one", "status": "active", "load": 3}).status == 200
            assert every_gateway(stage, 200)
    finally:
        database.rmdir()
        for part in parts:
            if (away := part.with_name(f"away-{part.name}")).exists():
                away.rename(part)
