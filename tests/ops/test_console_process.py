"""The console's ASGI stack: static files, streams that end with it, unknown sockets, headers, metrics."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from django.http import StreamingHttpResponse
from django.test import Client, RequestFactory
from django.urls import resolve
from prometheus_client import REGISTRY, generate_latest

from history import status
from routing_project.asgi import application
from routing_project.console.metrics import middleware
from routing_project.console.metrics import view as metrics
from routing_project.console.watchers import EndWatchers
from routing_project.env import Env
from routing_project.metrics.catalogue import HTTP_DURATION, HTTP_REQUESTS
from routing_project.metrics.instruments import counter, histogram
from routing_project.static import StaticFiles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from django.http import HttpRequest

    Send = Callable[[Mapping[str, Any]], Awaitable[None]]

HTTP = {"type": "http", "method": "GET", "headers": []}


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


class Sent(list[Any]):
    async def __call__(self, message: Mapping[str, Any]) -> None:
        self.append(message)

    async def filled(self, count: int) -> None:
        while len(self) < count:  # noqa: ASYNC110 - one turn of the loop at a time, nothing to wait for in between
            await asyncio.sleep(0)

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self[0]["headers"])


async def django(_scope: object, _receive: object, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"django"})


@pytest.fixture
def static_root(tmp_path: Path) -> Path:
    (tmp_path / "console").mkdir()
    (tmp_path / "console" / "tokens.0123456789ab.css").write_text("body{}")
    (tmp_path / "plain.js").write_text("export {}")
    return tmp_path


async def test_a_hashed_static_file_may_be_kept_for_ever_and_a_plain_one_not(static_root: Path) -> None:
    app = StaticFiles(django, static_root, "/static/")
    sent = Sent()
    await app({**HTTP, "path": "/static/console/tokens.0123456789ab.css"}, never, sent)
    assert sent.body == b"body{}"
    assert b"immutable" in sent.headers[b"cache-control"]
    sent = Sent()
    await app({**HTTP, "path": "/static/plain.js"}, never, sent)
    assert b"immutable" not in sent.headers[b"cache-control"]
    etag = sent.headers[b"etag"]
    sent = Sent()
    await app({**HTTP, "path": "/static/plain.js", "headers": [(b"if-none-match", etag)]}, never, sent)
    assert sent[0]["status"] == 304


@pytest.mark.parametrize(
    "path", ["/static/missing.css", "/static/../secret_key", "/admin/", "/static/%2e%2e/secret_key"]
)
async def test_what_is_no_static_file_goes_to_django(static_root: Path, path: str) -> None:
    (static_root.parent / "secret_key").write_text("secret")
    sent = Sent()
    await StaticFiles(django, static_root, "/static/")({**HTTP, "path": path}, never, sent)
    assert sent.body == b"django"


async def test_an_event_stream_ends_cleanly_when_the_console_is_told_to_stop() -> None:
    cancelled = asyncio.Event()

    async def stream(_scope: object, _receive: object, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    app = EndWatchers(stream)
    sent = Sent()
    running = asyncio.create_task(app(dict(HTTP), never, sent))
    await sent.filled(2)
    app.end()
    await running
    assert cancelled.is_set()
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_an_ordinary_answer_is_finished_after_the_console_was_told_to_stop() -> None:
    proceed = asyncio.Event()

    async def slow(_scope: object, _receive: object, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await proceed.wait()
        await send({"type": "http.response.body", "body": b"whole"})

    app = EndWatchers(slow)
    sent = Sent()
    running = asyncio.create_task(app(dict(HTTP), never, sent))
    await sent.filled(1)
    app.end()
    proceed.set()
    await running
    assert sent.body == b"whole"


async def test_an_error_of_the_application_is_not_swallowed() -> None:
    async def broken(_scope: object, _receive: object, _send: Send) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await EndWatchers(broken)(dict(HTTP), never, Sent())


async def test_an_unknown_socket_is_closed_with_4404() -> None:
    async def connect() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    sent = Sent()
    await application({"type": "websocket", "path": "/ws/nothing", "headers": []}, connect, sent)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert sent[1]["code"] == 4404


@pytest.mark.django_db
def test_every_page_has_the_security_headers(client: Client) -> None:
    response = client.get("/admin/login/")
    assert response["Content-Security-Policy"].startswith("default-src 'self';")
    assert "unsafe" not in response["Content-Security-Policy"]
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"


# -- metrics --------------------------------------------------------------------------------------
@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> Callable[..., Env]:
    def use(**settings: Any) -> Env:
        chosen = Env(data_dir=data_dir, **settings)
        chosen.make_folders()
        monkeypatch.setattr(metrics, "get_env", lambda: chosen)
        return chosen

    return use


def scrape(**headers: str) -> Any:
    return metrics.metrics(RequestFactory().get("/metrics", **headers))  # type: ignore[arg-type]


def test_without_token_and_network_metrics_are_open(env: Callable[..., Env]) -> None:
    env()
    assert scrape(REMOTE_ADDR="203.0.113.9").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"REMOTE_ADDR": "10.1.2.3"}, 200),
        ({"REMOTE_ADDR": "203.0.113.9"}, 403),
        ({"REMOTE_ADDR": ""}, 403),
        ({"REMOTE_ADDR": "203.0.113.9", "HTTP_AUTHORIZATION": "Bearer wrong"}, 403),
        ({"REMOTE_ADDR": "203.0.113.9", "HTTP_AUTHORIZATION": "Bearer t0ken"}, 200),
    ],
)
def test_once_set_a_token_or_a_network_opens_metrics(
    env: Callable[..., Env], headers: dict[str, str], status: int
) -> None:
    env(metrics_token="t0ken", metrics_networks="10.0.0.0/8")
    assert scrape(**headers).status_code == status


def test_every_supervised_process_shows_cpu_and_memory_and_the_cpu_of_the_dead_counts(env: Callable[..., Env]) -> None:
    processes = {
        "gateway-1": {"pid": os.getpid(), "dead_cpu_seconds": 1000.0},
        "worker": {"pid": None, "dead_cpu_seconds": 5.0},
    }
    (env().socket_dir / "processes.json").write_text(json.dumps(processes))
    lines = dict(line.rsplit(" ", 1) for line in scrape().content.decode().splitlines() if not line.startswith("#"))
    assert float(lines['process_cpu_seconds_total{process="gateway-1"}']) > 1000
    assert float(lines['process_cpu_seconds_total{process="worker"}']) == 5
    assert float(lines['process_resident_memory_bytes{process="gateway-1"}']) > 1_000_000
    assert 'process_resident_memory_bytes{process="worker"}' not in lines


def test_a_process_shows_how_often_it_was_started_again_also_while_it_is_away(env: Callable[..., Env]) -> None:
    processes = {
        "console": {"pid": os.getpid(), "dead_cpu_seconds": 0.0, "restarts": 0},
        "worker": {"pid": None, "dead_cpu_seconds": 5.0, "restarts": 7},
        "beat": {"pid": None, "dead_cpu_seconds": 5.0},  # of the serve of an earlier release
        "serve": {"pid": os.getpid(), "dead_cpu_seconds": 0.0},
    }
    (env().socket_dir / "processes.json").write_text(json.dumps(processes))
    lines = scrape().content.decode().splitlines()
    assert [line for line in lines if line.startswith("process_restarts_total")] == [
        'process_restarts_total{process="console"} 0.0',
        'process_restarts_total{process="worker"} 7.0',
    ]
    assert 'process_cpu_seconds_total{process="beat"} 5.0' in lines


def test_a_process_that_ends_during_a_scrape_has_no_cpu_in_it_rather_than_less_than_before(
    env: Callable[..., Env],
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    processes = {
        "console": {"pid": os.getpid(), "dead_cpu_seconds": 0.0},
        "worker": {"pid": ended.pid, "dead_cpu_seconds": 5.0},
    }
    (env().socket_dir / "processes.json").write_text(json.dumps(processes))
    text = scrape().content.decode()
    assert 'process_cpu_seconds_total{process="console"}' in text
    assert 'process="worker"' not in text


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', '{"a": {"pid": 1}}', "null", '{"a": []}'])
def test_a_map_of_processes_that_makes_no_sense_is_no_map(env: Callable[..., Env], content: str) -> None:
    (env().socket_dir / "processes.json").write_text(content)
    assert b'process_cpu_seconds_total{process="console"}' in scrape().content


def test_what_the_shipper_reports_is_on_metrics_while_it_reports(
    env: Callable[..., Env], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = env().journal_dir

    def told() -> set[str]:
        lines = scrape().content.decode().splitlines()
        return {line for line in lines if line.startswith(("journal_depth", "journal_database_up"))}

    assert told() == {"journal_depth 0.0", "journal_database_up 0.0"}  # nobody ships
    status.write(folder, status.ShipperStatus(backlog_bytes=4711))
    assert told() == {"journal_depth 4711.0", "journal_database_up 1.0"}
    status.write(folder, status.ShipperStatus(database="down", backlog_bytes=4711))
    assert told() == {"journal_depth 4711.0", "journal_database_up 0.0"}
    status.write(folder, status.ShipperStatus(backlog_bytes=4711))
    later = time.time() + status.AWAY_SECONDS + 1  # it was killed, or hangs
    monkeypatch.setattr(time, "time", lambda: later)
    assert told() == {"journal_depth 0.0", "journal_database_up 0.0"}


@pytest.mark.django_db
def test_console_requests_are_counted_by_route_and_never_by_what_a_client_sends(client: Client) -> None:
    def count(endpoint: str, status: str) -> float:
        return float(counter(HTTP_REQUESTS).labels("GET", endpoint, status)._value.get())

    logins, others, own = count("/admin/login/", "200"), count("other", "404"), count("/metrics", "200")
    client.get("/admin/login/")
    client.get("/no/such/page-4711")
    client.get("/metrics")
    assert count("/admin/login/", "200") == logins + 1
    assert count("other", "404") == others + 1
    assert count("/metrics", "200") == own


class Answered(NamedTuple):
    count: float
    observed: float
    seconds: float

    @classmethod
    def of(cls, endpoint: str) -> Answered:
        child = histogram(HTTP_DURATION).labels("GET", endpoint)
        observed = sum(bucket.get() for bucket in child._buckets)
        return cls(counter(HTTP_REQUESTS).labels("GET", endpoint, "200")._value.get(), observed, child._sum.get())


@pytest.mark.parametrize("read", [3, 1, 0], ids=["to its end", "in part", "not at all"])
@pytest.mark.parametrize("asynchronous", [True, False])
async def test_an_answer_made_while_it_is_read_has_taken_until_it_is_closed(
    monkeypatch: pytest.MonkeyPatch, asynchronous: bool, read: int
) -> None:
    now = 100.0

    def pieces() -> Iterator[bytes]:
        nonlocal now
        for _ in range(3):
            now += 60
            yield b"piece"

    def view(request: HttpRequest) -> StreamingHttpResponse:
        nonlocal now
        now += 1
        request.resolver_match = resolve("/api/v1/history/export/")
        return StreamingHttpResponse(pieces())

    async def asynchronous_view(request: HttpRequest) -> StreamingHttpResponse:
        return view(request)

    monkeypatch.setattr(middleware, "time", SimpleNamespace(perf_counter=lambda: now))
    before = Answered.of("/api/v1/history/export/")
    request = RequestFactory().get("/api/v1/history/export/")
    called: Any = middleware.count_requests(asynchronous_view if asynchronous else view)(request)
    response = await called if asynchronous else called
    for _ in zip(range(read), response, strict=False):
        assert Answered.of("/api/v1/history/export/") == before, "it is under way"
    now += 5
    response.close()
    response.close()
    after = Answered.of("/api/v1/history/export/")
    assert (after.count, after.observed) == (before.count + 1, before.observed + 1)
    assert after.seconds - before.seconds == pytest.approx(1 + 60 * read + 5)


@pytest.mark.django_db
def test_django_prometheus_gets_no_method_that_a_client_made_up_and_no_scrape(client: Client) -> None:
    client.generic("MADE-UP", "/admin/login/")
    client.generic("MADE-UP", "/metrics")
    text = generate_latest(REGISTRY).decode()
    assert 'view="admin:login"' in text
    assert "MADE-UP" not in text
    assert "metrics.view" not in text
