"""``TableState``: the live state over tables. See ``live.LiveState`` for what each method promises.

Per process it keeps only what is its own (admin states, credential generations, the objects that work on records) and
what can be read again when a word says that it changed. Imports the engine only.
"""

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from routes.engine.circuit import CLOSED, OWNERS
from routes.engine.live import CLAIM_LEASE, Claim, Happening, HeadState, Quarantine, RecentOutcome
from routes.engine.quarantine import AUTH_WINDOW, auth_seconds
from routes.engine.tables.claims import TableClaim
from routes.engine.tables.counters import Counters
from routes.engine.tables.happenings import Happenings
from routes.engine.tables.keys import Keys, Permit, Seat
from routes.engine.tables.memory import MOVED, PROBED, QUARANTINED, TROUBLE, Memory, ThreadLocks, private
from routes.engine.tables.pins import PinCounts, Pins, Written
from routes.engine.tables.quarantines import Quarantines, Row
from routes.engine.tables.records import (
    HEARD_UNTIL,
    OBSERVED_AT,
    OBSERVED_UNTIL,
    REFUSED,
    REFUSED_GENERATION,
    ROUNDS,
    TROUBLED,
    UNHEALTHY,
)
from routes.engine.tables.registry import Records, alone
from routes.engine.tables.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from routes.engine import live
    from routes.engine.circuit import CircuitPeriod, CircuitView
    from routes.engine.limits import Crossing, Exceeded, KeyLimits, KeyUsage, MoneyWindow
    from routes.engine.live import Forced, Observed, Pin, PinEntry, PinKind
    from routes.engine.snapshot import Snapshot, Target
    from routes.engine.stats import TargetStats
    from routes.engine.tables.records import ProviderRecord, TargetRecord
    from routes.engine.types import AdminState, CircuitState, Outcome, Transition

_NOBODY: dict[str, AdminState] = {}


