"""Records of the first release stay readable: taken with it, together with the revision they were made by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from routes.engine.explain import render, sentences, unpack_decision
from routes.engine.snapshot import Snapshot

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("recorded_by_version1.json").read_text())
SNAPSHOT = Snapshot.from_document(RECORDED["compiled"])


@pytest.mark.parametrize("record", RECORDED["records"], ids=lambda record: record["sentences"][0][:60])
def test_a_record_of_the_first_release_is_told_as_it_was_made(record: dict[str, Any]) -> None:
    decision = unpack_decision(record["packed"], SNAPSHOT)
    assert [[e.target.id, e.model, e.code] for e in decision.full_ranking()] == record["ranking"]
    assert sorted([e.target.id, e.stage, e.code] for e in decision.excluded) == record["excluded"]
    rendered = render(record["packed"], SNAPSHOT)
    told = sentences(rendered)  # words may be added to old records, none may be lost
    assert [sentence for sentence in told if sentence in record["sentences"]] == record["sentences"]
    assert json.loads(json.dumps(rendered))["undecidable"] == 0
