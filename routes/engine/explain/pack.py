"""Packing a decision small enough for the journal, and reading it back. Owns the format of ``routing_decision``.

Packed: targets by position, codes and numbers, the inputs (draws, counter values) of the run, the facts that rules
looked at. What follows from the revision is left out: which targets could not serve the model, which belong to
rules that did not match, and, where the ranking follows from the inputs, all of it but its first place. It runs
in the request, so it costs a few microseconds and no more. Imports the engine only.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from routes.engine.explain import facts, version1
from routes.engine.pipeline import STAGES
from routes.engine.stages import Run, load_balancer
from routes.engine.types import Decision, Exclusion, PinPlan, Ranked, Requirements, RouteRequest, StageEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routes.engine.candidates import CandidateSet, Plan
    from routes.engine.profile import Profile, Rule
    from routes.engine.snapshot import Snapshot

VERSION = 2
#: Places of a ranking that are recorded; what lies behind them is told as "further backup".
RECORDED_PLACES = 16
#: Longer model names are cut in records.
NAME_LENGTH = 256

#: Of the stages, and never another one: records name them by index.
STAGE_NAMES = ("admission", "health", "smart_routing", "affinity", "load_balancer")
_STAGE_INDEX = {name: index for index, name in enumerate(STAGE_NAMES)}
assert tuple(name for name, _ in STAGES) == STAGE_NAMES
#: Exclusions of these stages follow from the revision, the rule and who else is out.
_DERIVED = frozenset({"smart_routing", "load_balancer"})


def pack_decision(decision: Decision) -> dict[str, Any]:
    """The decision as a small dict of numbers and codes for the journal; ``unpack_decision`` lists the keys."""
    profile = decision.profile
    known = len(profile.candidates_for(decision.operation, decision.model).excluded)
    packed: dict[str, Any] = {
        "v": VERSION,
        "p": profile.index,
        "o": decision.operation,
        "m": decision.model[:NAME_LENGTH],
        # round() would cost more than all the rest of the list
        "t": [[entry.candidates_in, entry.candidates_out, int(entry.us * 10) / 10] for entry in decision.stages],
    }
    if len(decision.excluded) > known:
        out = [
            [entry.target.position, _STAGE_INDEX[entry.stage], entry.code, short(entry.value)]
            for entry in decision.excluded[known:]
            if entry.stage not in _DERIVED
        ]
        if out:
            packed["x"] = out
    if profile.heads_digest:
        packed["h"] = profile.heads_digest
    if decision.strategy != profile.strategy.name:
        packed["s"] = decision.strategy
    if decision.source != "load_balancer":
        packed["c"] = decision.source
    if decision.matched_rule_index >= 0:
        packed["l"] = decision.matched_rule_index
    if decision.inputs:
        packed["i"] = decision.inputs
    if decision.panic:
        packed["d"] = decision.panic
    if decision.variant is not None:
        packed["b"] = decision.variant
    if decision.replaced is not None:
        packed["e"] = decision.replaced
    pin = decision.pin
    if pin is not None and pin.target_id is not None:
        packed["k"] = [_position(profile, pin.target_id), pin.honoured, pin.keep]
    request = decision.request
    if request is not None:
        if request.facts is not None:
            packed["f"] = facts.packed(request.facts)
        wishes = _wishes(request)
        if wishes:
            packed["q"] = wishes
    if decision.ranked:
        places = 1 if decision.replayable else RECORDED_PLACES
        decision.place(places - 1)
        packed["r"] = [[entry.target.position, entry.code, short(entry.value)] for entry in decision.ranked[:places]]
        if decision.replayable:
            packed["y"] = 1
    return packed


def _position(profile: Profile, target_id: str) -> int:
    """Of a pinned target; -1 when it left the profile."""
    for target in profile.targets:
        if target.id == target_id:
            return target.position
    return -1


def _wishes(request: RouteRequest) -> dict[str, Any]:
    """What the request asked of the decision that neither the history row nor the facts hold; nearly always nothing."""
    wishes: dict[str, Any] = {}
    if request.only is not None:
        wishes["only"] = sorted(request.only)
    if request.exclude:
        wishes["not"] = sorted(request.exclude)
    if request.strategy is not None:
        wishes["s"] = request.strategy
    if request.region is not None:
        wishes["r"] = request.region
    if request.tags:
        wishes["tags"] = sorted(request.tags)
    if request.max_output_tokens is not None:
        wishes["out"] = request.max_output_tokens
    if request.model_type is not None:
        wishes["type"] = request.model_type
    if request.requirements is not None:
        version, size, capabilities = request.requirements
        wishes["needs"] = [version, size, sorted(capabilities)]
    if request.origin is not None:
        wishes["origin"] = request.origin
    return wishes


def request_of(packed: Mapping[str, Any], route_id: str = "", **given: Any) -> RouteRequest:
    """The request again, as far as the record knows it; ``given`` is what the history row adds."""
    wishes = packed.get("q", {})
    if packed["v"] == version1.VERSION:  # what was asked for was only seen in what ranked
        wishes = {"s": packed["s"]} if packed.get("s", "none") != "none" else {}
    needs = wishes.get("needs")
    return RouteRequest(
        route_id,
        packed["o"],
        packed["m"],
        region=wishes.get("r"),
        only=frozenset(wishes["only"]) if "only" in wishes else None,
        exclude=frozenset(wishes.get("not", ())),
        strategy=wishes.get("s"),
        max_output_tokens=wishes.get("out"),
        tags=frozenset(wishes.get("tags", ())),
        model_type=wishes.get("type"),
        requirements=None if needs is None else Requirements(needs[0], needs[1], frozenset(needs[2])),
        origin=wishes.get("origin"),
        **given,
    )


def facts_of(packed: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a record by name, as ``facts.RecordedFacts`` reads them; {} when rules were not asked."""
    return facts.unpacked(packed["f"], packed["o"], packed["m"]) if "f" in packed else {}


