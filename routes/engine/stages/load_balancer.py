"""Load balancer: ranks what the other stages left, by the strategy. Tiers bind every strategy: it ranks the
lowest tier that has a candidate; further tiers follow as backups, computed only if somebody walks that far.
Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.candidates import group, without_zero_weight
from routes.engine.types import Exclusion, Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routes.engine.candidates import Candidate, Pool
    from routes.engine.stages import Run

NAME = "load_balancer"


def apply(run: Run) -> None:
    strategy = run.strategy
    if strategy.first_only:
        _keep_first(run)
    candidates = run.candidates
    if run.panic:
        run.ranked = [Ranked(c.target, c.model, "next_try", max(0.0, _next_try(run, c) - run.now)) for c in candidates]
        return
    if len(candidates) < 2:
        run.ranked = [Ranked(c.target, c.model, "only_candidate") for c in candidates]
        return
    if candidates is run.base.candidates:
        pools = run.base.pools()
        if strategy.by_weight:
            pools, zero = run.base.pools_by_weight()
            run.excluded += zero
    else:
        if strategy.by_weight:
            candidates, zero = without_zero_weight(candidates)
            run.excluded += zero
        pools = group(run.base.key, candidates)
    ranked, tail = strategy.rank(pools[0], run, False)
    run.ranked = list(ranked)
    run.tail = tail if len(pools) == 1 else _with_backups(tail, pools, run)


def _keep_first(run: Run) -> None:
    first = run.profile.first_position
    run.excluded += [Exclusion(c.target, NAME, "not_first") for c in run.candidates if c.position != first]
    run.candidates = [c for c in run.candidates if c.position == first]


def _next_try(run: Run, candidate: Candidate) -> float:
    quarantine = run.live.quarantined_until(candidate.target, candidate.model, run.now)
    if quarantine is not None:
        return quarantine.until
    return run.live.circuit(candidate.target, run.now).until


def _with_backups(tail: Iterator[Ranked] | None, pools: tuple[Pool, ...], run: Run) -> Iterator[Ranked]:
    if tail is not None:
        yield from tail
    for pool in pools[1:]:
        ranked, rest = run.strategy.rank(pool, run, True)
        yield from ranked
        if rest is not None:
            yield from rest
