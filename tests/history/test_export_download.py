"""Exports over a real server: as fast as the client reads and no faster, cut where they fail, nothing left behind."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from django.core.handlers.asgi import ASGIHandler
from django.db import OperationalError, connections

from history import export
from history.api import export as export_view
from history.api.download import Slots
from routes.models import AuditEntry
from routing_project.metrics.catalogue import HTTP_DURATION, HTTP_REQUESTS
from routing_project.metrics.instruments import counter, histogram
from tests.gateways import wait_until
from tests.history import rows, samples
from tests.history.conftest import BOTH
from tests.history.rows import NOON, at
from tests.history.test_api import key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [BOTH, pytest.mark.usefixtures("as_default")]
EXPORT = "/api/v1/history/export/?from=2026-11-20"
#: For what does not touch the database in a way of its own.
ONE = pytest.mark.parametrize("alias", ["default"], indirect=True)
#: Rows of some 2.5 kilobytes, on pages that are more than what waits between a server and a client that does not read.
ROWS, PAGE = 500, 20


class Server:
    """Django under uvicorn on a Unix socket, in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        config = uvicorn.Config(ASGIHandler(), uds=str(path), lifespan="off", log_config=None, loop="asyncio")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve()), daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, 20, "the server has started")

    def get(self, path: str, secret: str, method: str = "GET") -> http.client.HTTPResponse:
        """The head of an answer. Whoever closes the answer has left."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.path))
        headers = {"Authorization": f"Bearer {secret}", "Connection": "close"}
        connection.request(method, path, headers=headers)
        return connection.getresponse()

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(20)


@pytest.fixture
def server(as_default: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    # Its requests have threads, and so connections, of their own.
    monkeypatch.setitem(connections.settings, "default", connections.settings[as_default])
    monkeypatch.setattr(export_view, "slots", Slots(of_caller=2, of_all=3))
    monkeypatch.setattr(export, "PAGE_ROWS", PAGE)
    running = Server(tmp_path / "server.sock")
    yield running
    running.stop()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each page that an export has read."""
    read: list[int] = []
    search = export.search

    def counted(*args: Any, **options: Any) -> Any:
        page = search(*args, **options)
        read.append(len(page.rows))
        return page

    monkeypatch.setattr(export, "search", counted)
    return read


def fill() -> None:
    rows.store(*(samples.finished(at(NOON, n), message="m" * 2000) for n in range(ROWS)))


def connected(alias: str) -> int:
    """Connections of others than this thread to the database."""
    with connections["default"].cursor() as cursor:
        if alias == "default":
            return 0  # of SQLite nobody counts them
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        return int(cursor.fetchone()[0])


def given_back(alias: str) -> bool:
    return export_view.slots.taken == 0 and connected(alias) == 0


def entry() -> tuple[Any, Any]:
    """Rows and outcome of the only export in the audit log."""
    wait_until(AuditEntry.objects.filter(action="history.exported").exists, 20, "the entry is written")
    found = AuditEntry.objects.get(action="history.exported")
    assert found.actor_kind == "key"
    return found.changes["rows"], found.changes["outcome"]


def test_an_export_is_a_file_with_every_row(server: Server, as_default: str) -> None:
    fill()
    answer = server.get(f"{EXPORT}&format=ndjson", key("read"))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="signalbox-history-')
    assert answer.headers["Transfer-Encoding"] == "chunked"
    lines = answer.read().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == ROWS
    assert entry() == (ROWS, "complete")
    wait_until(lambda: given_back(as_default), 20, "what the export used is given back")


def test_pages_are_read_as_the_client_takes_them_and_no_more_when_it_leaves(
    server: Server, as_default: str, pages: list[int]
) -> None:
    fill()
    secret = key("read")
    answer = server.get(f"{EXPORT}&format=ndjson", secret)
    for _ in range(20):  # the server has time for all it wants to do
        assert server.get("/api/v1/history/?limit=1", secret).read()
    assert 1 <= len(pages) < ROWS // PAGE // 2
    answer.close()
    wait_until(lambda: given_back(as_default), 20, "what the export used is given back")
    given, outcome = entry()
    assert outcome == "broken off by the reader"
    assert given < ROWS


