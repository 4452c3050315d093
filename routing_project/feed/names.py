"""The feeds there are, and how they lie in Redis: one stream each, ids ``<number>-0``, one field with the event."""

from __future__ import annotations

from typing import Final

ROUTES: Final = "routes"  # list rows of the history (docs/live.md)
HEADS: Final = "heads"  # what happened to heads; not every heartbeat
FEEDS: Final = (ROUTES, HEADS)
#: What a feed keeps: as far back as a watcher that was away can be caught up.
CAPACITY: Final = 10_000
FIELD: Final = "e"


def key_of(feed: str) -> str:
    return f"signalbox:feed:{feed}"
