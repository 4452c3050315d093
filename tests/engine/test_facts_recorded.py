"""What history keeps of facts, and conditions decided again from it: never by a guess."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from routes.engine.conditions import parse
from routes.engine.facts import CATALOGUE, UNKNOWN, KeyFacts, RecordedFacts, record
from tests.engine.facts_of import NOON, facts_of, said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routes.engine.facts import Facts

SECRET = "the merger with Initech"
TOKENS = {"fact": "tokens", "op": "lt", "value": 1000}
TEXT = {"fact": "user_text", "op": "contains", "value": "merger"}
HEADER = {"fact": "header.x-team", "op": "eq", "value": "deals"}
METADATA = {"fact": "metadata.case", "op": "exists", "value": True}
BUSY = {"fact": "partition.utilisation", "op": "lte", "value": 50}


class Targets:
    def __init__(self, *figures: float) -> None:
        self._figures = figures

    def figures(self, name: str) -> Sequence[float]:
        return self._figures


def request() -> Facts:
    return facts_of(
        said(SECRET, system=SECRET, metadata={"case": SECRET}),
        headers={"x-team": "deals", "x-note": SECRET},
        tags=("b", "a"),
        key=KeyFacts("app", frozenset({"internal"})),
        client_ip="10.0.0.1",
        session=SECRET,
    )


def decided(tree: dict[str, Any], kept: dict[str, Any], **overrides: Any) -> bool | None:
    return parse(tree).decide(RecordedFacts(json.loads(json.dumps(kept)), **overrides))


def test_texts_headers_metadata_and_the_session_are_never_recorded() -> None:
    facts = request()
    assert parse({"all": [TEXT, HEADER, METADATA, TOKENS]}).matches(facts, None)
    kept = json.dumps(record(facts))
    assert SECRET not in kept
    assert "Initech" not in kept
    assert "deals" not in kept


def test_every_other_fact_of_a_body_that_was_read_is_recorded() -> None:
    facts = request()
    assert facts.tokens == 2 * len(SECRET) // 4
    kept = record(facts)
    names = {spec.name for spec in CATALOGUE if spec.kind not in ("text", "partition") and spec.parameter is None}
    assert kept.keys() == names | {"operation"}
    assert (kept["tag"], kept["key.tag"], kept["time"]) == (["a", "b"], ["internal"], NOON)
    assert (kept["agent"], kept["region"]) == (None, None)


def test_a_body_that_no_rule_asked_for_is_not_read_for_the_record_unless_it_is_small() -> None:
    facts = request()
    kept = record(facts)
    assert not facts.has_read_body
    assert "tokens" not in kept
    assert decided(TOKENS, kept) is None
    assert record(facts, cheap=100_000)["tokens"] == 11
    stated = facts_of(said("hi"), given={"tokens": 5})
    assert record(stated)["tokens"] == 5
    assert "scenario" not in record(stated)


def test_clauses_that_were_evaluated_are_kept_as_bits_under_their_digests() -> None:
    facts = request()
    condition = parse({"any": [{"not": TEXT}, {"not": HEADER}, METADATA, TEXT]})
    assert condition.matches(facts, None)
    assert facts.bit(parse(METADATA).clauses[0].digest) is True
    assert facts.bit(parse(TOKENS).clauses[0].digest) is None
    kept = record(facts)
    assert kept["bits"] == {parse(tree).clauses[0].digest: True for tree in (TEXT, HEADER, METADATA)}
    assert decided(condition.tree, kept) is True
    report = condition.report(RecordedFacts(kept))["clauses"][0]
    assert report["sentence"] == "holds: the user's text contains merger (as recorded)"
    assert report["actual"] is None


def test_a_clause_that_was_not_evaluated_or_has_changed_cannot_be_told() -> None:
    facts = request()
    assert not parse({"all": [{"not": TEXT}, HEADER]}).matches(facts, None)
    kept = record(facts)
    assert decided(TEXT, kept) is True
    assert decided(HEADER, kept) is None
    assert decided({**TEXT, "value": "Merger"}, kept) is None
    clause = parse(HEADER).report(RecordedFacts(kept))["clauses"][0]
    assert clause["sentence"] == "cannot be told: header x-team is deals (not recorded)"
    assert (clause["matched"], clause["actual"]) == (None, None)


def test_what_does_not_depend_on_the_unknown_is_decided_all_the_same() -> None:
    kept = {"operation": "chat", "model": "m"}
    yes, no = {"fact": "model", "op": "eq", "value": "m"}, {"fact": "model", "op": "eq", "value": "n"}
    assert decided({"all": [TOKENS, no]}, kept) is False
    assert decided({"any": [TOKENS, yes]}, kept) is True
    assert decided({"all": [TOKENS, yes]}, kept) is None
    assert decided({"any": [TOKENS, no]}, kept) is None
    assert decided({"not": TOKENS}, kept) is None
    assert decided({"not": {"all": [TOKENS, no]}}, kept) is True


def test_overrides_count_instead_of_the_record_and_of_its_bits() -> None:
    facts = request()
    assert parse({"all": [TEXT, HEADER, TOKENS]}).matches(facts, None)
    kept = record(facts)
    assert decided(TOKENS, kept, tokens=5000) is False
    assert decided(HEADER, kept, **{"header.x-team": "others"}) is False
    assert decided(HEADER, kept, **{"header.x-team": None}) is False
    assert decided(TEXT, kept, user_text="no") is False
    night = {"fact": "time", "op": "within", "value": {"start": "22:00", "end": "06:00"}}
    assert decided(night, kept) is False
    assert decided(night, kept, time=NOON + 11 * 3600) is True


def test_figures_of_targets_are_what_is_seen_now_or_else_what_was_recorded() -> None:
    facts = request()
    condition = parse(BUSY, owner="rule")
    assert condition.matches(facts, Targets(80.0)) is False
    recorded = RecordedFacts(record(facts))
    assert condition.decide(recorded) is False
    assert condition.decide(recorded, Targets(20.0)) is True
    assert parse(BUSY, owner="another rule").decide(recorded) is None


def test_where_two_rules_disagree_under_one_digest_neither_is_believed() -> None:
    facts = request()
    condition = parse(BUSY)
    assert condition.matches(facts, Targets(80.0)) is False
    assert condition.matches(facts, Targets(80.0)) is False
    assert condition.decide(RecordedFacts(record(facts))) is False
    assert condition.matches(facts, Targets(20.0)) is True
    assert condition.matches(facts, Targets(20.0)) is True
    assert condition.decide(RecordedFacts(record(facts))) is None


@pytest.mark.parametrize(("operation", "matched"), [("embedding", False), ("chat", True), (None, None)])
def test_a_text_clause_is_decided_only_for_operations_that_carry_a_prompt(
    operation: str | None, matched: bool | None
) -> None:
    kept: dict[str, Any] = {"bits": {parse(TEXT).clauses[0].digest: True}}
    if operation is not None:
        kept["operation"] = operation
    assert decided(TEXT, kept) is matched
    assert decided({"not": TEXT}, kept) is False
    assert parse(TEXT).report(RecordedFacts(kept))["matched"] is matched


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {
            "tokens": "5",
            "tag": "a",
            "bits": [],
            "operation": 5,
            "stream": 1,
            "model": {},
            "time": "noon",
            "header.a": "x",
        },
        {"tokens": -1, "tag": [5], "bits": {"x": "yes"}, "client_ip": 5, "percent": True},
    ],
)
def test_a_record_of_another_shape_says_nothing(kept: dict[str, Any]) -> None:
    facts = RecordedFacts(kept)
    assert facts.carries_text is None
    assert facts.bit("x") is None
    names = ("tokens", "tag", "stream", "model", "time", "client_ip", "percent", "header.a", "nonsense")
    assert {facts.get(name) for name in names} == {UNKNOWN}


def test_recorded_absence_is_absence() -> None:
    facts = RecordedFacts({"region": None, "tag": []})
    assert facts.get("region") is None
    assert facts.get("tag") == frozenset()
    assert decided({"fact": "region", "op": "exists", "value": False}, {"region": None}) is True
