"""How providers and targets are right now: the one place that reads it, for the API, the board and alerts.

Admin states, checks, heads and what people forced are in the database; circuits, quarantines, figures and outcomes in
the host's live state. A report is both at one moment, in five queries however many targets there are. Times are
aware datetimes: the live state's clock is converted here and nowhere else. Holds no secrets. Must not import
``history``, nor anything of HTTP.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from health import words
from health.models import Check, HealthEvent
from health.probes import claims
from health.probes.plan import plan_of
from routes import decided, host, ports
from routes.engine import labels
from routes.engine.local_live import LocalLiveState
from routes.engine.provider import head_key
from routes.live import SharedLiveState
from routes.snapshots import live_snapshot
from routing_project.env import get_env

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from routes.decided import Decision, Decisions
    from routes.engine import live
    from routes.engine.live import Observed
    from routes.engine.provider import Head as HeadSettings
    from routes.engine.provider import Provider, Target
    from routes.engine.snapshot import Snapshot
    from routes.engine.tables.state import TableState
    from routes.engine.types import AdminState, CircuitState

#: Events that may say why circuits are open, at most.
MAX_CAUSES: Final = 1000
#: Two moments closer than this are the same: they travelled through another clock.
SAME_MOMENT: Final = timedelta(seconds=2)
PERCENTILES: Final = (50, 95, 99)
#: From the most to the least taken out of service.
_STRICTNESS: tuple[AdminState, ...] = ("disabled", "draining", "active")


@dataclass(frozen=True, slots=True)
class Admin:
    """What people decided. ``until`` None = for good."""

    state: AdminState = "active"
    until: datetime | None = None
    reason: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Circuit:
    """``since`` None = nothing ever happened to it. ``until``: open, when it is tried again; None = when somebody lets
    go of it. ``reopened``: how often it failed again while it was tried, since it last closed. ``forced``: people hold
    it in its state until ``forced_until``, None = until they reset it."""

    state: CircuitState = "closed"
    since: datetime | None = None
    until: datetime | None = None
    reason: str = ""
    reopened: int = 0
    forced: bool = False
    forced_until: datetime | None = None
    by: str = ""
    note: str = ""  # what they said


@dataclass(frozen=True, slots=True)
class Quarantine:
    """``model``: upstream name; None = the provider's credential as a whole. ``told``: the provider itself said until
    when."""

    model: str | None
    since: datetime
    until: datetime
    cause: str
    told: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    at: datetime
    error_class: str | None  # None = it succeeded
    http_status: int | None
    source: str  # traffic | probe


@dataclass(frozen=True, slots=True)
class ObservedState:
    """What checks found. All but ``state`` are of the last check; None where there was none."""

    state: Observed = "unknown"
    since: datetime | None = None
    checked_at: datetime | None = None
    next_check_at: datetime | None = None
    kind: str = ""  # models | completion | tcp | http | traffic
    latency_ms: float | None = None
    error_class: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class HeadState:
    """``status``: offline if it is not heard of, else what it says of itself."""

    head_id: str
    status: str  # active | draining | offline
    load: float | None
    capacity: float | None
    heard_at: datetime | None


@dataclass(frozen=True, slots=True)
class TargetHealth:
    id: str
    label: str
    provider: str  # slug
    provider_id: str
    model: str | None  # as configured; None = any
    upstream_model: str | None
    head: HeadState | None
    stands_by: bool  # the base URL of a provider whose heads serve
    endpoint: str
    profiles: tuple[str, ...]  # slugs of those that use it
    status: Observed  # healthy, degraded, unhealthy, unknown: the label
    admin: Admin  # its own; the provider's may be stricter
    admin_in_force: AdminState
    observed: ObservedState
    circuit: Circuit
    quarantine: Quarantine | None  # of its credential or model, whichever lasts longer
    eligible: bool  # whether a request may be sent to it now
    next_try: datetime | None  # when it is tried again; None = it is in use, or for as long as people say
    in_flight: int
    average_latency_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    measured: str  # what the percentiles are of: latency, or first_event of streams
    samples: int
    success_rate: float
    consecutive_failures: int
    usable: bool
    listed_healthy: bool
    recent: tuple[Outcome, ...]  # the last 10, oldest first
    last_error: Outcome | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class HeadCounts:
    """``active``: approved, online and not draining."""

    registered: int = 0
    approved: int = 0
    online: int = 0
    active: int = 0


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """Counts of failures and rates are those of the target that does worst; the latency is the mean of its targets'."""

    id: str
    slug: str
    name: str
    wire: str
    region: str | None
    status: Observed
    admin: Admin
    last_check: datetime | None
    consecutive_failures: int
    average_latency_ms: float | None
    success_rate: float
    usable: bool
    listed_healthy: bool
    in_flight: int
    eligible_targets: int
    quarantines: tuple[Quarantine, ...]
    heads: HeadCounts
    targets: tuple[TargetHealth, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """``live`` False: no gateway has run on this host yet, or its state cannot be read; then all figures are those of
    no traffic. ``revision`` None: nothing has been published."""

    at: datetime
    live: bool
    revision: int | None
    providers: tuple[ProviderHealth, ...] = ()

    @property
    def targets(self) -> tuple[TargetHealth, ...]:
        return tuple(target for provider in self.providers for target in provider.targets)

    @property
    def average_latency_ms(self) -> float | None:
        return _mean(provider.average_latency_ms for provider in self.providers)

    def count(self, status: Observed) -> int:
        return sum(provider.status == status for provider in self.providers)

    def provider(self, key: str) -> ProviderHealth | None:
        """By slug or id."""
        return next((provider for provider in self.providers if key in (provider.slug, provider.id)), None)

    def target(self, target_id: str) -> TargetHealth | None:
        return next((target for target in self.targets if target.id == target_id), None)


def read(*, brief: bool = False) -> HealthReport:
    """The report of this moment, of all providers of the live revision. ``brief``: without what checks found beyond
    the state, and without the outcomes that opened circuits."""
    heads = ports.heads()
    snapshot = live_snapshot(heads)
    wall, now = time.time(), time.monotonic()  # in this order: see ``set_forced``
    if snapshot is None:
        return HealthReport(_wall(wall), get_env().live_path.exists(), None)
    decisions = decided.decisions()
    state = host.told(snapshot, now, decisions, wall)
    live = isinstance(state, SharedLiveState)
    return _Reader(snapshot, state or LocalLiveState(), now, wall, live, decisions, heads, brief).report()


class _Rows(NamedTuple):
    """What the database knows. Two queries at most, none in brief."""

    checks: Mapping[str, Sequence[Check]]  # by provider id
    causes: Mapping[str, HealthEvent]  # the last event that opened a circuit, by target id

    @classmethod
    def load(cls, opened: Sequence[str]) -> _Rows:
        """``opened``: targets whose circuit is not closed."""
        checks: dict[str, list[Check]] = {}
        for check in Check.objects.order_by("label"):
            checks.setdefault(str(check.provider_id), []).append(check)
        causes: dict[str, HealthEvent] = {}
        if opened:
            events = HealthEvent.objects.filter(
                kind=HealthEvent.Kind.CIRCUIT, after="open", target_id__in=opened
            ).order_by("-at", "-id")
            for event in events[:MAX_CAUSES]:
                causes.setdefault(str(event.target_id), event)
        return cls(checks, causes)


class _Reader:
    """``now`` and ``wall`` are one moment, on the clock of ``state`` and as Unix time; ``live``: it is the host's."""

    def __init__(
        self,
        snapshot: Snapshot,
        state: TableState,
        now: float,
        wall: float,
        live: bool,
        decisions: Decisions,
        heads: Sequence[Mapping[str, Any]],
        brief: bool,
    ) -> None:
        self.snapshot, self.state = snapshot, state
        self.now, self.wall, self.live = now, wall, live
        self.decisions = decisions
        self.heads: dict[str, list[Mapping[str, Any]]] = {}
        for entry in heads:
            self.heads.setdefault(entry["provider"], []).append(entry)
        self.time = _wall(wall)
        self.quarantines: dict[str, list[Quarantine]] = {}
        for row in self.state.quarantines(self.now):
            until, cause, by_upstream = row.quarantine
            found = Quarantine(row.model, self.at(row.made), self.at(until), cause, by_upstream)
            self.quarantines.setdefault(row.provider_id, []).append(found)
        self.used = labels.judged_by(snapshot, self.ever_used)
        targets = [target for used in self.used.values() for target, _ in used]
        opened = [target.id for target in targets if self.state.circuit(target, self.now).state != "closed"]
        self.rows = _Rows({}, {}) if brief else _Rows.load(opened)
        plan = plan_of(snapshot)
        self.asked = {target.id: ident for ident, subject in plan.items() for target in subject.targets}
        self.serving = {provider.id for provider in snapshot.providers.values() if self.has_active_head(provider)}

    def report(self) -> HealthReport:
        providers = tuple(self.provider(provider) for provider in self.snapshot.providers.values())
        return HealthReport(self.time, self.live, self.snapshot.number, providers)

    # -- times ---------------------------------------------------------------------------------------------
    def at(self, moment: float) -> datetime:
        """A moment of the engine's clock."""
        return _wall(self.wall - (self.now - moment))

    # -- one provider --------------------------------------------------------------------------------------
    def provider(self, provider: Provider) -> ProviderHealth:
        admin = _admin(self.decisions.get(provider.id), self.time)
        targets = tuple(self.target(target, profiles, admin) for target, profiles in self.used[provider.id])
        checks = self.rows.checks.get(provider.id, ())
        failures = max((target.consecutive_failures for target in targets), default=0)
        rate = min((target.success_rate for target in targets), default=1.0)
        quarantines = tuple(
            sorted(self.quarantines.get(provider.id, ()), key=lambda each: (each.model is not None, each.model or ""))
        )
        found = ProviderHealth(
            id=provider.id,
            slug=provider.slug,
            name=provider.name,
            wire=provider.wire,
            region=provider.region,
            status=labels.of_provider(target.status for target in targets),
            admin=admin,
            last_check=max((check.checked_at for check in checks if check.checked_at), default=None),
            consecutive_failures=failures,
            average_latency_ms=_mean(target.average_latency_ms for target in targets),
            success_rate=rate,
            usable=labels.usable(rate, failures),
            listed_healthy=labels.listed_healthy(failures),
            in_flight=self.state.in_flight(provider.id),
            eligible_targets=sum(target.eligible for target in targets),
            quarantines=quarantines,
            heads=self.head_counts(provider),
            targets=targets,
        )
        return replace(found, why=words.provider(found, self.time))

    def head_counts(self, provider: Provider) -> HeadCounts:
        heads = self.heads.get(provider.id, ())
        states = [
            (head["approved"], self.state.head_state(head_key(provider.id, head["id"]), self.now)) for head in heads
        ]
        return HeadCounts(
            registered=len(heads),
            approved=sum(approved for approved, _ in states),
            online=sum(state.online for _, state in states),
            active=sum(approved and state.online and not state.draining for approved, state in states),
        )

    def has_active_head(self, provider: Provider) -> bool:
        """So that its base URL stands by."""
        states = (self.state.head_state(head_key(provider.id, head.id), self.now) for head in provider.heads)
        return any(state.online and not state.draining for state in states)

    # -- one target ----------------------------------------------------------------------------------------
    def ever_used(self, target: Target) -> bool:
        """Whether anything happened to it that matters now."""
        return bool(self.state.recent(target.id)) or self.state.circuit(target, self.now).state != "closed"

    def target(self, target: Target, profiles: Iterable[str], of_provider: Admin) -> TargetHealth:
        state, now = self.state, self.now
        decision = self.decisions.get(target.id)
        admin = _admin(decision, self.time)
        strictest = min((admin, of_provider), key=lambda each: _STRICTNESS.index(each.state))
        circuit = self.circuit(target, decision)
        quarantine = self.quarantine(target)
        observed = self.observed(target)
        head = None if target.head is None else self.head(target.provider, target.head)
        stats = state.stats(target.id)
        recent = tuple(self.outcome(each) for each in state.recent(target.id))
        failures, rate = stats.consecutive_failures, stats.success_rate
        heard = any(each.source == "traffic" and self.is_recent(each.at) for each in recent)
        status = labels.of_target(observed.state, circuit.state, rate, failures, heard=heard)
        if head is not None and head.status == "offline":
            status = "unhealthy"
        streams, others = (stats.answers_s(stream, PERCENTILES, now) for stream in (True, False))
        stream = streams[1] > others[1]
        measured, samples = streams if stream else others
        stands_by = head is None and target.provider.id in self.serving
        out = self.out_until(strictest, circuit, quarantine, observed, head, stands_by=stands_by)
        found = TargetHealth(
            id=target.id,
            label=target.label,
            provider=target.provider.slug,
            provider_id=target.provider.id,
            model=target.model,
            upstream_model=_upstream(target),
            head=head,
            stands_by=stands_by,
            endpoint=target.endpoint,
            profiles=tuple(profiles),
            status=status,
            admin=admin,
            admin_in_force=strictest.state,
            observed=observed,
            circuit=circuit,
            quarantine=quarantine,
            eligible=not out,
            next_try=None if None in out else max((until for until in out if until), default=None),
            in_flight=stats.in_flight,
            average_latency_ms=_ms(stats.latency_ema_s),
            p50_ms=_ms(measured[0]),
            p95_ms=_ms(measured[1]),
            p99_ms=_ms(measured[2]),
            measured="first_event" if stream else "latency",
            samples=samples,
            success_rate=round(rate, 4),
            consecutive_failures=failures,
            usable=labels.usable(rate, failures),
            listed_healthy=labels.listed_healthy(failures),
            recent=recent,
            last_error=next((each for each in reversed(recent) if each.error_class is not None), None),
        )
        return replace(found, why=words.target(found, strictest, self.cause(found), self.time))

    def cause(self, found: TargetHealth) -> list[str]:
        """Error classes that opened its circuit: as the timeline has it, else as far as its last outcomes tell."""
        since = found.circuit.since
        if found.circuit.state != "open" or since is None:
            return []
        event = self.rows.causes.get(found.id)
        if event is not None and abs(event.at - since) < SAME_MOMENT:
            return words.failures(event.detail, event.reason)
        until_then = [outcome.error_class for outcome in found.recent if outcome.at <= since + SAME_MOMENT]
        return words.causes(until_then, found.circuit.reason)

    def is_recent(self, moment: datetime) -> bool:
        return moment.timestamp() > self.wall - labels.HEARD_SECONDS

    def circuit(self, target: Target, decision: Decision | None) -> Circuit:
        view = self.state.circuit(target, self.now)
        period = self.state.circuit_period(target.id)
        since, reason = period.since, period.reason
        if view.state == "half_open" and period.state == "open":
            # Its time has come and nobody has asked for it yet.
            since, reason = period.until, "recovery_timeout"
        found = Circuit(
            state=view.state,
            since=None if since is None else self.at(since),
            until=self.at(view.until) if view.state == "open" and view.until < inf else None,
            reason=reason,
            reopened=period.reopened,
        )
        if not view.forced or decision is None:
            return found
        return replace(
            found,
            since=decision.circuit_acted_at,
            reason=f"forced_{decision.forced}",
            forced=True,
            forced_until=decision.forced_until,
            by=decision.forced_by,
            note=decision.forced_reason,
        )

    def quarantine(self, target: Target) -> Quarantine | None:
        model = _upstream(target)
        rows = self.quarantines.get(target.provider.id, ())
        found = [row for row in rows if row.model is None or row.model == model]
        return max(found, key=attrgetter("until"), default=None)

    def observed(self, target: Target) -> ObservedState:
        state = self.state.observed(target.id, self.now)
        check = self.check(target)
        if check is None:
            return ObservedState(state)
        if not self.live:
            state = "unknown"
        return ObservedState(
            state=state,
            since=check.observed_since if check.observed == state else None,
            checked_at=check.checked_at,
            next_check_at=max(check.next_probe_at, self.time) if check.next_probe_at < claims.NEVER else None,
            kind=check.kind,
            latency_ms=check.latency_ms,
            error_class=check.error_class,
            message=check.message,
        )

    def check(self, target: Target) -> Check | None:
        """The check that speaks for it."""
        ident = self.asked.get(target.id)
        checks = self.rows.checks.get(target.provider.id, ())
        return next((check for check in checks if str(check.pk) == ident), None)

    def head(self, provider: Provider, head: HeadSettings) -> HeadState:
        state = self.state.head_state(head_key(provider.id, head.id), self.now)
        return HeadState(
            head.id,
            "offline" if not state.online else "draining" if state.draining else "active",
            state.load,
            head.capacity,
            None if state.heard_at is None else self.at(state.heard_at),
        )

    def outcome(self, outcome: live.RecentOutcome) -> Outcome:
        return Outcome(self.at(outcome.at), outcome.error_class, outcome.http_status, outcome.source)

    @staticmethod
    def out_until(
        admin: Admin,
        circuit: Circuit,
        quarantine: Quarantine | None,
        observed: ObservedState,
        head: HeadState | None,
        *,
        stands_by: bool,
    ) -> list[datetime | None]:
        """Until when each thing keeps requests away from a target; None = until something happens."""
        out: list[datetime | None] = []
        if admin.state != "active":
            out.append(admin.until)
        if circuit.state == "open":
            out.append(circuit.until)
        if quarantine is not None:
            out.append(quarantine.until)
        if observed.state == "unhealthy":
            out.append(observed.next_check_at)
        if stands_by or (head is not None and head.status != "active"):
            out.append(None)
        return out


def _upstream(target: Target) -> str | None:
    """What its model is called upstream; None where the client says which."""
    names = target.models("") if target.model else None
    return None if names is None else names[1]


def _admin(decision: Decision | None, now: datetime) -> Admin:
    if decision is None or (decision.admin_until is not None and decision.admin_until <= now):
        return Admin()
    return Admin(decision.admin_state, decision.admin_until, decision.admin_reason, decision.admin_by)


def _wall(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 1) if known else None
