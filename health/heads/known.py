"""Who is known although the database may be away: the copy of the overlay on this host's disk, as gateways read it.

Heads and their generations, and the hashes of access keys: enough to judge a heartbeat without a query. One ``stat`` a
call; the file is opened when it changed. Imports the crypto and the gateway's reading of keys; writes nothing.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from routes.crypto import SealError, unseal
from routes.engine.provider import NO_HEADS, Heads
from routes.gateway.auth import AccessKey
from routing_project.env import get_env
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = get_logger("heads")


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A registered head, as far as its heartbeats are judged by it."""

    head_id: str
    provider_id: str
    generation: int
    approved: bool

    @classmethod
    def from_document(cls, entry: Mapping[str, Any]) -> KnownHead:
        return cls(entry["id"], entry["provider"], int(entry["generation"]), bool(entry["approved"]))


@dataclass(frozen=True, slots=True)
class Known:
    keys: Mapping[str, AccessKey]  # by SHA-256 of the whole value, in hex
    heads: Mapping[str, KnownHead]
    targets: Heads = NO_HEADS  # the approved ones, as decisions know them


NOBODY = Known({}, {})
_lock = threading.Lock()
_seen: tuple[Path, tuple[int, int, int]] | None = None
_known = NOBODY


def known() -> Known:
    """What the file says now; nothing while there is none. What cannot be read is logged once, and what was known
    before stays."""
    global _seen, _known
    path = get_env().overlay_path
    try:
        status = os.stat(path)  # noqa: PTH116 - the cheap form, every heartbeat asks
    except OSError:
        return NOBODY if _seen is None or _seen[0] != path else _known
    mark = (path, (status.st_mtime_ns, status.st_size, status.st_ino))
    if mark == _seen:
        return _known
    with _lock:
        if mark != _seen:
            if _seen is not None and _seen[0] != path:
                _known = NOBODY
            try:
                _known = _read(path)
            except (OSError, SealError, ValueError, KeyError, TypeError) as error:
                log.error("overlay_unreadable", error=f"{type(error).__name__}: {error}")
            _seen = mark
    return _known


def _read(path: Path) -> Known:
    document = orjson.loads(unseal(path.read_bytes(), "overlay"))
    keys = [AccessKey.from_document(entry) for entry in document["keys"]]
    written = document.get("heads", ())
    heads = [KnownHead.from_document(entry) for entry in written]
    by_id = {head.head_id: head for head in heads}
    return Known({key.digest.hex(): key for key in keys}, by_id, Heads.of(written))
