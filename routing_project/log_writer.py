"""Writes log lines to a descriptor from a thread of its own, so that nobody waits for whoever reads them.

A pipe that is full, a terminal that is stopped or a collector that hangs holds up this thread and nothing else: what
waits is bounded, what comes beyond it is dropped and counted, and once lines are taken again one of them says how many
are missing. A reader that is gone costs the lines, and no more. Needs no lock, so that a signal's handler may log.
"""

from __future__ import annotations

import os
import select
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes that may wait: some ten thousand lines.
MAX_WAITING: Final = 2 * 1024 * 1024
#: What a process that ends waits for a reader that takes nothing.
PATIENCE_SECONDS: Final = 1.0
_POLL_MS: Final = 500


class LineWriter:
    """``put`` is called by one thread at a time (``logging`` sees to it). ``missing`` makes the line that tells of
    dropped ones."""

    def __init__(self, descriptor: int, missing: Callable[[int], str], limit: int = MAX_WAITING) -> None:
        self._descriptor = descriptor
        self._missing = missing
        self._limit = limit
        # Each is written by one side only, so that no lock is needed. Bytes taken in, bytes done with; lines that did
        # not fit, lines that could not be written; how many of both were told of.
        self._taken = self._done = 0
        self._refused = self._lost = self._told = 0
        self._torn = False  # the last line ends in its middle
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were never written, in this process's life."""
        return self._refused + self._lost

    def put(self, line: str) -> None:
        data = line.encode("utf-8", "replace") + b"\n"
        if self._taken - self._done + len(data) > self._limit:
            self._refused += 1
            return
        self._taken += len(data)
        self._queue.put(data)

    def close(self, patience: float = PATIENCE_SECONDS) -> None:
        """Until everything is written, or nothing was for so long."""
        self._queue.put(None)
        seen, deadline = self._done, time.monotonic() + patience
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(0.02)
            if self._done != seen:
                seen, deadline = self._done, time.monotonic() + patience

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._write(data):
                if self._told != self.dropped and self._queue.empty():
                    self._tell()
            else:
                self._lost += 1
            self._done += len(data)
        if self._told != self.dropped:
            self._tell()

    def _tell(self) -> None:
        number = self.dropped - self._told
        if self._write(self._missing(number).encode("utf-8", "replace") + b"\n"):
            self._told += number

    def _write(self, data: bytes) -> bool:
        """Whether all of it was taken. A line of up to 4 KB is one write to a pipe, which no other process's can come
        into the middle of."""
        rest = memoryview(b"\n" + data if self._torn else data)
        whole = len(rest)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody who shares the descriptor has made it so
                with suppress(OSError):
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                    poll.poll(_POLL_MS)
            except OSError:  # nobody reads any more, or the disk behind it is full: lines are what can be spared
                self._torn = self._torn if len(rest) == whole else True
                return False
        self._torn = False
        return True
