"""docs/explain.md is true: its questions are answered, its terminal shows what is printed, its table is whole."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from routes.api.explain_schema import EXAMPLES, components
from tests.control.test_explain import explained, published
from tests.control.test_explain_recorded import Gateway, run

__all__ = ["published"]
pytestmark = pytest.mark.django_db

PAGE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()


def blocks(kind: str) -> list[dict[str, Any]]:
    found = [json.loads(block) for block in re.findall(rf"```json {kind}\n(.*?)```", PAGE, re.DOTALL)]
    assert found
    return found


def test_every_question_of_the_page_and_of_the_schema_is_answered(published: None) -> None:
    route, _ = Gateway().decide()
    for question in (*blocks("explain"), *blocks("recorded"), *EXAMPLES.values()):
        fields = question | ({"request": None, "id": str(route)} if "id" in question else {})
        assert explained(**fields)["status"] == "decided", question


def test_the_terminal_prints_what_the_page_shows(published: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (session,) = re.findall(r"```console\n\$ echo (.*?)```", PAGE, re.DOTALL)
    line, _, expected = session.partition("\n")
    body, _, command = line.partition(" | ")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body.strip("'").encode())))
    status, out, _ = run(*shlex.split(command)[3:])
    assert (status, out) == (0, expected)


def test_the_table_names_fields_that_there_are(published: None) -> None:
    named = {name for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    fields = set(components()["Explanation"]["properties"])
    assert named <= fields
    assert named >= {"ranking", "excluded", "trace", "rules", "shares", "sentences", "undecidable", "recorded"}
