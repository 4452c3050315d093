"""``least_latency``: the lowest mean over the last outcomes of the request's kind.

Streams are compared by time to first event. Other requests by latency per output token when every measured
target reports tokens, else by latency: seconds and seconds per token must never meet in one comparison.
Imports the engine and pydantic only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from routes.engine.strategies.base import Params
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from routes.engine.candidates import Candidate, Pool
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Ranking

#: Share of requests that go to targets with too few samples.
EXPLORE_SHARE = 0.05
#: Operations whose answers have output tokens worth dividing by.
GENERATING = frozenset({"chat", "completion", "responses", "messages"})

#: (mean seconds, number of samples)
Measured = tuple["float | None", int]


class LeastLatencyParams(Params):
    min_samples: int = Field(10, ge=1, le=100, description="Outcomes needed before a target is compared.")
    cold_start: Literal["explore", "last"] = Field(
        "explore", description="Targets with too few outcomes: 5 % of requests in turn, or after all others."
    )


class LeastLatency:
    name: ClassVar[str] = "least_latency"
    description: ClassVar[str] = "The target that answered fastest lately."
    params_model: ClassVar[type[BaseModel]] = LeastLatencyParams
    by_weight: ClassVar[bool] = False
    first_only: ClassVar[bool] = False
    replayable: ClassVar[bool] = False

    def rank(self, pool: Pool, run: Run, backup: bool) -> Ranking:
        params = run.params
        assert isinstance(params, LeastLatencyParams)
        needed = params.min_samples
        code, means = measure(pool.candidates, run, needed)
        warm: list[tuple[float, Candidate]] = []
        cold: list[tuple[int, Candidate]] = []
        for candidate, (mean, samples) in zip(pool.candidates, means, strict=True):
            if mean is None or samples < needed:
                cold.append((samples, candidate))
            else:
                warm.append((mean, candidate))
        warm.sort(key=lambda entry: entry[0])  # stable: ties keep configured order
        ranked = [Ranked(c.target, c.model, code, 1000.0 * mean) for mean, c in warm]
        if cold:
            unmeasured = [Ranked(c.target, c.model, "cold_start", samples) for samples, c in cold]
            if params.cold_start == "explore" and not backup:
                self._explore(pool, run, ranked, unmeasured)
            ranked += unmeasured
        return ranked, None

    def _explore(self, pool: Pool, run: Run, ranked: list[Ranked], unmeasured: list[Ranked]) -> None:
        """Give an unmeasured target its turn: in 5 % of requests, or always while nothing is measured."""
        if ranked:
            draw = run.inputs["draw"] = run.rng.random()
            if draw >= EXPLORE_SHARE:
                return
        turn = run.inputs["turn"] = run.rotation.rotate(pool.key + "/explore")
        chosen = unmeasured.pop(turn % len(unmeasured))
        ranked.insert(0, chosen._replace(code="explore"))


def measure(candidates: Sequence[Candidate], run: Run, needed: int) -> tuple[str, list[Measured]]:
    """(what is compared, its mean and sample count for each candidate)"""
    stats, now, request = run.live.stats, run.now, run.request
    if request.stream:
        return "first_event", [stats(c.id).mean_latency_s(True, now) for c in candidates]
    latencies = [stats(c.id).mean_latency_s(False, now) for c in candidates]
    if request.operation in GENERATING:
        per_token = [stats(c.id).mean_per_token_s(now) for c in candidates]
        if all(
            tokens[1] >= needed for tokens, latency in zip(per_token, latencies, strict=True) if latency[1] >= needed
        ):
            return "per_token", per_token
    return "latency", latencies
