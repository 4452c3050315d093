"""A decision as the JSON of ``routing_decision``: names and words beside every id and code. Imports the engine only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.engine import words
from routes.engine.explain.pack import unpack_decision
from routes.engine.explain.rules import recorded_facts, report, undecidable
from routes.engine.facts import record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routes.engine.profile import Place
    from routes.engine.snapshot import Snapshot
    from routes.engine.types import Decision


def render(packed: Mapping[str, Any], snapshot: Snapshot) -> dict[str, Any]:
    """A packed decision as the JSON of ``routing_decision``, from the revision that made it.

    ``rules`` says how each rule would have it, as far as the record can tell; ``undecidable`` counts what it cannot.
    """
    decision = unpack_decision(packed, snapshot)
    goes_on = decision.request is not None and decision.request.origin is not None
    known = recorded_facts(packed)
    rules = report(decision.profile, decision.operation, known, decision.matched_rule_index, goes_on=goes_on)
    return describe(decision, rules)


def describe(decision: Decision, rules: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A decision as JSON with words beside every code. Computes the whole ranking. ``rules``: see ``rules.report``."""
    places = _places(decision)
    ranking = [
        {
            "rank": rank,
            **_target(entry.target),
            "model": entry.model,
            "tier": places[entry.target.position].tier,
            "weight": places[entry.target.position].weight,
            "code": entry.code,
            "score": entry.value,
            "reason": words.ranked(entry.code, entry.value, rank),
        }
        for rank, entry in enumerate(decision.full_ranking(), 1)
    ]
    excluded = [
        {
            **_target(entry.target),
            "model": entry.target.model,
            "stage": entry.stage,
            "code": entry.code,
            "value": entry.value,
            "reason": words.excluded(entry.code, entry.value),
        }
        for entry in decision.excluded
    ]
    return {
        "profile": decision.profile.slug,
        "revision": decision.revision,
        "source": decision.source,
        "strategy": decision.strategy,
        "replaced_strategy": decision.replaced,
        "variant": decision.variant,
        "degraded": decision.degraded,
        "matched_rule": decision.matched_rule,
        "matched_rule_index": decision.matched_rule_index,
        "pin": _pin(decision),
        "requested_model": decision.model,
        "operation": decision.operation,
        "evaluated_stages": [entry.stage for entry in decision.stages],
        "stages": [
            {
                "stage": entry.stage,
                "in": entry.candidates_in,
                "out": entry.candidates_out,
                "dropped": [line for line in excluded if line["stage"] == entry.stage],
                "us": round(entry.us, 1),
            }
            for entry in decision.stages
        ],
        "ranking": ranking,
        "excluded": excluded,
        "weights": {decision.profile.targets[at].id: place.weight for at, place in places.items()},
        "facts": _facts(decision),
        "inputs": decision.inputs,
        "rules": list(rules),
        "undecidable": undecidable(rules),
    }


def _places(decision: Decision) -> dict[int, Place]:
    """Weight and tier of every target by position: what it counts in the rule's part, else in the profile's own,
    else with whichever rule it belongs to."""
    profile, rule = decision.profile, decision.rule
    parts = [*(other.part for other in reversed(profile.rules)), profile.base]
    if rule is not None:
        parts.append(rule.part)
    return dict(sorted((place.target.position, place) for part in parts for place in part.places))


def _facts(decision: Decision) -> dict[str, Any]:
    """What rules knew of the request: as recorded, or of the request itself."""
    request = decision.request
    if decision.facts or request is None or request.facts is None:
        return decision.facts
    return record(request.facts)


def _target(target: Any) -> dict[str, Any]:
    return {
        "target": target.id,
        "provider": target.provider.slug,
        "endpoint": target.endpoint,
        "head_id": "" if target.head is None else target.head.id,
    }


def _pin(decision: Decision) -> dict[str, Any] | None:
    """What became of the session's pin; None where there was none."""
    pin = decision.pin
    if pin is None or pin.target_id is None:
        return None
    target = next((target for target in decision.profile.targets if target.id == pin.target_id), None)
    return {
        "target": pin.target_id,
        "provider": None if target is None else target.provider.slug,
        "model": None if target is None else target.model,
        "honoured": pin.honoured,
        "kept": pin.keep,
    }
