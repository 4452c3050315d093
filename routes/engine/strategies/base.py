"""What strategies share: what one is, the shape of a ranking, params without fields, draws and
turns that are made once per decision, and ranking by a number.

Imports pydantic and the vocabulary only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from routes.engine.candidates import Candidate, Pool
    from routes.engine.stages import Run

    #: Why the candidate at an index of the pool stands where it stands: code and number.
    Reason: TypeAlias = Callable[[int], tuple[str, float | str | None]]

#: (computed eagerly and best first, the rest on demand or None)
Ranking = tuple["Sequence[Ranked]", "Iterator[Ranked] | None"]
#: What the policy can switch off as a whole.
Family = Literal["load_balancing", "geo", "model_specific", "predictive", "adaptive"]

_MASK = (1 << 64) - 1


class Params(BaseModel):
    """Base of params models: unknown params are refused and nothing is coerced, as in all of the document."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NoParams(Params):
    """The strategy has none."""


class Strategy(ABC):
    """What a strategy module provides, as one object without state; the defaults are what most strategies are."""

    name: ClassVar[str]
    description: ClassVar[str]  # one sentence for forms and docs
    params_model: ClassVar[type[BaseModel]] = NoParams
    #: weight 0 = never: such candidates are taken out before ranking, unless all have it
    by_weight: ClassVar[bool] = False
    #: only the profile's first target may be used
    first_only: ClassVar[bool] = False
    #: the ranking follows from the snapshot, the exclusions and ``run.inputs`` alone, so a record of it need not
    #: list it
    replayable: ClassVar[bool] = False
    #: ranks by what the request will cost: asks ``request.estimate_tokens``
    estimates: ClassVar[bool] = False
    #: what the policy can switch off as a whole; None = never
    family: ClassVar[Family | None] = None

    @abstractmethod
    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        """Rank the pool: (computed eagerly, the rest on demand or None). ``params`` are of ``params_model``; an
        argument, so that one strategy can ask another.

        ``backup``: the pool of a further tier. Only the first tier's winner may advance counters; tails and
        backups are functions of what was drawn for it, so that computing them changes nothing.
        """

    def inner(self, params: BaseModel) -> tuple[Strategy, BaseModel] | None:
        """The strategy that ranks within what this one decides, with its params; None = this one alone."""
        return None

    def leaf(self, params: BaseModel) -> Strategy:
        """The strategy that ranks in the end: ``tiered {within: weighted}`` shares traffic as ``weighted`` does, so
        ``by_weight`` and ``first_only`` are asked of that one."""
        found = self.inner(params)
        return self if found is None else found[0].leaf(found[1])

    def variant(self, pool: Pool, run: Run, params: BaseModel, candidate: Candidate) -> str | None:
        """The variant that a decision counts for when ``candidate`` leads without being ranked, because a session
        is pinned to it or nobody else is left; None = the strategy has no variants."""
        return None


def mixed(seed: int, step: int) -> float:
    """A uniform number in [0, 1) that follows from ``seed`` and ``step`` (splitmix64)."""
    z = (seed + step * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


def successive(draw: float, step: int) -> float:
    """A further uniform draw that follows from the first one.

    Tails and backups are drawn by it: independent enough to spread failovers, free until somebody asks, and
    to be told again from the one number that was recorded.
    """
    return mixed(int(draw * (1 << 53)), step)


def drawn(run: Run) -> float:
    """The decision's random number: drawn when first asked for and recorded, so that whatever follows (tails,
    backups, groups within a strategy, the same decision told again) sees the same one."""
    inputs = run.inputs
    number: float | None = inputs.get("draw")
    if number is None:
        number = inputs["draw"] = run.rng.random()
    return number


def turn_of(run: Run, key: str, backup: bool, name: str = "turn") -> int:
    """The counter's value for this decision: taken once and recorded. Backups never advance a counter."""
    inputs = run.inputs
    turn: int | None = inputs.get(name)
    if turn is None:
        if backup:
            return 0
        turn = inputs[name] = run.rotation.rotate(key)
    return turn


def pair_of(pool: Pool, run: Run) -> tuple[int, int]:
    """Two different random candidates, by their indexes; the pool has at least two."""
    n = len(pool.candidates)
    if n == 2:
        return 0, 1
    random = run.rng.random
    first = int(random() * n)
    second = int(random() * (n - 1))
    return first, second + 1 if second >= first else second


def ascending(pool: Pool, run: Run, numbers: Sequence[float], reason: Reason, backup: bool, rotate: bool) -> Ranking:
    """Rank by the lowest number. Ties keep configured order, or with ``rotate`` take turns, by a counter that
    advances only where there is a tie. The winner costs O(n); the rest is sorted if somebody asks."""
    lowest = min(numbers)
    first = numbers.index(lowest)
    if rotate:
        tied = [index for index, number in enumerate(numbers) if number == lowest]
        if len(tied) > 1:
            turn = turn_of(run, pool.key + "/ties", backup, "tie")
            # Scattered in backups: in step with the first tier, one target's failures would all land on one.
            first = tied[int(mixed(turn, pool.salt) * len(tied)) if backup and turn else turn % len(tied)]
    candidate = pool.candidates[first]
    winner = Ranked(candidate.target, candidate.model, *reason(first))
    return (winner,), (_rest(pool, numbers, reason, first, rotate) if len(numbers) > 1 else None)


def _rest(pool: Pool, numbers: Sequence[float], reason: Reason, first: int, rotate: bool) -> Iterator[Ranked]:
    """All but the first by number; of equals those that follow the first one in the rotation."""
    n = len(numbers)
    start = first if rotate else 0
    for _, _, index in sorted((number, (index - start) % n, index) for index, number in enumerate(numbers)):
        if index != first:
            candidate = pool.candidates[index]
            yield Ranked(candidate.target, candidate.model, *reason(index))


def in_proportion(pool: Pool, shares: Sequence[float], reason: Reason, draw: float, first: int) -> Iterator[Ranked]:
    """All but the first, each time one of those left in proportion to its share, drawn by what follows from
    ``draw``. Those without a share come last, in configured order."""
    left = [index for index in range(len(shares)) if index != first and shares[index] > 0]
    weights = [shares[index] for index in left]
    total = sum(weights)
    for step in range(1, len(left) + 1):
        aim = successive(draw, step) * total
        place = 0
        while place < len(left) - 1 and aim >= weights[place]:
            aim -= weights[place]
            place += 1
        total -= weights.pop(place)
        index = left.pop(place)
        candidate = pool.candidates[index]
        yield Ranked(candidate.target, candidate.model, *reason(index))
    for index, share in enumerate(shares):
        if share <= 0 and index != first:
            candidate = pool.candidates[index]
            yield Ranked(candidate.target, candidate.model, *reason(index))
