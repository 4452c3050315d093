"""The pipeline: runs the stages over one request and turns what they found into a ``Decision``.

``decide`` is the only entry point. Everything it depends on is an argument: snapshot, live state, clock reading,
random source. With ``dry=True`` it runs the same code without advancing a counter. Imports the engine only.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from routes.engine.stages import Run, admission, affinity, health, load_balancer, smart_routing
from routes.engine.types import Decision, StageEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from routes.engine.live import LiveState
    from routes.engine.snapshot import Profile, Snapshot
    from routes.engine.types import RouteRequest

#: In order; each leaves one line in the trace.
STAGES = tuple((stage.NAME, stage.apply) for stage in (admission, health, smart_routing, affinity, load_balancer))


def decide(
    snapshot: Snapshot,
    profile: Profile,
    request: RouteRequest,
    live: LiveState,
    now: float,
    rng: Random,
    *,
    dry: bool = False,
    timer: Callable[[], float] = perf_counter,
    through: Sequence[tuple[str, Callable[[Run], None]]] = STAGES,
) -> Decision:
    """Choose and rank targets for one request. Never raises for want of a target; see ``Decision``.

    Cost: some ten microseconds; no I/O. ``now`` is the clock of ``live``. ``request.strategy`` must be a known,
    normalised name; a strategy other than the one that is written runs with its default params. Pins are read,
    never written (``affinity.answered`` does, when somebody answered). ``through``: the stages, with something put
    before one of them by whoever runs a recorded decision again.
    """
    base = profile.candidates_for(request.operation, request.model)
    run = Run(snapshot, profile, request, live, live.peek() if dry else live, now, rng, base)
    stages: list[StageEntry] = []
    began = timer()
    count = len(profile.targets)
    for name, apply in through:
        apply(run)
        ended = timer()
        left = run.left
        stages.append(StageEntry(name, count, left, (ended - began) * 1e6))
        began, count = ended, left
    ranked, rule, plan = run.ranked, run.rule, run.plan
    assert plan is not None  # smart_routing made it
    strategy = plan.choice.strategy.name
    return Decision(
        profile,
        snapshot.number,
        run.source if ranked else "none",
        strategy if ranked else "none",
        run.excluded,
        stages,
        run.panic > 0 and bool(ranked),
        None if rule is None else rule.name,
        -1 if rule is None else rule.index,
        run.inputs,
        ranked,
        run.tail,
        run.retry_at,
        run.all_rate_limited,
        run.panic if ranked else 0,
        not base.candidates,
        request.operation,
        request.model,
        rule,
        run.pin,
        run.variant,
        plan.choice.replaced,
        strategy,
        run.replayable,
        request=request,
    )
