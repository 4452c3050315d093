"""``least_cost``: the lowest expected cost of this request.

Price of the model that would really be used x (estimated input tokens and the target's mean output tokens). A
target without answers yet is assumed to write as much as the others do. Unknown prices go last.
Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import Ranking, Strategy
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run

#: Assumed where nothing is known: a short question and a short answer.
ASSUMED_INPUT_TOKENS = 500
ASSUMED_OUTPUT_TOKENS = 250


class LeastCost(Strategy):
    name: ClassVar[str] = "least_cost"
    description: ClassVar[str] = "The target on which this request is expected to cost least."
    estimates: ClassVar[bool] = True

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        inputs = run.inputs
        tokens_in = inputs.get("input_tokens")
        if tokens_in is None:  # once per decision, however many tiers are ranked
            estimate = run.request.estimate_tokens
            tokens_in = inputs["input_tokens"] = ASSUMED_INPUT_TOKENS if estimate is None else estimate()
        means = [stats.mean_output_tokens for stats in run.live.stats_of(pool.ids)]
        known = [mean for mean in means if mean is not None]
        typical = sum(known) / len(known) if known else ASSUMED_OUTPUT_TOKENS
        limit = run.request.max_output_tokens or float("inf")
        priced: list[tuple[float, int, float]] = []
        unknown: list[int] = []
        for index, mean in enumerate(means):
            price = pool.candidates[index].price
            if price is None:
                unknown.append(index)
                continue
            tokens_out = typical if mean is None else mean
            if tokens_out > limit:
                tokens_out = limit
            priced.append((tokens_in * price[0] + tokens_out * price[1], index, tokens_in + tokens_out))
        priced.sort()  # by cost, then configured order
        rest = _ranked(pool, priced, unknown)
        return (next(rest),), rest


def _ranked(pool: Pool, priced: list[tuple[float, int, float]], unknown: list[int]) -> Iterator[Ranked]:
    for micro_usd, index, tokens in priced:
        candidate = pool.candidates[index]
        yield Ranked(candidate.target, candidate.model, "usd_per_million", micro_usd / tokens if tokens else 0.0)
    for index in unknown:
        candidate = pool.candidates[index]
        yield Ranked(candidate.target, candidate.model, "price_unknown")
