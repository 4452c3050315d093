"""Candidates: the targets of a profile that can serve one kind of request, with all that can be computed
once per revision. Owns the grouping into tiers and pools; imports only the vocabulary.

A ``CandidateSet`` is what configuration alone decides for (operation, model): who can serve it, under which
upstream name, at what price, who cannot and why. Stages narrow its candidates; strategies rank ``Pool``s.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from routes.engine.types import Exclusion, Ranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from routes.engine.cost import Price
    from routes.engine.snapshot import Profile, Target


@dataclass(slots=True, frozen=True, eq=False)
class Candidate:
    """A target that can serve the request, under the names and the price it would have there."""

    target: Target
    id: str
    asked: str  # m: configured on the target, else what the client asked for
    model: str  # u: what is sent upstream
    weight: float
    tier: int
    position: int  # index in the profile's targets: configured order
    price: Price | None


class Pool:
    """The candidates of one tier in configured order: what one call of a strategy ranks.

    ``key`` names the pool's counters. Sums that strategies need are computed when first asked for and kept,
    because the pools of a ``CandidateSet`` serve many requests.
    """

    __slots__ = ("_cumulative", "_ids", "_in_order", "_mean_weight", "_weights", "candidates", "key", "tier")

    def __init__(self, key: str, tier: int, candidates: tuple[Candidate, ...]) -> None:
        self.key = f"{key}#{tier}" if tier else key
        self.tier = tier
        self.candidates = candidates
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
        """The pool in configured order, as ``failover`` ranks it; the value is the place in the profile."""
        ranked = self._in_order
        if ranked is None:
            ranked = tuple(Ranked(c.target, c.model, "in_order", c.position + 1) for c in self.candidates)
            self._in_order = ranked
        return ranked


def group(key: str, candidates: Iterable[Candidate]) -> tuple[Pool, ...]:
    """Pools by tier, lowest first, of candidates that are ordered by (tier, position)."""
    tiers: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        tiers.setdefault(candidate.tier, []).append(candidate)
    return tuple(Pool(key, tier, tuple(members)) for tier, members in tiers.items())


def without_zero_weight(candidates: Sequence[Candidate]) -> tuple[Sequence[Candidate], list[Exclusion]]:
    """Weight 0 means never, unless every candidate has it."""
    zero = [c for c in candidates if c.weight <= 0]
    if not zero or len(zero) == len(candidates):
        return candidates, []
    kept = [c for c in candidates if c.weight > 0]
    return kept, [Exclusion(c.target, "load_balancer", "weight_zero", 0.0) for c in zero]


class CandidateSet:
    """What the configuration alone says about one (operation, model) in a profile. Immutable but for caches."""

    __slots__ = ("_by_weight", "_pools", "candidates", "excluded", "key")

    def __init__(self, profile: Profile, candidates: list[Candidate], excluded: list[Exclusion]) -> None:
        self.candidates: tuple[Candidate, ...] = tuple(sorted(candidates, key=lambda c: (c.tier, c.position)))
        self.excluded = tuple(excluded)
        # Counters belong to the profile. A model that only some targets serve counts by itself: sharing one
        # counter would let two interleaved models fall into step and starve each other of targets.
        self.key = profile.id
        if excluded:
            served = ",".join(c.id for c in self.candidates)
            self.key += ":" + hashlib.blake2b(served.encode(), digest_size=6).hexdigest()
        self._pools: tuple[Pool, ...] | None = None
        self._by_weight: tuple[tuple[Pool, ...], list[Exclusion]] | None = None

    def pools(self) -> tuple[Pool, ...]:
        """All candidates by tier."""
        if self._pools is None:
            self._pools = group(self.key, self.candidates)
        return self._pools

    def pools_by_weight(self) -> tuple[tuple[Pool, ...], list[Exclusion]]:
        """Candidates by tier without those of weight 0, and those as exclusions."""
        if self._by_weight is None:
            kept, zero = without_zero_weight(self.candidates)
            self._by_weight = (group(self.key, kept) if zero else self.pools()), zero
        return self._by_weight
