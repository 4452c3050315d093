"""Every code of health has words, and the page about it knows every code and only bodies that are taken."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from health import words
from health.heads import news
from health.models import HealthEvent
from health.probes import states
from routes.document.acts import AdminStateRequest, ForceRequest, ReasonRequest
from routes.engine.circuit import REASONS
from routing_project.feed.names import HEADS
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


def test_every_reason_of_a_head_is_said_in_words() -> None:
    codes = {value for name, value in vars(news).items() if name.isupper() and isinstance(value, str)}
    assert codes - {HEADS} == set(words.HEAD)


def test_a_code_of_another_release_is_said_as_it_is() -> None:
    assert words.of(words.CIRCUIT, "moon_phase") == "moon phase"


def test_bodies_on_the_page_are_taken() -> None:
    found = re.findall(r"```json (\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert {kind for kind, _ in found} == set(BODIES)
    for kind, body in found:
        BODIES[kind].model_validate(json.loads(body))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kind": "circuit", "before": "half_open", "after": "open", "reason": "half_open_failure"},
         "Circuit opened again: it failed again while it was being tried."),
        ({"kind": "circuit", "before": "open", "after": "half_open", "reason": "probe_success", "actor": "probe"},
         "Circuit went half-open: a check succeeded, so it is tried before its pause is over."),
        ({"kind": "observed", "before": "healthy", "after": "unhealthy", "reason": "fall", "detail": {"outcomes": [
            {"error_class": "upstream_5xx"}, {"error_class": None}, {"error_class": "upstream_5xx"}]}},
         "Found unhealthy: checks failed several times in a row (2 × upstream_5xx)."),
        ({"kind": "quarantine", "after": "rate_limited", "reason": "refused", "detail": {"model": "m", "until": 0.5}},
         "Quarantined for model m until 1970-01-01 00:00:00 UTC: it answers that it is asked too often (429)."),
        ({"kind": "head", "after": "registered", "reason": "registered", "actor": "key"}, "Head registered by key."),
        ({"kind": "head", "before": "online", "after": "offline", "reason": "heartbeats_stopped", "actor": "clock"},
         "Head offline: its heartbeats stopped."),
        ({"kind": "budget", "before": "ok", "after": "exceeded", "reason": "usd_day"},
         "Budget ok to exceeded: usd day."),
        ({"kind": "circuit", "before": "closed", "after": "open", "reason": "consecutive_failures", "detail": {
            "until": 0.5, "outcomes": [{"error_class": "dns"}]}},
         "Circuit opened: too many failures in a row: 1 × dns; tried again at 1970-01-01 00:00:00 UTC."),
    ],
)  # fmt: skip
def test_a_line_of_the_timeline_is_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    assert words.event(HealthEvent(**{"actor": "traffic", "detail": {}, **fields})) == sentence


@pytest.mark.parametrize(
    ("reason", "outcomes", "causes"),
    [
        ("consecutive_failures", ["dns", None, "tls", "rate_limited", "dns"], ["tls", "dns"]),
        ("consecutive_failures", ["dns", "tls"], ["dns", "tls"]),
        ("failure_rate", ["dns", None, "tls", "auth_failed", "dns"], ["dns", "tls", "dns"]),
        ("half_open_failure", ["dns", "dns", "tls"], ["tls"]),
        ("recovery_timeout", [], []),
    ],
)
def test_what_opened_a_circuit_is_told_from_what_was_before(
    reason: str, outcomes: list[str | None], causes: list[str]
) -> None:
    assert words.causes(outcomes, reason) == causes
