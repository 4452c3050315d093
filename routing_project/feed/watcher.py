"""One watcher of a feed: what waits for it, how far it is, whether it pauses. Used in the event loop's thread only.

The reader offers it what it wants; its owner takes it with ``next``. What waits is bounded: a watcher that falls
further behind loses it all, is told so by a gap, and gets nothing more. While it pauses nothing is kept for it either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from routing_project.feed.batch import Batch, Gap
from routing_project.feed.names import CAPACITY
from routing_project.metrics.instruments import messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from routing_project.feed.where import Where

#: As many events as a feed keeps: further behind, there would be gaps anyway.
MAX_WAITING: Final = CAPACITY


class Watcher:
    """``after``: the last number it has had in an earlier life, None for whoever is new."""

    def __init__(
        self,
        where: Where,
        after: int | None,
        history: Callable[[Watcher, int, int], AsyncIterator[Batch | Gap]],
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.where = where
        self.after = after
        self.position = 0  # the last number that was offered, wanted or not; 0 = none yet
        self.joined: int | None = None  # where the live part begins; None = the feed has not been heard yet
        self._history = history
        self._past: AsyncIterator[Batch | Gap] | None = None
        self._max_waiting = max_waiting
        self._waiting: deque[Batch | Gap] = deque()
        self._size = 0
        self._overrun = False
        self._paused = False
        self._missed: Gap | None = None
        self.missed = 0  # events it wanted that came while it paused
        self._news = asyncio.Event()

    # -- the reader's side -----------------------------------------------------------------------------
    def join(self, newest: int) -> None:
        """The live part begins behind ``newest`` (0: the feed is empty)."""
        if self.joined is not None:
            return
        self.joined = newest
        self.position = newest or self.after or 0
        if self.after is not None and newest:
            self._past = self._history(self, self.after, newest)
        self._news.set()

    def offer(self, first: int, last: int, batch: Batch | None) -> None:
        """Events ``first`` to ``last`` have come, of which it wants ``batch``."""
        if self.position and first > self.position + 1:
            self._put(Gap(self.position + 1, first - 1))
        self.position = last
        if batch is not None:
            self._put(batch)

    def restart(self, oldest: int, newest: int) -> None:
        """The feed has begun anew with lower numbers."""
        self._put(Gap(oldest, newest))
        self.position = newest

    def _put(self, item: Batch | Gap) -> None:
        if self._overrun:
            return
        first, last = (item.first, item.last) if isinstance(item, Gap) else (item.events[0][0], item.last)
        if self._paused:
            begun = self._missed.first if self._missed is not None else first
            self._missed = Gap(begun, last)
            self.missed += 0 if isinstance(item, Gap) else len(item.events)
            return
        self._size += 1 if isinstance(item, Gap) else len(item.events)
        if self._size > self._max_waiting:
            lost = self._waiting[0] if self._waiting else item
            dropped = sum(len(each.events) for each in (*self._waiting, item) if isinstance(each, Batch))
            messages("live", "dropped").inc(dropped)
            item = Gap(lost.first if isinstance(lost, Gap) else lost.events[0][0], last, last_word=True)
            self._waiting.clear()
            self._overrun = True
        self._waiting.append(item)
        self._news.set()

    # -- the owner's side --------------------------------------------------------------------------------
    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def idle(self) -> bool:
        """Whether everything up to ``position`` has been taken."""
        return not self._waiting and self._past is None and self.position > 0

    def pause(self) -> None:
        """Keep what waits, and nothing of what comes until ``resume``."""
        self._paused = True

    def resume(self) -> int:
        """Go on with what waited, then a gap for what was missed, then what comes; how many it missed."""
        self._paused = False
        gap, self._missed = self._missed, None
        missed, self.missed = self.missed, 0
        if gap is not None:
            self._put(gap)
        self._news.set()
        return missed

    async def next(self, seconds: float) -> Batch | Gap | None:
        """What comes next; None when there was nothing for so many seconds."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            if not self._paused:
                if self._past is not None:
                    past = await anext(self._past, None)
                    if past is not None:
                        _count(past)
                        return past
                    self._past = None
                if self._waiting:
                    item = self._waiting.popleft()
                    self._size -= 1 if isinstance(item, Gap) else len(item.events)
                    _count(item)
                    return item
            self._news.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                return None


def _count(item: Batch | Gap) -> None:
    if isinstance(item, Batch):
        messages("live", "consumed").inc(len(item.events))
