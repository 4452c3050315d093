"""Load balancer: ranks what the other stages left, by the strategy of the rule or the profile. Tiers bind every
strategy: it ranks the lowest tier that has a candidate; further tiers follow as backups, behind a rule's targets
the profile's where the rule says so, computed only if somebody walks that far. Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine import failover_mode
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from routes.engine.candidates import Plan, Step
    from routes.engine.stages import Run

NAME = "load_balancer"


def apply(run: Run) -> None:
    plan = run.plan
    assert plan is not None  # smart_routing made it
    if plan.aside:
        run.excluded += plan.aside
        run.left -= len(plan.aside)
    steps = plan.steps
    if not steps:
        return
    if run.readmitted:
        _rank_readmitted(run, plan)
        return
    if run.pin is not None and run.pin.honoured:
        _rank_pinned(run, plan)
        return
    if plan.lone:
        candidate = steps[0].pool.candidates[0]
        run.ranked.append(Ranked(candidate.target, candidate.model, "only_candidate"))
        run.variant = steps[0].strategy.variant(steps[0].pool, run, steps[0].params, candidate)
        run.replayable = True
        return
    pool, strategy, params, _ = steps[0]
    ranked, tail = strategy.rank(pool, run, params, False)
    run.ranked += ranked
    run.replayable = strategy.replayable
    if len(steps) == 1:
        run.tail = tail
    else:
        draw = 0.0
        if not steps[-1].own:
            # The profile's own strategy ranks behind the rule's, from a draw of its own.
            draw = run.inputs["aside"] = run.rng.random()
            run.replayable = run.replayable and steps[-1].strategy.replayable
        run.tail = _with_backups(tail, steps, run, draw)
    if run.profile.mode.kind != "immediate" and not strategy.leaf(params).first_only:
        failover_mode.apply(run, steps)
        if run.variant is not None and (leader := plan.find(run.ranked[0].target.id)) is not None:
            run.variant = strategy.variant(pool, run, params, leader[1])


def _rank_readmitted(run: Run, plan: Plan) -> None:
    """A degraded decision: by soonest next try, whatever the strategy; whom it never uses stays out."""
    for candidate, until in run.readmitted:
        if plan.find(candidate.id) is not None:
            wait = max(0.0, until - run.now)
            run.ranked.append(Ranked(candidate.target, candidate.model, "next_try", wait))


def _rank_pinned(run: Run, plan: Plan) -> None:
    """The session's target leads; the others stand behind it as a strategy ranks them that advances nothing."""
    pin = run.pin
    assert pin is not None
    assert pin.target_id is not None
    found = plan.find(pin.target_id)
    assert found is not None
    step, candidate = plan.steps[found[0]], found[1]
    run.source = "affinity"
    run.variant = step.strategy.variant(step.pool, run, step.params, candidate)
    run.ranked.append(Ranked(candidate.target, candidate.model, "pinned", run.now - pin.pinned_at))
    if not plan.lone:
        draw = run.inputs["aside"] = run.rng.random()
        run.tail = _aside(plan.steps, run, draw, candidate.id)


def _with_backups(tail: Iterator[Ranked] | None, steps: Sequence[Step], run: Run, draw: float) -> Iterator[Ranked]:
    yield from tail or ()
    for index, (pool, strategy, params, own) in enumerate(steps[1:], 1):
        if not own:
            yield from _aside(steps[index:], run, draw, "")
            return
        ranked, rest = strategy.rank(pool, run, params, True)
        yield from ranked
        yield from rest or ()


def _aside(steps: Sequence[Step], run: Run, draw: float, but: str) -> Iterator[Ranked]:
    """Rank all but one target without advancing a counter."""
    aside = run.aside(draw)
    backup = False
    for index, step in enumerate(steps):
        if index and step.own != steps[index - 1].own:
            aside, backup = run.aside(draw), False  # the profile's strategy begins: its draws are its own
        pool = step.pool.without(but)
        if pool is not None:
            ranked, rest = step.strategy.rank(pool, aside, step.params, backup)
            backup = True
            yield from ranked
            yield from rest or ()
