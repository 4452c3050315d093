"""A process's file of counts whose bytes are on the disk before anything is written to them.

prometheus-client maps files with holes into memory; on a full disk, touching a hole kills the process, and a gateway
must go on. Here a series that there is no room for is counted in this process alone, until something is counted when
there is some: then all of them are written.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import Any, Final

from prometheus_client import mmap_dict

#: How often it is tried, at most, whether there is room again.
RETRY_SECONDS: Final = 1.0


class ReservedDict(mmap_dict.MmapedDict):
    """``elsewhere``: value and time of the series that the file has no room for."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        self.elsewhere: dict[str, tuple[float, float]] = {}
        self._fname = filename
        self._f: Any = None
        self._positions: dict[str, int] = {}
        self._tried = monotonic()
        self._filed = self._file(read_mode)

    def read_value(self, key: str) -> tuple[float, float]:
        if self._has_room_for(key):
            return super().read_value(key)  # type: ignore[no-untyped-call, no-any-return]
        return self.elsewhere.setdefault(key, (0.0, 0.0))

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        if self._has_room_for(key):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
        else:
            self.elsewhere[key] = value, timestamp

    def _has_room_for(self, key: str) -> bool:
        if self.elsewhere and self._may_try():
            self._bring_back()
        return key in self._positions or (self._filed and not self.elsewhere and self._room_for(key))

    def _may_try(self) -> bool:
        if (now := monotonic()) < self._tried + RETRY_SECONDS:
            return False
        self._tried = now
        return True

    def _bring_back(self) -> None:
        """Write what was counted elsewhere, as far as there is room."""
        if not self._filed:
            self._filed = self._file()
        while self._filed and self.elsewhere:
            other, counted = next(iter(self.elsewhere.items()))
            if other not in self._positions and not self._room_for(other):
                return
            super().write_value(other, *counted)  # type: ignore[no-untyped-call]
            del self.elsewhere[other]

    def _room_for(self, key: str) -> bool:
        needed = self._used + len(key.encode()) + 64  # with its length, padding and values
        size = self._capacity
        while size < needed:
            size *= 2  # as it will grow
        return size == self._capacity or _reserve(self._fname, size)

    def _file(self, read_mode: bool = False) -> bool:
        if not _reserve(self._fname, mmap_dict._INITIAL_MMAP_SIZE):
            return False
        try:
            super().__init__(self._fname, read_mode)  # type: ignore[no-untyped-call]
        except OSError:
            return False
        return True


def _reserve(path: str, size: int) -> bool:
    """Make a file at least so long, on the disk and not only by name. False when there is no room."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)
    except OSError:
        return False
    return True
