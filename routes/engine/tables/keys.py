"""Keys: what every access key with limits has used, and how many requests are under way on a profile.

One record per id. Requests and tokens are counted by the second in rings that hold a minute and the second under way,
so whatever counts together lies within a minute: at most so many in *any* minute, not only in those of the clock. Both
tests and what they admit happen under the record's guard. Money is kept per calendar window as what this host has
spent since its record exists (*own*), what other hosts say of themselves (*others*), and what history knows beyond
the own (*base*); others' spending is in the history too, so the larger of the two counts.

Other hosts are told of the own use and tell of theirs (``routes.live.use``) beside the requests. A host may be ahead
of what others know by a *lease*: a tenth of the limit, or one request; what it told at the last tick still counts as
unknown, for it may be on its way. While much is free that would refuse bursts for nothing, so a part of what is free
may be taken as well: a half of it over the square of the number of hosts, so small that when they meet at the limit,
all that is unknown to one is less than a lease per host.
"""

from __future__ import annotations

from math import floor, inf
from typing import TYPE_CHECKING, Final, NamedTuple

from routes.engine.circuit import OWNERS
from routes.engine.limits import (
    MINUTE,
    MONEY_STEPS,
    MONEY_WINDOWS,
    UNUSED,
    Crossing,
    Exceeded,
    KeyUsage,
    Meter,
    Meters,
    numbers,
)
from routes.engine.tables.directory import GENERATION, HEAD, SEQUENCE, Directory
from routes.engine.tables.memory import (
    CELL,
    HOSTS,
    HOSTS_UNTIL,
    KEYS,
    MOVED,
    Guard,
    id_key,
    id_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from routes.engine.limits import KeyLimits, LimitName, MoneyWindow
    from routes.engine.tables.memory import Memory

#: The seconds of a minute and the one under way.
RING: Final = MINUTE + 1
#: Seconds after which a slot may be free again when nobody knows better.
RETRY_SOON: Final = 1.0
#: Records are given away only after they were not used for so long; those with money, when its windows are over.
KEPT: Final = 120.0
KEPT_MONEY: Final = 32 * 86_400.0

# Cells of a record, after the directory's. CHANGES: how often a key's own use has changed. AHEAD: requests, tokens and
# requests more under way that other hosts may not know of; TOLD: the part of it that they were told last. BUDGETED:
# whether there is money to remember.
(
    TOUCHED,
    CHANGES,
    NEWEST,
    AHEAD_REQUESTS,
    AHEAD_TOKENS,
    TOLD_REQUESTS,
    TOLD_TOKENS,
    AHEAD_IN_FLIGHT,
    TOLD_IN_FLIGHT,
    OTHERS_IN_FLIGHT,
    OTHERS_UNTIL,
    BUDGETED,
) = range(HEAD, HEAD + 12)
# Per money window: its number, what was spent, whether history was asked, and the step last told of.
_NUMBER, _OWN, _BASE, _OTHERS, _SEEDED, _STEP = range(6)
_MONEY = HEAD + 12
_MONEY_SIZE = 6
# Rings, each behind its sum.
REQUESTS = _MONEY + _MONEY_SIZE * len(MONEY_WINDOWS) + 1
TOKENS = REQUESTS + RING + 1
OTHERS_REQUESTS = TOKENS + RING + 1
OTHERS_TOKENS = OTHERS_REQUESTS + RING + 1
_RINGS = (REQUESTS, TOKENS, OTHERS_REQUESTS, OTHERS_TOKENS)
_IN_FLIGHT = OTHERS_TOKENS + RING
IN_FLIGHT = slice(_IN_FLIGHT, _IN_FLIGHT + OWNERS)
KEY_SIZE = _IN_FLIGHT + OWNERS

#: (requests, tokens) by second.
Cells = dict[int, tuple[float, float]]

_NO_RING: Final = memoryview(bytes((RING + 1) * CELL)).cast("d")
_NO_COLUMN: Final = memoryview(bytes(OWNERS * CELL)).cast("d")


class Permit:
    """A request of a key under way: hand it to ``reserve`` and, in the end, to ``leave``."""

    __slots__ = ("left", "limits", "meters", "record", "reserved", "second")

    def __init__(self, record: KeyRecord, limits: KeyLimits, meters: Meters) -> None:
        self.record = record
        self.limits = limits
        self.meters = meters
        self.reserved = 0.0  # tokens
        self.second = 0.0  # in which they were
        self.left = False


class Seat:
    """A request under way on a profile."""

    __slots__ = ("left", "record")

    def __init__(self, record: KeyRecord) -> None:
        self.record = record
        self.left = False


class Own(NamedTuple):
    """What this host has used of a key. ``cells``: (requests, tokens) by second of our clock; money by window, as
    (number, spent)."""

    key_id: str
    cells: Cells
    in_flight: int
    money: list[tuple[int, float]]


class KeyRecord:
    """One key or profile, as this process sees it."""

    __slots__ = ("cells", "generation", "guard", "id", "in_flight", "shared")

    def __init__(self, memory: Memory, index: int, identifier: str, *, shared: bool = True) -> None:
        section = memory.layout.keys
        self.id = identifier
        self.cells = cells = memory.part(section, index)
        self.generation = cells[GENERATION]
        self.guard = _guard(memory, index)
        self.in_flight = memory.column(cells[IN_FLIGHT])
        self.shared = shared  # or known to this process alone

    @property
    def given_away(self) -> bool:
        return self.cells[GENERATION] != self.generation

    # Under the guard:
    def advance(self, now: float) -> float:
        """Let go of seconds that are over; the second under way."""
        cells = self.cells
        second = float(floor(now))
        newest = cells[NEWEST]
        steps = second - newest
        if steps <= 0:
            return newest
        # NEWEST comes last: whoever is killed before it leaves cells that are cleared again.
        if steps >= RING:
            for ring in _RINGS:
                cells[ring - 1 : ring + RING] = _NO_RING
        else:
            for number in range(int(newest) + 1, int(second) + 1):
                place = number % RING
                for ring in _RINGS:
                    if cells[ring + place]:
                        cells[ring - 1] -= cells[ring + place]
                        cells[ring + place] = 0.0
        cells[NEWEST] = second
        return second

    def add(self, ring: int, place: int, more: float) -> None:
        self.cells[ring + place] += more
        self.cells[ring - 1] += more

    def used(self, ring: int) -> float:
        """By this host and others, in the minute."""
        return self.cells[ring - 1] + self.cells[ring - 1 + (OTHERS_REQUESTS - REQUESTS)]

    def both(self, ring: int, place: int) -> float:
        """What this host and others have used in the second of that place."""
        return self.cells[ring + place] + self.cells[ring + (OTHERS_REQUESTS - REQUESTS) + place]

    def fits_in(self, ring: int, too_many: float, now: float) -> float:
        """Seconds until ``too_many`` of what counts now no longer does."""
        newest = int(self.cells[NEWEST])
        for second in range(newest - MINUTE, newest + 1):
            too_many -= self.both(ring, second % RING)
            if too_many <= 0:
                return second + RING - now
        return float(RING)

    def meter(self, ring: int, limit: float, used: float, now: float) -> Meter:
        newest = int(self.cells[NEWEST])
        for second in range(newest, newest - RING, -1):
            if self.both(ring, second % RING):
                return Meter(int(limit), max(0, int(limit - used)), max(0.0, second + RING - now))
        return Meter(int(limit), int(limit), 0.0)

    def others_in_flight(self, now: float) -> float:
        return self.cells[OTHERS_IN_FLIGHT] if now < self.cells[OTHERS_UNTIL] else 0.0

    def turn(self, wall: float) -> None:
        """Begin the money windows that have begun. A window after another is known from its beginning; one that a
        record begins with is not. The clock of the wall may step back a little: the window then stays."""
        cells = self.cells
        for place, number in enumerate(numbers(wall)):
            at = _MONEY + place * _MONEY_SIZE
            known = cells[at + _NUMBER]
            if number == known or number == known - 1:
                continue
            cells[at + _NUMBER] = 0.0
            cells[at + _OWN] = cells[at + _BASE] = cells[at + _OTHERS] = cells[at + _STEP] = 0.0
            cells[at + _SEEDED] = 1.0 if known else 0.0
            cells[at + _NUMBER] = number

    def spent(self, place: int) -> float:
        at = _MONEY + place * _MONEY_SIZE
        cells = self.cells
        return cells[at + _OWN] + max(cells[at + _BASE], cells[at + _OTHERS])

    def cross(self, limits: KeyLimits) -> list[Crossing]:
        """Steps of its budgets that are reached and that nobody was told of."""
        found = []
        for place, limit in enumerate(limits.money):
            if not limit:
                continue
            at = _MONEY + place * _MONEY_SIZE + _STEP
            spent = self.spent(place)
            step = sum(spent * 100 >= limit * percent for percent in MONEY_STEPS)
            if step > self.cells[at]:
                found.append(Crossing(MONEY_WINDOWS[place], MONEY_STEPS[step - 1]))
            self.cells[at] = step  # a limit that was raised may be reached again
        return found


class Keys:
    """The records, and all that is done with them. See ``live.LiveState`` for what each method promises."""

    def __init__(self, memory: Memory, alone: Callable[[], Memory]) -> None:
        """``alone`` makes room for one record that nobody else sees."""
        self._memory = memory
        self._words = memory.words
        self._alone = alone
        self._directory = Directory(memory, memory.layout.keys, KEYS)
        self._known: dict[str, KeyRecord] = {}
        self._moved = memory.words[MOVED]

    # -- records -------------------------------------------------------------------------------------------
    def of(self, identifier: str, now: float) -> KeyRecord:
        if self._words[MOVED] != self._moved:
            self._moved = self._words[MOVED]
            self._known = {key: record for key, record in self._known.items() if not record.given_away}
        return self._known.get(identifier) or self._make(identifier, now)

    def find(self, identifier: str) -> KeyRecord | None:
        """Only if the table, or this process, has it already."""
        try:
            index = self._directory.find(id_key(identifier))
        except ValueError:
            return None
        if index is not None:
            return KeyRecord(self._memory, index, identifier)
        known = self._known.get(identifier)
        return None if known is None or known.shared else known

    def everywhere(self) -> Iterator[KeyRecord]:
        """All in the table."""
        for key, index in list(self._directory.keys().items()):
            yield KeyRecord(self._memory, index, id_text(key))

    def _make(self, identifier: str, now: float) -> KeyRecord:
        memory, section = self._memory, self._memory.layout.keys

        def worth(index: int) -> float | None:
            cells = memory.part(section, index)
            touched = cells[TOUCHED]
            kept = KEPT_MONEY if cells[BUDGETED] else KEPT
            return None if now - touched < kept or any(cells[IN_FLIGHT]) else touched

        index = self._directory.place(id_key(identifier), worth, lambda each: _guard(memory, each))
        if index is None:
            return self._known.setdefault(identifier, KeyRecord(self._alone(), 0, identifier, shared=False))
        record = KeyRecord(memory, index, identifier)
        with record.guard:
            if not record.cells[TOUCHED]:
                record.cells[TOUCHED] = now
        return self._known.setdefault(identifier, record)

    # -- a key's request -----------------------------------------------------------------------------------
    def enter(self, key_id: str, limits: KeyLimits, now: float) -> Permit | Exceeded:
        record = self.of(key_id, now)
        cells = record.cells
        hosts = self._hosts(now)
        with record.guard:
            newest = record.advance(now)
            requests = None
            used = 0.0
            if limits.rpm:
                used = record.used(REQUESTS)
                wait = 0.0
                if used + 1 > limits.rpm:
                    wait = record.fits_in(REQUESTS, used + 1 - limits.rpm, now) if limits.rpm >= 1 else inf
                elif hosts > 1 and _too_far(limits.rpm, used, cells[AHEAD_REQUESTS], 1, hosts):
                    wait = RETRY_SOON
                if wait:
                    return _exceeded("rpm", wait, Meters(record.meter(REQUESTS, limits.rpm, used, now)))
            if limits.concurrency:
                busy = record.in_flight.sum()
                both = busy + record.others_in_flight(now)
                if both + 1 > limits.concurrency or (
                    hosts > 1 and _too_far(limits.concurrency, both, cells[AHEAD_IN_FLIGHT], 1, hosts)
                ):
                    meter = record.meter(REQUESTS, limits.rpm, used, now) if limits.rpm else None
                    return _exceeded("concurrency", RETRY_SOON, Meters(meter))
            record.add(REQUESTS, int(newest) % RING, 1)
            cells[AHEAD_REQUESTS] += 1
            cells[AHEAD_IN_FLIGHT] += 1
            cells[TOUCHED] = now
            cells[CHANGES] += 1
            record.in_flight.add(1)
            if limits.rpm:
                requests = record.meter(REQUESTS, limits.rpm, used + 1, now)
        return Permit(record, limits, Meters(requests))

    def reserve(self, permit: Permit, tokens: float, now: float, wall: float) -> tuple[Exceeded | None, list[Crossing]]:
        record, limits = permit.record, permit.limits
        cells = record.cells
        crossings: list[Crossing] = []
        with record.guard:
            if any(limits.money):
                record.turn(wall)
                crossings = record.cross(limits)
                for place, limit in enumerate(limits.money):
                    if limit and record.spent(place) >= limit:
                        return _exceeded(_USD[place], inf, permit.meters), crossings
            if not limits.tpm:
                return None, crossings
            newest = record.advance(now)
            used = record.used(TOKENS)
            wait = 0.0
            if used + tokens > limits.tpm:
                wait = record.fits_in(TOKENS, used + tokens - limits.tpm, now) if tokens <= limits.tpm else inf
            elif (hosts := self._hosts(now)) > 1 and _too_far(limits.tpm, used, cells[AHEAD_TOKENS], tokens, hosts):
                wait = RETRY_SOON
            if wait:
                meters = Meters(permit.meters.requests, record.meter(TOKENS, limits.tpm, used, now))
                return _exceeded("tpm", wait, meters), crossings
            if not record.given_away:
                record.add(TOKENS, int(newest) % RING, tokens)
                cells[AHEAD_TOKENS] += tokens
                cells[CHANGES] += 1
                permit.reserved, permit.second = tokens, newest
            permit.meters = Meters(permit.meters.requests, record.meter(TOKENS, limits.tpm, used + tokens, now))
        return None, crossings

    def leave(self, permit: Permit, tokens: float, micro_usd: int, now: float, wall: float) -> list[Crossing]:
        record, limits = permit.record, permit.limits
        cells = record.cells
        with record.guard:
            if permit.left:
                return []
            permit.left = True
            if record.given_away:
                return []
            record.in_flight.add(-1)
            cells[AHEAD_IN_FLIGHT] -= 1
            cells[CHANGES] += 1
            cells[TOUCHED] = now
            newest = record.advance(now)
            more = tokens - permit.reserved
            if more > 0:
                record.add(TOKENS, int(newest) % RING, more)
                cells[AHEAD_TOKENS] += more
            elif more and permit.second > newest - RING:
                record.add(TOKENS, int(permit.second) % RING, more)
                cells[AHEAD_TOKENS] += more
            if not any(limits.money):
                return []
            record.turn(wall)
            for place in range(len(MONEY_WINDOWS)):
                cells[_MONEY + place * _MONEY_SIZE + _OWN] += micro_usd
            return record.cross(limits)

    # -- a profile's request -------------------------------------------------------------------------------
    def sit(self, profile_id: str, limit: float, now: float) -> Seat | None:
        record = self.of(profile_id, now)
        with record.guard:
            if record.in_flight.sum() >= limit:
                return None
            record.in_flight.add(1)
            record.cells[TOUCHED] = now
        return Seat(record)

    def stand_up(self, seat: Seat) -> None:
        record = seat.record
        with record.guard:
            if not seat.left and not record.given_away:
                record.in_flight.add(-1)
            seat.left = True

    # -- for people ----------------------------------------------------------------------------------------
    def usage(self, key_id: str, now: float, wall: float) -> KeyUsage:
        record = self.find(key_id)
        if record is None:
            return UNUSED
        with record.guard:
            record.advance(now)
            if record.cells[BUDGETED]:
                record.turn(wall)
            day, week, month = (int(record.spent(place)) for place in range(len(MONEY_WINDOWS)))
            return KeyUsage(
                int(record.used(REQUESTS)),
                int(record.used(TOKENS)),
                int(record.in_flight.sum() + record.others_in_flight(now)),
                (day, week, month),
            )

    # -- money that was spent before -----------------------------------------------------------------------
    def budgeted(self, limits: Mapping[str, KeyLimits], now: float, wall: float) -> None:
        """Keep a record of every one of these keys that has a budget, so that its past can be asked for."""
        for key_id, each in limits.items():
            if any(each.money):
                record = self.of(key_id, now)
                with record.guard:
                    record.cells[BUDGETED] = 1.0
                    record.turn(wall)

    def unseeded(self, wall: float) -> dict[str, tuple[MoneyWindow, ...]]:
        """Windows of keys with a budget that may have begun before their record."""
        found = {}
        for record in self.everywhere():
            if record.cells[BUDGETED]:
                with record.guard:
                    record.turn(wall)
                    windows = tuple(
                        window
                        for place, window in enumerate(MONEY_WINDOWS)
                        if not record.cells[_MONEY + place * _MONEY_SIZE + _SEEDED]
                    )
                if windows:
                    found[record.id] = windows
        return found

    def seed(self, key_id: str, window: MoneyWindow, spent: int, wall: float) -> None:
        """History says that the key has spent so much in the window that runs at ``wall``, on all hosts."""
        record = self.find(key_id)
        if record is None:
            return
        at = _MONEY + MONEY_WINDOWS.index(window) * _MONEY_SIZE
        cells = record.cells
        with record.guard:
            record.turn(wall)
            cells[at + _BASE] = max(cells[at + _BASE], spent - cells[at + _OWN])
            cells[at + _SEEDED] = 1.0
            cells[CHANGES] += 1

    # -- other hosts ---------------------------------------------------------------------------------------
    def hosts(self, count: int, until: float) -> None:
        """So many hosts are known to be at work, until then."""
        self._words[HOSTS_UNTIL] = 0.0
        self._words[HOSTS] = count
        self._words[HOSTS_UNTIL] = until

    def _hosts(self, now: float) -> float:
        return self._words[HOSTS] if now < self._words[HOSTS_UNTIL] else 1.0

    def changed(self, known: dict[bytes, float]) -> list[Own]:
        """What this host has used of the keys whose use has changed since ``known``, which is brought up to date. To be
        asked for once a tick; costs a look at every record."""
        memory, section = self._memory, self._memory.layout.keys
        found = []
        for key, index in list(self._directory.keys().items()):
            changes = memory.cells[section.offset(index) // CELL + CHANGES]
            before = known.get(key, 0.0)
            if before == changes:  # as it is with profiles always
                continue
            record = KeyRecord(memory, index, id_text(key))
            cells = record.cells
            with record.guard:
                for ahead, told in _TELLING:
                    # What was told the last time is known by now; what is told now is on its way.
                    cells[ahead] -= cells[told]
                    cells[told] = cells[ahead]
                if before == -cells[CHANGES]:
                    known[key] = cells[CHANGES]
                    continue
                known[key] = -cells[CHANGES]  # to be looked at once more
                busy = record.in_flight.sum()
                newest = int(cells[NEWEST])
                use: Cells = {}
                for second in range(newest - MINUTE, newest + 1):
                    place = second % RING
                    if cells[REQUESTS + place] or cells[TOKENS + place]:
                        use[second] = (cells[REQUESTS + place], cells[TOKENS + place])
                money = []
                for place in range(len(MONEY_WINDOWS)):
                    at = _MONEY + place * _MONEY_SIZE
                    money.append((int(cells[at + _NUMBER]), cells[at + _OWN]))
                found.append(Own(record.id, use, int(busy), money))
        return found

    def set_others(
        self,
        key_id: str,
        cells_of: Cells,
        in_flight: int,
        until: float,
        money: Collection[tuple[int, float]],
        now: float,
        wall: float,
    ) -> None:
        """All that other hosts together have used of a key, in place of what was known. ``until``: when their requests
        under way no longer count unless this is said again. ``money``: by window, as (number, spent)."""
        record = self.find(key_id)
        if record is None:
            return
        cells = record.cells
        with record.guard:
            newest = int(record.advance(now))
            for place, ring in enumerate((OTHERS_REQUESTS, OTHERS_TOKENS)):
                cells[ring - 1 : ring + RING] = _NO_RING
                for second, used in cells_of.items():
                    if newest - RING < second:
                        # A clock that is ahead of ours: it counts from now.
                        record.add(ring, min(second, newest) % RING, used[place])
            cells[OTHERS_IN_FLIGHT] = in_flight
            cells[OTHERS_UNTIL] = until
            record.turn(wall)
            for place, (number, spent) in enumerate(money):
                at = _MONEY + place * _MONEY_SIZE
                if cells[at + _NUMBER] == number:
                    cells[at + _OTHERS] = spent

    # -- the table -----------------------------------------------------------------------------------------
    def forget_owner(self, owner: int) -> None:
        """A process is gone, and what it had in flight. Tokens it had reserved count for their minute."""
        memory = self._memory
        for index in range(int(memory.words[KEYS])):
            cells = memory.part(memory.layout.keys, index)
            held = cells[IN_FLIGHT.start + owner]
            if held:
                with _guard(memory, index):
                    cells[IN_FLIGHT.start + owner] = 0.0
                    if cells[CHANGES]:  # a key's
                        cells[AHEAD_IN_FLIGHT] -= held
                        cells[CHANGES] += 1

    def start_over(self, shift: float) -> None:
        """No process is left; the clock may have started anew. Only while nobody else is there."""
        self.hosts(1, 0.0)
        for record in self.everywhere():
            cells = record.cells
            cells[IN_FLIGHT] = _NO_COLUMN
            cells[OTHERS_UNTIL] = 0.0
            cells[AHEAD_IN_FLIGHT] = cells[TOLD_IN_FLIGHT] = 0.0
            cells[CHANGES] += cells[CHANGES] > 0
            if shift:  # seconds have other numbers now; what was used before the machine started is over
                cells[TOUCHED] += shift
                cells[NEWEST] = 0.0
                for ring in _RINGS:
                    cells[ring - 1 : ring + RING] = _NO_RING

    def copy_to(self, other: Memory) -> None:
        section = self._memory.layout.keys
        end = section.offset(int(self._words[KEYS]))
        other.raw[section.start : end] = self._memory.raw[section.start : end]


_TELLING: Final = (
    (AHEAD_REQUESTS, TOLD_REQUESTS),
    (AHEAD_TOKENS, TOLD_TOKENS),
    (AHEAD_IN_FLIGHT, TOLD_IN_FLIGHT),
)
_USD: Final[tuple[LimitName, ...]] = ("usd_day", "usd_week", "usd_month")


def _guard(memory: Memory, index: int) -> Guard:
    section = memory.layout.keys
    cells = memory.part(section, index)

    def repair() -> None:
        for ring in _RINGS:
            cells[ring - 1] = sum(cells[ring : ring + RING])

    return Guard(memory.locks, section.stripe + index, cells[SEQUENCE : SEQUENCE + 1], repair)


def _too_far(limit: float, used: float, ahead: float, more: float, hosts: float) -> bool:
    """Whether this host would be further ahead of what others know than it may (see the module)."""
    if ahead <= 0:
        return False  # one request is the least that a lease is good for, however many tokens it takes
    free = max(0.0, limit - (used - ahead))
    return ahead + more > max(1.0, limit / 10) + free / (2 * hosts * hosts)


def _exceeded(limit: LimitName, wait: float, meters: Meters) -> Exceeded:
    return Exceeded(limit, None if wait == inf else wait, meters)
