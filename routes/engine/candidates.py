"""Candidates: the targets of a profile that can serve one kind of request, with all that can be computed once per
revision. Owns the plans: which pools are ranked in which order once it is known which rule matched and who dropped
out. Imports the vocabulary and prices only.

A ``CandidateSet`` is what configuration alone decides for (operation, model): who can serve it, under which
upstream name, at what price, who cannot and why. A ``Plan`` is what is left of it to rank: strategies rank its
``Pool``s, one tier of one part each.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from routes.engine.cost import price_for
from routes.engine.types import MODEL_OPTIONAL, OPERATION_WIRES, SERVICE, TRANSLATED_WIRES, Exclusion, Ranked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from routes.engine.cost import Price
    from routes.engine.profile import Choice, Part, Profile, Rule
    from routes.engine.provider import Target
    from routes.engine.snapshot import Snapshot
    from routes.engine.strategies import Strategy


UUID_LENGTH = 36
#: Plans kept per candidate set, and candidates over all of them.
PLANS = 32
PLANS_CANDIDATES = 8_000

NOBODY: frozenset[int] = frozenset()


@dataclass(slots=True, frozen=True, eq=False)
class Candidate:
    """A target that can serve the request, under the names and the price it would have there, in one part."""

    target: Target
    id: str
    asked: str  # m: configured on the target, else what the client asked for
    model: str  # u: what is sent upstream
    weight: float
    tier: int
    position: int  # index in the profile's targets
    price: Price | None
    place: int  # index in the part's list: configured order


class Pool:
    """The candidates of one tier in configured order: what one call of a strategy ranks.

    ``key`` names the pool's counters. Sums that strategies need are computed when first asked for and kept,
    because the pools of a ``CandidateSet`` serve many requests.
    """

    __slots__ = (
        "_cumulative",
        "_ids",
        "_in_order",
        "_mean_weight",
        "_weights",
        "candidates",
        "key",
        "memo",
        "salt",
        "tier",
    )

    def __init__(self, key: str, tier: int, candidates: tuple[Candidate, ...], salt: int | None = None) -> None:
        self.key = key
        self.tier = tier
        self.candidates = candidates
        #: sets the draws of this pool apart from those of others in the same decision
        self.salt = tier if salt is None else salt
        #: what strategies compute once for this pool, by their names
        self.memo: dict[str, Any] = {}
        self._ids: tuple[str, ...] | None = None
        self._weights: tuple[float, ...] | None = None
        self._mean_weight: float | None = None
        self._cumulative: list[float] | None = None
        self._in_order: tuple[Ranked, ...] | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        if self._ids is None:
            self._ids = tuple(c.id for c in self.candidates)
        return self._ids

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights to share by; all 0 = equal shares."""
        weights = self._weights
        if weights is None:
            weights = tuple(c.weight for c in self.candidates)
            weights = self._weights = weights if any(weights) else (1.0,) * len(weights)
        return weights

    @property
    def mean_weight(self) -> float:
        if self._mean_weight is None:
            self._mean_weight = sum(self.weights) / len(self.weights)
        return self._mean_weight

    @property
    def cumulative(self) -> list[float]:
        """Running sums of the weights."""
        if self._cumulative is None:
            self._cumulative = list(accumulate(self.weights))
        return self._cumulative

    def share(self, index: int) -> float:
        """The candidate's part of the pool's weight, in percent."""
        return 100.0 * self.weights[index] / self.cumulative[-1]

    @property
    def in_order(self) -> tuple[Ranked, ...]:
        """The pool in configured order, as ``failover`` ranks it; the value is the place in the part's list."""
        ranked = self._in_order
        if ranked is None:
            ranked = tuple(Ranked(c.target, c.model, "in_order", c.place + 1) for c in self.candidates)
            self._in_order = ranked
        return ranked

    def without(self, target_id: str) -> Pool | None:
        """The pool less one target; None when nobody else is in it."""
        left = tuple(c for c in self.candidates if c.id != target_id)
        if len(left) == len(self.candidates):
            return self
        return Pool(self.key, self.tier, left, self.salt) if left else None


def profile_of(pool_key: str) -> str:
    """The id of the profile that a pool's (or any counter's) key belongs to."""
    return pool_key[:UUID_LENGTH]


def group(key: str, candidates: Iterable[Candidate]) -> tuple[Pool, ...]:
    """Pools by tier, lowest first, of candidates that are ordered by (tier, place)."""
    tiers: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        tiers.setdefault(candidate.tier, []).append(candidate)
    return tuple(Pool(f"{key}#{tier}" if tier else key, tier, tuple(members)) for tier, members in tiers.items())


class Step(NamedTuple):
    """One pool of a plan and the strategy that ranks it."""

    pool: Pool
    strategy: Strategy
    params: BaseModel
    own: bool  # of the part that leads; False: of the profile's own targets behind a rule's


