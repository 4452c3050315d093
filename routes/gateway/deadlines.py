"""Time limits of requests under way, watched by one timer for the whole process.

A timer per limit costs 1–4 µs each time it moves, and a stream's idle limit moves with every event; here moving one
is a store. The price is that limits are noticed up to ``TICK`` late. Imports nothing of the project.

A passed limit cancels the request's task; the task finds ``expired`` set and takes the ``CancelledError`` back with
``caught``. A cancellation from elsewhere (client gone, shutdown) always goes first.
"""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

TICK: Final = 0.05


class Watch:
    """The time limits of one request. Moments are of ``time.monotonic``; names of limits are error classes."""

    __slots__ = ("_sweeper", "at", "ceiling", "ceiling_name", "expired", "name", "soft", "soft_at", "task")

    def __init__(self, sweeper: Sweeper, task: asyncio.Task[None]) -> None:
        self._sweeper = sweeper
        self.task = task
        self.at = inf  # what runs now
        self.name = ""
        self.ceiling = inf  # what runs over all phases: total, later stream_max
        self.ceiling_name = ""
        self.soft_at = inf
        self.soft: Callable[[], bool] | None = None
        self.expired: str | None = None

    def limit(self, at: float, name: str) -> None:
        """The limit of the phase that begins; replaces that of the last. ``inf`` = none but the ceiling."""
        self.at = at
        self.name = name
        self.soft_at = inf

    def soften(self, at: float, allowed: Callable[[], bool]) -> None:
        """Let the present limit pass early, at ``at``, if ``allowed`` says so then. Until the next ``limit``."""
        self.soft = allowed
        self.soft_at = at

    def check(self, now: float) -> None:
        """Called by the sweeper."""
        if self.ceiling <= now:
            self._pass(self.ceiling_name)
        elif self.at <= now:
            self._pass(self.name)
        elif self.soft_at <= now:
            self.soft_at = inf
            if self.soft is not None and self.soft():
                self._pass(SOFT)

    def _pass(self, name: str) -> None:
        self.at = self.ceiling = self.soft_at = inf
        self.expired = name
        self.task.cancel()

    def caught(self) -> str | None:
        """In the handler of a ``CancelledError``: the limit that caused it, or None when something else did as
        well and the error must go on."""
        expired, self.expired = self.expired, None
        return expired if expired is not None and not self.task.uncancel() else None

    def close(self) -> None:
        self._sweeper.watches.discard(self)


#: Name of a limit that passed early (see ``Watch.soften``).
SOFT: Final = "soft"


class Sweeper:
    """Looks at all watches every ``TICK`` seconds while there are any."""

    def __init__(self) -> None:
        self.watches: set[Watch] = set()
        self._running = False

    def watch(self) -> Watch:
        """A watch for the current task; close it when the request is over."""
        task = asyncio.current_task()
        assert task is not None
        watch = Watch(self, task)
        self.watches.add(watch)
        if not self._running:
            self._running = True
            asyncio.get_running_loop().call_later(TICK, self._sweep)
        return watch

    def _sweep(self) -> None:
        if not self.watches:
            self._running = False
            return
        now = time.monotonic()
        for watch in tuple(self.watches):
            watch.check(now)
        asyncio.get_running_loop().call_later(TICK, self._sweep)
