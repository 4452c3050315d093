"""Explaining decisions: packing one small for the journal, and telling it again from its revision.

Packed: targets by index, codes and numbers, and the inputs (draws, counter values) of the run. What follows from
the revision is left out: which targets could not serve the model, and, for strategies whose ranking follows from
their inputs, the ranking itself, which ``render`` runs again through the same code. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.engine import words
from routes.engine.pipeline import STAGES
from routes.engine.stages import Run, load_balancer, smart_routing
from routes.engine.strategies import REGISTRY
from routes.engine.types import Decision, Exclusion, Ranked, RouteRequest, StageEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routes.engine.candidates import CandidateSet
    from routes.engine.snapshot import Place, Profile, Snapshot, Target

VERSION = 1
#: Places of a ranking that are recorded; what lies behind them is told as "further backup".
RECORDED_PLACES = 16
#: Longer model names are cut in records.
NAME_LENGTH = 256

_STAGE_INDEX = {name: index for index, (name, _) in enumerate(STAGES)}


def pack_decision(decision: Decision) -> dict[str, Any]:
    """The decision as a small dict of numbers and codes for the journal (keys: see ``unpack_decision``)."""
    profile = decision.profile
    known = len(profile.candidates_for(decision.operation, decision.model).excluded)
    packed: dict[str, Any] = {
        "v": VERSION,
        "p": profile.index,
        "o": decision.operation,
        "m": decision.model[:NAME_LENGTH],
        "t": [[entry.candidates_in, entry.candidates_out, round(entry.us, 1)] for entry in decision.stages],
    }
    replayed = not decision.panic and decision.strategy in REGISTRY and REGISTRY[decision.strategy].replayable
    if len(decision.excluded) > known:
        packed["x"] = [
            [entry.target.position, _STAGE_INDEX[entry.stage], entry.code, _short(entry.value)]
            for entry in decision.excluded[known:]
            if not (replayed and entry.stage == load_balancer.NAME)
        ]
    if decision.strategy != profile.strategy.name:
        packed["s"] = decision.strategy
    if decision.source != "load_balancer":
        packed["c"] = decision.source
    if decision.inputs:
        packed["i"] = decision.inputs
    if decision.panic:
        packed["d"] = decision.panic
    if decision.ranked and not replayed:
        decision.place(RECORDED_PLACES - 1)
        packed["r"] = [
            [entry.target.position, entry.code, _short(entry.value)] for entry in decision.ranked[:RECORDED_PLACES]
        ]
    return packed


def unpack_decision(packed: Mapping[str, Any], snapshot: Snapshot) -> Decision:
    """The decision again, with the whole ranking. ``snapshot`` must be of the revision that made it.

    Keys: ``v`` version, ``p`` profile index, ``o`` operation, ``m`` model asked for, ``t`` stages [in, out, us],
    ``x`` excluded [target, stage, code, value], ``s`` strategy if not the profile's, ``c`` source if not the
    load balancer, ``i`` inputs, ``d`` cap of a degraded decision, ``r`` ranking [target, code, value].
    """
    profile = snapshot.profile_list[packed["p"]]
    base = profile.candidates_for(packed["o"], packed["m"])
    excluded = list(base.excluded)
    for position, stage, code, value in packed.get("x", ()):
        excluded.append(Exclusion(profile.targets[position], STAGES[stage][0], code, value))
    strategy = packed.get("s", profile.strategy.name)
    panic = packed.get("d", 0)
    inputs = dict(packed.get("i", {}))
    if strategy == "none":
        ranking = []
    elif "r" in packed:
        ranking = _recorded(packed["r"], profile, base, excluded)
    else:
        ranking = _replayed(snapshot, profile, base, packed, strategy, excluded, inputs)
    return Decision(
        profile,
        snapshot.number,
        packed.get("c", "load_balancer"),
        strategy,
        excluded,
        [StageEntry(STAGES[index][0], *entry) for index, entry in enumerate(packed["t"])],
        degraded=panic > 0,
        inputs=inputs,
        ranked=ranking,
        panic=panic,
        unserved=not base.candidates,
        operation=packed["o"],
        model=packed["m"],
    )


def _recorded(
    places: Sequence[Sequence[Any]], profile: Profile, base: CandidateSet, excluded: list[Exclusion]
) -> list[Ranked]:
    models = {candidate.position: candidate.model for candidate in base.candidates}
    ranking = [Ranked(profile.targets[position], models[position], code, value) for position, code, value in places]
    gone = {entry.target.position for entry in excluded} | {entry.target.position for entry in ranking}
    ranking += [Ranked(c.target, c.model, "backup") for c in base.candidates if c.position not in gone]
    return ranking


class _Replay:
    """Stands in for counters, statistics and the random source while a recorded ranking is told again: it
    returns what was drawn then."""

    def __init__(self, inputs: Mapping[str, Any], profile: Profile) -> None:
        self._inputs = inputs
        self._profile = profile

    def random(self) -> float:
        return float(self._inputs["draw"])

    def rotate(self, pool: str) -> int:
        return int(self._inputs["turn"])

    def smooth_pick(self, pool: str, ids: Sequence[str], weights: Sequence[float]) -> int:
        return ids.index(self._profile.targets[self._inputs["pick"]].id)


def _replayed(
    snapshot: Snapshot,
    profile: Profile,
    base: CandidateSet,
    packed: Mapping[str, Any],
    strategy: str,
    excluded: list[Exclusion],
    inputs: Mapping[str, Any],
) -> list[Ranked]:
    replay: Any = _Replay(inputs, profile)
    request = RouteRequest("", packed["o"], packed["m"], strategy=strategy)
    run = Run(snapshot, profile, request, replay, replay, 0.0, replay, base)
    run.dropped = {entry.target.position for entry in excluded[len(base.excluded) :]}
    run.inputs = dict(inputs)
    run.excluded = excluded  # the stages add those they drop themselves
    smart_routing.apply(run)
    load_balancer.apply(run)
    return [*run.ranked, *(run.tail or ())]


def render(packed: Mapping[str, Any], snapshot: Snapshot) -> dict[str, Any]:
    """A packed decision as the JSON of ``routing_decision``, from the revision that made it."""
    return describe(unpack_decision(packed, snapshot))


def describe(decision: Decision) -> dict[str, Any]:
    """A decision as JSON with words beside every code. Computes the whole ranking."""
    ranking = [
        {
            "rank": rank,
            **_target(entry.target),
            "model": entry.model,
            "tier": _place(decision, entry.target).tier,
            "weight": _place(decision, entry.target).weight,
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
        "degraded": decision.degraded,
        "matched_rule": decision.matched_rule,
        "matched_rule_index": decision.matched_rule_index,
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
        "weights": {target.id: _place(decision, target).weight for target in decision.profile.targets},
        "inputs": decision.inputs,
    }


def _place(decision: Decision, target: Target) -> Place:
    """Weight and tier of a target in the first part that has it."""
    profile = decision.profile
    parts = (profile.base, *(rule.part for rule in profile.rules))
    return next(place for part in parts if (place := part.place_of(target)) is not None)


def _target(target: Any) -> dict[str, Any]:
    return {
        "target": target.id,
        "provider": target.provider.slug,
        "endpoint": target.endpoint,
        "head_id": "",
    }


def sentences(rendered: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """The story of a route in plain words: the decision as ``render`` tells it, then each attempt.

    ``attempts`` are dicts as the history API gives them (provider, model, http_status, error_class, latency_ms,
    ttfb_ms; ``transitions`` [before, after, reason] where there were any).
    """
    return [*_decision_sentences(rendered), *attempt_sentences(attempts)]


def _decision_sentences(rendered: Mapping[str, Any]) -> list[str]:
    ranking, excluded = rendered["ranking"], rendered["excluded"]
    total = len(ranking) + len(excluded)
    profile = rendered["profile"]
    told: list[str] = []
    if not ranking:
        told.append(f"None of the {_count(total, 'target')} of profile {profile} could take this request.")
    else:
        winner = ranking[0]
        told.append(
            f"Profile {profile} has {_count(total, 'target')}; strategy {rendered['strategy']} chose "
            f"{_name(winner)}: {winner['reason']}."
        )
    if rendered["degraded"]:
        told.append("Nothing healthy was left, so one attempt was allowed on a target that was out.")
    told += [f"{_name(line)} was left out {words.stage(line['stage'])}: {line['reason']}." for line in excluded]
    backups = [f"{_name(line)} ({line['reason']})" for line in ranking[1:RECORDED_PLACES]]
    if backups and not rendered["degraded"]:
        more = len(ranking) - 1 - len(backups)
        told.append(f"Next in line: {', '.join(backups)}{f' and {more} more' if more else ''}.")
    return told


def attempt_sentences(attempts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each attempt, and one for each change of circuit it caused (see ``sentences``)."""
    told: list[str] = []
    for number, attempt in enumerate(attempts, 1):
        result = words.outcome(attempt.get("error_class"), attempt.get("http_status"))
        sentence = f"Attempt {number}: {_name(attempt)} {result}"
        latency = attempt.get("latency_ms")
        if latency is not None:
            sentence += f" after {words.seconds(latency / 1000)}"
        first = attempt.get("ttfb_ms")
        if first is not None and attempt.get("error_class") is None and (latency is None or first + 1 < latency):
            sentence += f", the first of it after {words.seconds(first / 1000)}"
        told.append(sentence + ".")
        told += [
            f"Attempt {number} {words.transition(before, after, reason)}."
            for before, after, reason in attempt.get("transitions") or ()
        ]
    return told


def _name(line: Mapping[str, Any]) -> str:
    return f"{line['provider']} / {line['model']}" if line.get("model") else str(line["provider"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _short(value: float | str | None) -> float | str | None:
    """Numbers in records with at most six significant digits."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
