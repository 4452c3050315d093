"""``token_budget``: stay on a target until it has used its budget of tokens in the window, then go on to the one that
has used fewest. Good for caches of prompts, and for accounts limited in tokens per minute.

Where the pool stands is a counter that all processes share, taken as a place in the configured order and advanced
only to move on. Two processes that find the budget used up at the same moment may both advance it and land one
target further; the next decision judges that one like any other. Imports the engine and pydantic only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from routes.engine.strategies.base import Family, Params, Ranking, Strategy
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run


class TokenBudgetParams(Params):
    budget: int = Field(10_000, ge=1, le=1_000_000_000, description="Tokens, input and output, before moving on.")
    window: float = Field(60, gt=0, le=3600, description="Seconds in which tokens are counted.")


class TokenBudget(Strategy):
    name: ClassVar[str] = "token_budget"
    description: ClassVar[str] = "Stay on a target until its budget of tokens is used, then the one that used fewest."
    params_model: ClassVar[type[BaseModel]] = TokenBudgetParams
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        assert isinstance(params, TokenBudgetParams)
        window, now = params.window, run.now
        used = [stats.tokens_in(window, now) for stats in run.live.stats_of(pool.ids)]
        if backup:
            return (), _by_use(pool, used, -1)
        current, places = self._current(pool, run), len(run.profile.targets)
        if current is None or used[current] >= params.budget:
            fewest = used.index(min(used))
            self._move(pool, run, (pool.candidates[fewest].position - run.inputs["turn"]) % places)
            current = fewest
        winner = pool.candidates[current]
        return (Ranked(winner.target, winner.model, "tokens_used", used[current]),), _by_use(pool, used, current)

    def _current(self, pool: Pool, run: Run) -> int | None:
        """The index of the candidate the pool is at; None = it is not among the candidates now."""
        turn = run.inputs["turn"] = run.live.peek().rotate(pool.key)
        position = turn % len(run.profile.targets)
        return next((index for index, c in enumerate(pool.candidates) if c.position == position), None)

    def _move(self, pool: Pool, run: Run, places: int) -> None:
        for _ in range(places):
            run.rotation.rotate(pool.key)


def _by_use(pool: Pool, used: list[int], chosen: int) -> Iterator[Ranked]:
    """All but the chosen, fewest tokens first."""
    for index in sorted(range(len(used)), key=lambda index: used[index]):
        if index != chosen:
            candidate = pool.candidates[index]
            yield Ranked(candidate.target, candidate.model, "tokens_used", used[index])
