"""docs/rules.md is held to the engine: its examples are conditions, and nothing that can be asked is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from routes.engine.conditions import CATALOGUE, OPERATORS, parse
from routes.engine.facts.agents import COMPACT, MAIN, SUBAGENT
from routes.engine.facts.catalogue import AGENTS, SCENARIOS
from routes.engine.facts.scenario import BACKGROUND_MODELS

TEXT = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()


def examples() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL):
        value = json.loads(block)
        found += value if isinstance(value, list) else [value]
    for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL):
        found += [rule["when"] for rule in yaml.safe_load(block)["rules"]]
    return found


def test_every_example_is_a_condition() -> None:
    for tree in examples():
        assert parse(tree).describe()


def test_every_fact_and_every_operator_of_every_kind_has_an_example() -> None:
    clauses = [clause for tree in examples() for clause in parse(tree).clauses]
    assert {clause.spec.name for clause in clauses} == {spec.name for spec in CATALOGUE}
    assert {clause.op for clause in clauses} == set(OPERATORS)


def test_the_sentence_in_the_text_is_the_one_that_is_shown() -> None:
    first = json.loads(re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)[0])
    assert f'"{parse(first).describe()}"' in TEXT.replace("\n", " ")


def test_scenarios_agents_and_fingerprints_are_all_there() -> None:
    for name in (*SCENARIOS, *AGENTS, *BACKGROUND_MODELS):
        assert f"`{name}`" in TEXT
    for fingerprint in (*COMPACT, *SUBAGENT, *MAIN):
        assert f'"{fingerprint}"' in TEXT
