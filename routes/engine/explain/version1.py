"""Records of the first release, told as they were made. Frozen: strategies go on, what was recorded does not.

A record names the ranking, or the draw or counter value that the ranking followed from by the rules of that time,
which are repeated here. Revisions of that time have no rules. Imports the engine only.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from routes.engine.strategies.base import mixed, successive
from routes.engine.types import Decision, Exclusion, Ranked, StageEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from routes.engine.candidates import Candidate, CandidateSet
    from routes.engine.snapshot import Profile, Snapshot

VERSION = 1
_STAGES = ("admission", "health", "load_balancer")
#: those that never used a target of weight 0, unless all had it
_BY_WEIGHT = frozenset({"weighted", "smooth_weighted"})


def unpack(packed: Mapping[str, Any], snapshot: Snapshot) -> Decision:
    """Keys: ``p`` profile index, ``o`` operation, ``m`` model asked for, ``t`` stages [in, out, us], ``x`` excluded
    [target, stage, code, value], ``s`` strategy if not the profile's, ``c`` source if not the load balancer, ``i``
    inputs, ``d`` cap of a degraded decision, ``r`` ranking [target, code, value]."""
    profile = snapshot.profile_list[packed["p"]]
    base = profile.candidates_for(packed["o"], packed["m"])
    excluded = list(base.excluded)
    for position, stage, code, value in packed.get("x", ()):
        excluded.append(Exclusion(profile.targets[position], _STAGES[stage], code, value))
    strategy = packed.get("s", profile.strategy.name)
    panic = packed.get("d", 0)
    inputs = dict(packed.get("i", {}))
    if strategy == "none":
        ranking = []
    elif "r" in packed:
        ranking = _recorded(packed["r"], profile, base, excluded)
    else:
        ranking = _ranked(profile, base, strategy, excluded, inputs)
    return Decision(
        profile=profile,
        revision=snapshot.number,
        source=packed.get("c", "load_balancer"),
        strategy=strategy,
        excluded=excluded,
        stages=[StageEntry(_STAGES[index], *entry) for index, entry in enumerate(packed["t"])],
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


def _ranked(
    profile: Profile, base: CandidateSet, strategy: str, excluded: list[Exclusion], inputs: Mapping[str, Any]
) -> list[Ranked]:
    """The ranking by the rules of that time; adds to ``excluded`` those that the strategy left out."""
    gone = {entry.target.position for entry in excluded}
    left = [candidate for candidate in base.members(profile.base) if candidate.position not in gone]
    if strategy == "single":
        first = profile.base.first
        excluded += [Exclusion(c.target, "load_balancer", "not_first") for c in left if c.position != first]
        return [Ranked(c.target, c.model, "first") for c in left if c.position == first]
    if len(left) < 2:
        return [Ranked(c.target, c.model, "only_candidate") for c in left]
    if strategy in _BY_WEIGHT and any(c.weight for c in left):
        excluded += [Exclusion(c.target, "load_balancer", "weight_zero", 0.0) for c in left if not c.weight]
        left = [candidate for candidate in left if candidate.weight]
    lowest = left[0].tier
    return [
        place
        for tier in dict.fromkeys(candidate.tier for candidate in left)
        for place in _tier(strategy, [c for c in left if c.tier == tier], inputs, tier, tier != lowest)
    ]


def _tier(
    strategy: str, candidates: list[Candidate], inputs: Mapping[str, Any], tier: int, backup: bool
) -> Iterator[Ranked]:
    weights = [candidate.weight for candidate in candidates]
    weights = weights if any(weights) else [1.0] * len(weights)
    shares = [100.0 * weight / sum(weights) for weight in weights]
    match strategy:
        case "round_robin":
            turn = int(mixed(inputs["turn"], tier) * len(candidates)) if backup else inputs["turn"]
            for step in range(len(candidates)):
                following = candidates[(turn + step) % len(candidates)]
                yield Ranked(following.target, following.model, "turn", turn + step)
        case "smooth_weighted":
            order = sorted(range(len(candidates)), key=lambda index: -weights[index])
            order.sort(key=lambda index: backup or candidates[index].position != inputs["pick"])
            for index in order:
                yield Ranked(candidates[index].target, candidates[index].model, "smooth", shares[index])
        case "weighted":
            draw = successive(inputs["draw"], -tier) if backup else inputs["draw"]
            yield from _drawn(candidates, weights, shares, draw)
        case _:  # failover
            for candidate in candidates:
                yield Ranked(candidate.target, candidate.model, "in_order", candidate.place + 1)


def _drawn(
    candidates: list[Candidate], weights: Sequence[float], shares: Sequence[float], draw: float
) -> Iterator[Ranked]:
    """Successive draws without replacement, all from one number."""
    sums = list(accumulate(weights))
    first = min(bisect_right(sums, draw * sums[-1]), len(sums) - 1)
    yield Ranked(candidates[first].target, candidates[first].model, "weight", shares[first])
    left = [(candidates[index], shares[index]) for index in range(len(candidates)) if index != first]
    step = 0
    while left:
        step += 1
        total = sum(share for _, share in left)
        aim = successive(draw, step) * total
        place = 0
        while place < len(left) - 1 and aim >= left[place][1]:
            aim -= left[place][1]
            place += 1
        chosen, share = left.pop(place)
        yield Ranked(chosen.target, chosen.model, "weight", share)
