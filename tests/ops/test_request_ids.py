"""A request can be followed by its id: through gateway, console, audit entries, tasks and the live feed."""

from __future__ import annotations

import asyncio
import http.client
import json
from itertools import dropwhile
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import redis
import websockets.sync.client
from celery import Celery

from routing_project import logs, request_ids
from routing_project.celery import app, broker_url
from routing_project.feed import reader
from tests.gateways import wait_until
from tests.ops.test_logs import configured
from tests.simulators import Simulator
from tests.stack import Stack, document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "opaque-4711"


class Installation(Stack):
    """Lines are JSON, and there is one for each request."""

    def told(self, **fields: Any) -> list[dict[str, Any]]:
        """The lines that say all of that."""
        found = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [line for line in found if {**line, **fields} == line]

    def tells(self, **fields: Any) -> dict[str, Any]:
        """The one line that says all of that, as soon as it is there."""
        wait_until(lambda: self.told(**fields), 20, f"a line with {fields}")
        (line,) = self.told(**fields)
        return line


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    with (
        Simulator() as simulator,
        Installation(folder, SIGNALBOX_ACCESS_LOG="1", SIGNALBOX_LOG_FORMAT="json") as running,
    ):
        running.import_config(document(simulator.add("acme", models=["gpt-4o"])))
        yield running


def named(request_id: str) -> dict[str, str]:
    return {"X-Request-Id": request_id}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/providers/", 200),
        ("GET", "/api/v1/nothing/", 404),
        ("GET", "/no/such/page", 404),
        ("POST", "/api/v1/providers/", 400),
        ("GET", "/admin/login/", 200),
        ("GET", "/static/nothing.css", 404),
        ("GET", "/events/routing-decisions?nothing=1", 400),
    ],
)
def test_every_answer_of_the_console_names_the_request_as_its_client_does(
    installation: Installation, method: str, path: str, status: int
) -> None:
    body = {} if method == "POST" else None
    answer = installation.request(method, path, body, headers=named("as I say: 1"))
    assert (answer.status, answer.headers["x-request-id"]) == (status, "as I say: 1")
    answer = installation.request(method, path, body, headers=named("x" * 65))
    assert UUID(answer.headers["x-request-id"]).version == 7
    assert UUID(installation.request(method, path, body).headers["x-request-id"]).version == 7


def test_a_socket_is_named_in_its_handshake(installation: Installation) -> None:
    headers = {"Authorization": f"Bearer {installation.key}", **named("socket-1")}
    address = installation.url.replace("http", "ws") + "/ws/live"
    with websockets.sync.client.connect(address, additional_headers=headers, proxy=None) as socket:
        assert socket.response is not None
        assert socket.response.headers["x-request-id"] == "socket-1"
    line = installation.tells(request_id="socket-1")
    assert (line["method"], line["endpoint"], line["http_status"]) == ("WEBSOCKET", "/ws/live", 101)
    assert line["actor"] == "key:tests"


def test_audit_entries_of_every_way_and_lines_about_them_name_the_request(installation: Installation) -> None:
    changed = installation.request("PATCH", "/api/v1/providers/acme/", {"weight": 7}, headers=named("change-1"))
    assert changed.status == 200
    query = "SELECT action, request_id FROM routes_auditentry ORDER BY id DESC LIMIT 1"
    assert installation.query(query) == [("provider.updated", "change-1")]
    line = installation.tells(request_id="change-1", logger="audit")
    assert (line["process"], line["event"], line["revision"]) == (
        "console",
        "provider.updated",
        installation.revision(),
    )
    # A command has one of its own, the same for all it does.
    path = installation.folder / "exported.yaml"
    path.write_text(installation.manage("export_config"))
    before = installation.query("SELECT max(id) FROM routes_auditentry")[0][0]
    installation.manage("import_config", str(path), "--publish")
    found = installation.query("SELECT action, request_id FROM routes_auditentry WHERE id > ?", before)
    assert "revision.published" in {action for action, _ in found}
    (request_id,) = {request_id for _, request_id in found}
    assert UUID(request_id).version == 7


