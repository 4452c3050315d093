"""``geo_preferred``: the targets of the requested region, then those of its area, then the policy's regions in order,
then the rest; another strategy among those that are equally near. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from routes.engine.strategies import regions
from routes.engine.strategies.nested import Nested
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Family, Ranking, Strategy


class GeoPreferred(Nested):
    name: ClassVar[str] = "geo_preferred"
    description: ClassVar[str] = "The target nearest to the requested region, and another strategy among equals."
    family: ClassVar[Family | None] = "geo"
    field: ClassVar[str] = "then"
    field_description: ClassVar[str] = "The strategy among targets that are equally near."
    default: ClassVar[str] = "failover"

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        strategy, inner_params = self.inner(params)
        nearest, *further = regions.groups(pool, run.request.region, run.snapshot.policy.region_priority)
        ranked, tail = strategy.rank(nearest.pool, run, inner_params, backup)
        winners = tuple(_told(nearest.code, entry) for entry in ranked)
        return winners, _rest(nearest.code, tail, further, run, strategy, inner_params)


def _told(code: str, entry: Ranked) -> Ranked:
    """How near a target is says why it stands before those of other groups."""
    return Ranked(entry.target, entry.model, code, entry.target.region)


def _rest(
    code: str,
    tail: Iterator[Ranked] | None,
    further: Sequence[regions.Group],
    run: Run,
    strategy: Strategy,
    params: BaseModel,
) -> Iterator[Ranked]:
    for entry in tail or ():
        yield _told(code, entry)
    for group in further:
        ranked, rest = strategy.rank(group.pool, run, params, True)
        for entry in (*ranked, *(rest or ())):
            yield _told(group.code, entry)
