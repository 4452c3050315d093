"""The stages of the pipeline, in order, and the state that one run of it carries from stage to stage.

A stage is a module with ``NAME`` and ``apply(run)``: it narrows ``run.candidates``, noting each one it drops
in ``run.excluded``; the last one ranks. A new stage is a module added to ``pipeline.STAGES``.
Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from pydantic import BaseModel

    from routes.engine.candidates import Candidate, CandidateSet
    from routes.engine.live import LiveState, Rotation
    from routes.engine.snapshot import Profile, Snapshot
    from routes.engine.strategies import Strategy
    from routes.engine.types import Exclusion, Ranked, RouteRequest, Source


class Run:
    """One run of the pipeline: its inputs, and what the stages have found so far."""

    __slots__ = (
        "all_rate_limited",
        "base",
        "candidates",
        "excluded",
        "inputs",
        "live",
        "now",
        "panic",
        "params",
        "profile",
        "ranked",
        "request",
        "retry_at",
        "rng",
        "rotation",
        "snapshot",
        "source",
        "strategy",
        "tail",
    )

    def __init__(
        self,
        snapshot: Snapshot,
        profile: Profile,
        request: RouteRequest,
        live: LiveState,
        rotation: Rotation,
        now: float,
        rng: Random,
        base: CandidateSet,
        strategy: Strategy,
        params: BaseModel,
    ) -> None:
        self.snapshot = snapshot
        self.profile = profile
        self.request = request
        self.live = live
        #: counters that strategies advance (or only look at, when the decision is a dry one)
        self.rotation = rotation
        self.now = now
        self.rng = rng
        self.base = base
        #: who is still in, ordered by (tier, configured position); identical to ``base.candidates`` while
        #: nothing was dropped, which lets the last stage use the precomputed pools
        self.candidates: Sequence[Candidate] = base.candidates
        self.excluded: list[Exclusion] = list(base.excluded)
        self.strategy = strategy
        self.params = params
        self.source: Source = "load_balancer"
        self.inputs: dict[str, Any] = {}
        #: > 0: nothing healthy was left; one attempt, at most so many in flight per target
        self.panic = 0
        self.retry_at: float | None = None
        self.all_rate_limited = False
        self.ranked: list[Ranked] = []
        self.tail: Iterator[Ranked] | None = None