def unpack_decision(packed: Mapping[str, Any], snapshot: Snapshot) -> Decision:
    """The decision again, with the whole ranking. ``snapshot`` must be of the revision that made it, with the heads
    (``h``, their digest) of that moment.

    Keys: ``v`` version, ``p`` profile index, ``o`` operation, ``m`` model asked for, ``t`` stages [in, out, us],
    ``x`` excluded [target, stage, code, value], ``s`` strategy if not the profile's, ``c`` source if not the
    load balancer, ``l`` index of the rule that matched, ``i`` inputs, ``d`` cap of a degraded decision, ``b``
    variant, ``e`` strategy that policy replaced, ``k`` pin [target, honoured, kept], ``f`` facts, ``q`` wishes of
    the request, ``r`` ranking [target, code, value], ``y`` 1 = ``r`` holds the first place, the others follow.
    """
    if packed["v"] == version1.VERSION:
        return version1.unpack(packed, snapshot)
    profile = snapshot.profile_list[packed["p"]]
    base = profile.candidates_for(packed["o"], packed["m"])
    rule = profile.rules[packed["l"]] if "l" in packed else None
    excluded = list(base.excluded)
    for position, stage, code, value in packed.get("x", ()):
        excluded.append(Exclusion(profile.targets[position], STAGE_NAMES[stage], code, value))
    request = request_of(packed)
    dropped = frozenset(entry.target.position for entry in excluded[len(base.excluded) :])
    plan = _plan(base, rule, request, dropped)
    excluded += plan.outside
    excluded += plan.aside
    inputs = dict(packed.get("i", {}))
    models = {candidate.position: candidate.model for candidate in base.candidates}
    ranking = [Ranked(profile.targets[at], models[at], code, value) for at, code, value in packed.get("r", ())]
    if ranking and "y" in packed:
        ranking = _complete(_Rerun(snapshot, profile, request, rule, dropped, inputs).ranking(), ranking)
    gone = {entry.target.position for entry in excluded} | {entry.target.position for entry in ranking}
    if ranking:
        ranking += [Ranked(c.target, c.model, "backup") for c in base.candidates if c.position not in gone]
    panic = packed.get("d", 0)
    return Decision(
        profile=profile,
        revision=snapshot.number,
        source=packed.get("c", "load_balancer"),
        strategy=packed.get("s", profile.strategy.name),
        excluded=excluded,
        stages=[StageEntry(STAGE_NAMES[index], *entry) for index, entry in enumerate(packed["t"])],
        degraded=panic > 0,
        matched_rule=None if rule is None else rule.name,
        matched_rule_index=-1 if rule is None else rule.index,
        inputs=inputs,
        ranked=ranking,
        panic=panic,
        unserved=not base.candidates,
        operation=packed["o"],
        model=packed["m"],
        rule=rule,
        pin=_pin(packed["k"], profile) if "k" in packed else None,
        variant=packed.get("b"),
        replaced=packed.get("e"),
        would_rank=plan.choice.strategy.name,
        facts=facts_of(packed),
        request=request,
    )


