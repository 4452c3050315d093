"""What the history's tables need from time to time: partitions ahead, strays put in their place, old rows removed.

Run by Celery's beat (``history.tasks``); one step that cannot be done now keeps none of the others from being done, and
the next run does it. The shipper waits for nothing of it longer than a moment.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from django.db import DatabaseError, InterfaceError

from history import partitions, pruning
from history.errors import Busy
from history.ids import first_id
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from history.pruning import Pruned

#: Begin nothing new after this; the beat asks again every ten minutes.
RUN_SECONDS: Final = 300

_running = threading.Lock()
log = get_logger(__name__)


def run(now: datetime | None = None, alias: str = "default") -> Pruned | None:
    """Everything that is due; what was removed, None when another upkeep is at work or pruning was not possible."""
    if not _running.acquire(blocking=False):
        return None
    try:
        now = now or pruning.agreed_now(alias)
        with partitions.alone(alias):
            return _run(now, alias)
    except (Busy, DatabaseError, InterfaceError) as error:
        log.warning("history upkeep put off", why=_line(error))
        return None
    finally:
        _running.release()


def _run(now: datetime, alias: str) -> Pruned | None:
    until = time.monotonic() + RUN_SECONDS
    wanted = pruning.cutoffs(now=now, alias=alias)
    made = _step("making partitions", partitions.ensure_ahead, now, wanted.history, alias)
    moved = _step("moving strays", partitions.move_strays, first_id(wanted.history), now, alias, until)
    pruned: Pruned | None = _step("pruning", lambda: pruning.prune(wanted, alias, until=until))
    if pruned is not None and pruned.removals:
        log.info(
            "old history removed",
            before=f"{wanted.history:%Y-%m-%d} UTC",
            rows=pruned.rows,
            partitions=pruned.partitions,
            bytes=pruned.bytes,
            finished=pruned.finished,
        )
    if made or moved or (pruned is not None and pruned.partitions):
        for size in partitions.sizes(alias):
            log.info("history partitions", **size._asdict())
    return pruned


def _step(name: str, step: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return step(*arguments)
    except (Busy, DatabaseError, InterfaceError) as error:
        log.warning("history upkeep: left to the next run", step=name, why=_line(error))
    return None


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
