"""What hosts tell one another about their tables: what is new here, and taking over what is new there.

The newest word counts, by the moment something happened; whoever carries it (``routes.live.exchange``) converts clocks.
Taking over never counts as new, so that nothing echoes. Only what the tables know already is taken over: a Redis may be
shared with strangers. Imports the tables.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from routes.engine.tables.memory import DROPS, PROBED, QUARANTINED, TROUBLE
from routes.engine.tables.records import HEARD, OBSERVED, OBSERVED_AT, OBSERVED_STATES, OBSERVED_UNTIL, TROUBLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from routes.engine.live import Observed
    from routes.engine.tables.keys import Keys
    from routes.engine.tables.memory import Memory
    from routes.engine.tables.pins import Drop, Pins, Written
    from routes.engine.tables.quarantines import Quarantines, Row
    from routes.engine.tables.registry import Records
    from routes.engine.types import CircuitState, Transition


class CircuitNews(NamedTuple):
    """A circuit as it is since its last change of state."""

    target_id: str
    state: CircuitState
    since: float
    until: float
    reopened: int


class ObservedNews(NamedTuple):
    """What probes found out about a target at a moment, and until when that is believed."""

    target_id: str
    state: Observed
    at: float
    until: float


class HeadNews(NamedTuple):
    """A heartbeat. ``load`` None = it did not say."""

    head_key: str
    heard: float
    until: float
    draining: bool
    load: float | None


#: Two moments closer than this are the same: they travelled through another clock.
SAME = 0.01


class Sharing:
    """One reader's view: every ``new_*`` gives what changed since it was asked last."""

    def __init__(
        self,
        memory: Memory,
        records: Records,
        quarantines: Quarantines,
        pins: Pins,
        keys: Keys,
        moved: Callable[[Transition], None],
    ) -> None:
        self._memory = memory
        self._moved = moved
        self.keys = keys  # their use is exchanged by ``routes.live.use``
        self._records = records
        self._quarantines = quarantines
        self._pins = pins
        self._trouble = self._quarantined = self._probed = -1.0
        self._periods: dict[str, float] = {}
        self._observed: dict[str, float] = {}
        self._made: dict[tuple[str, str | None], float] = {}
        self._drops = int(memory.words[DROPS])
        self._positions: list[int] | None = pins.log_positions()
        self._heard: dict[str, float] = {}  # heartbeats that were told, or come from elsewhere
        self._strangers: set[str] = set()
        self._told = 0.0  # pins written before this have been told

    def tell_all(self) -> None:
        """Everything is new again: whoever was told may have forgotten."""
        self._trouble = self._quarantined = self._probed = -1.0
        self._periods, self._made, self._observed = {}, {}, {}
        self._positions = None
        self.tell_heads()

    def tell_heads(self) -> None:
        """Who is alive here is new again: somebody has come who does not know."""
        self._heard = {}

    # -- heads ---------------------------------------------------------------------------------------------
    def new_heads(self, now: float) -> list[HeadNews]:
        """Heads that are targets, as far as they were heard of since. A look at each."""
        found = []
        before, self._heard = self._heard, {}
        for key, (record, _) in self._records.heads.items():
            # Without the guard, whose holder must not read reports. One that comes in between is told with the next.
            state, report = record.head_state(now), record.stats.load
            heard = state.heard_at
            if heard is None:
                continue
            self._heard[key] = heard
            if state.online and heard > before.get(key, -inf):
                load = report.load if report is not None and report.at >= heard else None
                found.append(HeadNews(key, heard, state.until, state.draining, load))
        return found

    def strangers(self) -> bool:
        """Whether there are heads now that this host has never heard of, and has not asked about."""
        unheard = {key for key, (record, _) in self._records.heads.items() if not record.cells[HEARD]}
        before, self._strangers = self._strangers, unheard
        return not unheard <= before

    def take_head(self, news: HeadNews, now: float) -> bool:
        """Whether it was newer than what we knew. Only heads that are targets here are taken."""
        found = self._records.heads.get(news.head_key)
        if found is None or news.until <= now:
            return False
        record = found[0]
        with record.guard:
            if record.cells[HEARD] >= news.heard - SAME:
                return False
            turns = record.hear(news.load, news.draining, news.until, news.heard)
            self._heard[news.head_key] = news.heard
        if turns:
            self._memory.changed(TROUBLE)
        return True

    # -- circuits ------------------------------------------------------------------------------------------
    def new_circuits(self) -> list[CircuitNews]:
        trouble = self._memory.words[TROUBLE]
        if trouble == self._trouble:
            return []
        self._trouble = trouble
        found = []
        for record in self._records.everywhere():
            circuit = record.circuit
            if circuit.period != self._periods.get(record.id, 0.0):
                with record.guard:
                    self._periods[record.id] = circuit.period
                    found.append(
                        CircuitNews(record.id, circuit.state, circuit.since or 0.0, circuit.until, circuit.reopened)
                    )
        return found

    def take_circuit(self, news: CircuitNews, now: float) -> bool:
        """Whether it was newer than what we knew."""
        record = self._records.find(news.target_id)
        if record is None:
            return False
        with record.guard:
            circuit = record.circuit
            since = circuit.since
            # The same state at nearly the same moment is what we know; another state just afterwards is not.
            near = SAME if news.state == circuit.state else 0.0
            if since is not None and since >= news.since - near:
                return False
            transition = circuit.adopt(news.state, news.since, news.until, news.reopened, now)
            self._periods[record.id] = circuit.period
            if transition is not None and news.state == "closed":
                record.stats.recovered()
            record.set_flag(TROUBLED)
        if transition is not None:
            self._moved(transition)
        return True

    def share_slots(self, target_id: str, slots: int, until: float) -> None:
        record = self._records.of(target_id)
        with record.guard:
            record.circuit.set_share(slots, until)

    def in_trouble(self) -> Iterator[tuple[str, int]]:
        """Targets whose circuit is not closed, and how many half-open slots they have."""
        for record in self._records.flagged():
            if not record.circuit.closed and record.target is not None:
                yield record.id, record.target.provider.circuit.half_open_max_calls

    # -- what probes found out -----------------------------------------------------------------------------
    def new_observed(self) -> list[ObservedNews]:
        word = self._memory.words[PROBED]
        if word == self._probed:
            return []
        self._probed = word
        found = []
        for record in self._records.everywhere():
            cells = record.cells
            if cells[OBSERVED_AT] != self._observed.get(record.id, 0.0):
                with record.guard:
                    at, state = cells[OBSERVED_AT], OBSERVED_STATES[int(cells[OBSERVED])]
                    self._observed[record.id] = at
                    found.append(ObservedNews(record.id, state, at, cells[OBSERVED_UNTIL]))
        return found

    def take_observed(self, news: ObservedNews) -> bool:
        """Whether it was newer than what we knew."""
        record = self._records.find(news.target_id)
        if record is None or news.state not in OBSERVED_STATES:
            return False
        with record.guard:
            if record.cells[OBSERVED_AT] and record.cells[OBSERVED_AT] >= news.at - SAME:
                return False
            record.observe(news.state, news.until, news.at)
            self._observed[record.id] = news.at
        return True

    # -- quarantines ---------------------------------------------------------------------------------------
    def new_quarantines(self) -> list[Row]:
        word = self._memory.words[QUARANTINED]
        if word == self._quarantined:
            return []
        self._quarantined = word
        found = []
        for row in self._quarantines.rows():
            if row.made > self._made.get((row.provider_id, row.model), 0.0) + SAME:
                self._made[row.provider_id, row.model] = row.made
                found.append(row)
        known = {(row.provider_id, row.model) for row in self._quarantines.rows()}
        self._made = {key: made for key, made in self._made.items() if key in known}
        return found

    def take_quarantine(self, row: Row, now: float) -> bool:
        if not self._records.knows_provider(row.provider_id) or row.quarantine.until <= now:
            return False
        for held in self._quarantines.rows():
            if (held.provider_id, held.model) == (row.provider_id, row.model) and held.made >= row.made - SAME:
                return False
        self._made[row.provider_id, row.model] = row.made
        self._quarantines.put(row, now)
        return True

    # -- pins ----------------------------------------------------------------------------------------------
    def new_pins(self, now: float) -> list[Written]:
        """Those written since; a walk over all of them when a process wrote more than its log remembers."""
        positions = self._pins.log_positions()
        before, self._positions = self._positions, positions
        since, self._told = self._told - SAME, now
        sets: set[int] = set()
        if before is None:
            since = -inf
        for owner, position in enumerate(positions):
            logged = None if before is None else self._pins.logged(owner, before[owner], position)
            if logged is None:
                sets = set(self._pins.sets())
                break
            sets.update(logged)
        written = (pin for index in sets for pin in self._pins.written_in(index))
        return [pin for pin in written if pin.written >= since and pin.expires > now]

    def take_pin(self, pin: Written, now: float) -> bool:
        if pin.expires <= now or self._records.find(pin.target_id) is None:
            return False
        self._pins.put(pin, told=True)
        return True

    def new_drops(self) -> list[Drop]:
        drops = self._pins.drops(self._drops)
        self._drops = int(self._memory.words[DROPS])
        return drops

    def take_drop(self, drop: Drop, now: float) -> None:
        self._pins.drop(now, drop.profile_id, drop.target_id, before=drop.at)
