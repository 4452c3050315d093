"""``round_robin``: exact rotation over the candidates by a counter that all processes of a host share.

n x k decisions over n candidates give each exactly k under any concurrency. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies.base import Family, Strategy, mixed, turn_of
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from routes.engine.candidates import Candidate, Pool
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Ranking


class RoundRobin(Strategy):
    name: ClassVar[str] = "round_robin"
    description: ClassVar[str] = "Each target in turn, exactly."
    replayable: ClassVar[bool] = True
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        candidates = pool.candidates
        n = len(candidates)
        turn = turn_of(run, pool.key, backup)
        if backup:
            # Scattered by the first tier's turn: in step with it, one target's failures would all land on one.
            turn = int(mixed(turn, pool.salt) * n)
        start = turn % n
        winner = candidates[start]
        return (Ranked(winner.target, winner.model, "turn", turn),), (_rest(candidates, start, turn) if n > 1 else None)


def _rest(candidates: tuple[Candidate, ...], start: int, turn: int) -> Iterator[Ranked]:
    n = len(candidates)
    for step in range(1, n):
        following = candidates[(start + step) % n]
        yield Ranked(following.target, following.model, "turn", turn + step)
