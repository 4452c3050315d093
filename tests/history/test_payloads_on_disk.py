"""From a client to the database through real processes, one of which is killed: what was said is in its own table and
nowhere else, and nowhere at all where copies are off. Secrets are nowhere either way."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.documents import document, provider
from tests.gateways import Gateways, wait_until
from tests.history.conftest import OwnDatabase
from tests.simulators import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.django_db(databases=["default", "pg"], transaction=True)

PROMPT = "the prompt of an engine driver"
ANSWER = "an answer like no other"
#: Put together here so that no scanner of repositories takes it for a real one.
SECRET = "sk-proj-" + "Ab3_" * 10


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        running.add("acme", text=f"{ANSWER}, and {SECRET}")
        yield running


@pytest.fixture
def own_database(data_dir: Path) -> Iterator[OwnDatabase]:
    """SQLite, whose file is in the data folder too."""
    database = OwnDatabase("sqlite", data_dir)
    yield database
    database.drop()


def found(data: Path, text: str) -> set[str]:
    """Where a text is: files of the data folder, and tables of the database in it."""
    places = {path.name for path in data.rglob("*") if path.is_file() and text.encode() in path.read_bytes()}
    with closing(sqlite3.connect(data / "signalbox.sqlite3")) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if text in repr(connection.execute(f'SELECT * FROM "{table}"').fetchall()):
                places.add(table)
    return places


@pytest.mark.parametrize("policy", ["off", "all"])
def test_what_was_said_is_in_its_own_table_or_nowhere(
    own_database: OwnDatabase, simulator: Simulator, policy: str
) -> None:
    data = own_database.data_dir
    gateway = Gateways(data, environment={"SIGNALBOX_HISTORY_PAYLOADS": policy})
    said = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"{PROMPT}, {SECRET}"}], "api_key": "by-name"}
    try:
        gateway.start()
        gateway.publish(document([provider("acme", base_url=simulator.providers["acme"].base_url)]))
        assert gateway.post("/v1/chat/completions", json.dumps(said)[:-1].encode()).status == 400
        waiting = {path for path in found(data, PROMPT) if path.endswith(".seg")}
        assert bool(waiting) is (policy == "all")
        answered = ask_until_killed(gateway, said)
    finally:
        gateway.stop()
    assert found(data, SECRET) == found(data, "by-name") == set()
    own_database.ship()
    with closing(sqlite3.connect(data / "signalbox.sqlite3")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    expected = {"route_payloads", "signalbox.sqlite3"} if policy == "all" else set()
    assert found(data, PROMPT) == found(data, ANSWER) == expected
    assert found(data, SECRET) == found(data, "by-name") == set()
    # A row that made it to the disk has its copies there.
    rows = {identifier for identifier, status in own_database.rows().items() if status == "routed"}
    copies = {identifier for (identifier,) in own_database.query("SELECT id FROM route_payloads")}
    assert answered <= rows
    assert rows <= copies if policy == "all" else copies == set()


def ask_until_killed(gateway: Gateways, said: dict[str, Any]) -> set[str]:
    """Whole answers and streams, from several clients; the ids of those that were answered."""
    answered: list[str] = []

    def ask(stream: bool) -> None:
        with suppress(OSError, http.client.HTTPException):
            while True:
                answer = gateway.post("/v1/chat/completions", {**said, "stream": stream})
                answered.append(answer.headers["x-route-id"].replace("-", ""))

    askers = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(4)]
    for asker in askers:
        asker.start()
    wait_until(lambda: len(answered) >= 40)
    gateway.kill()
    gateway.close_listener()
    for asker in askers:
        asker.join()
    return set(answered)
