"""Deciding for callers that dispatch themselves, and hearing what came of it.

The same pipeline as in the gateways runs here, by the live revision, over the host's shared live state: counters
advance, half-open slots are taken, sessions are pinned. A decision counts as an attempt in flight until its outcome
is reported or its lease (the profile's total time-out) is over; outcomes reach circuits, samples and quarantines as
those of our own attempts do. Everything is recorded through this process's journal. Must not import views.
"""

from __future__ import annotations

import fnmatch
import time
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self
from uuid import UUID

from asgiref.sync import async_to_sync

from history.ids import new_id
from history.models import RouteHistory
from history.repository import Metric, RouteHistoryRepository
from routes import host
from routes.actions.errors import Conflict, Forbidden, Invalid, Missing
from routes.engine import retry
from routes.engine.explain import describe, pack_decision
from routes.engine.facts import Facts, KeyFacts, check_given
from routes.engine.live import CLAIM_LEASE
from routes.engine.pipeline import decide
from routes.engine.stages import affinity
from routes.engine.types import DECISION, Outcome, Ranked, Requirements, RouteRequest
from routes.snapshots import live_snapshot
from routing_project.console.decisions.claims import Claims, Held
from routing_project.console.metrics.counting import count_decision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from routes.engine.live import LiveState
    from routes.engine.snapshot import Profile, Snapshot, Target
    from routes.engine.types import Decision
    from routes.models import AccessKey
    from routing_project.console.decisions.documents import DecisionRequest, OutcomeReport


#: Error classes that come of a status, for callers that report the class alone.
STATUS_OF_CLASS: Final = {
    "rate_limited": 429,
    "auth_failed": 401,
    "quota_exhausted": 402,
    "upstream_5xx": 500,
    "overloaded": 529,
    "upstream_redirect": 302,
}
#: Classes that say nothing of the target.
NOT_THE_TARGETS_FAULT: Final = frozenset({"cancelled", "client_error", "content_filter", "context_length"})


class Caller(NamedTuple):
    """Who asks: an access key, or an operator in a browser."""

    key_id: str = ""  # "" = no key
    name: str = ""
    profile: str = ""  # the key's own; "" = none
    profiles: frozenset[str] | None = None  # others it may use; None = any
    models: Callable[[str], bool] = lambda _model: True
    region: str | None = None
    tags: frozenset[str] = frozenset()
    overrides: bool = False
    operator: bool = False

    @classmethod
    def of(cls, key: AccessKey | None, name: str, scopes: frozenset[str]) -> Self:
        """By access key, or without one a person. A key without the scope ``route`` has no profile of its own."""
        operator = "operate" in scopes
        if key is None:
            return cls(name=name, operator=operator)
        globs = key.allowed_models
        return cls(
            key_id=str(key.id),
            name=key.name,
            profile=key.profile if "route" in key.scopes else "",
            profiles=None if key.allowed_profiles is None else frozenset(key.allowed_profiles),
            models=lambda model: globs is None or any(fnmatch.fnmatchcase(model, glob) for glob in globs),
            region=key.region,
            tags=frozenset(key.tags),
            overrides="overrides" in key.allow,
            operator=operator,
        )

    def may_use(self, profile: str) -> bool:
        return self.profiles is None or profile == self.profile or profile in self.profiles


