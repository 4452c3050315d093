"""Smart routing: the first enabled rule whose condition holds narrows the request to its own targets; without one
only the profile's own are left, so that what belongs to a rule is never seen by a request it does not match.
Imports the engine only.

Rules are asked once per decision, by whichever stage needs to know first: health judges whether anything healthy
is left among the targets the request may reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.candidates import NOBODY

if TYPE_CHECKING:
    from routes.engine.profile import Rule
    from routes.engine.stages import Run

NAME = "smart_routing"


def apply(run: Run) -> None:
    rule = rule_of(run)
    dropped = frozenset(run.dropped) if run.dropped else NOBODY
    plan = run.plan = run.base.plan(rule, run.request.strategy, dropped)
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
    request = run.request
    facts = request.facts
    if facts is None:
        return None
    for rule in run.profile.rules_for(request.operation):
        if rule.condition.matches(facts, None):
            run.rule = rule
            return rule
    return None
