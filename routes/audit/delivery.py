"""Bringing entries to the sinks: on commit, and every few seconds whatever could not be brought then.

``look_on_commit`` holds no entries: it says that there are some, and whoever looks reads from the table what a sink has
not had yet. In the console and the worker that is a thread, which nobody waits for; elsewhere (commands) it is done at
once, within the short time-outs of the sinks. The console of every host looks by itself too, so that every host's file
gets what other hosts wrote, and so does the task ``routes.audit``. A sink that is down never fails an action.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from django.db import DatabaseError, connections, transaction

from routes.audit import channel, file
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

log = get_logger("audit")

#: Commands wait no longer than this for a sink that has much to catch up with; the others go on until it is done.
INLINE_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 5.0
END_SECONDS: Final = 2.0

SINKS: Final[dict[str, Callable[[float | None], int]]] = {"file": file.deliver, "channel": channel.deliver}
#: The id of the last entry a sink has had, whichever process brought it.
REACHED: Final[dict[str, Callable[[], int]]] = {"file": file.reached, "channel": channel.reached}
#: Sinks that are down for this process, and what they had reached then; None = that could not be read.
_down: dict[str, int | None] = {}
_down_lock = threading.Lock()
_thread: Courier | None = None


def look_on_commit() -> None:
    """Once for a transaction, however many entries it leaves."""
    connection = transaction.get_connection()
    if all(function is not look for _sids, function, _robust in connection.run_on_commit):
        transaction.on_commit(look, robust=True)


def look() -> None:
    """There may be something to deliver. Never raises."""
    if _thread is not None:
        _thread.wake()
    else:
        deliver(INLINE_SECONDS)


def deliver(seconds: float | None = None) -> dict[str, int]:
    """Bring every sink what it has not had, for about ``seconds`` each (None = until it has all); how many entries each
    got. Never raises for a sink or a database that is away: it says so once, and once when it works again."""
    told: dict[str, int] = {}
    for name, sink in SINKS.items():
        try:
            told[name] = sink(seconds)
        except Exception as error:  # whatever it is, the next sink has its turn
            _is_down(name, error)
        else:
            _is_up(name, told[name])
    return told


def _is_down(name: str, error: Exception) -> None:
    reached = None if name in _down else _reached(name)
    with _down_lock:
        if name in _down:
            return
        _down[name] = reached
    log.error("audit_sink_down", sink=name, error=f"{type(error).__name__}: {error}")


def _is_up(name: str, told: int) -> None:
    with _down_lock:
        if name not in _down:
            return
        before = _down.pop(name)
    now = _reached(name)
    caught_up = told if before is None or now is None else max(told, now - before)
    log.info("audit_sink_back", sink=name, caught_up=caught_up)


def _reached(name: str) -> int | None:
    try:
        return REACHED[name]()
    except (OSError, DatabaseError):
        return None


class Courier:
    """A thread of this process that delivers when it is woken, and ``every`` so many seconds (None = only then)."""

    def __init__(self, every: float | None) -> None:
        self._every = every
        self._event = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._event.set()

    def end(self) -> None:
        """Deliver what is there and stop; whatever a sink does, for no longer than a moment."""
        self._ended = True
        self._event.set()
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        ended = False
        while not ended:
            self._event.wait(self._every)
            self._event.clear()
            ended = self._ended  # before the look: what was committed during the one before is still to be brought
            try:
                deliver()
            except Exception:  # pragma: no cover - a bug of ours must not end deliveries for good
                log.exception("delivering audit entries failed; it goes on")
            finally:
                connections.close_all()  # the thread's own


def start(every: float | None = LOOK_SECONDS) -> Courier:
    """Deliver in a thread from now on; for processes that live long. What a commit brings meanwhile is not lost: the
    first look finds it."""
    global _thread
    if _thread is None:
        _thread = Courier(every)
        _thread.start()
        _thread.wake()
    return _thread
