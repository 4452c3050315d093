"""What decisions hold until their outcome is reported: an attempt in flight, perhaps a half-open slot.

A caller may never report, so every hold ends by itself after its lease. Bounded; any thread. Must not import
models or views.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from routes.engine.live import Claim, LiveState
    from routes.engine.snapshot import Profile
    from routes.engine.types import Ranked

#: Decisions whose outcome may still come; beyond it the oldest hold ends early.
MAX_HELD = 10_000


class Held(NamedTuple):
    """One decision that was given out."""

    claim: Claim
    live: LiveState
    place: Ranked
    profile: Profile
    owner: str  # who may report it: an access key's id, "" = operators only
    pin: bytes | None  # the session's pin, if this decision wrote it
    lapses: float

    def release(self, now: float) -> None:
        self.live.release(self.claim, now)


class Claims:
    """Holds of one process. ``clock`` is the live state's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: OrderedDict[UUID, Held] = OrderedDict()
        self._due: list[tuple[float, UUID]] = []  # a heap; holds that ended early stay in it until their time
        self._sweeper: threading.Thread | None = None
        self._wake = threading.Event()

    def __len__(self) -> int:
        return len(self._held)

    def keep(self, route: UUID, held: Held) -> None:
        with self._lock:
            self._held[route] = held
            heapq.heappush(self._due, (held.lapses, route))
            oldest = self._held.popitem(last=False)[1] if len(self._held) > MAX_HELD else None
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._run, name="decision-leases", daemon=True)
                self._sweeper.start()
        self._wake.set()
        if oldest is not None:
            oldest.release(self._clock())

    def find(self, route: UUID) -> Held | None:
        with self._lock:
            return self._held.get(route)

    def take(self, route: UUID) -> Held | None:
        """The hold, which from now on is the caller's to release."""
        with self._lock:
            return self._held.pop(route, None)

    def sweep(self) -> float | None:
        """End every hold whose lease is over; seconds until the next one ends, None without any."""
        now = self._clock()
        ended: list[Held] = []
        with self._lock:
            while self._due and self._due[0][0] <= now:
                held = self._held.pop(heapq.heappop(self._due)[1], None)
                if held is not None:
                    ended.append(held)
            wait = self._due[0][0] - now if self._due else None
        for held in ended:
            held.release(now)
        return wait

    def _run(self) -> None:
        """Leases end on time, also when nobody asks for decisions any more."""
        while True:
            wait = self.sweep()
            self._wake.wait(wait)
            self._wake.clear()
