"""``LocalLiveState``: the live state in memory of this process alone, safe from any thread. For tests, previews and
whatever else must not touch the host's. Imports the tables only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routes.engine.tables.layout import Layout
from routes.engine.tables.memory import Memory, ThreadLocks, private
from routes.engine.tables.state import TableState

if TYPE_CHECKING:
    from random import Random

_LAYOUT = Layout()


class LocalLiveState(TableState):
    """See ``live.LiveState``. ``rng`` draws the jitter of open periods."""

    def __init__(self, rng: Random | None = None, layout: Layout = _LAYOUT) -> None:
        super().__init__(Memory(private(layout.length), layout, ThreadLocks()), rng)
