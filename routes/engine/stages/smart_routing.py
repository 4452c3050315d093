"""Smart routing: the first enabled rule whose condition holds narrows the request to its own targets; without one
only the profile's own are left, so that what belongs to a rule is never seen by a request it does not match.
Imports the engine only.

Rules are asked once per decision, by whichever stage needs to know first: health judges whether anything healthy
is left among the targets the request may reach, and a session's pin belongs to the rule that matched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.candidates import NOBODY

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from routes.engine.live import LiveState
    from routes.engine.profile import Rule
    from routes.engine.provider import Target
    from routes.engine.stages import Run

NAME = "smart_routing"


def apply(run: Run) -> None:
    request = run.request
    dropped = frozenset(run.dropped) if run.dropped else NOBODY
    if request.origin is not None:
        run.plan = run.base.plan_for(request.origin, request.strategy, dropped)
        run.source = "pinned"
        return
    rule = rule_of(run)
    plan = run.plan = run.base.plan(rule, request.strategy, dropped)
    if plan.outside:
        run.excluded += plan.outside
        run.left -= len(plan.outside)
    if rule is not None and plan.part is rule.part:
        run.source = "smart_routing"


def rule_of(run: Run) -> Rule | None:
    """The rule that matches; asked for at most once per decision."""
    if run.matched:
        return run.rule
    run.matched = True
    facts = run.request.facts
    if facts is None:
        return None
    for rule in run.profile.rules_for(run.request.operation):
        if rule.condition.matches(facts, Partition(rule, run.live, run.now) if rule.measures else None):
            run.rule = rule
            return rule
    return None


def reach_of(run: Run) -> Set[int]:
    """Positions of the candidates this request may reach, without those that no strategy ever uses."""
    if run.request.origin is not None:
        return {candidate.position for candidate in run.base.candidates}
    return run.base.usable(rule_of(run), run.request.strategy)


class Partition:
    """How a rule's own targets are doing, for conditions that ask. See ``conditions.Partition``."""

    __slots__ = ("_live", "_now", "_rule")

    def __init__(self, rule: Rule, live: LiveState, now: float) -> None:
        self._rule = rule
        self._live = live
        self._now = now

    def figures(self, name: str) -> Sequence[float]:
        """One number for each of the targets that have samples: ``ttft_ms_avg`` and ``ttft_ms_p99`` in ms,
        ``utilisation`` in percent of what they can take."""
        found = (self._figure(name, place.target) for place in self._rule.part.places)
        return [figure for figure in found if figure is not None]

    def _figure(self, name: str, target: Target) -> float | None:
        live, now = self._live, self._now
        if name == "utilisation":
            return utilisation(target, live)
        stats = live.stats(target.id)
        seconds = stats.means_s(True, now).seconds if name == "ttft_ms_avg" else stats.percentile_s(True, 99.0, now)[0]
        return None if seconds is None else 1000.0 * seconds


def utilisation(target: Target, live: LiveState) -> float | None:
    """Percent of a target's seats in use: of what a head reported of itself, else of what is in flight on the
    target (on the whole provider, where that is what has seats). None = nobody knows how many there are."""
    if target.head is not None:
        if not target.capacity:
            return None
        stats = live.stats(target.id)
        report = stats.load
        return 100.0 * (stats.in_flight if report is None else report.load) / target.capacity
    seats = target.capacity or target.provider.max_concurrency
    return 100.0 * live.in_flight(target.provider.id) / seats if seats else None
