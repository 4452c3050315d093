"""``SharedLiveState``: the live state in the file that all processes of a host map. Imports the tables.

Time is ``time.monotonic`` everywhere, which all processes of a host share; after a reboot the first process to
attach moves all times over, by the wall clock. Rotation counters start at 0 when the first process attaches.
"""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Any

from routes.engine.local_live import LocalLiveState
from routes.engine.tables.layout import Layout
from routes.engine.tables.memory import Memory
from routes.engine.tables.registry import Records
from routes.engine.tables.state import TableState
from routes.live.file import HostFile, attaching, boot_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


#: How often somebody looks for processes that are gone, and at most.
TEND_SECONDS = 1.0
RECLAIM_SECONDS = 0.05
_LAYOUT = Layout()

logger = logging.getLogger(__name__)


class SharedLiveState(TableState):
    """See ``live.LiveState``. One per process and file: it has a slot in the file's registry until it is closed or
    its process ends."""

    def __init__(
        self,
        path: Path,
        name: str,
        layout: Layout = _LAYOUT,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        boot: bytes | None = None,
    ) -> None:
        """Raises OSError. ``name`` is shown to people."""
        self._clock, self._wall = clock, wall
        self._boot = boot_id() if boot is None else boot
        with attaching(path):
            self.file = HostFile(path, layout)
            now = clock()
            first = self.file.register(name, wall())
            if first and not Records(self._mapped()).sane():
                self.file.make_anew()
                self.file.owner = -1
                self.file.register(name, wall())
            super().__init__(self._mapped())
            if first:
                self._start_over(self.file.clock_shift(self._boot, now, wall()))
            else:
                self._forget_owner(self.file.owner)  # of whoever had our slot before
            self.file.note_clock(self._boot, now, wall())
        self._tended = self._reclaimed = clock()

    def _mapped(self) -> Memory:
        file = self.file
        return Memory(
            file.tables, file.layout, file.locks, file.owner, file.reserve, first_stamp=random.getrandbits(40)
        )

    def _start_over(self, shift: float) -> None:
        """We are the first: nothing is in flight, and turns start anew."""
        self._records.start_over(shift)
        self._counters.clear()
        self._keys.start_over(shift)
        if shift:
            logger.info("the clock has started anew; times of the live state are moved by %.0f s", shift)
            self._quarantines.shift(shift)
            self._pins.shift(shift)
            self._happenings.shift(shift)

    def tend(self, now: float) -> float:
        """Once a second, by whichever process decides something: see who is gone."""
        moment = self._clock()
        if moment - self._tended >= TEND_SECONDS:
            self._tended = moment
            self.file.note_clock(self._boot, moment, self._wall())
            self._take_back()
        return now + TEND_SECONDS

    def reclaim(self, now: float) -> bool:
        """Asked for by every claim that is refused: it looks now and then only."""
        moment = self._clock()
        if moment < self._reclaimed + RECLAIM_SECONDS:
            return False
        self._reclaimed = moment
        return self._take_back()

    def _take_back(self) -> bool:
        found = False
        for owner in self.file.dead():
            self._forget_owner(owner)
            found = True
        return found

    def _forget_owner(self, owner: int) -> None:
        self._records.forget_owner(owner)
        self._keys.forget_owner(owner)

    def close(self) -> None:
        """Leave in good order: what this process has in flight is nobody's any more, and an attempt that ends after
        this (cancelled by the shutdown itself) is not counted."""
        if self.file.open:
            for late in ("settle", "release", "finish", "leave_key", "leave_profile"):
                setattr(self, late, _not_counted)
            self._forget_owner(self.file.owner)
            self.file.close()


def _not_counted(*_: Any, **__: Any) -> list[Any]:
    return []


def open_host_state(path: Path, name: str) -> TableState:
    """The host's live state; in private memory, with a line in the log, where the file cannot be used."""
    try:
        return SharedLiveState(path, name)
    except OSError as error:
        logger.error("%s cannot be used (%s): this process keeps its live state to itself", path, error)
        return LocalLiveState()
