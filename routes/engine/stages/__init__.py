"""The stages of the pipeline, in order, and the state that one run of it carries from stage to stage.

A stage is a module with ``NAME`` and ``apply(run)``: it drops candidates (``run.drop``), the last one ranks.
A new stage is a module added to ``pipeline.STAGES``.
Imports the engine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.engine.types import Exclusion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from pydantic import BaseModel

    from routes.engine.candidates import Candidate, CandidateSet, Selection
    from routes.engine.live import LiveState, Rotation
    from routes.engine.snapshot import Profile, Snapshot
    from routes.engine.strategies import Strategy
    from routes.engine.types import Ranked, RouteRequest, Source


class Run:
    """One run of the pipeline: its inputs, and what the stages have found so far."""

    __slots__ = (
        "all_rate_limited",
        "base",
        "dropped",
        "excluded",
        "inputs",
        "live",
        "now",
        "panic",
        "params",
        "profile",
        "ranked",
        "readmitted",
        "request",
        "retry_at",
        "rng",
        "rotation",
        "selection",
        "set_aside",
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
        #: who is still in; ``base`` itself while nothing was dropped
        self.selection: Selection = base
        self.dropped: set[int] = set()  # configured positions
        self.excluded: list[Exclusion] = list(base.excluded)
        self.strategy = strategy
        self.params = params
        self.source: Source = "load_balancer"
        self.inputs: dict[str, Any] = {}
        self.set_aside = 0  # how many of the selection the strategy may not use
        #: nothing healthy was left: who may be tried all the same, soonest first, as (candidate, when it was due);
        #: one attempt, at most ``panic`` in flight per target
        self.readmitted: list[tuple[Candidate, float]] = []
        self.panic = 0
        self.retry_at: float | None = None
        self.all_rate_limited = False
        self.ranked: list[Ranked] = []
        self.tail: Iterator[Ranked] | None = None

    def drop(self, candidate: Candidate, stage: str, code: str, value: float | str | None = None) -> None:
        """Take a candidate out and say why; call ``narrow`` when done."""
        self.dropped.add(candidate.position)
        self.excluded.append(Exclusion(candidate.target, stage, code, value))

    def narrow(self) -> None:
        """Make ``selection`` reflect what was dropped."""
        self.selection = self.base.without(self.dropped)

    @property
    def left(self) -> int:
        """How many are still in."""
        return (len(self.readmitted) or len(self.selection.candidates)) - self.set_aside
