"""``peak_ewma``: power of two choices on peak-EWMA(first event, tau 10 s) x (in flight + 1) / weight.

Two candidates at random, the one with the lower score wins: as good as looking at all of them, at the cost of
two, and without all processes running for the same favourite. Requests that are not streams are compared by the
peak EWMA of their latency. The value shown is the score in milliseconds, weights relative to the pool's mean.
Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import Family, Ranking, Strategy, pair_of, turn_of
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from routes.engine.candidates import Candidate, Pool
    from routes.engine.stages import Run

#: Estimate, in seconds, where neither a target nor its rival has samples: load alone decides.
NEUTRAL = 1.0


class PeakEwma(Strategy):
    name: ClassVar[str] = "peak_ewma"
    description: ClassVar[str] = "The better of two random targets by recent peak latency and load; recommended."
    by_weight: ClassVar[bool] = True
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        candidates = pool.candidates
        if backup or len(candidates) == 1:
            return tuple(_by_score(pool, run, None)), None
        first, second = pair_of(pool, run)
        one, other = candidates[first], candidates[second]
        one_s, one_load = _load(one, run)
        other_s, other_load = _load(other, run)
        # Without samples a target counts as its rival: it is tried at once, and what is in flight on it keeps
        # it from being flooded before its first answer.
        if one_s is None:
            one_s = NEUTRAL if other_s is None else other_s
        if other_s is None:
            other_s = one_s
        weights = pool.weights
        score = 1000.0 * pool.mean_weight * one_s * one_load / weights[first]
        other_score = 1000.0 * pool.mean_weight * other_s * other_load / weights[second]
        if other_score < score or (other_score == score and turn_of(run, pool.key + "/ties", backup, "tie") % 2):
            first, second, one, score = second, first, other, other_score
        run.inputs["pair"] = (one.position, candidates[second].position)
        return (Ranked(one.target, one.model, "peak_ewma", score),), _by_score(pool, run, one)


def _load(candidate: Candidate, run: Run) -> tuple[float | None, int]:
    """(peak EWMA in seconds or None, in flight + 1)"""
    stats = run.live.stats(candidate.id)
    return stats.ewma_s(run.request.stream, run.now), stats.in_flight + 1


def _by_score(pool: Pool, run: Run, chosen: Candidate | None) -> Iterator[Ranked]:
    """All but ``chosen`` by score; without samples = the mean of those that have some."""
    loads = [(*_load(candidate, run), index, candidate) for index, candidate in enumerate(pool.candidates)]
    known = [seconds for seconds, *_ in loads if seconds is not None]
    typical = sum(known) / len(known) if known else NEUTRAL
    scored: list[tuple[float, int, Candidate]] = []
    for seconds, load, index, candidate in loads:
        if candidate is not chosen:
            estimate = typical if seconds is None else seconds
            scored.append((1000.0 * pool.mean_weight * estimate * load / pool.weights[index], index, candidate))
    scored.sort(key=lambda entry: entry[:2])
    for score, _, candidate in scored:
        yield Ranked(candidate.target, candidate.model, "peak_ewma", score)
