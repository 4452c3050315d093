"""Layout: how large each table is, and where in the buffer. Imports the tables for the sizes of their entries.

Changing a size, a cell or a section needs a new ``VERSION``, or processes of two releases would read each other's
numbers wrongly.
"""

from __future__ import annotations

from routes.engine.circuit import OWNERS
from routes.engine.tables import counters, happenings, keys, pins, quarantines, records
from routes.engine.tables.memory import CELL, FIRST_RECORD, WORDS, Section, set_size
from routes.engine.tables.sets import GROUP

VERSION = 3
PAGE = 4096


class Layout:
    """Sets hold 8 entries each. Parts that are never used cost no memory, and no disk where the file is sparse."""

    def __init__(
        self,
        targets: int = 4096,
        providers: int = 1024,
        quarantined: int = 2048,
        pin_sets: int = 8192,
        input_sets: int = 8192,
        counter_sets: int = 1024,
        limited: int = 4096,
        owners: int = OWNERS,
        happened: int = happenings.KEPT,
    ) -> None:
        self._end = WORDS * CELL
        self._stripe = FIRST_RECORD
        self.flags = self._section(1, targets)
        self.pin_marks = self._section(1, -(-pin_sets // GROUP))
        self.input_marks = self._section(1, -(-input_sets // GROUP))
        self.counter_marks = self._section(1, -(-counter_sets // GROUP))
        self.drop_log = self._section(pins.DROP_SIZE, pins.DROPS_KEPT)
        #: what is in use from the start, whatever is configured
        self.base = _aligned(self._end)
        self.quarantines = self._section(quarantines.ROW_SIZE, quarantined)
        self.pin_log = self._section(pins.LOG_SIZE * CELL, owners)
        self.counters = self._section(set_size(counters.PAYLOAD), counter_sets)
        self.targets = self._section(records.TARGET_SIZE * CELL, targets)
        self.providers = self._section(records.PROVIDER_SIZE * CELL, providers)
        self.keys = self._section(keys.KEY_SIZE * CELL, limited)
        self.pins = self._section(set_size(pins.PAYLOAD), pin_sets)
        self.inputs = self._section(set_size(pins.INPUT), input_sets)
        self.happenings = self._section(happenings.LINE_SIZE, happened)
        self.length = _aligned(self._end)

    def _section(self, size: int, entries: int) -> Section:
        section = Section(_aligned(self._end), size, entries, self._stripe)
        self._end = section.start + section.length
        self._stripe += entries
        return section

    @property
    def stripes(self) -> int:
        """Stripes in use; those from here on are free for other uses."""
        return self._stripe

    def sizes(self) -> tuple[int, ...]:
        """What two processes must agree on before they share a buffer."""
        sections = (
            self.targets,
            self.providers,
            self.quarantines,
            self.counters,
            self.keys,
            self.pins,
            self.inputs,
            self.happenings,
        )
        return (*(section.entries for section in sections), self.length)


def _aligned(offset: int) -> int:
    return -(-offset // PAGE) * PAGE