def test_an_export_that_fails_on_the_way_is_cut_and_not_ended(
    server: Server, as_default: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    search, left = export.search, [3]

    def away(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise OperationalError("the database has gone")
        return search(*args, **options)

    monkeypatch.setattr(export, "search", away)
    answer = server.get(f"{EXPORT}&format=csv", key("read"))
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    wait_until(lambda: given_back(as_default), 20, "what the export used is given back")
    assert entry() == (3 * PAGE, "failed")


@ONE
def test_what_is_wrong_with_the_question_is_said_before_the_answer_begins(server: Server, as_default: str) -> None:
    secret = key("read")
    for wrong in ("order=provider", "format=xlsx", "cursor=x", "to=2026-11-19", "bom=perhaps"):
        answer = server.get(f"{EXPORT}&{wrong}", secret)
        assert answer.status == 400
        assert json.loads(answer.read())["error"]["code"] == "invalid"
    wait_until(lambda: given_back(as_default), 20, "what the export used is given back")
    assert not AuditEntry.objects.filter(action="history.exported").exists()


@ONE
def test_an_export_is_counted_once_when_it_is_over_however_that_comes(
    server: Server, as_default: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill()
    secret = key("read")
    labels = ("GET", "/api/v1/history/export/")

    def counted() -> tuple[float, float]:
        observed = sum(bucket.get() for bucket in histogram(HTTP_DURATION).labels(*labels)._buckets)
        return counter(HTTP_REQUESTS).labels(*labels, "200")._value.get(), observed

    def over() -> None:
        """What the last export used is given back, and it has been counted."""
        nonlocal requests, observed
        requests, observed = requests + 1, observed + 1
        wait_until(lambda: given_back(as_default) and counted() == (requests, observed), 20, "it is counted")

    requests, observed = counted()
    assert server.get(EXPORT, secret).read()
    over()

    slow = server.get(EXPORT, secret)
    for _ in range(3):
        assert server.get("/api/v1/history/?limit=1", secret).read()
    assert counted() == (requests, observed), "its reader has not had all of it"
    slow.close()
    over()

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("the database has gone")

    failing = server.get(EXPORT, secret)
    monkeypatch.setattr(export, "search", away)
    with pytest.raises(http.client.IncompleteRead):
        failing.read()
    over()
    assert counted() == (requests, observed)


@ONE
def test_one_caller_has_only_so_many_exports_at_a_time(server: Server, as_default: str, pages: list[int]) -> None:
    fill()
    one, other = key("read"), key("operate")
    open_ones = [server.get(EXPORT, one) for _ in range(2)]
    refused = server.get(EXPORT, one)
    assert refused.status == 429
    assert refused.headers["Retry-After"] == "11"
    assert json.loads(refused.read())["error"]["code"] == "throttled"
    open_ones.append(server.get(EXPORT, other))
    assert [answer.status for answer in open_ones] == [200, 200, 200]
    assert server.get(EXPORT, other).status == 429, "three are as many as there may be of all"
    for answer in open_ones:
        answer.close()
    wait_until(lambda: given_back(as_default), 20, "what the exports used is given back")
    pages.clear()
    head = server.get(f"{EXPORT}&format=ndjson", one, "HEAD")
    assert (head.status, head.headers["Content-Type"]) == (200, "application/x-ndjson; charset=utf-8")
    assert (head.read(), pages) == (b"", []), "asking for the head alone reads no page"
    whole = server.get(f"{EXPORT}&bom=1", one).read()
    assert whole.startswith(b"\xef\xbb\xbfid,")
    assert whole.count(b"\r\n") == ROWS + 1
