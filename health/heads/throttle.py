"""How often heads may speak, in the memory of the console's process: a token bucket for each, and for each caller.

A brake on loops and floods, far above what heads need. Memory is bounded: full buckets say nothing and are thrown away,
and names that nobody registered have none of their own. Imports nothing of the project but the errors beside it.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from health.heads.errors import Flooded

if TYPE_CHECKING:
    from collections.abc import Callable

#: Buckets that are kept before full ones are looked for.
MAX_BUCKETS = 4096


class Rate(NamedTuple):
    """``burst`` messages at once, then ``per_second``."""

    per_second: float
    burst: float


#: Status updates of one head, and of everybody behind one caller: 1,000 heads every 2 seconds.
UPDATES_OF_HEAD = Rate(5, 10)
UPDATES_OF_CALLER = Rate(500, 1000)
#: Registrations, approvals and farewells: each is a transaction and a new overlay.
CHANGES_OF_HEAD = Rate(0.5, 10)
CHANGES_OF_CALLER = Rate(20, 200)
#: Messages about heads that nobody knows: each may cost a query.
STRANGERS_OF_CALLER = Rate(5, 50)


class Throttle:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[tuple[Rate, str], tuple[float, float]] = {}  # (tokens, when)

    def take(self, rate: Rate, name: str) -> None:
        """Raises Flooded when ``name`` has spoken too often."""
        now = self._clock()
        key = (rate, name)
        with self._lock:
            tokens, since = self._buckets.get(key, (rate.burst, now))
            tokens = min(rate.burst, tokens + (now - since) * rate.per_second)
            if tokens < 1:
                self._buckets[key] = (tokens, now)
                wait = (1 - tokens) / rate.per_second
                raise Flooded("too many messages about heads; wait", math.ceil(wait))
            if key not in self._buckets and len(self._buckets) >= MAX_BUCKETS:
                self._make_room(now)
            self._buckets[key] = (tokens - 1, now)

    def _make_room(self, now: float) -> None:
        """Forget who would have a full bucket by now; if nobody has, forget all: better generous than growing."""
        self._buckets = {
            (rate, name): (tokens, since)
            for (rate, name), (tokens, since) in self._buckets.items()
            if tokens + (now - since) * rate.per_second < rate.burst
        }
        if len(self._buckets) >= MAX_BUCKETS:
            self._buckets = {}

    def __len__(self) -> int:
        return len(self._buckets)
