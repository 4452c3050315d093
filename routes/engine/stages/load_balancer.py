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
    from routes.engine.types import PinPlan

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
        _rank_readmitted(run)
        return
    if run.pin is not None and run.pin.honoured:
        _rank_pinned(run, plan, run.pin)
        return
    pool, strategy, params, _ = steps[0]
    if plan.lone:
        candidate = pool.candidates[0]
        code = "only_candidate" if run.request.origin is None else "origin"
        run.ranked.append(Ranked(candidate.target, candidate.model, code))
        run.variant = _variant(run, plan, candidate.id)
        run.replayable = True
        return
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
    if run.profile.mode.kind != "immediate" and not plan.single:
        failover_mode.apply(run, steps)
        if run.variant is not None:  # it is the variant of whoever leads now
            run.variant = _variant(run, plan, run.ranked[0].target.id)


def _variant(run: Run, plan: Plan, target_id: str) -> str | None:
    """The variant of an A/B test that a target stands for which leads without having been ranked first."""
    found = plan.find(target_id)
    assert found is not None  # who leads is ranked
    pool, strategy, params, _ = plan.steps[found[0]]
    return strategy.variant(pool, run, params, found[1])


def _rank_readmitted(run: Run) -> None:
    """A degraded decision: by soonest next try, whatever the strategy; whom it never uses was left out."""
    for candidate, until in run.readmitted:
        wait = max(0.0, until - run.now)
        run.ranked.append(Ranked(candidate.target, candidate.model, "next_try", wait))


def _rank_pinned(run: Run, plan: Plan, pin: PinPlan) -> None:
    """The session's target leads; the others stand behind it as a strategy ranks them that advances nothing."""
    found = plan.find(pin.target_id or "")
    assert found is not None  # an honoured pin's target is among those to be ranked
    candidate = found[1]
    run.source = "affinity"
    run.ranked.append(Ranked(candidate.target, candidate.model, "pinned", run.now - pin.pinned_at))
    run.variant = _variant(run, plan, candidate.id)
    if plan.lone:
        return
    if run.profile.mode.kind == "cost":  # the only mode that is about the others and not about who leads
        failover_mode.by_cost(run, plan.steps)
        return
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