class Plan:
    """What there is to rank, in order, and who is not ranked although healthy."""

    __slots__ = ("_found", "aside", "choice", "lone", "outside", "part", "single", "steps")

    def __init__(
        self,
        steps: tuple[Step, ...],
        choice: Choice,
        part: Part,
        outside: tuple[Exclusion, ...],
        aside: tuple[Exclusion, ...],
        seen: int,
    ) -> None:
        self.steps = steps
        #: of the part that leads: the first of the two that has a candidate
        self.choice = choice
        self.part = part
        self.outside = outside  # candidates that this request may not reach: other rules', or not the rule's
        self.aside = aside  # candidates that the strategy never uses
        #: the strategy that leads knows no other target than the first
        self.single = choice.strategy.leaf(choice.params).first_only
        #: nothing to choose between; ``seen`` candidates were in before the strategy put any aside
        self.lone = seen == 1 and not self.single
        self._found: dict[str, tuple[int, Candidate]] | None = None

    def find(self, target_id: str) -> tuple[int, Candidate] | None:
        """(index of its step, candidate) of a target that is ranked; None when it is not."""
        if self._found is None:
            self._found = {c.id: (index, c) for index, step in enumerate(self.steps) for c in step.pool.candidates}
        return self._found.get(target_id)


class CandidateSet:
    """What the configuration alone says about one (operation, model) in a profile."""

    __slots__ = (
        "_keys",
        "_members",
        "_plans",
        "_plans_limit",
        "_reach",
        "_usable",
        "by_id",
        "by_provider",
        "candidates",
        "capped",
        "excluded",
        "fallbacks",
        "profile",
        "snapshot",
        "typed",
    )

    def __init__(self, snapshot: Snapshot, profile: Profile, operation: str, model: str) -> None:
        self.snapshot = snapshot
        self.profile = profile
        wires = (TRANSLATED_WIRES if snapshot.translates else OPERATION_WIRES).get(operation)
        no_model = not model and operation in MODEL_OPTIONAL
        candidates: list[Candidate] = []
        excluded: list[Exclusion] = []
        for target in profile.targets:
            provider = target.provider
            if wires is not None and provider.wire not in wires:
                excluded.append(Exclusion(target, "admission", "wire_unsupported", provider.wire))
                continue
            if operation == SERVICE or (no_model and not target.model):
                names: tuple[str, str] | None = ("", "")
            else:
                names = target.models(model)
            if names is None:
                excluded.append(Exclusion(target, "admission", "model_not_served", None))
                continue
            m, u = names
            price = price_for(snapshot, provider, m, u)
            position = target.position
            candidates.append(Candidate(target, target.id, m, u, provider.weight, 0, position, price, position))
        #: all parts' together, in configured order; weight, tier and place mean something only in a plan's pools
        self.candidates: tuple[Candidate, ...] = tuple(candidates)
        self.excluded: tuple[Exclusion, ...] = tuple(excluded)
        self.by_id = {c.id: c for c in candidates}
        self.by_provider: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            self.by_provider.setdefault(candidate.target.provider.id, []).append(candidate)
        #: (provider id, most in flight) of those with a limit
        self.capped = tuple(
            (key, members[0].target.provider.max_concurrency)
            for key, members in self.by_provider.items()
            if members[0].target.provider.max_concurrency
        )
        #: candidates whose head serves one type only, and not the model asked for: the request must name the type
        self.typed = tuple(
            c for c in candidates if c.target.head and c.target.head.model_type not in ("", c.asked, c.model)
        )
        #: base URLs of providers that have heads: for when none of these can be used
        self.fallbacks = tuple(c for c in candidates if c.target.head is None and c.target.provider.heads)
        self._members: dict[str, tuple[Candidate, ...]] = {}
        self._keys: dict[str, str] = {}
        self._reach: dict[int, frozenset[int]] = {}
        self._usable: dict[tuple[int, str | None], frozenset[int]] = {}
        self._plans: dict[tuple[int, str | None, frozenset[int]], Plan] = {}
        self._plans_limit = max(8, min(PLANS, PLANS_CANDIDATES // max(1, len(candidates))))

    def members(self, part: Part) -> tuple[Candidate, ...]:
        """The candidates of a part with their weights there, in the order (tier, place)."""
        found = self._members.get(part.key)
        if found is None:
            found = tuple(
                Candidate(c.target, c.id, c.asked, c.model, place.weight, place.tier, c.position, c.price, place.number)
                for place in sorted(part.places, key=lambda place: (place.tier, place.number))
                if (c := self.by_id.get(place.target.id)) is not None
            )
            # Counters belong to the part. A model that only some targets serve counts by itself: sharing one
            # counter would let two interleaved models fall into step and starve each other of targets.
            key = part.key
            if len(found) < len(part.places):
                served = ",".join(c.id for c in found)
                key += ":" + hashlib.blake2b(served.encode(), digest_size=6).hexdigest()
            self._keys[part.key] = key
            self._members[part.key] = found
        return found

    def reach(self, rule: Rule | None) -> frozenset[int]:
        """Positions of the candidates that a request may reach when ``rule`` (or none) matched."""
        index = -1 if rule is None else rule.index
        found = self._reach.get(index)
        if found is None:
            parts = parts_of(self.profile, rule)
            found = self._reach[index] = frozenset(c.position for part in parts for c in self.members(part))
        return found

    def usable(self, rule: Rule | None, strategy: str | None) -> frozenset[int]:
        """``reach`` without those whose weight says never, as far as the strategies go by weights."""
        key = (-1 if rule is None else rule.index, strategy)
        found = self._usable.get(key)
        if found is None:
            positions: set[int] = set()
            for part in parts_of(self.profile, rule):
                idle = self._idle(part, self.snapshot.asked(part.choice, strategy))
                positions.update(c.position for c in self.members(part) if c.position not in idle)
            found = self._usable[key] = frozenset(positions)
        return found

    def _idle(self, part: Part, choice: Choice) -> frozenset[int]:
        """Who is never used in a part for a weight of 0. Unless all of it have that: then it says nothing. What
        dropped out counts here, so that nobody who is never to be used steps in when the others are in trouble."""
        members = self.members(part)
        if not choice.strategy.leaf(choice.params).by_weight or not any(c.weight > 0 for c in members):
            return NOBODY
        return frozenset(c.position for c in members if c.weight <= 0)

    def plan(self, rule: Rule | None, strategy: str | None, dropped: frozenset[int]) -> Plan:
        """What is left to rank when ``rule`` (or none) matched and the targets at ``dropped`` are out.

        ``strategy``: asked for by the request, else None. A target that is out stays out for many requests, so
        the last few plans are kept.
        """
        key = (-1 if rule is None else rule.index, strategy, dropped)
        found = self._plans.get(key)
        if found is None:
            found = self._build(rule, strategy, dropped)
            if len(self._plans) >= self._plans_limit:
                self._plans = {}
            self._plans[key] = found
        return found

    def _build(self, rule: Rule | None, strategy: str | None, dropped: frozenset[int]) -> Plan:
        profile = self.profile
        parts = parts_of(profile, rule)
        lead, choice = parts[0], self.snapshot.asked(parts[0].choice, strategy)
        steps: list[Step] = []
        aside: dict[int, Exclusion] = {}
        ranked: set[int] = set()
        seen: set[int] = set()
        for part in parts:
            members = [c for c in self.members(part) if c.position not in dropped and c.position not in ranked]
            of_part = self.snapshot.asked(part.choice, strategy)
            pools, others = _pools(self._keys[part.key], members, part, of_part, self._idle(part, of_part))
            if pools and not steps:
                lead, choice = part, of_part
            seen.update(c.position for c in members)
            steps += [Step(pool, of_part.strategy, of_part.params, part is lead) for pool in pools]
            ranked.update(c.position for pool in pools for c in pool.candidates)
            aside.update((exclusion.target.position, exclusion) for exclusion in others)
        reach = self.reach(rule)
        outside = tuple(
            Exclusion(c.target, "smart_routing", *self._not_for(rule, c.position))
            for c in self.candidates
            if c.position not in reach and c.position not in dropped
        )
        left_aside = tuple(exclusion for position, exclusion in aside.items() if position not in ranked)
        return Plan(tuple(steps), choice, lead, outside, left_aside, len(seen))

    def _not_for(self, rule: Rule | None, position: int) -> tuple[str, str]:
        """Why a candidate is out of reach, as (code, rule): it is another rule's, or not the matched one's."""
        if rule is not None and position in self.reach(None):
            return "not_in_rule", rule.name
        return "rule_only", self.profile.owners[position]

    def plan_for(self, target_id: str, strategy: str | None, dropped: frozenset[int]) -> Plan:
        """The plan of a request that only one target can serve, whichever part has it. Not kept: there are few."""
        profile = self.profile
        part, only = profile.base, list[Candidate]()
        for each in (profile.base, *(rule.part for rule in profile.rules)):
            only = [c for c in self.members(each) if c.id == target_id and c.position not in dropped]
            if only:
                part = each
                break
        choice = self.snapshot.asked(part.choice, strategy)
        steps = tuple(Step(pool, choice.strategy, choice.params, True) for pool in group(self._keys[part.key], only))
        return Plan(steps, choice, part, (), (), 1)


def parts_of(profile: Profile, rule: Rule | None) -> tuple[Part, ...]:
    """What a request may reach, in order: its rule's targets, behind them the profile's where the rule says so."""
    if rule is None:
        return (profile.base,)
    return (rule.part, profile.base) if rule.fallback_to_profile else (rule.part,)


def _pools(
    key: str, members: list[Candidate], part: Part, choice: Choice, idle: frozenset[int]
) -> tuple[tuple[Pool, ...], list[Exclusion]]:
    """(what the strategy ranks, by tier; the others as exclusions)"""
    if choice.strategy.leaf(choice.params).first_only:
        kept = [c for c in members if c.position == part.first]
        others = [Exclusion(c.target, "load_balancer", "not_first") for c in members if c.position != part.first]
    else:
        kept = [c for c in members if c.position not in idle]
        others = [Exclusion(c.target, "load_balancer", "weight_zero", 0.0) for c in members if c.position in idle]
    return group(key, kept), others
