"""The pipeline: runs the stages over one request and turns what they found into a ``Decision``.

``decide`` is the only entry point. Everything it depends on is an argument: snapshot, live state, clock reading,
random source. With ``dry=True`` it runs the same code without advancing a counter. Imports the engine only.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from routes.engine.stages import Run, admission, health, load_balancer
from routes.engine.strategies import DEFAULT_PARAMS, REGISTRY
from routes.engine.types import Decision, StageEntry

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from routes.engine.live import LiveState
    from routes.engine.snapshot import Profile, Snapshot
    from routes.engine.types import RouteRequest

#: In order; each leaves one line in the trace. Packed decisions name a stage by its index: append, do not insert.
STAGES = ((admission.NAME, admission.apply), (health.NAME, health.apply), (load_balancer.NAME, load_balancer.apply))


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
) -> Decision:
    """Choose and rank targets for one request. Never raises for want of a target; see ``Decision``.

    Cost: a few microseconds; no I/O. ``now`` is the clock of ``live``. ``request.strategy`` must be a known,
    normalised name; a strategy other than the profile's runs with its default params.
    """
    base = profile.candidates_for(request.operation, request.model)
    strategy, params = profile.strategy, profile.params
    if request.strategy is not None and request.strategy != strategy.name:
        strategy, params = REGISTRY[request.strategy], DEFAULT_PARAMS[request.strategy]
    run = Run(snapshot, profile, request, live, live.peek() if dry else live, now, rng, base, strategy, params)
    stages: list[StageEntry] = []
    began = timer()
    count = len(profile.targets)
    for name, apply in STAGES:
        apply(run)
        ended = timer()
        left = run.left
        stages.append(StageEntry(name, count, left, (ended - began) * 1e6))
        began, count = ended, left
    ranked = run.ranked
    return Decision(
        profile,
        snapshot.number,
        run.source if ranked else "none",
        strategy.name if ranked else "none",
        run.excluded,
        stages,
        run.panic > 0 and bool(ranked),
        None,
        -1,
        run.inputs,
        ranked,
        run.tail,
        run.retry_at,
        run.all_rate_limited,
        run.panic if ranked else 0,
        not base.candidates,
        request.operation,
        request.model,
    )
