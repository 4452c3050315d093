"""docs/history_api.md is true: its calls and commands are answered as it shows, and its tables are whole."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import pytest
import time_machine
from django.test import Client

from history.api import export as export_view
from history.api.base import STATUS_OF
from history.errors import BadQuery
from history.filters import FIELDS, MAX_CONDITIONS, MAX_DEPTH, MAX_TEXT
from history.management.commands.history import COMMANDS
from history.rows import ROW_FIELDS
from history.statistics import GROUPINGS
from routes.models import AccessKey
from tests.control.test_commands import run
from tests.history import rows, samples
from tests.history.rows import NOON, at, minutes
from tests.history.test_api import key
from tests.history.test_sessions import keyed

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db
PAGE = (Path(__file__).parents[2] / "docs" / "history_api.md").read_text()
#: Command and what is shown of its answer.
SHOWN = [block.partition("\n")[::2] for block in re.findall(r"```console\n\$ (.*?)```", PAGE, re.DOTALL)]
#: Stands for what is left out.
MORE = "…"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """What the page tells of, and a client of it."""
    secret = key("read")
    app, batch = (keyed_as(name, number) for name, number in (("app", 1), ("batch", 2)))
    chat: dict[str, Any] = {"key_id": app, "key_name": "app", "session_key": "chat-17"}
    saved = [
        samples.attempt(provider="acme-us", http_status=503, error_class="upstream_5xx", started_ms=ms(1)),
        samples.attempt(latency_us=430_000, started_ms=ms(1) + 92),
    ]
    rows.store(
        samples.finished(at(NOON, 1), **chat, latency_us=2_380_000),
        samples.finished(
            at(NOON + minutes(1), 1), **chat, recovered=True, attempts=saved, attempt_count=2, latency_us=523_000
        ),
        samples.failed(at(NOON + minutes(2), 1), key_id=batch, key_name="batch", session_key="chat-17"),
        samples.finished(at(NOON + minutes(3), 1), key_id=app, key_name="app"),
    )
    with time_machine.travel(NOON + minutes(60), tick=False):
        yield Client(headers={"authorization": f"Bearer {secret}", "host": "127.0.0.1:8000"})


def keyed_as(name: str, number: int) -> bytes:
    """The id of a key; the same in every run."""
    row = AccessKey.objects.get(pk=keyed(name))
    row.delete()
    row.pk = UUID(int=0x0198F6A2_6B11_7F0D_A2C4_91D05E3B8C00 + number)
    row.save(force_insert=True)
    return row.pk.bytes


def ms(minute: int) -> int:
    return int((NOON + minutes(minute)).timestamp() * 1000) + 1


def address(command: str) -> str:
    """What curl asks for."""
    words = shlex.split(command)
    (url,) = (word for word in words if word.startswith("http://127.0.0.1:8000/"))
    if "--data-urlencode" in words:
        name, _, value = words[words.index("--data-urlencode") + 1].partition("=")
        url += f"&{name}={quote(value)}"
    return url


def shows(told: Any, true: Any) -> bool:
    """Whether ``true`` is what is told; of an object or a list with ``MORE`` in it, at least what is told."""
    if isinstance(told, dict) and isinstance(true, dict):
        named = {name: value for name, value in told.items() if name != MORE}
        whole = MORE in told or named.keys() == true.keys()
        return whole and all(name in true and shows(value, true[name]) for name, value in named.items())
    if isinstance(told, list) and isinstance(true, list):
        if told[-1:] == [MORE]:
            return len(true) >= len(told) and all(map(shows, told[:-1], true))
        return len(told) == len(true) and all(map(shows, told, true))
    return bool(told == true)


@pytest.mark.parametrize("command", [command for command, _ in SHOWN if command.startswith("curl ")])
def test_a_call_is_answered_as_the_page_shows(there: Client, command: str) -> None:
    answer = there.get(address(command)).json()
    assert shows(json.loads(dict(SHOWN)[command]), answer), json.dumps(answer, indent=2)


@pytest.mark.parametrize("command", [command for command, _ in SHOWN if command.startswith("manage.py ")])
def test_a_command_prints_what_the_page_shows(there: Client, command: str) -> None:
    status, out, said = run(*shlex.split(command)[1:])
    assert (status, out + said) == (0, dict(SHOWN)[command])


def test_every_block_is_one_of_these() -> None:
    assert len(SHOWN) == PAGE.count("```console") == 11


def table(head: str) -> list[list[str]]:
    """Cells of a table by the beginning of its first line."""
    found = PAGE[PAGE.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found]


def test_the_table_of_filters_is_that_of_the_code() -> None:
    told = {cells[0].strip("`"): cells for cells in table("| field |")}
    assert told.keys() == {*FIELDS, "session"}
    for name, field in FIELDS.items():
        assert set(re.findall(r"`(\w+)`", told[name][2])) == field.operators - {"eq"}, name
        partly = {"status", "recovered"}  # some of their values are
        assert told[name][3].startswith("yes") == (field.indexed or name in partly), name
    for words in (f"up to {MAX_CONDITIONS} conditions", f"nested {MAX_DEPTH} deep", f"{MAX_TEXT} characters"):
        assert words in PAGE
    assert f"`{' '.join(ROW_FIELDS)}`" in " ".join(PAGE.split())


def test_the_other_tables_are_whole_too() -> None:
    codes = {code: cells[0] for cells in table("| status | code |") for code in re.findall(r"`(\w+)`", cells[1])}
    assert {kind.code: str(status) for kind, status in STATUS_OF.items()}.items() <= codes.items()
    assert BadQuery.code in codes
    figures = " ".join(cells[0] for cells in table("| figure |"))
    assert {"failure_rate", "latency_ms", "expected_share"} <= set(re.findall(r"`(\w+)`", figures))
    assert {cells[0].split("`")[1].split()[1] for cells in table("| command |")} == set(COMMANDS)
    assert all(f"`{name}`" in PAGE for name in GROUPINGS)
    limits = export_view.slots
    assert f"{limits.of_caller} of one key or person, {limits.of_all} of all" in PAGE
