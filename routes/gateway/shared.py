"""Keeps the process's revision and overlay current: the files in the data folder, and Redis beside them.

Files are polled (two ``stat`` ten times a second), Redis tells at once; whichever is newer of the same installation is
used. Reading, opening and compiling happen in a thread; the loop only swaps one reference. What is broken is
logged and ignored, the old one keeps serving; a broken overlay is named in ``degraded``. Without an old overlay nothing
is served then: every key would be refused as unknown, and clients would believe that. No request ever waits for
anything here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final

import orjson

from routes.crypto import SealError, unseal
from routes.engine.errors import EngineError
from routes.engine.snapshot import NO_HEADS, Snapshot
from routes.gateway.overlay import EMPTY, Overlay
from routes.gateway.state import Config
from routes.live.redis_feed import RedisConnection, RedisFeedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from routes.engine.snapshot import Heads
    from routes.gateway.state import GatewayState

POLL_SECONDS: Final = 0.1
CHANNEL: Final = "signalbox:config"
REVISION_KEY: Final = "signalbox:revision"
OVERLAY_KEY: Final = "signalbox:overlay"
#: How long Redis may be silent before it is asked whether it is still there.
REDIS_PING_SECONDS: Final = 2.0
REDIS_RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)

logger = logging.getLogger(__name__)


class _Watched:
    """One file; ``changed`` reads it, in a thread, when its stat differs from the last one seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None

    async def changed(self) -> bytes | None:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - the cheap form, it runs all day
            mark = (status.st_mtime_ns, status.st_size, status.st_ino)
            if mark == self._seen:
                return None
            blob = await asyncio.to_thread(self.path.read_bytes)
        except OSError:
            return None
        self._seen = mark
        return blob


def read_revision(blob: bytes, heads: Heads = NO_HEADS) -> Snapshot:
    """Compile a published revision with the heads of the moment. Raises ValueError (bad JSON) or EngineError (bad
    content)."""
    return Snapshot.from_document(orjson.loads(blob), heads)


def read_overlay(blob: bytes) -> Overlay:
    """Open a sealed overlay. Raises SealError, or ValueError for content of another format."""
    try:
        return Overlay.from_document(orjson.loads(unseal(blob, "overlay")))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"malformed overlay: {type(error).__name__}") from None


class ConfigKeeper:
    """Owns ``state.config``. ``load`` once before serving, then ``run`` for the life of the process."""

    def __init__(
        self,
        state: GatewayState,
        revision_path: Path,
        overlay_path: Path,
        redis_url: str | None,
        on_change: Callable[[Config], None],
    ) -> None:
        self.state = state
        self.redis_url = redis_url
        self.on_change = on_change
        self._revision_file = _Watched(revision_path)
        self._overlay_file = _Watched(overlay_path)
        self._snapshot: Snapshot | None = None
        self._revision = b""  # as it came, to be compiled again when heads come and go
        self._overlay: Overlay = EMPTY
        self._followed = False  # Redis has been read at least once
        self._lock = asyncio.Lock()  # files and Redis take turns, or an older one could land last

    # -- where documents come from -------------------------------------------------------------------------
    async def load(self) -> None:
        """What the files hold now; also the poll."""
        async with self._lock:
            revision, overlay = await self._revision_file.changed(), await self._overlay_file.changed()
            if overlay is not None:
                await self._take_overlay(overlay, "overlay.bin", local=True)
            if revision is not None:
                await self._take_revision(revision, "revision.json", local=True)

    async def run(self) -> None:
        """Poll the files and follow Redis until cancelled."""
        follower = asyncio.create_task(self._follow_redis(self.redis_url)) if self.redis_url else None
        try:
            while True:
                await asyncio.sleep(POLL_SECONDS)
                await self.load()
        finally:
            if follower is not None:
                follower.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await follower

    async def _follow_redis(self, url: str) -> None:
        failures = 0
        while True:
            try:
                async with RedisConnection(url) as connection:
                    # None comes first, so what was published before the subscription is not missed.
                    async for message in connection.messages(CHANNEL, REDIS_PING_SECONDS):
                        if message is not None or failures or not self._followed:
                            await self._fetch(url)
                        failures, self._followed = 0, True
                        self.state.degraded.pop("redis", None)
            except RedisFeedError as error:
                if "redis" not in self.state.degraded:
                    logger.warning("no word from Redis (%s); the files in the data folder go on", error)
                self.state.degraded["redis"] = str(error)
            await asyncio.sleep(REDIS_RETRY_SECONDS[min(failures, len(REDIS_RETRY_SECONDS) - 1)])
            failures += 1

    async def _fetch(self, url: str) -> None:
        async with RedisConnection(url) as connection:
            revision = await connection.command("HMGET", REVISION_KEY, "version", "blob")
            overlay = await connection.command("HMGET", OVERLAY_KEY, "version", "blob")
        async with self._lock:
            current = self._snapshot.number if self._snapshot is not None else 0
            if overlay[0] and overlay[1] and int(overlay[0]) > self._overlay.version:
                await self._take_overlay(overlay[1], "Redis", local=False)
            if revision[0] and revision[1] and int(revision[0]) > current:
                await self._take_revision(revision[1], "Redis", local=False)

    # -- taking one over -----------------------------------------------------------------------------------
    async def _take_revision(self, blob: bytes, source: str, *, local: bool) -> None:
        try:
            snapshot = await asyncio.to_thread(read_revision, blob, self._overlay.heads)
        except (EngineError, ValueError) as error:
            logger.error("the revision in %s cannot be used: %s", source, error)
            return
        held = self._snapshot
        if held is not None and not _newer(
            snapshot.installation, snapshot.number, held.installation, held.number, local=local
        ):
            return
        self._snapshot, self._revision = snapshot, blob
        self._swap()
        logger.info("revision %d is in use (from %s)", snapshot.number, source)

    async def _take_overlay(self, blob: bytes, source: str, *, local: bool) -> None:
        try:
            overlay = await asyncio.to_thread(read_overlay, blob)
        except (SealError, ValueError) as error:
            logger.error("the overlay in %s cannot be used: %s", source, error)
            if local or self._overlay is EMPTY:  # what is on a shared Redis may be another installation's
                self.state.degraded["overlay"] = f"access keys and credentials cannot be read: {error}"
            return
        self.state.degraded.pop("overlay", None)
        held = self._overlay
        if held is not EMPTY and not _newer(
            overlay.installation, overlay.version, held.installation, held.version, local=local
        ):
            return
        self._overlay = overlay
        await self._take_heads()
        self._swap()
        logger.info("overlay %d is in use (from %s)", overlay.version, source)

    async def _take_heads(self) -> None:
        """Heads are targets: when others are there, so are other targets."""
        snapshot, heads = self._snapshot, self._overlay.heads
        if snapshot is None or snapshot.heads_digest == heads.digest:
            return
        try:
            self._snapshot = await asyncio.to_thread(read_revision, self._revision, heads)
        except (EngineError, ValueError) as error:
            logger.error("the heads of overlay %d cannot be used: %s", self._overlay.version, error)

    def _swap(self) -> None:
        snapshot = self._snapshot
        if snapshot is None or (self._overlay is EMPTY and "overlay" in self.state.degraded):
            return
        config = Config(snapshot, self._overlay, snapshot.regions)
        self.on_change(config)
        self.state.config = config


def _newer(installation: str, version: int, held_installation: str, held_version: int, *, local: bool) -> bool:
    """A higher number of the same installation. Of another one: only from our own data folder, which may have
    been replaced; a shared Redis may hold anybody's."""
    return version > held_version if installation == held_installation else local
