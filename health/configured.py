"""The revision in force as every process of this host finds it on disk, with the heads that are registered: which
providers and targets there are, without a query. Two ``stat`` a call; compiled again when either changed. Writes
nothing.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import orjson

from health.heads.known import known
from routes.engine.errors import EngineError
from routes.engine.snapshot import Snapshot
from routing_project.env import get_env
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from pathlib import Path

log = get_logger("health")

_lock = threading.Lock()
_seen: tuple[Path, tuple[int, int, int], str] | None = None
_snapshot: Snapshot | None = None


def configured() -> Snapshot | None:
    """None before the first publish. What cannot be read is logged once, and what was known before stays."""
    global _seen, _snapshot
    path, heads = get_env().revision_path, known().targets
    try:
        status = os.stat(path)  # noqa: PTH116 - the cheap form, it runs at every scrape
    except OSError:
        return None if _seen is None or _seen[0] != path else _snapshot
    mark = (path, (status.st_mtime_ns, status.st_size, status.st_ino), heads.digest)
    with _lock:
        if mark != _seen:
            if _seen is not None and _seen[0] != path:
                _snapshot = None
            try:
                _snapshot = Snapshot.from_document(orjson.loads(path.read_bytes()), heads)
            except (OSError, ValueError, EngineError) as error:
                log.error("revision_unreadable", error=f"{type(error).__name__}: {error}")
            _seen = mark
        return _snapshot
