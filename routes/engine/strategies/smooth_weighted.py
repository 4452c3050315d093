"""``smooth_weighted``: the shares of ``weighted`` in turn and evenly spread, by a counter that all processes share.

Once per pool the weights become whole numbers of turns in a period, and the turns are laid out so that each comes
as close as can be to where an even flow would have it: of those that are due, the one whose deadline comes first
(5, 1, 1 gives a b a a c a a). The counter then only indexes the layout: any number of processes get the exact counts
of a period between them, and a recorded turn tells the decision again.

Exact where the weights are in the ratio of whole numbers that sum to at most the period's bound (1,000 turns, or
four per target where that is more); else rounded to that many turns, which moves a target's share by less than one
turn in the period (0.1 %), but gives every target with a weight at least one. Imports the engine only.
"""

from __future__ import annotations

from array import array
from fractions import Fraction
from heapq import heappop, heappush
from math import gcd, lcm
from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import Family, Ranking, Strategy, turn_of
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run

#: Longest period, in turns; more targets than this allows for get ``TURNS_EACH`` on average.
PERIOD = 1000
TURNS_EACH = 4


class SmoothWeighted(Strategy):
    name: ClassVar[str] = "smooth_weighted"
    description: ClassVar[str] = "Each target in turn as often as its weight says, evenly spread."
    by_weight: ClassVar[bool] = True
    replayable: ClassVar[bool] = True
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        if backup:
            return (), _by_weight(pool, -1)
        layout = pool.memo.get(self.name)
        if layout is None:
            layout = pool.memo[self.name] = spread(turns(pool.weights))
        index = layout[turn_of(run, pool.key, backup) % len(layout)]
        winner = pool.candidates[index]
        return (Ranked(winner.target, winner.model, "smooth", pool.share(index)),), _by_weight(pool, index)


def turns(weights: Sequence[float]) -> list[int]:
    """How many turns each weight gets in a period, at least one; see the module for where that is exact."""
    longest = max(PERIOD, TURNS_EACH * len(weights))
    # The simplest fraction near each, so that 0.1 means a tenth and not the binary number next to it.
    exact = {weight: Fraction(weight).limit_denominator(longest) for weight in set(weights)}
    if all(abs(float(fraction) - weight) <= 1e-9 * weight for weight, fraction in exact.items()):
        scale = lcm(*(fraction.denominator for fraction in exact.values()))
        counts = [int(exact[weight] * scale) for weight in weights]
        common = gcd(*counts)
        if sum(counts) <= longest * common:
            return [count // common for count in counts]
    total = sum(weights)
    shares = [longest * weight / total for weight in weights]
    counts = [max(1, int(share)) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: counts[index] - shares[index])
    for index in by_remainder[: max(0, longest - sum(counts))]:
        counts[index] += 1
    return counts


def spread(counts: Sequence[int]) -> array[int]:
    """The indexes of one period, each as often as ``counts`` says. O(period x log n).

    The k-th turn of a target is due when an even flow would begin it, and has its deadline when that flow would end
    it; of those that are due the earliest deadline goes first, which keeps everybody less than one turn away from
    the even flow.
    """
    period = sum(counts)
    layout = array("I")
    #: (slot in which it is due, index, number of the turn), and (deadline, index, number) of those that are
    waiting = [(0, index, 0) for index in range(len(counts))]
    due: list[tuple[float, int, int]] = []
    for slot in range(period):
        while waiting and waiting[0][0] <= slot:
            _, index, number = heappop(waiting)
            heappush(due, ((number + 1) * period / counts[index], index, number))
        _, index, number = heappop(due)
        layout.append(index)
        if number + 1 < counts[index]:
            heappush(waiting, (-(-(number + 1) * period // counts[index]), index, number + 1))
    return layout


def _by_weight(pool: Pool, chosen: int) -> Iterator[Ranked]:
    """All but the chosen, heaviest first."""
    for index in sorted(range(len(pool.candidates)), key=lambda index: -pool.weights[index]):
        if index != chosen:
            candidate = pool.candidates[index]
            yield Ranked(candidate.target, candidate.model, "smooth", pool.share(index))
