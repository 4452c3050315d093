"""``least_latency``: the lowest mean over the last outcomes of the request's kind.

Streams are compared by time to first event. Other requests by latency per output token when every measured
target reports tokens, else by latency: seconds and seconds per token must never meet in one comparison.
Imports the engine and pydantic only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from routes.engine.strategies.base import Family, Params, Ranking, Strategy, drawn, turn_of
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from routes.engine.candidates import Candidate, Pool
    from routes.engine.stages import Run

#: Share of requests that go to targets with too few samples.
EXPLORE_SHARE = 0.05
#: Operations whose answers have output tokens worth dividing by.
GENERATING = frozenset({"chat", "completion", "responses", "messages"})


class LeastLatencyParams(Params):
    min_samples: int = Field(10, ge=1, le=100, description="Outcomes needed before a target is compared.")
    cold_start: Literal["explore", "last"] = Field(
        "explore", description="Targets with too few outcomes: 5 % of requests in turn, or after all others."
    )


class LeastLatency(Strategy):
    name: ClassVar[str] = "least_latency"
    description: ClassVar[str] = "The target that answered fastest lately."
    params_model: ClassVar[type[BaseModel]] = LeastLatencyParams
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        assert isinstance(params, LeastLatencyParams)
        candidates = pool.candidates
        code, warm, cold = measure(pool, run, params.min_samples)
        warm.sort()  # by the mean, then configured order
        first: tuple[Ranked, ...] = ()
        if cold and params.cold_start == "explore" and not backup:
            explored = self._explore(pool, run, cold, bool(warm))
            if explored is not None:
                samples, index = cold.pop(explored)
                candidate = candidates[index]
                first = (Ranked(candidate.target, candidate.model, "explore", samples),)
        rest = _ranked(candidates, code, warm, cold)
        return (first, rest) if first else ((next(rest),), rest)

    def _explore(self, pool: Pool, run: Run, cold: list[tuple[int, int]], measured: bool) -> int | None:
        """Which of the unmeasured has its turn: in 5 % of requests, or always while nothing is measured."""
        if measured and drawn(run) >= EXPLORE_SHARE:
            return None
        return turn_of(run, pool.key + "/explore", backup=False) % len(cold)


def measure(pool: Pool, run: Run, needed: int) -> tuple[str, list[tuple[float, int]], list[tuple[int, int]]]:
    """(what is compared, the measured as (mean, index), the others as (samples, index))"""
    stream, now = run.request.stream, run.now
    means = [stats.means_s(stream, now) for stats in run.live.stats_of(pool.ids)]
    code = "first_event" if stream else "latency"
    if not stream and run.request.operation in GENERATING:
        for _, samples, _, token_samples in means:
            if samples >= needed > token_samples:
                break
        else:
            code = "per_token"
    warm: list[tuple[float, int]] = []
    cold: list[tuple[int, int]] = []
    per_token = code == "per_token"
    for index, mean in enumerate(means):
        seconds, samples = (mean.per_token, mean.token_samples) if per_token else (mean.seconds, mean.samples)
        if seconds is None or samples < needed:
            cold.append((samples, index))
        else:
            warm.append((seconds, index))
    return code, warm, cold


def _ranked(
    candidates: Sequence[Candidate], code: str, warm: list[tuple[float, int]], cold: list[tuple[int, int]]
) -> Iterator[Ranked]:
    for mean, index in warm:
        candidate = candidates[index]
        yield Ranked(candidate.target, candidate.model, code, 1000.0 * mean)
    for samples, index in cold:
        candidate = candidates[index]
        yield Ranked(candidate.target, candidate.model, "cold_start", samples)
