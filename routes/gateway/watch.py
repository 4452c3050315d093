"""The process's own pulse: flushes metrics once a second, measures how late the loop runs, and notes what is degraded
(console, Celery, journal, shipper, database). Looks at files and one local socket; nothing here is awaited by a
request.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from history import status
from routing_project.metrics.catalogue import LOOP_LAG_SECONDS
from routing_project.metrics.instruments import bring_dropped_lines

if TYPE_CHECKING:
    from pathlib import Path

    from history.journal import JournalWriter
    from routes.gateway.state import GatewayState

TICK_SECONDS: Final = 0.1
LOOK_SECONDS: Final = 2.0
#: Beat touches its file every 5 s; three missed ones mean that beat or worker are away.
HEARTBEAT_SECONDS: Final = 20.0
#: How long a dropped record keeps ``journal`` on the list.
DROP_MEMORY_SECONDS: Final = 60.0
CONNECT_SECONDS: Final = 1.0


class Pulse:
    """Both loops of it. ``heartbeat`` is the file Celery touches."""

    def __init__(self, state: GatewayState, journal: JournalWriter, heartbeat: Path) -> None:
        self.state = state
        self.journal = journal
        self.heartbeat = heartbeat
        self._started = time.time()
        self._dropped = 0
        self._dropped_at = 0.0

    async def tick(self) -> None:
        """Measure the loop ten times a second, say how late it was and flush once. That is said as punctually as the
        loop runs: whoever reads it takes for lag what it is overdue."""
        metrics = self.state.metrics
        while True:
            worst, before = 0.0, time.monotonic()
            end = before + LOOP_LAG_SECONDS
            while before < end:
                wait = min(TICK_SECONDS, end - before)
                await asyncio.sleep(wait)
                now = time.monotonic()
                worst, before = max(worst, now - before - wait), now
            metrics.loop_lag(worst)
            self.flush()

    def flush(self) -> None:
        self.state.metrics.journal(self.journal.appended, self.journal.dropped_by_reason)
        self.state.metrics.flush()
        bring_dropped_lines()

    async def look(self) -> None:
        """See what is away."""
        while True:
            self._note("console", await self._console_trouble())
            self._note("celery", self._celery_trouble())
            self._note("journal", self._journal_trouble())
            report = status.read(self.journal.folder)
            # An old report or none: it may still be starting.
            silent = time.time() - max(report.at if report is not None else 0.0, self._started)
            away = report is not None and silent > status.AWAY_SECONDS
            self._note("shipper", f"no word for {silent:.0f} s" if away else None)
            down = report is not None and not away and report.database == "down"
            self._note("database", "does not take history; the journal keeps it" if down else None)
            await asyncio.sleep(LOOK_SECONDS)

    def _note(self, name: str, trouble: str | None) -> None:
        if trouble is None:
            self.state.degraded.pop(name, None)
        else:
            self.state.degraded[name] = trouble

    async def _console_trouble(self) -> str | None:
        path = self.state.settings.console_socket
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_unix_connection(path)
            writer.close()
        except (OSError, TimeoutError):
            return "not listening"
        return None

    def _celery_trouble(self) -> str | None:
        try:
            age = time.time() - self.heartbeat.stat().st_mtime
        except OSError:
            age = time.time() - self._started  # none yet: it may still be starting
        return f"no heartbeat for {age:.0f} s" if age > HEARTBEAT_SECONDS else None

    def _journal_trouble(self) -> str | None:
        dropped = self.journal.dropped
        if dropped > self._dropped:
            self._dropped, self._dropped_at = dropped, time.monotonic()
        if dropped and time.monotonic() - self._dropped_at < DROP_MEMORY_SECONDS:
            return f"{dropped} records dropped"
        return None
