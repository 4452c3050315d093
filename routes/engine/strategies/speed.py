"""``speed``: the highest output tokens per second of streams. A target with too few streams counts as so many as
the params say, so that a new one is tried unless the others are known to be faster than that. Equals take turns.
Imports the engine and pydantic only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from routes.engine.strategies.base import Family, Params, Ranking, Strategy, ascending

if TYPE_CHECKING:
    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run

#: Streams needed before a target's own speed counts.
MIN_SAMPLES = 5


class SpeedParams(Params):
    unmeasured: float = Field(
        50, ge=0, le=1_000_000, description="Tokens per second that a target with fewer than 5 streams counts as."
    )


class Speed(Strategy):
    name: ClassVar[str] = "speed"
    description: ClassVar[str] = "The target whose streams bring the most tokens per second."
    params_model: ClassVar[type[BaseModel]] = SpeedParams
    family: ClassVar[Family | None] = "load_balancing"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        assert isinstance(params, SpeedParams)
        unmeasured, now = params.unmeasured, run.now
        slowness: list[float] = []
        measured: list[bool] = []
        for stats in run.live.stats_of(pool.ids):
            speed, samples = stats.speed(now)
            known = speed is not None and samples >= MIN_SAMPLES
            measured.append(known)
            slowness.append(-speed if known and speed is not None else -unmeasured)

        def reason(index: int) -> tuple[str, float]:
            return ("speed" if measured[index] else "speed_unmeasured"), -slowness[index]

        return ascending(pool, run, slowness, reason, backup, rotate=True)
