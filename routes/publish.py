"""Delivery: getting revision and overlay from the database to every gateway, on disk and over Redis.

The database decides; files and Redis are copies. ``deliver`` writes whichever copy is missing, older or of another
installation, and may run at any time in any process: after a commit, and every ten seconds as ``routes.reconcile``.
A copy that cannot be written never fails an action: it is logged and tried again. Must not import actions.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from routes import crypto, overlay
from routes.models import ConfigRevision, Installation
from routing_project.env import get_env
from routing_project.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = get_logger("publish")

CONTEXT = "overlay"
CHANNEL = "signalbox:config"
KEYS = {"revision": "signalbox:revision", "overlay": "signalbox:overlay"}
#: Beside the request, but somebody may be waiting for the page: short.
REDIS_TIMEOUT = 0.5

# Only a newer version of the same installation, or the first of another one, replaces what is there.
_SET_IF_NEWER = """
local held = redis.call('HMGET', KEYS[1], 'installation', 'version')
if held[1] == ARGV[1] and held[2] and tonumber(held[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'installation', ARGV[1], 'version', ARGV[2], 'blob', ARGV[3])
redis.call('PUBLISH', KEYS[2], ARGV[4])
return 1
"""


@dataclass(slots=True)
class Delivered:
    """What one delivery wrote (``overlay file``), and what it could not, with the reason."""

    written: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Copy:
    """One of the two things delivered, at the version the database has."""

    name: Literal["revision", "overlay"]
    installation: str
    version: int

    @property
    def path(self) -> Path:
        env = get_env()
        return env.revision_path if self.name == "revision" else env.overlay_path

    def content(self) -> bytes:
        """Built anew, because it is only asked for when something is stale. Raises OSError when it cannot be."""
        if self.name == "revision":
            return ConfigRevision.objects.only("compiled_zlib").get(number=self.version).compiled_text
        return seal_overlay(overlay.build(self.installation, self.version))


def deliver() -> Delivered:
    """Bring files and Redis up to the database. Never raises for a sink that is down; when all is current it costs
    three queries, two ``stat`` and one round trip to Redis."""
    report = Delivered()
    installation = Installation.get()
    number = ConfigRevision.objects.values_list("number", flat=True).first() or 0
    identity = str(installation.uuid)
    copies = [Copy("overlay", identity, _not_behind_disk(identity, installation.overlay_version))]
    if number:
        # The revision first: a key may name a profile that is new in it.
        copies.insert(0, Copy("revision", identity, number))
    for copy in copies:
        for sink, write in (("file", write_file), ("redis", write_redis)):
            if sink == "redis" and not redis_expected():
                continue
            try:
                if write(copy):
                    report.written.append(f"{copy.name} {sink}")
            except (OSError, redis.RedisError) as error:
                report.failed[f"{copy.name} {sink}"] = f"{type(error).__name__}: {error}"
    for name, reason in report.failed.items():
        log.warning("delivery_failed", copy=name, error=reason)
    if report.written:
        log.info("delivered", copies=report.written, revision=number, overlay=copies[-1].version)
    return report


def _not_behind_disk(identity: str, version: int) -> int:
    """The overlay version to deliver. A database restored from a backup counts on from what gateways run, or they
    would never take its overlay."""
    on_disk = version_on_disk(get_env().overlay_path, identity)
    if on_disk <= version:
        return version
    Installation.objects.filter(pk=1, overlay_version__lt=on_disk).update(overlay_version=on_disk + 1)
    return on_disk + 1


# -- on disk ------------------------------------------------------------------------------------------
def write_file(copy: Copy) -> bool:
    """Replace the file when it is stale: atomically, mode 0600, on disk before it counts. True when written."""
    with _lock():
        if version_on_disk(copy.path, copy.installation) >= copy.version:
            return False
        content = copy.content()
        temporary = copy.path.with_name(f".{copy.path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(copy.path)
        folder = os.open(copy.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return True


@contextmanager
def _lock() -> Iterator[None]:
    """One writer at a time among the processes of this host."""
    get_env().make_folders()
    with (get_env().data / ".delivery.lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def version_on_disk(path: Path, installation: str) -> int:
    """The version in the file, 0 when it is missing, damaged or of another installation."""
    try:
        status = path.stat()
    except OSError:
        return 0
    found, version = _read_version(path, status.st_ino, status.st_mtime_ns, status.st_size)
    return version if found == installation else 0


def number_on_disk(installation: str) -> int:
    """The number of the revision that gateways of this host run, 0 when there is none of this installation."""
    return version_on_disk(get_env().revision_path, installation)


@lru_cache(maxsize=8)
def _read_version(path: Path, _inode: int, _mtime: int, _size: int) -> tuple[str, int]:
    """(installation, version); parsed once per version of the file."""
    try:
        content = path.read_bytes()
        if path == get_env().overlay_path:
            content = crypto.unseal(content, CONTEXT)
        tree: dict[str, Any] = orjson.loads(content)
        return str(tree["installation"]), int(tree.get("version") or tree["number"])
    except (OSError, crypto.SealError, ValueError, KeyError, TypeError):
        return "", 0


def seal_overlay(tree: dict[str, Any]) -> bytes:
    return crypto.seal(orjson.dumps(tree), CONTEXT)


# -- Redis --------------------------------------------------------------------------------------------
def write_redis(copy: Copy) -> bool:
    """Set the hash and tell gateways, when Redis has nothing newer. True when written."""
    client = _client(get_env().effective_redis_url)
    key = KEYS[copy.name]
    held = cast("list[bytes | None]", client.hmget(key, ["installation", "version"]))
    if held[0] == copy.installation.encode() and int(held[1] or 0) >= copy.version:
        return False
    message = f"{copy.name}:{copy.version}"
    written = client.eval(_SET_IF_NEWER, 2, key, CHANNEL, copy.installation, copy.version, copy.content(), message)
    return bool(written)


def redis_expected() -> bool:
    """The embedded server only runs under ``serve``; a command used before it has nothing to tell anybody."""
    env = get_env()
    return env.redis_url is not None or env.redis_socket.exists()


@lru_cache(maxsize=2)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url, socket_timeout=REDIS_TIMEOUT, socket_connect_timeout=REDIS_TIMEOUT, retry=Retry(NoBackoff(), 0)
    )
