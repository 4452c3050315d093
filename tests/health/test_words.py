"""Every code of health has words, and the page about it knows every code and only bodies that are taken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

from health import words
from health.probes import states
from routes.document.acts import AdminStateRequest, ForceRequest, ReasonRequest
from routes.engine.circuit import REASONS
from tests.gateways import ROOT

PAGE = Path(ROOT) / "docs" / "health_api.md"
BODIES = {"state": AdminStateRequest, "force": ForceRequest, "reason": ReasonRequest}


def test_every_reason_of_a_circuit_is_said_in_words_and_on_the_page() -> None:
    codes = set(REASONS) - {""}
    assert set(words.CIRCUIT) == codes
    table = PAGE.read_text().partition("## Circuits")[2].partition("## Acts")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {code for row in rows for code in re.findall(r"`(\w+)`", row)} == codes


def test_every_reason_of_an_observed_state_is_said_in_words() -> None:
    assert set(get_args(states.Reason)) <= set(words.OBSERVED)


def test_a_code_of_another_release_is_said_as_it_is() -> None:
    assert words.of(words.CIRCUIT, "moon_phase") == "moon phase"


def test_bodies_on_the_page_are_taken() -> None:
    found = re.findall(r"```json (\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert {kind for kind, _ in found} == set(BODIES)
    for kind, body in found:
        BODIES[kind].model_validate(json.loads(body))
