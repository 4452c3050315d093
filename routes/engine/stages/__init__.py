"""The stages of the pipeline, in order, and the state that one run of it carries from stage to stage.

A stage is a module with ``NAME`` and ``apply(run)``: it drops candidates (``run.drop``), finds the rule that
matches, settles what becomes of the session's pin; the last one ranks. A new stage is a module added to
``pipeline.STAGES``. Imports the engine only.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from routes.engine.types import Exclusion

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from routes.engine.candidates import Candidate, CandidateSet, Plan
    from routes.engine.live import LiveState, Rotation
    from routes.engine.profile import Profile, Rule
    from routes.engine.snapshot import Snapshot
    from routes.engine.types import PinPlan, Ranked, RouteRequest, Source


class Run:
    """One run of the pipeline: its inputs, and what the stages have found so far."""

    __slots__ = (
        "all_rate_limited",
        "base",
        "dropped",
        "excluded",
        "gated",
        "inputs",
        "left",
        "live",
        "matched",
        "now",
        "panic",
        "pin",
        "plan",
        "profile",
        "ranked",
        "readmitted",
        "replayable",
        "request",
        "retry_at",
        "rng",
        "rotation",
        "rule",
        "snapshot",
        "source",
        "suspects",
        "tail",
        "variant",
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
        self.dropped: set[int] = set()  # configured positions
        self.excluded: list[Exclusion] = list(base.excluded)
        self.left = len(base.candidates)  # how many are still in
        #: what the live state says to look at twice: targets not simply closed, providers in quarantine
        self.suspects: Collection[str] = ()
        self.gated: set[str] = set()  # ids of those left out by slow start
        #: the rule that matched; looked for once, by whichever stage needs it first (``smart_routing.rule_of``)
        self.rule: Rule | None = None
        self.matched = False
        self.pin: PinPlan | None = None
        self.plan: Plan | None = None
        self.source: Source = "load_balancer"
        self.inputs: dict[str, Any] = {}
        self.variant: str | None = None
        self.replayable = False
        #: nothing healthy was left: who may be tried all the same, soonest first, as (candidate, when it was due);
        #: one attempt, at most ``panic`` in flight per target
        self.readmitted: list[tuple[Candidate, float]] = []
        self.panic = 0
        self.retry_at: float | None = None
        self.all_rate_limited = False
        self.ranked: list[Ranked] = []
        self.tail: Iterator[Ranked] | None = None

    def drop(self, candidate: Candidate, stage: str, code: str, value: float | str | None = None) -> None:
        """Take a candidate out and say why."""
        self.dropped.add(candidate.position)
        self.left -= 1
        self.excluded.append(Exclusion(candidate.target, stage, code, value))

    def aside(self, draw: float) -> Run:
        """A run like this one that ranks without advancing a counter: what it draws follows from ``draw``."""
        aside = Run(
            self.snapshot, self.profile, self.request, self.live, Scattered(draw), self.now, Random(draw), self.base
        )
        aside.rule = self.rule
        aside.matched = self.matched
        return aside


class Scattered:
    """Stands in for counters where they must not move: each pool's turn follows from a draw. See ``live.Rotation``."""

    __slots__ = ("_draw",)

    def __init__(self, draw: float) -> None:
        self._draw = draw

    def rotate(self, pool: str) -> int:
        return Random(f"{self._draw}{pool}").getrandbits(16)
