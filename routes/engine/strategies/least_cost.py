"""``least_cost``: the lowest expected cost of this request.

Price of the model that would really be used x (estimated input tokens and the target's mean output tokens). A
target without answers yet is assumed to write as much as the others do. Unknown prices go last.
Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import NoParams
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Ranking

#: Assumed where nothing is known: a short question and a short answer.
ASSUMED_INPUT_TOKENS = 500
ASSUMED_OUTPUT_TOKENS = 250


class LeastCost:
    name: ClassVar[str] = "least_cost"
    description: ClassVar[str] = "The target on which this request is expected to cost least."
    params_model: ClassVar[type[BaseModel]] = NoParams
    by_weight: ClassVar[bool] = False
    first_only: ClassVar[bool] = False
    replayable: ClassVar[bool] = False

    def rank(self, pool: Pool, run: Run, backup: bool) -> Ranking:
        inputs = run.inputs
        tokens_in = inputs.get("input_tokens")
        if tokens_in is None:  # once per decision, however many tiers are ranked
            estimate = run.request.estimate_tokens
            tokens_in = inputs["input_tokens"] = ASSUMED_INPUT_TOKENS if estimate is None else estimate()
        stats = run.live.stats
        means = [stats(c.id).mean_output_tokens for c in pool.candidates]
        known = [mean for mean in means if mean is not None]
        typical = sum(known) / len(known) if known else ASSUMED_OUTPUT_TOKENS
        limit = run.request.max_output_tokens or float("inf")
        priced: list[tuple[float, Ranked]] = []
        unknown: list[Ranked] = []
        for candidate, mean in zip(pool.candidates, means, strict=True):
            price = candidate.price
            if price is None:
                unknown.append(Ranked(candidate.target, candidate.model, "price_unknown"))
                continue
            tokens_out = min(typical if mean is None else mean, limit)
            micro_usd = tokens_in * price.input + tokens_out * price.output
            per_million = micro_usd / (tokens_in + tokens_out or 1)
            priced.append((micro_usd, Ranked(candidate.target, candidate.model, "usd_per_million", per_million)))
        priced.sort(key=lambda entry: entry[0])  # stable: ties keep configured order
        return [ranked for _, ranked in priced] + unknown, None
