"""``ab_test``: named variants with shares. A session (without one: each request) belongs to a variant by a stable
hash, and within it to a target by another; weights count there. The variant that leads is recorded.

Both hashes are rendezvous hashes: a variant whose targets are all out gives its sessions to the others by their
shares and gets the same ones back, and a changed share moves no more sessions than it must. The experiment is salted
with the profile, so that those of two profiles are independent. Imports the engine and pydantic only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field, field_validator

from routes.engine.candidates import Pool, profile_of
from routes.engine.strategies.base import Params, Ranking, Strategy
from routes.engine.strategies.consistent_hash import hashed, highest, scored
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from routes.engine.candidates import Candidate
    from routes.engine.stages import Run


class Variant(Params):
    name: str = Field(min_length=1, max_length=100, description="Recorded with every decision.")
    share: float = Field(
        1, ge=0, le=1_000_000, allow_inf_nan=False, description="Its part of the sessions, in proportion to the others."
    )
    targets: tuple[str, ...] = Field(min_length=1, strict=False, description="Providers by slug, or provider/model.")

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.strip() or not name.isprintable():
            raise ValueError("must not be empty or hold control characters")
        return name


class AbTestParams(Params):
    variants: tuple[Variant, ...] = Field(
        (),
        strict=False,
        description="Named variants with their share and targets; none: each target is one, by its weight.",
    )

    @field_validator("variants")
    @classmethod
    def _distinct(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        names = [variant.name for variant in variants]
        if len(set(names)) < len(names):
            raise ValueError("every variant needs a name of its own")
        if variants and not any(variant.share for variant in variants):
            raise ValueError("at least one variant needs a share")
        return variants


class Arm(NamedTuple):
    """A variant as far as a pool has its targets."""

    name: str
    pool: Pool


class Experiment(NamedTuple):
    """The variants of a pool. ``params`` are those it was made from."""

    params: AbTestParams
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]  # of the arms
    shares: tuple[float, ...]
    outside: tuple[Candidate, ...]  # in no variant: last backups


class AbTest(Strategy):
    name: ClassVar[str] = "ab_test"
    description: ClassVar[str] = "Named variants with shares; a session stays in its variant, which is recorded."
    params_model: ClassVar[type[BaseModel]] = AbTestParams
    by_weight: ClassVar[bool] = True

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        test = self._experiment(pool, params)
        if not test.arms:
            rest = _told_outside(test.outside)
            return (next(rest),), rest
        key = run.inputs["hash"] = _key(run)
        scores = scored(key, test.seeds, test.shares)
        chosen = scores.index(max(scores))
        arm = test.arms[chosen]
        if not backup:
            run.variant = arm.name
        ranked, tail = highest(arm.pool, key, "variant")
        winner = ranked[0]
        first = Ranked(winner.target, winner.model, "variant", arm.name)
        return (first,), _rest(test, scores, key, first, tail)

    def variant(self, pool: Pool, run: Run, params: BaseModel, candidate: Candidate) -> str | None:
        test = self._experiment(pool, params)
        for number in _order(scored(_key(run), test.seeds, test.shares)):
            arm = test.arms[number]
            if any(member.target is candidate.target for member in arm.pool.candidates):
                return arm.name
        return None

    def _experiment(self, pool: Pool, params: BaseModel) -> Experiment:
        assert isinstance(params, AbTestParams)
        found: Experiment | None = pool.memo.get(self.name)
        if found is None or found.params is not params:
            found = pool.memo[self.name] = _planned(pool, params)
        return found


def _planned(pool: Pool, params: AbTestParams) -> Experiment:
    named = [(variant.name, variant.share, variant.targets) for variant in params.variants if variant.share > 0]
    members: list[tuple[str, float, tuple[Candidate, ...]]] = [
        (name, share, tuple(c for c in pool.candidates if _names_of(c) & set(targets)))
        for name, share, targets in named
    ]
    if not params.variants:
        members = [(c.target.label, weight, (c,)) for c, weight in zip(pool.candidates, pool.weights, strict=True)]
    members = [entry for entry in members if entry[2]]
    profile = profile_of(pool.key)
    arms = tuple(
        Arm(name, Pool(f"{pool.key}/{number}", pool.tier, candidates))
        for number, (name, _, candidates) in enumerate(members)
    )
    inside = {c.id for _, _, candidates in members for c in candidates}
    return Experiment(
        params,
        arms,
        tuple(hashed(f"{profile}/{name}") for name, _, _ in members),
        tuple(share for _, share, _ in members),
        tuple(c for c in pool.candidates if c.id not in inside),
    )


def _names_of(candidate: Candidate) -> set[str]:
    """What a variant may call it."""
    provider = candidate.target.provider.slug
    return {provider, f"{provider}/{candidate.asked}"}


def _key(run: Run) -> int:
    key: int | None = run.inputs.get("hash")  # of a decision that is told again
    return hashed(run.request.session or run.request.route_id) if key is None else key


def _order(scores: Sequence[float]) -> list[int]:
    """The arms, the one that the key belongs to first."""
    return sorted(range(len(scores)), key=lambda number: -scores[number])


def _rest(
    test: Experiment, scores: Sequence[float], key: int, first: Ranked, tail: Iterator[Ranked] | None
) -> Iterator[Ranked]:
    """The others of the variant, then those of the other variants, then those of none; each once."""
    told = {first.target.id}
    code = "variant"
    for number in _order(scores):
        arm = test.arms[number]
        ranked: Sequence[Ranked] = ()
        if code != "variant":
            ranked, tail = highest(arm.pool, key, code)
        for entry in (*ranked, *(tail or ())):
            if entry.target.id not in told:
                told.add(entry.target.id)
                yield Ranked(entry.target, entry.model, code, arm.name)
        code = "other_variant"
    yield from _told_outside(test.outside)


def _told_outside(candidates: Sequence[Candidate]) -> Iterator[Ranked]:
    for candidate in candidates:
        yield Ranked(candidate.target, candidate.model, "no_variant")
