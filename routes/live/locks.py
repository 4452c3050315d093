"""Locks on byte ranges of one file: between processes by ``fcntl``, between threads by a mutex in front of it.

Linux has locks that belong to an open file description (OFD). They are what is wanted: closing some other
descriptor of the file drops none of them, two descriptions in one process exclude each other, and the kernel lets go
when the last descriptor is closed, however the process ended. Elsewhere POSIX locks must do; they belong to the
process, so it must open the file only once. Measured: 1.5 µs for locking and unlocking, the mutex included 1.7.
"""

from __future__ import annotations

import errno
import fcntl
import struct
import threading
from typing import Any

OFD = hasattr(fcntl, "F_OFD_SETLK")
if OFD:
    _WAIT, _TRY = fcntl.F_OFD_SETLKW, fcntl.F_OFD_SETLK
_fcntl = fcntl.fcntl
_FLOCK = struct.Struct("@hhqqi4x")


class FileLocks:
    """See ``tables.memory.Locks``. The range of stripe n is the byte ``first + n``; the file need not be so long."""

    def __init__(self, descriptor: int, first: int) -> None:
        self.mutex = threading.Lock()
        self._descriptor = descriptor
        self._first = first

    def handle(self, stripe: int) -> tuple[Any, Any]:
        at = self._first + stripe
        return (_request(fcntl.F_WRLCK, at), _request(fcntl.F_UNLCK, at)) if OFD else (at, at)

    if OFD:  # written out twice: this is the hot path

        def acquire(self, handle: tuple[Any, Any]) -> None:
            self.mutex.acquire()
            try:
                _fcntl(self._descriptor, _WAIT, handle[0])
            except BaseException:
                self.mutex.release()
                raise

        def release(self, handle: tuple[Any, Any]) -> None:
            _fcntl(self._descriptor, _TRY, handle[1])
            self.mutex.release()

        def also(self, handle: tuple[Any, Any]) -> None:
            _fcntl(self._descriptor, _WAIT, handle[0])

        def not_also(self, handle: tuple[Any, Any]) -> None:
            _fcntl(self._descriptor, _TRY, handle[1])

    else:  # pragma: no cover - not on Linux

        def acquire(self, handle: tuple[Any, Any]) -> None:
            self.mutex.acquire()
            try:
                self.also(handle)
            except BaseException:
                self.mutex.release()
                raise

        def release(self, handle: tuple[Any, Any]) -> None:
            self.not_also(handle)
            self.mutex.release()

        def also(self, handle: tuple[Any, Any]) -> None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, handle[0])

        def not_also(self, handle: tuple[Any, Any]) -> None:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, handle[1])

    def close(self) -> None:
        """The descriptor is closed; a new one of the same number is not ours to lock."""
        self._descriptor = -1

    # -- locks held for a process's life, to show that it lives --------------------------------------------
    def take(self, stripe: int) -> bool:
        """Lock a stripe without waiting and without the mutex; False = somebody else has it."""
        at = self._first + stripe
        try:
            if OFD:
                _fcntl(self._descriptor, _TRY, _request(fcntl.F_WRLCK, at))
            else:  # pragma: no cover - not on Linux
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def give_back(self, stripe: int) -> None:
        self.not_also(self.handle(stripe))


def _request(kind: int, at: int) -> bytes:
    return _FLOCK.pack(kind, 0, at, 1, 0)
