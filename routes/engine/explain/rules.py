"""What each rule of a profile made of a request: matched or not, and every clause with what it found. Asks all rules,
those behind the first match too, so that people see what they would have done. Imports the engine only.

An answer may be None: the record does not say. That is counted (``undecidable``), never guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.engine.explain.pack import facts_of
from routes.engine.facts import RecordedFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from routes.engine.profile import Profile, Rule

GOES_ON = "the request goes on with a response, which only one target has"
TEXT_ONLY = "looks at text, which requests of this kind do not carry"


def recorded_facts(packed: Mapping[str, Any], **overrides: Any) -> RecordedFacts:
    """The facts of a record, to be asked like those of a request that is here."""
    return RecordedFacts(facts_of(packed), **overrides)


def report(
    profile: Profile,
    operation: str,
    facts: Any,
    matched_index: int,
    figures: Callable[[Rule], Any] | None = None,
    *,
    goes_on: bool = False,
) -> list[dict[str, Any]]:
    """All rules in order: ``{name, index, enabled, matched, chosen, note, sentence, clauses}``.

    ``matched`` is what its condition says, None = cannot be told; ``chosen`` marks the first that matched.
    ``figures`` gives the numbers of a rule's own targets, where they are known. ``goes_on``: the request continues a
    response, and rules have no say.
    """
    asked = frozenset(rule.index for rule in profile.rules_for(operation))
    lines = []
    for rule in profile.rules:
        line: dict[str, Any] = {
            "name": rule.name,
            "index": rule.index,
            "enabled": rule.enabled,
            "matched": False,
            "chosen": rule.index == matched_index,
            "note": "",
            "sentence": rule.condition.describe(),
            "clauses": [],
        }
        if not rule.enabled:
            line["note"] = "switched off"
        elif goes_on:
            line["note"] = GOES_ON
        elif rule.index not in asked:
            line["note"] = TEXT_ONLY
        else:
            line |= rule.condition.report(facts, None if figures is None else figures(rule))
        lines.append(line)
    return lines


def undecidable(rules: Sequence[Mapping[str, Any]]) -> int:
    """How many clauses that could have decided which rule matched cannot be told."""
    count = 0
    for rule in rules:
        if rule["chosen"]:
            break
        if rule["matched"] is None:
            count += sum(1 for clause in rule["clauses"] if clause["matched"] is None) or 1
    return count
