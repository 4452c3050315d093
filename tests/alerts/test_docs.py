"""What the documentation promises is what happens: its code is run, its tables and examples are compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from health.alerts import delivery, formats, matching
from health.alerts.document import AlertChannel, AlertRule
from health.alerts.kinds import EVENTS, WORDS
from routing_project.env import Env
from tests.alerts.conftest import NOON, SECRET, channel, opened, rule

if TYPE_CHECKING:
    from tests.alerts.receivers import HttpReceiver

DOCS = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, re.S)


@pytest.mark.django_db
def test_the_code_that_verifies_a_signature_accepts_real_messages_and_no_others(receiver: HttpReceiver) -> None:
    (code,) = blocks("python")
    names: dict[str, Any] = {}
    exec(code, names)
    rule("all", channel(url=receiver.url))
    matching.take(opened(), now=NOON)
    delivery.deliver()
    (got,) = receiver.requests
    genuine = names["genuine"]
    assert genuine(SECRET, got.headers, got.body)
    assert not genuine("another secret of somebody", got.headers, got.body)
    assert not genuine(SECRET, got.headers, got.body + b" ")
    assert not genuine(SECRET, {**got.headers, "x-signalbox-timestamp": "1700000000"}, got.body), "old"
    assert not genuine(SECRET, {}, got.body)
    (example,) = blocks("json")
    assert set(json.loads(example)) == set(got.json), "the example has the fields that are sent"


def test_every_event_and_every_field_is_in_a_table_and_every_setting_exists() -> None:
    first_cells = re.findall(r"^\| `(\w+)`", DOCS, re.M)
    assert set(EVENTS) == set(WORDS) <= set(first_cells)
    assert set(AlertChannel.model_fields) | set(AlertRule.model_fields) <= set(first_cells)
    settings = set(re.findall(r"^\| `(SIGNALBOX_\w+)`", DOCS, re.M))
    known = {field.alias or f"SIGNALBOX_{name.upper()}" for name, field in Env.model_fields.items()}
    assert settings == {"SIGNALBOX_EMAIL_URL", "SIGNALBOX_EMAIL_FROM", "SIGNALBOX_PUBLIC_URL"} <= known


def test_the_commands_that_are_shown_are_taken() -> None:
    bodies = [json.loads(body) for body in re.findall(r"-d '(\{.*?\})'", DOCS, re.S)]
    AlertChannel.model_validate(bodies[0])
    AlertRule.model_validate(bodies[1])


def test_the_times_between_tries_are_those_that_are_told() -> None:
    assert delivery.WAITS == (30, 120, 600, 2400)
    assert formats.event_name("config_published") == "Configuration published"