def _plan(base: CandidateSet, rule: Rule | None, request: RouteRequest, dropped: frozenset[int]) -> Plan:
    """What there was to rank."""
    if request.origin is not None:
        return base.plan_for(request.origin, request.strategy, dropped)
    return base.plan(rule, request.strategy, dropped)


def _complete(again: Sequence[Ranked], recorded: list[Ranked]) -> list[Ranked]:
    """The ranking told again, if it begins as the recorded one does: what was recorded is the truth."""
    first = recorded[0]
    if again and again[0].target is first.target:
        return [first, *again[1:]]
    return recorded


class Recalled(Random):
    """The random numbers of a recorded decision in the order in which they were drawn, where strategies do not look
    into the inputs themselves; then others."""

    def __init__(self, seed: str, inputs: Mapping[str, Any]) -> None:
        super().__init__(seed)
        self._recorded = [inputs[name] for name in ("kept", "aside") if name in inputs]

    def random(self) -> float:
        return self._recorded.pop() if self._recorded else super().random()


class _InOrder:
    """Samples of targets that the failover mode had nothing to say against."""

    consecutive_failures = 0
    success_rate = 1.0

    def stats(self, target_id: str) -> _InOrder:
        return self

    def percentile_s(self, stream: bool, percent: float, now: float) -> tuple[float | None, int]:
        return None, 0


class _Rerun:
    """The last stage once more, on what was recorded: the ranking follows from the inputs alone."""

    def __init__(
        self,
        snapshot: Snapshot,
        profile: Profile,
        request: RouteRequest,
        rule: Rule | None,
        dropped: frozenset[int],
        inputs: dict[str, Any],
    ) -> None:
        base = profile.candidates_for(request.operation, request.model)
        live: Any = _InOrder()
        self._run = run = Run(snapshot, profile, request, live, live, 0.0, Recalled("", inputs), base)
        run.rule, run.matched, run.dropped = rule, True, set(dropped)
        run.plan = _plan(base, rule, request, dropped)
        run.inputs = dict(inputs)

    def ranking(self) -> list[Ranked]:
        load_balancer.apply(self._run)
        return [*self._run.ranked, *(self._run.tail or ())]


def _pin(recorded: Sequence[Any], profile: Profile) -> PinPlan:
    """What became of the pin. Its key is not recorded: it says who the session is."""
    position, honoured, keep = recorded
    pin = PinPlan(b"", profile.id, "", profile.affinity.ttl, profile.affinity.sliding)
    pin.target_id = profile.targets[position].id if position >= 0 else ""
    pin.honoured, pin.keep = bool(honoured), bool(keep)
    return pin


def short(value: float | str | None) -> float | str | None:
    """Numbers in records with at most six significant digits."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