class TableState:
    """``rng`` draws the jitter of open periods."""

    def __init__(self, memory: Memory, rng: Random | None = None) -> None:
        self._memory = memory
        self._words = memory.words
        self._mutex = memory.locks.mutex
        self._rng = rng or Random()
        self._admin: dict[str, tuple[AdminState, float | None]] = {}
        self._records = Records(memory)
        self._quarantines = Quarantines(memory)
        self._counters = Counters(memory)
        self._pins = Pins(memory)
        self._pin_counts = PinCounts(self._pins)
        self._keys = Keys(memory, lambda: alone(memory))
        self._happenings = Happenings(memory)
        #: heads that take no new sessions, by target, found together with the suspects
        self._away: dict[str, Literal["head_offline", "head_draining"]] = {}
        self._now = 0.0  # of the last decision
        self._moved: Callable[[Transition], None] = _unheard
        #: what ``suspects`` found last, the two words then, and how long it holds if they stay
        self._suspects: Collection[str] = ()
        self._seen = (-1.0, -1.0)
        self._holds_until = -inf

    def hear_moves(self, moved: Callable[[Transition], None]) -> None:
        self._moved = moved

    # -- from the configuration --------------------------------------------------------------------------
    def set_admin_states(self, states: Mapping[str, tuple[AdminState, float | None]], now: float, wall: float) -> None:
        self._admin = {
            key: (state, None if until is None else now + (until - wall))
            for key, (state, until) in states.items()
            if state != "active"
        }

    def set_forced(self, forced: Mapping[str, Forced], now: float, wall: float) -> None:
        for target_id, (act, until, at) in forced.items():
            # Resets are told for good, of targets that left long ago too: no record is made for them.
            record = self._records.find(target_id) if act == "reset" else self._records.of(target_id)
            if record is None or at <= record.circuit.acted:
                continue
            with record.guard:
                circuit = record.circuit
                # A reset is for what had happened by then: a later word of another host is not undone. What people
                # hold is let go of by their next act, whatever the clocks of their hosts say. Read ``wall`` before
                # ``now``: a pause between the two makes an act seem later then, not earlier than what it is for.
                if act == "reset" and circuit.held(now) is None and (circuit.since or -inf) > now - (wall - at):
                    circuit.pass_over(at)
                    continue
                transition = circuit.act(act, 0.0 if until is None else now + (until - wall), at, now)
                if transition is not None and transition.after == "closed":
                    record.stats.recovered()
                record.set_flag(TROUBLED)
            if transition is not None:
                self._moved(transition)

    def set_credentials(self, generations: Mapping[str, int]) -> None:
        self._quarantines.generations = dict(generations)
        self._holds_until = -inf

    def published(self, snapshot: Snapshot) -> None:
        self._records.configured(target for profile in snapshot.profile_list for target in profile.targets)
        self._holds_until = -inf

    # -- what a decision reads ---------------------------------------------------------------------
    def inactive(self, now: float) -> Mapping[str, AdminState]:
        if not self._admin:
            return _NOBODY
        return {key: state for key, (state, until) in self._admin.items() if until is None or until > now}

    def admin_state(self, target: Target, now: float) -> AdminState:
        inactive = self.inactive(now)
        of_provider, own = inactive.get(target.provider.id, "active"), inactive.get(target.id, "active")
        return own if of_provider == "active" or own == "disabled" else of_provider

    def heads_away(self, now: float) -> Mapping[str, Literal["head_offline", "head_draining"]]:
        if self._records.heads:
            self.suspects(now)
        return self._away

    def suspects(self, now: float) -> Collection[str]:
        words, seen = self._words, self._seen
        self._now = now
        if now < self._holds_until and words[TROUBLE] == seen[0] and words[QUARANTINED] == seen[1]:
            return self._suspects
        return self._look(now)

    def _look(self, now: float) -> Collection[str]:
        """Ask every record that is flagged. ``_holds_until`` is when time alone may change the answer."""
        holds = self.tend(now)
        self._records.check()
        self._seen = self._words[TROUBLE], self._words[QUARANTINED]
        found, until = self._quarantines.providers(now)
        holds = min(holds, until)
        for record in self._records.flagged():
            if record.flag & UNHEALTHY:
                with record.guard:
                    if record.observed(now) == "unhealthy":
                        found.add(record.id)
                        holds = min(holds, record.cells[OBSERVED_UNTIL])
                    else:  # nobody has probed it for a while
                        record.clear_flag(UNHEALTHY)
            if record.flag & TROUBLED and record.target is not None:
                settings = record.target.provider.circuit
                with record.guard:  # or somebody could open it before its flag is cleared
                    if record.circuit.view(settings, now) is CLOSED:
                        record.clear_flag(TROUBLED)
                        continue
                    found.add(record.id)
                    if (held_until := record.circuit.held_until) > 0 and now < held_until:
                        holds = min(holds, held_until)
                    if record.circuit.closed:  # slow start ends by the clock
                        holds = min(holds, (record.circuit.since or now) + settings.slow_start)
        away: dict[str, Literal["head_offline", "head_draining"]] = {}
        for head, target_ids in self._records.heads.values():
            state = head.head_state(now)
            if not state.online:
                away.update(dict.fromkeys(target_ids, "head_offline"))
                continue
            holds = min(holds, state.until)
            if state.draining:
                away.update(dict.fromkeys(target_ids, "head_draining"))
        self._away = away
        self._suspects = found or ()
        self._holds_until = holds
        return self._suspects

    def tend(self, now: float) -> float:
        """Look after shared memory where it is due; until when that need not be done again."""
        return inf

    def circuit(self, target: Target, now: float) -> CircuitView:
        return self._records.of(target.id).circuit.view(target.provider.circuit, now)

    def quarantined_until(self, target: Target, model: str, now: float) -> Quarantine | None:
        return self._quarantines.find(target.provider.id, model, now)

    def stats(self, target_id: str) -> TargetStats:
        return self._records.of(target_id).stats

    def stats_of(self, target_ids: Sequence[str]) -> Sequence[TargetStats]:
        of = self._records.of
        return [of(target_id).stats for target_id in target_ids]

    def observed(self, target_id: str, now: float) -> Observed:
        return self._records.of(target_id).observed(now)

    def recent(self, target_id: str) -> list[RecentOutcome]:
        record = self._records.of(target_id)
        with record.guard:
            return record.recent.last()

    def head_state(self, head_key: str, now: float) -> HeadState:
        return self._records.of(head_key).head_state(now)

    def recovered_at(self, target: Target, model: str, now: float) -> float | None:
        circuit = self._records.of(target.id).circuit
        if not circuit.closed or self._quarantines.find(target.provider.id, model, now) is not None:
            return None
        known = (circuit.since, self._quarantines.ended_at(target.provider.id, model, now))
        return max((moment for moment in known if moment is not None), default=None)

    # -- what only people look at --------------------------------------------------------------------------
    def circuit_period(self, target_id: str) -> CircuitPeriod:
        """A circuit as it was left by its last change, whatever the time says since."""
        record = self._records.of(target_id)
        with record.guard:
            return record.circuit.as_left()

    def circuit_state(self, target: Target, now: float) -> CircuitState:
        """The one in force; of a target nobody has a record of, closed. Makes none."""
        record = self._known(target.id)
        return "closed" if record is None else record.circuit.view(target.provider.circuit, now).state

    def observed_at(self, target_id: str) -> float | None:
        """When a probe, or traffic in its place, last said how a target is; None if never. Makes no record."""
        record = self._known(target_id)
        return None if record is None else record.cells[OBSERVED_AT] or None

    def _known(self, target_id: str) -> TargetRecord | None:
        record = self._records.find(target_id)
        if record is not None and record.given_away:
            self._records.check()
            record = self._records.find(target_id)
        return record

    def quarantines(self, now: float) -> list[Row]:
        """All that are in force."""
        return self._quarantines.in_force(now)

    def in_flight(self, provider_id: str) -> int:
        return self._records.provider(provider_id).in_flight.sum()

    # -- sessions ------------------------------------------------------------------------------------------
    def pin(self, key: bytes, now: float) -> Pin | None:
        return self._pins.find(key, now)

    def set_pin(
        self,
        key: bytes,
        target_id: str,
        now: float,
        ttl: float,
        *,
        profile_id: str,
        session: str = "",
        kind: PinKind = "session",
        pinned_at: float | None = None,
    ) -> None:
        first = now if pinned_at is None else pinned_at
        self._pins.put(Written(key, target_id, profile_id, first, now + ttl, now, kind, session))

    def pins(self, now: float, profile_id: str | None = None, target_id: str | None = None) -> Iterator[PinEntry]:
        return self._pins.entries(now, profile_id, target_id)

    def drop_pins(self, now: float, profile_id: str | None = None, target_id: str | None = None) -> int:
        return self._pins.drop(now, profile_id, target_id)

    def pinned(self, target_id: str) -> int:
        return self._pin_counts.of(target_id, self._now)

    def remember_input(self, key: bytes, tokens: int, now: float) -> None:
        self._pins.remember_input(key, tokens, now)

    def last_input(self, key: bytes, now: float) -> int | None:
        return self._pins.last_input(key, now)

    # -- what a decision advances ------------------------------------------------------------------
    def rotate(self, pool: str) -> int:
        return self._counters.rotate(pool)

    def peek(self) -> Peek:
        return Peek(self._counters)

    def fork(self) -> TableState:
        layout = self._memory.layout
        stamp = int(max(self._words[word] for word in (TROUBLE, QUARANTINED, MOVED)))
        memory = Memory(
            private(layout.length), layout, ThreadLocks(), self._memory.owner, first_stamp=stamp // OWNERS + 1
        )
        memory.raw[: layout.base] = self._memory.raw[: layout.base]
        self._records.copy_to(memory)
        self._quarantines.copy_to(memory)
        self._counters.copy_to(memory)
        self._pins.copy_to(memory)
        self._keys.copy_to(memory)
        rng = Random()
        rng.setstate(self._rng.getstate())
        twin = TableState(memory, rng)
        twin._admin = self._admin
        twin._quarantines.generations = self._quarantines.generations
        twin._records.take_over(self._records)
        twin._now = self._now
        return twin

    def sharing(self) -> Sharing:
        """What other hosts may be told, and tell us; one reader per call."""
        return Sharing(
            self._memory, self._records, self._quarantines, self._pins, self._keys, lambda each: self._moved(each)
        )

    # -- what others find out ------------------------------------------------------------------------------
    def set_observed(self, target_id: str, state: Observed, until: float, at: float | None = None) -> None:
        record = self._records.of(target_id)
        with record.guard:
            record.observe(state, until, at or 0.0)
        if at is not None:
            self._memory.changed(PROBED)

    def probed(
        self, target: Target, ok: bool, error_class: str | None, now: float, http_status: int | None = None
    ) -> list[Transition]:
        record = self._records.of(target.id)
        record.target = target
        with record.guard:
            circuit = record.circuit
            record.recent.add(now, None if ok else error_class or "internal", http_status, probe=True)
            if ok:
                transition = circuit.probed(now)
            else:
                transition = circuit.failed(target.provider.circuit, circuit.period, now, self._rng.random())
            if transition is not None:
                record.set_flag(TROUBLED)
                line = _line(record, transition, "probe")
        if transition is None:
            return []
        self._happenings.note(now, line)
        self._moved(transition)
        return [transition]

    def hear_head(self, head_key: str, load: float | None, draining: bool, until: float, now: float) -> None:
        record = self._records.of(head_key)
        with record.guard:
            turns = record.hear(load, draining, until, now)
        if turns:
            self._memory.changed(TROUBLE)

    def forget_head(self, head_key: str) -> None:
        record = self._records.of(head_key)
        with record.guard:
            record.cells[HEARD_UNTIL] = 0.0
        self._memory.changed(TROUBLE)

    def move_on(self, now: float) -> None:
        for record in list(self._records.flagged()):
            with record.guard:
                moved = record.circuit.due(now)
                if moved is None:
                    continue
                record.set_flag(TROUBLED)
                line = _line(record, moved, "clock")
            self._happenings.note(now, line)
            self._moved(moved)

    # -- the host's log: no lock is held while a line is written -------------------------------------------
    def note(
        self,
        kind: str,
        about: str,
        before: str,
        after: str,
        reason: str,
        actor: str,
        detail: Mapping[str, Any],
        now: float,
    ) -> None:
        line = {"kind": kind, "about": about, "before": before, "after": after, "reason": reason, "actor": actor}
        self._happenings.note(now, {**line, "detail": detail})

    def happenings(self, after: int) -> tuple[list[Happening], int]:
        return self._happenings.since(after)

    # -- around one attempt ------------------------------------------------------------------------
    def claim(self, target: Target, now: float, panic: int = 0, lease: float = CLAIM_LEASE) -> TableClaim | None:
        if self._words[MOVED] != self._records.moved:
            self._records.check()
        record = self._records.of(target.id)
        record.target = target
        if target.head is not None and record.head is None:
            record.belongs_to(self._records.of(target.head_key))
        provider = self._records.provider(target.provider.id)
        if not panic and not target.provider.max_concurrency:
            # Nothing to test and set: the count is ours alone. Period and state must be of the same moment.
            guard, circuit = record.guard, record.circuit
            sequence = guard.sequence
            period = circuit.period
            if circuit.closed and not sequence % 2 and guard.sequence == sequence:
                with self._mutex:
                    record.in_flight.add(1)
                    record.sent.add(1)
                    if record.head is not None:
                        record.head.sent.add(1)
                    provider.in_flight.add(1)
                return TableClaim(record, provider, period, 0, now)
        claim = self._claim(target, record, provider, now, panic, lease)
        if claim is None and self.reclaim(now):
            claim = self._claim(target, record, provider, now, panic, lease)
        return claim

    def reclaim(self, now: float) -> bool:
        """Take back what processes hold that are gone; whether there were any."""
        return False

    def _claim(
        self, target: Target, record: TargetRecord, provider: ProviderRecord, now: float, panic: int, lease: float
    ) -> TableClaim | None:
        """A claim that somebody else may be after as well."""
        limit = target.provider.max_concurrency
        with provider.guard:
            if limit and provider.in_flight.sum() >= limit:
                return None
            provider.in_flight.add(1)
        moved, token = None, 0
        granted = False
        with record.guard:
            circuit = record.circuit
            if panic:
                granted = record.in_flight.sum() < panic
            elif circuit.closed:
                granted = True
            else:
                moved = circuit.due(now)
                if moved is not None:
                    line = _line(record, moved, "clock")
                if circuit.state == "half_open":
                    token = circuit.take_slot(target.provider.circuit, self._memory.owner, now, lease)
                    granted = token > 0
            if granted:
                record.in_flight.add(1)
                record.sent.add(1)
                if record.head is not None:
                    record.head.sent.add(1)
            else:
                provider.in_flight.add(-1)
            period = circuit.period
        if moved is not None:
            self._happenings.note(now, line)
            self._moved(moved)
        if not granted:
            return None
        claim = TableClaim(record, provider, period, token, now)
        if moved is not None:
            self._memory.changed(TROUBLE)
            claim.transitions.append(moved)
        return claim

    def settle(self, claim: Claim, target: Target, outcome: Outcome, now: float) -> list[Transition]:
        assert isinstance(claim, TableClaim)
        with claim.record.guard:
            transition = self._hear(claim, target, outcome, now)
        return self._told(claim, outcome, transition)

    def release(
        self, claim: Claim, now: float, output_tokens: int | None = None, input_tokens: int | None = None
    ) -> None:
        assert isinstance(claim, TableClaim)
        with claim.record.guard:
            self._end(claim, now, output_tokens or 0, input_tokens or 0)

    def finish(
        self,
        claim: Claim,
        target: Target,
        outcome: Outcome,
        now: float,
        output_tokens: int | None = None,
        input_tokens: int | None = None,
    ) -> list[Transition]:
        assert isinstance(claim, TableClaim)
        with claim.record.guard:
            transition = self._hear(claim, target, outcome, now)
            self._end(claim, now, output_tokens or 0, input_tokens or 0)
        return self._told(claim, outcome, transition)

    # Under the guard of the claim's record:
    def _hear(self, claim: TableClaim, target: Target, outcome: Outcome, now: float) -> Transition | None:
        """Count what an attempt came to."""
        verdict, record = outcome.verdict, claim.record
        if claim.settled is not None and (claim.settled, verdict) != ("success", "failure"):
            return None
        claim.settled = verdict
        claim.settled_at = now
        claim.stream = outcome.stream
        if record.given_away:
            return None
        settings, circuit, stats = target.provider.circuit, record.circuit, record.stats
        transition: Transition | None = None
        if claim.token:
            circuit.free_slot(claim.token)
        if verdict != "neutral":
            record.recent.add(now, outcome.error_class, outcome.http_status)
        if verdict == "success":
            first = outcome.first_event_s if outcome.stream else None
            seconds = outcome.latency_s if first is None else first
            claim.sample = stats.succeeded(outcome.stream, seconds, outcome.output_tokens, now)
            transition = circuit.succeeded(settings, claim.period, now)
        elif verdict == "failure":
            stats.failed(outcome.stream, outcome.timeout_s or outcome.latency_s, now, claim.sample)
            transition = circuit.failed(settings, claim.period, now, self._rng.random())
        if transition is not None:
            if transition.after == "closed":
                stats.recovered()
            record.set_flag(TROUBLED)
            claim.line = _line(record, transition, "traffic")
        return transition

    def _end(self, claim: TableClaim, now: float, output_tokens: int, input_tokens: int) -> None:
        """Count it out."""
        if claim.released:
            return
        claim.released = True
        record, provider = claim.record, claim.provider
        if not provider.given_away:
            provider.in_flight.add(-1)
        if record.given_away:
            return
        record.in_flight.add(-1)
        if claim.token and claim.settled is None:
            record.circuit.free_slot(claim.token)
        record.stats.ended(claim.began, output_tokens, input_tokens, now)
        if output_tokens and claim.stream and claim.settled == "success" and now > claim.settled_at:
            record.stats.streamed(output_tokens / (now - claim.settled_at), now)

    def _told(self, claim: TableClaim, outcome: Outcome, transition: Transition | None) -> list[Transition]:
        """Without the guard: what else follows from an outcome."""
        if outcome.verdict == "success" and claim.settled == "success":
            self._credential_works(claim.provider)
        if transition is None:
            return []
        if claim.line is not None:
            self._happenings.note(transition.at, claim.line)
        claim.transitions.append(transition)
        self._moved(transition)
        return [transition]

    # -- limits ------------------------------------------------------------------------------------
    def enter_key(self, key_id: str, limits: KeyLimits, now: float) -> Permit | Exceeded:
        answer = self._keys.enter(key_id, limits, now)
        if isinstance(answer, Permit) or answer.limit != "concurrency" or not self.reclaim(now):
            return answer
        return self._keys.enter(key_id, limits, now)

    def reserve(
        self, permit: live.Permit, tokens: float, now: float, wall: float
    ) -> tuple[Exceeded | None, list[Crossing]]:
        assert isinstance(permit, Permit)
        return self._keys.reserve(permit, tokens, now, wall)

    def leave_key(self, permit: live.Permit, tokens: float, micro_usd: int, now: float, wall: float) -> list[Crossing]:
        assert isinstance(permit, Permit)
        return self._keys.leave(permit, tokens, micro_usd, now, wall)

    def enter_profile(self, profile_id: str, limit: float, now: float) -> Seat | None:
        seat = self._keys.sit(profile_id, limit, now)
        if seat is None and self.reclaim(now):
            seat = self._keys.sit(profile_id, limit, now)
        return seat

    def leave_profile(self, seat: live.Seat) -> None:
        assert isinstance(seat, Seat)
        self._keys.stand_up(seat)

    def key_usage(self, key_id: str, now: float, wall: float) -> KeyUsage:
        return self._keys.usage(key_id, now, wall)

    def set_key_limits(self, limits: Mapping[str, KeyLimits], now: float, wall: float) -> None:
        self._keys.budgeted(limits, now, wall)

    def unseeded(self, wall: float) -> Mapping[str, Sequence[MoneyWindow]]:
        return self._keys.unseeded(wall)

    def seed_spent(self, key_id: str, window: MoneyWindow, micro_usd: int, wall: float) -> None:
        self._keys.seed(key_id, window, micro_usd, wall)

    # -- quarantines -------------------------------------------------------------------------------
    def quarantine(
        self, target: Target, model: str | None, seconds: float, cause: str, now: float, told: bool = False
    ) -> None:
        provider = target.provider.id
        generation = self._quarantines.generations.get(provider, 0)
        before = self._quarantines.put(
            Row(provider, model, Quarantine(now + seconds, cause, told), now, generation), now
        )
        record = self._records.of(target.id)
        with record.guard:
            record.recent.add(now, cause, None)
        if before is None or before.cause != cause:
            detail = {"model": model, "seconds": round(seconds, 3), "told": told, "target": target.id}
            self.note("quarantine", provider, before.cause if before else "", cause, "refused", "traffic", detail, now)

    def auth_failure(self, target: Target, cause: str, now: float) -> float | None:
        provider = self._records.provider(target.provider.id)
        generation = self._quarantines.generations.get(target.provider.id, 0)
        cells = provider.cells
        with provider.guard:
            if cells[REFUSED_GENERATION] != generation:
                cells[REFUSED] = cells[ROUNDS] = 0.0
                cells[REFUSED_GENERATION] = generation
            # The moment is kept plus one, so that 0 means "not lately" whatever the clock says.
            before, cells[REFUSED] = cells[REFUSED], now + 1.0
            if not before or now + 1.0 - before > AUTH_WINDOW:
                return None
            cells[REFUSED] = 0.0
            rounds = int(cells[ROUNDS])
            cells[ROUNDS] = rounds + 1
        seconds = auth_seconds(target.provider.quarantine, rounds)
        self.quarantine(target, None, seconds, cause, now)
        return seconds

    @staticmethod
    def _credential_works(provider: ProviderRecord) -> None:
        """Doubling starts over."""
        cells = provider.cells
        if cells[REFUSED] or cells[ROUNDS]:
            with provider.guard:
                if not provider.given_away:
                    cells[REFUSED] = cells[ROUNDS] = 0.0


def _unheard(_moved: Transition) -> None:
    """Nobody wants to hear of it: a fork, a test."""


def _line(record: TargetRecord, moved: Transition, actor: str) -> dict[str, Any]:
    """What the log says of a change of state, with the outcomes that led to it. Under the guard of the record."""
    circuit, now = record.circuit, moved.at
    outcomes = [
        {"ago": round(now - at, 3), "error_class": error, "http_status": status, "source": source}
        for at, error, status, source in record.recent.last()
    ]
    detail: dict[str, Any] = {"outcomes": outcomes, "reopened": circuit.reopened}
    if moved.after == "open":
        detail["seconds"] = round(circuit.until - now, 3)
    return {
        "kind": "circuit",
        "about": record.id,
        "before": moved.before,
        "after": moved.after,
        "reason": moved.reason,
        "actor": actor,
        "detail": detail,
    }


class Peek:
    """Counters as they stand, never advanced. See ``live.Rotation``."""

    __slots__ = ("_counters",)

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def rotate(self, pool: str) -> int:
        return self._counters.read(pool)
