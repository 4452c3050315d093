"""A recorded decision run again by the same ``decide``: by its own revision, or by any other. Imports the engine only.

Draws and counter values are those that were recorded. Rules are asked in three-valued logic of the recorded facts.
A strategy that ranks by measurements ranks as it did then, because the record holds its ranking and the numbers
that made it, while strategy, params and weights are the same; otherwise its answer is not known. What cannot be told
is counted in ``undecidable`` and said in ``notes``; the decision is then what follows if no such rule matched and
nothing had been measured, and must not be taken for the answer.
"""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from routes.engine.explain.pack import VERSION, Recalled, request_of, unpack_decision
from routes.engine.explain.recorded import NOW, RecordedLive
from routes.engine.explain.rules import report, undecidable
from routes.engine.explain.what_if import WhatIf
from routes.engine.facts import RecordedFacts
from routes.engine.pipeline import STAGES, decide
from routes.engine.stages import admission, smart_routing
from routes.engine.strategies.base import Strategy
from routes.engine.strategies.consistent_hash import ConsistentHashParams
from routes.engine.types import Ranked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import BaseModel

    from routes.engine.candidates import Pool, Step
    from routes.engine.explain.what_if import Trouble
    from routes.engine.profile import Profile, Rule
    from routes.engine.snapshot import Snapshot
    from routes.engine.stages import Run
    from routes.engine.strategies.base import Ranking
    from routes.engine.types import Decision

NO_NUMBERS = "Some targets were not measured at that time, or not in the way this revision would need."
NO_PIN = "Whether the session would have been pinned under this revision is not known."
_WISHES = frozenset({"not_requested", "excluded_by_request"})


class Replayed(NamedTuple):
    """``rules`` as ``rules.report`` gives them; ``undecidable`` counts what the record does not tell."""

    decision: Decision
    rules: list[dict[str, Any]]
    undecidable: int
    notes: tuple[str, ...]


