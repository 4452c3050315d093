"""Candidates: the targets of a profile that can serve one kind of request, with all that can be computed
once per revision. Owns the grouping into tiers and pools; imports only the vocabulary.

A ``CandidateSet`` is what configuration alone decides for (operation, model): who can serve it, under which
upstream name, at what price, who cannot and why. Stages narrow it to a ``Selection``; strategies rank ``Pool``s.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from routes.engine.types import Exclusion, Ranked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routes.engine.cost import Price
    from routes.engine.snapshot import Profile, Target


UUID_LENGTH = 36
#: Narrowed selections kept per candidate set, and candidates over all of them.
NARROWED = 32
NARROWED_CANDIDATES = 4_000


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


def profile_of(pool_key: str) -> str:
    """The id of the profile that a pool's (or any counter's) key belongs to."""
    return pool_key[:UUID_LENGTH]


def group(key: str, candidates: Iterable[Candidate]) -> tuple[Pool, ...]:
    """Pools by tier, lowest first, of candidates that are ordered by (tier, position)."""
    tiers: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        tiers.setdefault(candidate.tier, []).append(candidate)
    return tuple(Pool(key, tier, tuple(members)) for tier, members in tiers.items())


class Selection:
    """Candidates that are still in, in the order (tier, configured position), and how strategies group them.
    Immutable but for what it computes once; selections of a ``CandidateSet`` serve many requests."""

    __slots__ = ("_by_weight", "_first", "_key", "_pools", "candidates")

    def __init__(self, key: str, candidates: tuple[Candidate, ...]) -> None:
        self._key = key
        self.candidates = candidates
        self._pools: tuple[Pool, ...] | None = None
        self._by_weight: tuple[tuple[Pool, ...], tuple[Exclusion, ...]] | None = None
        self._first: tuple[tuple[Pool, ...], tuple[Exclusion, ...]] | None = None

    def pools(self) -> tuple[Pool, ...]:
        """All by tier."""
        if self._pools is None:
            self._pools = group(self._key, self.candidates)
        return self._pools

    def pools_by_weight(self) -> tuple[tuple[Pool, ...], tuple[Exclusion, ...]]:
        """By tier without those of weight 0, and those as exclusions. Weight 0 means never, unless all have it."""
        if self._by_weight is None:
            zero = [c for c in self.candidates if c.weight <= 0]
            if not zero or len(zero) == len(self.candidates):
                self._by_weight = self.pools(), ()
            else:
                kept = [c for c in self.candidates if c.weight > 0]
                dropped = tuple(Exclusion(c.target, "load_balancer", "weight_zero", 0.0) for c in zero)
                self._by_weight = group(self._key, kept), dropped
        return self._by_weight

    def first_only(self, position: int) -> tuple[tuple[Pool, ...], tuple[Exclusion, ...]]:
        """The candidate at the profile's first position, if it is in, and the others as exclusions."""
        if self._first is None:
            others = (c.target for c in self.candidates if c.position != position)
            dropped = tuple(Exclusion(target, "load_balancer", "not_first") for target in others)
            self._first = group(self._key, (c for c in self.candidates if c.position == position)), dropped
        return self._first


class CandidateSet(Selection):
    """What the configuration alone says about one (operation, model) in a profile."""

    __slots__ = ("_narrowed", "_narrowed_limit", "by_id", "by_provider", "excluded")

    def __init__(self, profile: Profile, candidates: list[Candidate], excluded: list[Exclusion]) -> None:
        ordered = tuple(sorted(candidates, key=lambda c: (c.tier, c.position)))
        # Counters belong to the profile. A model that only some targets serve counts by itself: sharing one
        # counter would let two interleaved models fall into step and starve each other of targets.
        key = profile.id
        if excluded:
            served = ",".join(c.id for c in ordered)
            key += ":" + hashlib.blake2b(served.encode(), digest_size=6).hexdigest()
        super().__init__(key, ordered)
        self.excluded = tuple(excluded)
        self.by_id = {c.id: c for c in ordered}
        self.by_provider: dict[str, list[Candidate]] = {}
        for candidate in ordered:
            self.by_provider.setdefault(candidate.target.provider.id, []).append(candidate)
        self._narrowed: dict[frozenset[int], Selection] = {}
        self._narrowed_limit = max(2, min(NARROWED, NARROWED_CANDIDATES // max(1, len(ordered))))

    def without(self, positions: set[int]) -> Selection:
        """The selection without the targets at these configured positions. A target that is out stays out for
        many requests, so the last few are kept."""
        if not positions:
            return self
        key = frozenset(positions)
        found = self._narrowed.get(key)
        if found is None:
            found = Selection(self._key, tuple(c for c in self.candidates if c.position not in key))
            if len(self._narrowed) >= self._narrowed_limit:
                self._narrowed = {}
            self._narrowed[key] = found
        return found