def test_tasks_have_the_id_they_are_sent_with_and_those_they_send_too(installation: Installation) -> None:
    address = f"unix://{installation.folder}/run/redis.sock?db=0"
    sender = Celery(broker=broker_url(address), set_as_current=False)
    sender.conf.broker_transport_options = app.conf.broker_transport_options
    with sender, redis.Redis.from_url(address) as queues:
        with request_ids.bound("task-1"):
            # The second goes where nobody takes it. The third is an error, for the worker to log.
            following = sender.signature("health.circuits", immutable=True, queue="nobody's")
            sender.send_task("health.heartbeat", link=following)
            sender.send_task("health.heartbeat", args=["one too many"])
        line = installation.tells(process="worker", level="error", task="health.heartbeat")
        assert line["request_id"] == "task-1"
        _, message = queues.blpop(["signalbox:celery:nobody's"], timeout=20)  # type: ignore[misc]
        headers = json.loads(message)["headers"]
        assert (headers["task"], headers["signalbox_request_id"]) == ("health.circuits", "task-1")
        # What nobody asked for, as the ticks of the schedule.
        sender.send_task("health.circuits", args=["one too many"])
        line = installation.tells(process="worker", level="error", task="health.circuits")
        assert "request_id" not in line
        assert UUID(line["task_id"])


def test_a_request_that_causes_a_task_is_named_by_it(installation: Installation) -> None:
    url = f"http://127.0.0.1:9/{SECRET}?token={SECRET}"
    channel = {"name": "away", "kind": "webhook", "network": "loopback", "url": {"value": url}}
    channel |= {"secret": {"value": SECRET * 4}}
    assert installation.request("POST", "/api/v1/alerts/channels/", channel).status == 201

    def told() -> list[Any]:
        return [line.get("request_id") for line in installation.told(event="alert_not_delivered")]

    for number in range(5):  # a tick of the schedule may be quicker than the task that is sent
        path = "/api/v1/alerts/channels/away/test/"
        assert installation.request("POST", path, headers=named(f"test-{number}")).status < 300
        wait_until(lambda number=number: len(told()) > number, 20, "it was tried")  # type: ignore[misc]
        if told()[-1] is not None:
            assert told()[-1] == f"test-{number}"
            return
    raise AssertionError(f"no task had an id: {told()}")


def test_what_is_told_live_names_the_request(installation: Installation) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", installation.port, timeout=20)
    headers = {"Authorization": f"Bearer {installation.key}"}
    connection.request("GET", "/events/head-status", headers=headers)
    response = connection.getresponse()
    head = {"head_id": "one", "provider": "acme", "endpoint": "http://127.0.0.1:9/v1"}
    registered = installation.request("POST", "/api/v1/heads/", head, headers=named("head-1"))
    assert registered.status == 201, registered.body
    try:
        while not (line := response.readline()).startswith(b"data: "):
            assert line
        event = json.loads(line[6:])
        assert (event["event"], event["request_id"]) == ("registered", "head-1")
    finally:
        connection.close()
        installation.request("DELETE", "/api/v1/heads/one/")


def test_a_request_of_the_data_plane_is_one_line_with_its_route_as_id(installation: Installation) -> None:
    answer = installation.request(
        "POST",
        "/v1/chat/completions?api_key=" + SECRET,
        {"model": "gpt-4o", "messages": [{"role": "user", "content": SECRET}]},
        headers=named("mine-1"),
    )
    assert answer.status == 200
    line = installation.tells(request_id=answer.headers["x-route-id"])
    assert (line["process"], line["logger"]) == ("shipper", "signalbox.access")
    assert (line["path"], line["http_status"], line["status"]) == ("/v1/chat/completions", 200, "routed")
    assert line["access_key"] == "tests"