class Replay:
    """One recorded decision. ``snapshot`` is of the revision that made it; ``session``, ``stream`` and ``route_id``
    come from the history row, the rest from the record. ``facts`` are what the row knows beside, for requests of
    profiles without rules, of which no facts were recorded."""

    def __init__(
        self,
        packed: Mapping[str, Any],
        snapshot: Snapshot,
        *,
        route_id: str,
        session: str | None = None,
        stream: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._packed = packed
        self._snapshot = snapshot
        self._route_id = route_id
        self._session = session
        self._stream = stream
        self.recorded = unpack_decision(packed, snapshot)
        self._facts = self.recorded.facts or dict(facts or {})
        self._order = {entry.target.id: at for at, entry in enumerate(self.recorded.full_ranking())}
        self._reasons = {entry.target.id: entry for entry in self.recorded.ranked}
        self._ranked_by = self._steps_then()

    def _steps_then(self) -> dict[str, tuple[str, BaseModel, float, int]]:
        """What each target that could be ranked was ranked by: strategy, params, weight, tier."""
        recorded = self.recorded
        base = recorded.profile.candidates_for(recorded.operation, recorded.model)
        asked = None if recorded.request is None else recorded.request.strategy
        if recorded.request is None and recorded.strategy != "none":  # of the first version
            asked = recorded.strategy
        plan = base.plan(recorded.rule, asked, frozenset())
        return {
            c.id: (step.strategy.name, step.params, c.weight, c.tier)
            for step in plan.steps
            for c in step.pool.candidates
        }

    def again(
        self,
        snapshot: Snapshot | None = None,
        profile: Profile | None = None,
        *,
        troubles: Mapping[str, Trouble] | None = None,
        facts: Mapping[str, Any] | None = None,
        draw: int = 0,
    ) -> Replayed:
        """Decide again; without ``snapshot`` by the revision that made the decision.

        ``troubles`` by provider id and ``facts`` are imagined instead of what was. ``draw`` > 0 is another request
        like this one: with an id, random numbers and turns of its own.
        """
        snapshot = snapshot or self._snapshot
        own = snapshot is self._snapshot
        profile = profile or snapshot.profiles.get(self.recorded.profile.slug)
        if profile is None:
            raise LookupError(self.recorded.profile.slug)
        own = own and profile is self.recorded.profile
        route_id = self._route_id if not draw else _another(self._route_id, draw)
        live = RecordedLive(self.recorded, self._route_id, own=own, draw=draw)
        rules, rule = self._rules(profile, own, facts or {})
        request = request_of(self._packed, route_id, session=self._session, stream=self._stream)
        if self.recorded.request is None:  # of the first version: wishes are seen in what they left out
            request.exclude = frozenset(e.target.provider.slug for e in self.recorded.excluded if e.code in _WISHES)
        notes: list[str] = []
        if request.session and profile.affinity.enabled and not (own or self._same_pins(profile, rule)):
            live.pinned_to = None
            notes.append(NO_PIN)
        inputs = {} if draw else self.recorded.inputs
        through = _wrapped(inputs, rule, self._as_recorded)
        imagined: Any = WhatIf(live, troubles, profile.targets) if troubles else live
        rng = Recalled(f"{route_id}/{draw}", inputs)
        decision = decide(snapshot, profile, request, imagined, NOW, rng, through=through)
        decision.facts = self._facts
        if own and not troubles and not facts and not draw:
            self._keep_recorded_tail(decision)
        ranked = [entry.target for entry in decision.full_ranking()]
        missing = len(live.missing & {key for target in ranked for key in (target.id, target.provider.id)})
        if missing:
            notes.append(NO_NUMBERS)
        return Replayed(decision, rules, undecidable(rules) + missing + (NO_PIN in notes), tuple(notes))

    def _rules(self, profile: Profile, own: bool, facts: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Rule | None]:
        """What rules say to the recorded facts, and the first that matches."""
        goes_on = self.recorded.request is not None and self.recorded.request.origin is not None
        known = RecordedFacts(self._facts, **facts)
        rules = report(profile, self.recorded.operation, known, -1, goes_on=goes_on)
        rule = next((rule for rule, line in zip(profile.rules, rules, strict=True) if line["matched"]), None)
        if own and not facts:
            rule = self.recorded.rule
        if rule is not None:
            rules[rule.index]["chosen"] = True
        return rules, rule

    def _same_pins(self, profile: Profile, rule: Rule | None) -> bool:
        """Whether the pin that was looked up then is the one that would be looked up now."""
        before = self.recorded.profile
        if profile.id != before.id or profile.affinity.scope != before.affinity.scope or not before.affinity.enabled:
            return False
        if profile.affinity.scope == "profile":
            return True
        then = self.recorded.rule
        return (None if rule is None else rule.id) == (None if then is None else then.id)

    def _as_recorded(self, run: Run) -> None:
        """Let strategies that measure rank as they did, where they are still the same."""
        plan = copy.copy(run.plan)
        assert plan is not None
        plan.steps = tuple(self._step(step) for step in plan.steps)
        run.plan = plan

    def _step(self, step: Step) -> Step:
        # Strategies of the first version drew in other ways.
        follow = self._packed["v"] == VERSION and follows(step.strategy, step.params)
        if follow or not self._comparable(step):
            return step
        return step._replace(strategy=AsRecorded(step.strategy, self._order, self._reasons))

    def _comparable(self, step: Step) -> bool:
        """Whether the record says how these candidates would be ranked now: same strategy, params and, where they
        count, weights; and it knows all of them."""
        candidates = step.pool.candidates
        if len(candidates) == 1:
            return True
        weighs = step.strategy.leaf(step.params).by_weight
        for candidate in candidates:
            then = self._ranked_by.get(candidate.id)
            if then is None or candidate.id not in self._order:
                return False
            if then[:2] != (step.strategy.name, step.params) or (weighs and then[2] != candidate.weight):
                return False
        return True

    def _keep_recorded_tail(self, decision: Decision) -> None:
        """Behind the same first place, what was recorded is the truth."""
        first = decision.place(0)
        recorded = self.recorded.ranked
        if first is not None and recorded and recorded[0].target is first.target:
            decision.ranked, decision.tail = list(recorded), None


class AsRecorded(Strategy):
    """Ranks as was recorded. ``order`` and ``reasons`` by target id."""

    def __init__(self, strategy: Strategy, order: Mapping[str, int], reasons: Mapping[str, Ranked]) -> None:
        self._strategy = strategy
        self._order = order
        self._reasons = reasons

    def rank(self, pool: Pool, run: Run, params: BaseModel, backup: bool) -> Ranking:
        # A single candidate is ranked whether it is in the record or not.
        places = sorted(pool.candidates, key=lambda candidate: self._order.get(candidate.id, 0))
        return tuple(Ranked(c.target, c.model, *self._reason(c.id)) for c in places), None

    def _reason(self, target_id: str) -> tuple[str, float | str | None]:
        entry = self._reasons.get(target_id)
        return ("backup", None) if entry is None else (entry.code, entry.value)


def follows(strategy: Strategy, params: BaseModel) -> bool:
    """Whether a ranking follows from what is always recorded: inputs, session and id. Hashes of a fact do not, because
    the fact may be the client's own words."""
    leaf = strategy.leaf(params)
    if leaf.name == "consistent_hash":
        return strategy is not leaf or (isinstance(params, ConsistentHashParams) and params.fact is None)
    return leaf.replayable or leaf.name == "ab_test"


def _wrapped(
    inputs: Mapping[str, Any], rule: Rule | None, before_ranking: Callable[[Run], None]
) -> Sequence[tuple[str, Callable[[Run], None]]]:
    """The stages, with what is known put in before the first of them and before the strategy."""

    def begin(run: Run) -> None:
        run.inputs = dict(inputs)
        run.rule, run.matched = rule, True
        admission.apply(run)

    def narrow(run: Run) -> None:
        smart_routing.apply(run)
        before_ranking(run)

    instead = {admission.NAME: begin, smart_routing.NAME: narrow}
    return tuple((name, instead.get(name, apply)) for name, apply in STAGES)


def _another(route_id: str, draw: int) -> str:
    """The id of another request like this one."""
    digest = hashlib.blake2b(f"{route_id}/{draw}".encode(), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"