class Decisions:
    """Of one console process. ``live`` gives the host's state, opened on first use."""

    def __init__(
        self,
        live: Callable[[], LiveState],
        repository: RouteHistoryRepository | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = live
        self._repository = repository or RouteHistoryRepository()
        self._clock = clock
        self._rng = Random()
        self.claims = Claims(clock)

    # -- deciding ----------------------------------------------------------------------------------------
    def decide(self, wanted: DecisionRequest, caller: Caller) -> dict[str, Any]:
        """Choose, take, record; the answer of the contract. Some five queries and one journal record.

        Raises Invalid, Forbidden, Missing, Conflict (nothing is published yet).
        """
        snapshot = self._snapshot()
        profile = self._profile(snapshot, wanted, caller)
        if wanted.model is not None and not caller.models(wanted.model):
            raise Forbidden(f"this access key may not use model '{wanted.model}'")
        if wanted.strategy is not None and not (caller.overrides or caller.operator):
            raise Forbidden("this access key may not choose the strategy")
        facts = _checked(wanted.facts)
        live = self._live(snapshot)
        route = new_id()
        request = self._request(route, wanted, facts, profile, caller)
        now = self._clock()
        before = time.perf_counter()
        decision = decide(snapshot, profile, request, live, now, self._rng)
        selection_us = int((time.perf_counter() - before) * 1e6)
        place = self._take(route, decision, profile, live, caller, now)
        self._record(route, wanted, caller, decision, place, selection_us)
        count_decision(
            decision,
            chosen=place is not None,
            model_type=wanted.model_type,
            known=snapshot.model_types,
            region=request.region if request.region in snapshot.regions else None,
        )
        return _answer(route, decision, place)

    @staticmethod
    def _snapshot() -> Snapshot:
        snapshot = live_snapshot()
        if snapshot is None:
            raise Conflict("no configuration has been published yet")
        return snapshot

    def _live(self, snapshot: Snapshot) -> LiveState:
        """The host's state, told what this process knows of the configuration. Five queries."""
        live = self._open()
        host.publish(live, snapshot)
        host.tell(live, self._clock())
        return live

    def _profile(self, snapshot: Snapshot, wanted: DecisionRequest, caller: Caller) -> Profile:
        slug = wanted.profile or caller.profile
        if not slug:
            if caller.profiles is not None:
                raise Invalid.from_errors([("profile", "this access key needs one")])
            if snapshot.unnamed is None:
                raise Conflict("the live revision is too old for decisions without a profile; publish again")
            return snapshot.unnamed
        profile = snapshot.profiles.get(slug)
        if profile is None:
            raise Missing(f"there is no profile '{slug}' in the live revision")
        if not caller.may_use(slug):
            raise Forbidden(f"this access key may not use profile '{slug}'")
        return profile

    def _request(
        self, route: UUID, wanted: DecisionRequest, facts: Mapping[str, Any], profile: Profile, caller: Caller
    ) -> RouteRequest:
        model, region = wanted.model or "", wanted.region or caller.region
        needs = wanted.requirements
        tags = frozenset(wanted.tags)
        return RouteRequest(
            str(route),
            DECISION,
            model,
            session=wanted.session,
            key_id=caller.key_id,
            region=region,
            tags=tags,
            strategy=wanted.strategy,
            model_type=wanted.model_type,
            requirements=Requirements(needs.version, needs.model_size, frozenset(needs.capabilities))
            if needs is not None
            else None,
            facts=Facts(
                operation=DECISION,
                model=model,
                route_id=str(route),
                session=wanted.session,
                region=region,
                tags=tags,
                headers={},
                key=KeyFacts(caller.name, caller.tags),
                client_ip=wanted.source.client_ip or "",
                wall=time.time(),
                scenario=profile.scenario,
                given=facts,
            ),
        )

    def _take(
        self, route: UUID, decision: Decision, profile: Profile, live: LiveState, caller: Caller, now: float
    ) -> Ranked | None:
        """The first of the ranking that takes a claim; it is pinned for the session, because its caller is about to
        go there."""
        lease = profile.timeouts.total or CLAIM_LEASE
        index = 0
        while (place := decision.place(index)) is not None:
            claim = live.claim(place.target, now, decision.panic, lease)
            if claim is not None:
                pin = self._pin(decision, place.target, live, now)
                self.claims.keep(route, Held(claim, live, place, profile, caller.key_id, pin, now + lease))
                return place
            index += 1
        return None

    def _pin(self, decision: Decision, target: Target, live: LiveState, now: float) -> bytes | None:
        plan = decision.pin
        if plan is None or plan.keep:
            return None
        affinity.answered(plan, live, target.id, now)
        return plan.key

    def _record(
        self,
        route: UUID,
        wanted: DecisionRequest,
        caller: Caller,
        decision: Decision,
        place: Ranked | None,
        selection_us: int,
    ) -> None:
        target = place.target if place is not None else None
        nothing = "model_not_found" if decision.unserved else "no_target_available"
        async_to_sync(self._repository.record_route_decision)(
            id=route,
            status="decided" if place is not None else "rejected",
            route_type=wanted.route_type,
            profile=decision.profile.slug,
            profile_id=UUID(decision.profile.id),
            strategy=decision.strategy if place is not None else "none",
            session_key=wanted.session,
            key_id=UUID(caller.key_id) if caller.key_id else None,
            key_name=caller.name,
            endpoint_id=UUID(target.id) if target is not None else None,
            endpoint=target.endpoint if target is not None else "",
            provider=target.provider.slug if target is not None else "",
            model=place.model if place is not None else "",
            requested_model=wanted.model or "",
            region=(target.region or "") if target is not None else "",
            head_id=target.head.id if target is not None and target.head is not None else "",
            source=decision.source if place is not None else "none",
            rule=decision.matched_rule,
            error_code=None if place is not None else nothing,
            selection_us=selection_us,
            degraded=decision.degraded,
            revision=decision.revision,
            decision=pack_decision(decision),
            client_ip=wanted.source.client_ip or "",
            user_agent=wanted.source.user_agent,
        )

    # -- outcomes ----------------------------------------------------------------------------------------
    def report(self, route: UUID, outcome: OutcomeReport, caller: Caller) -> dict[str, Any]:
        """Record what became of a decision and tell the live state, once; the same again changes nothing.

        Raises RouteNotFound (also for a decision of somebody else), StatusConflict.
        """
        held = self.claims.find(route)
        if held is None:
            self._check_owner(route, caller)
        elif not caller.operator and held.owner != caller.key_id:
            raise Missing("there is no decision with this id")
        news = async_to_sync(self._repository.update_route_status)(
            route,
            outcome.status,
            latency_ms=outcome.latency_ms,
            ttfb_ms=outcome.ttfb_ms,
            http_status=outcome.http_status,
            error_code=outcome.error_code,
            message=outcome.message,
            input_tokens=outcome.input_tokens,
            output_tokens=outcome.output_tokens,
            metrics=[Metric(each.metric_name, each.metric_value, each.metric_unit) for each in outcome.metrics],
        )
        if news:
            self._settle(route, outcome)
        return {"id": str(route), "status": outcome.status}

    def _check_owner(self, route: UUID, caller: Caller) -> None:
        """A decision that another process made, or one before a restart. One query."""
        row = RouteHistory.objects.filter(id=route).values_list("access_key_id", flat=True).first()
        if not caller.operator and (row is None or str(row) != caller.key_id):
            raise Missing("there is no decision with this id")

    def _settle(self, route: UUID, outcome: OutcomeReport) -> None:
        held = self.claims.take(route) or self._taken_again(route)
        if held is None:
            return
        now, target, live = self._clock(), held.place.target, held.live
        ruling = _ruling(outcome, held.profile)
        first_event = None if outcome.ttfb_ms is None else outcome.ttfb_ms / 1000
        timeouts = held.profile.timeouts
        live.finish(
            held.claim,
            target,
            Outcome(
                ruling.verdict,
                ruling.error_class,
                outcome.latency_ms / 1000,
                first_event,
                outcome.output_tokens,
                first_event is not None,
                timeouts.first_byte if first_event is None else timeouts.first_event,
            ),
            now,
            outcome.output_tokens,
            outcome.input_tokens,
        )
        retry.keep_away(live, target, held.place.model, ruling, None, now)
        if held.pin is not None and ruling.verdict == "failure":
            pin = live.pin(held.pin, now)
            if pin is not None and pin.target_id == target.id:  # else the session has moved on since
                live.set_pin(held.pin, target.id, now, 0.0, profile_id=held.profile.id)

    def _taken_again(self, route: UUID) -> Held | None:
        """A decision whose hold is gone (its lease was over, or this process is a new one): its outcome still says
        what its target is like. One query; None when the target is gone or takes no claim."""
        row = RouteHistory.objects.filter(id=route).values_list("profile", "endpoint_id", "model").first()
        if row is None:
            return None
        slug, endpoint, model = row
        snapshot = self._snapshot()
        profile = snapshot.profiles.get(slug, snapshot.unnamed)
        target = next((each for each in profile.targets if each.id == str(endpoint)), None) if profile else None
        if profile is None or target is None:
            return None
        live, now = self._live(snapshot), self._clock()
        claim = live.claim(target, now)
        if claim is None:
            return None
        return Held(claim, live, Ranked(target, model, ""), profile, "", None, now)


def _checked(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts a caller states, in the engine's types; who asks is not for it to state. Raises Invalid."""
    facts, errors = check_given(given)
    errors += [(f"facts.{name}", "comes from the access key") for name in facts if name.startswith("key.")]
    if errors:
        raise Invalid.from_errors(errors)
    return facts


def _ruling(outcome: OutcomeReport, profile: Profile) -> retry.Ruling:
    """What an outcome means for its target, by the table our own attempts go by."""
    if outcome.status == "routed":
        return retry.rule_on_status(200, None, profile.failover)
    if outcome.http_status is not None and outcome.http_status >= 400:
        return retry.rule_on_status(outcome.http_status, None, profile.failover)
    code = outcome.error_code or ""
    if code in STATUS_OF_CLASS:
        return retry.rule_on_status(STATUS_OF_CLASS[code], None, profile.failover)
    if code in NOT_THE_TARGETS_FAULT:
        return retry.Ruling(code, retry.Step.SURFACE, "neutral")
    if code in retry.FAILURES:
        return retry.rule_on_failure(code)
    return retry.rule_on_failure("timeout_first_byte" if outcome.status == "timeout" else "invalid_response")


def _answer(route: UUID, decision: Decision, place: Ranked | None) -> dict[str, Any]:
    told: Mapping[str, Any] = describe(decision)
    ranking = [
        {name: line[name] for name in ("target", "provider", "model", "endpoint", "head_id", "score", "reason")}
        for line in told["ranking"]
    ]
    target = place.target if place is not None else None
    index = decision.ranked.index(place) if place is not None else -1
    region = target.region if target is not None else None
    return {
        "id": str(route),
        "status": "decided" if place is not None else "rejected",
        "head_id": ranking[index]["head_id"] if place is not None else "",
        "endpoint": target.endpoint if target is not None else "",
        "provider": target.provider.slug if target is not None else "",
        "model": place.model if place is not None else "",
        "region": region,
        "strategy_used": decision.strategy if place is not None else "none",
        "source": decision.source if place is not None else "none",
        "reason": ranking[index]["reason"] if place is not None else "no target is available",
        "evaluated_stages": told["evaluated_stages"],
        "matched_rule": decision.matched_rule,
        "matched_rule_index": decision.matched_rule_index,
        "degraded": decision.degraded,
        "revision": decision.revision,
        "metadata": {"model": place.model if place is not None else "", "region": region},
        "ranking": ranking,
        "excluded": [
            {name: line[name] for name in ("target", "provider", "stage", "code", "reason")}
            for line in told["excluded"]
        ],
    }
