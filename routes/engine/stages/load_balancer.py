"""Load balancer: ranks what the other stages left, by the strategy. Tiers bind every strategy: it ranks the
lowest tier that has a candidate; further tiers follow as backups, computed only if somebody walks that far.
Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routes.engine.candidates import Pool
    from routes.engine.stages import Run

NAME = "load_balancer"


def apply(run: Run) -> None:
    strategy, selection = run.strategy, run.selection
    if run.readmitted:
        _rank_readmitted(run)
        return
    if strategy.first_only:
        pools, others = selection.first_only(run.profile.first_position)
        run.excluded += others
        run.set_aside = len(others)
    elif len(selection.candidates) < 2:
        run.ranked = [Ranked(c.target, c.model, "only_candidate") for c in selection.candidates]
        return
    elif strategy.by_weight:
        pools, zero = selection.pools_by_weight()
        run.excluded += zero
        run.set_aside = len(zero)
    else:
        pools = selection.pools()
    if not pools:
        return
    ranked, tail = strategy.rank(pools[0], run, run.params, False)
    run.ranked = list(ranked)
    run.tail = tail if len(pools) == 1 else _with_backups(tail, pools, run)


def _rank_readmitted(run: Run) -> None:
    """A degraded decision: by soonest next try, whatever the strategy; ``single`` still means the first target."""
    first_only, first = run.strategy.first_only, run.profile.first_position
    for candidate, until in run.readmitted:
        if first_only and candidate.position != first:
            run.drop(candidate, NAME, "not_first")
            run.set_aside += 1
        else:
            wait = max(0.0, until - run.now)
            run.ranked.append(Ranked(candidate.target, candidate.model, "next_try", wait))


def _with_backups(tail: Iterator[Ranked] | None, pools: tuple[Pool, ...], run: Run) -> Iterator[Ranked]:
    if tail is not None:
        yield from tail
    for pool in pools[1:]:
        ranked, rest = run.strategy.rank(pool, run, run.params, True)
        yield from ranked
        if rest is not None:
            yield from rest