def test_a_request_of_the_console_is_one_line_with_the_template_of_its_address_and_no_query(
    installation: Installation,
) -> None:
    path = f"/api/v1/history/0197a1f0-0000-7000-8000-{7:012}/?q={SECRET}"
    assert installation.request("GET", path, headers=named("line-1")).status == 400
    line = installation.tells(request_id="line-1")
    assert (line["process"], line["logger"], line["event"]) == ("console", "signalbox.access", "request")
    assert (line["method"], line["http_status"], line["actor"]) == ("GET", 400, "key:tests")
    assert line["endpoint"] == "/api/v1/history/{route}/"
    assert line["client"] == "127.0.0.1"
    assert line["latency_ms"] > 0
    assert installation.request("GET", f"/nothing/{SECRET}", headers=named("line-2")).status == 404
    assert installation.tells(request_id="line-2")["endpoint"] == "other"


def test_lines_call_an_endpoint_what_the_metrics_call_it(installation: Installation) -> None:
    paths = {
        "/api/v1/health/acme/probe/": "/api/v1/health/{provider}/probe/",
        "/api/v1/nothing/4711/": "other",
        "/admin/nothing/4711/": "other",
        "/admin/routes/provider/4711/change/": "/admin/routes/provider/{object_id}/change/",
        "/admin/login/": "/admin/login/",
        "/static/console/history.css": "/static/…",
        "/api/v1/providers/acme/": "/api/v1/providers/{pk}/",
    }
    for number, (path, endpoint) in enumerate(paths.items()):
        installation.request("GET", path, headers=named(f"endpoint-{number}"))
        assert installation.tells(request_id=f"endpoint-{number}")["endpoint"] == endpoint, path
    counted = installation.metrics()
    for endpoint in set(paths.values()) - {"/static/…"}:
        assert f'endpoint="{endpoint}"' in counted, endpoint


def test_every_line_is_json_with_process_and_revision_and_none_holds_a_secret(installation: Installation) -> None:
    installation.tells(request_id=installation.chat().headers["x-route-id"])
    installation.request("GET", "/api/v1/providers/", headers=named("last"))
    assert installation.tells(request_id="last")["revision"] == installation.revision()
    lines = installation.told()
    assert {"gateway-1", "console", "shipper"} <= {line["process"] for line in lines}
    assert all({"timestamp", "level", "logger", "event", "process"} <= line.keys() for line in lines)
    for process in {line["process"] for line in lines}:
        begun = dropwhile(lambda line: "revision" not in line, (line for line in lines if line["process"] == process))
        assert all("revision" in line for line in begun), process
    said = "\n".join(installation.lines)
    assert SECRET not in said
    assert installation.key not in said


def test_without_the_setting_no_request_is_a_line(single: Stack) -> None:
    before = len(single.lines)
    for path in ("/admin/login/", "/api/v1/providers/", "/nothing", "/v1/models", "/healthz", "/metrics"):
        single.request("GET", path)
    single.chat("nothing serves this")
    single.manage("publish", check=False)
    assert [line for line in single.lines[before:] if "signalbox.access" in line or "GET " in line] == []


async def test_what_is_done_for_all_watchers_has_the_id_of_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reader, "JOIN_SECONDS", 0.01)
    nobody = reader.Reader("routes", f"unix://{tmp_path}/nobody.sock?db=0")
    with configured("json") as stream, request_ids.bound("of-the-first"):
        async with nobody.watch():
            while not stream.getvalue():  # noqa: ASYNC110 - one turn of the loop at a time
                await asyncio.sleep(0)
        logs.get_logger("x").info("of the first")
    told, own = (json.loads(line) for line in stream.getvalue().splitlines())
    assert told["event"] == "the feed cannot be heard for now"
    assert "request_id" not in told
    assert own["request_id"] == "of-the-first"
