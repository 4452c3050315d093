"""The simulated upstream against a mock that others wrote, so that it and the gateway cannot share a mistake.

Structure is compared, not words: every field the foreign mock sends must be there with the same type of value, and
the kinds of events must come in the same order. What its answers were is in a file; record_foreign.py renews it.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.record_foreign import CASES, RECORDED, post

if TYPE_CHECKING:
    from tests.simulators import ProviderHandle

FOREIGN = json.loads(RECORDED.read_text())


def events(body: str) -> list[tuple[str | None, Any]]:
    """Name and document of each event of a stream."""
    found: list[tuple[str | None, Any]] = []
    for block in body.replace("\r\n", "\n").split("\n\n"):
        name, data = None, None
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            if field == "event":
                name = value.strip()
            elif field == "data":
                data = value.strip()
        if data is not None:
            found.append((name, data if data == "[DONE]" else json.loads(data)))
    return found


def kind(name: str | None, document: Any) -> tuple[str | None, ...]:
    """What an event is: its name and type, or for chat what its delta carries."""
    if document == "[DONE]":
        return ("[DONE]",)
    if "choices" in document:
        if not document["choices"]:
            return ("usage",)
        choice = document["choices"][0]
        # A delta that opens a tool call may bring the role along or leave it to a chunk before.
        carried = sorted(set(choice["delta"]) - {"refusal"}) if not choice["finish_reason"] else []
        return ("chunk", "+".join(carried), choice["finish_reason"])
    return (name, document["type"])


def kinds(found: list[tuple[str | None, Any]]) -> list[tuple[str | None, ...]]:
    """The order of kinds, repeats folded and keep-alives left out."""
    return [one for one, _ in groupby(kind(*event) for event in found if event[0] != "ping")]


def lacks(foreign: Any, ours: Any, path: str = "$") -> list[str]:
    """Where ours has not the structure of the foreign document."""
    if isinstance(foreign, dict):
        if not isinstance(ours, dict):
            return [f"{path}: {type(ours).__name__} for an object"]
        missing = [f"{path}.{key}: missing" for key in foreign if key not in ours]
        return missing + [
            problem for key in foreign if key in ours for problem in lacks(foreign[key], ours[key], f"{path}.{key}")
        ]
    if isinstance(foreign, list):
        if not isinstance(ours, list):
            return [f"{path}: {type(ours).__name__} for a list"]
        if foreign and not ours:
            return [f"{path}: empty"]
        return [problem for one in foreign[:1] for problem in lacks(one, ours[0], f"{path}[0]")]
    numbers = (int, float)
    if isinstance(foreign, numbers) and not isinstance(foreign, bool):
        alike = isinstance(ours, numbers) and not isinstance(ours, bool)
    else:
        alike = type(foreign) is type(ours)
    return [] if alike else [f"{path}: {type(ours).__name__} for {type(foreign).__name__}"]


@pytest.mark.parametrize("case", FOREIGN["cases"])
def test_the_answer_has_all_that_the_foreign_one_has(acme: ProviderHandle, claudia: ProviderHandle, case: str) -> None:
    recorded = FOREIGN["cases"][case]
    provider = claudia if recorded["path"] == "/v1/messages" else acme

    ours = post(provider.port, recorded["path"], recorded["request"])

    theirs = recorded["answer"]
    assert (ours["status"], ours["content_type"]) == (theirs["status"], theirs["content_type"])
    if theirs["content_type"] == "application/json":
        assert lacks(json.loads(theirs["body"]), json.loads(ours["body"])) == []
        return
    their_events, our_events = events(theirs["body"]), events(ours["body"])
    assert kinds(our_events) == kinds(their_events)
    first_of_ours = {kind(*event): event[1] for event in reversed(our_events)}
    for event in their_events:
        assert lacks(event[1], first_of_ours[kind(*event)]) == [], kind(*event)


def test_the_record_holds_every_case() -> None:
    assert {case: (entry["path"], entry["request"]) for case, entry in FOREIGN["cases"].items()} == CASES


def test_the_comparison_notices_what_is_missing_or_of_another_type() -> None:
    assert lacks({"a": 1, "b": [{"c": "x"}]}, {"a": 2.5, "b": [{"c": "y"}, 3], "d": None}) == []
    assert lacks({"a": 1}, {}) == ["$.a: missing"]
    assert lacks({"a": [{"c": "x"}]}, {"a": [{"c": None}]}) == ["$.a[0].c: NoneType for str"]
    assert lacks({"a": [1]}, {"a": []}) == ["$.a: empty"]
