"""What hosts tell one another of the use of access keys with limits, so that a limit holds over all of them.

Every host tells what it has used itself of a key, whenever that has changed: requests and tokens by second, requests
under way, money by window. A message holds only the seconds that are new; a hash holds all of it every other second,
for who comes later and for what a host that vanished has used: that counts until its minute, or its day, is over.
Who comes later says hello, and is told everything. Here it is kept apart by host; the tables know the sum.

Seconds travel as those of the teller's own clock, beside what that clock says: how long ago is what counts, and a
wall clock that is wrong or jumps moves nothing. Only where the hash is read must Unix time say how old it is.

Used by ``exchange`` only, in the one process of a host that leads. Imports the tables.
"""

from __future__ import annotations

from math import floor, isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from routes.engine.limits import MINUTE, MONEY_WINDOWS, numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from routes.engine.tables.keys import Cells, Keys, Own

#: How often the whole of a key's use is written for who comes later.
WHOLE_SECONDS: Final = 2.0
#: Keys and hosts that are remembered, at most: a Redis may be shared with strangers.
MAX_REPORTS: Final = 16_384
#: A teller's clock that differs so much from what it was is another one: its machine has started anew.
ANOTHER_CLOCK: Final = 5.0
#: Beyond it, numbers are no longer exact.
MAX_COUNT: Final = 2.0**53


class Report(NamedTuple):
    """What one host has used of one key, by its own seconds; ``ahead``: add it to them to get ours."""

    cells: Cells
    ahead: float
    in_flight: int
    money: list[tuple[int, float]]  # by window, as (number, spent)


class Uses:
    def __init__(self, keys: Keys, host: str, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._keys = keys
        self._host = host
        self._clock = clock
        self._wall = wall
        self._known: dict[bytes, float] = {}
        self._told: dict[str, Cells] = {}
        self._unwritten: dict[str, dict[str, Any]] = {}
        self._written = 0.0
        self._reports: dict[str, dict[str, Report]] = {}  # by key, then host
        self._count = 0
        self._hosts: Collection[str] = ()
        self._until = 0.0

    # -- telling -------------------------------------------------------------------------------------------
    def tell_all(self) -> None:
        """Everything is new again."""
        self._known, self._told = {}, {}
        self._written = 0.0

    def news(self) -> list[dict[str, Any]]:
        """What has changed here since it was asked last, as messages."""
        found = []
        for own in self._keys.changed(self._known):
            before = self._told.get(own.key_id, {})
            self._told[own.key_id] = own.cells
            new = {second: used for second, used in own.cells.items() if before.get(second) != used}
            latest = max(own.cells, default=0)
            # What was given back; what is older than a minute goes by itself.
            new |= {second: (0.0, 0.0) for second in before.keys() - own.cells.keys() if second > latest - MINUTE}
            found.append(self._entry(own, new))
            self._unwritten[f"{self._host}|{own.key_id}"] = self._entry(own, own.cells)
        return found

    def whole(self) -> dict[str, dict[str, Any]]:
        """What is to be written into the hash now, by field."""
        now = self._clock()
        if not self._unwritten or now < self._written + WHOLE_SECONDS:
            return {}
        self._written = now
        unwritten, self._unwritten = self._unwritten, {}
        return unwritten

    def _entry(self, own: Own, cells: Cells) -> dict[str, Any]:
        return {
            "key": own.key_id,
            "host": self._host,
            "at": self._wall(),
            "now": self._clock(),
            "cells": [[second, *used] for second, used in cells.items()],
            "in_flight": own.in_flight,
            "money": own.money,
        }

    # -- being told ----------------------------------------------------------------------------------------
    def take(self, entry: Any, *, fresh: bool) -> None:
        """``fresh``: it was said just now. Raises KeyError, TypeError, ValueError or OverflowError for what is not what
        it should be."""
        key_id, host = str(entry["key"]), str(entry["host"])
        cells = {int(second): (_count(requests), _count(tokens)) for second, requests, tokens in entry["cells"]}
        money = [(int(number), _count(spent)) for number, spent in entry["money"]]
        in_flight = int(_count(entry["in_flight"]))
        age = 0.0 if fresh else max(0.0, self._wall() - float(entry["at"]))
        ahead = self._clock() - age - float(entry["now"])
        if not isfinite(ahead):
            raise ValueError("no time")
        if host == self._host or len(money) != len(MONEY_WINDOWS) or self._keys.find(key_id) is None:
            return
        reports = self._reports.setdefault(key_id, {})
        before = reports.get(host)
        if before is None:
            if self._count >= MAX_REPORTS:
                return
            self._count += 1
        elif abs(before.ahead - ahead) < ANOTHER_CLOCK:
            cells = before.cells | cells
        oldest = self._clock() - ahead - MINUTE - 1
        reports[host] = Report({s: used for s, used in cells.items() if s >= oldest}, ahead, in_flight, money)
        self._sum(key_id)

    def hosts(self, names: Collection[str], until: float) -> None:
        """Who is at work, until then. What others have under way counts while they are."""
        self._hosts, self._until = names, until
        self._keys.hosts(len(names), until)
        for key_id, reports in self._reports.items():
            if any(report.in_flight for report in reports.values()):
                self._sum(key_id)

    def alone(self) -> None:
        """The other hosts are out of reach: this one goes by itself."""
        self._keys.hosts(1, 0.0)

    def _sum(self, key_id: str) -> None:
        """Bring what the tables know of others up to date."""
        cells: Cells = {}
        in_flight = 0
        wall = self._wall()
        current = numbers(wall)
        spent = [0.0] * len(MONEY_WINDOWS)
        for host, report in self._reports[key_id].items():
            for second, (requests, tokens) in report.cells.items():
                ours = floor(second + report.ahead)
                others = cells.get(ours, (0.0, 0.0))
                cells[ours] = (others[0] + requests, others[1] + tokens)
            if host in self._hosts:
                in_flight += report.in_flight
            for place, (number, amount) in enumerate(report.money):
                if number == current[place]:
                    spent[place] += amount
        money = list(zip(current, spent, strict=True))
        self._keys.set_others(key_id, cells, in_flight, self._until, money, self._clock(), wall)


def _count(value: Any) -> float:
    number = float(value)
    if not 0.0 <= number < MAX_COUNT:
        raise ValueError("no count")
    return number
