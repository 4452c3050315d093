"""Ids that carry their time. Pure functions; must not import Django (the gateway mints ids too).

A route's id is a UUIDv7 minted when the request was accepted; its first 48 bits are Unix milliseconds, so id order
is time order and a time range is an id range (one day = one partition). Child rows get ids derived from their
route's id and their place: a replayed batch meets its own rows instead of doubling them, and parent and child
share their time, so they live in the same day's partition.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RANDOM_BITS = 80
_LATEST_MS = 2**47


def new_id() -> UUID:
    """A fresh UUIDv7; ids minted in one process rise strictly."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


def milliseconds(value: UUID | bytes) -> int:
    """Unix milliseconds inside the id."""
    return int.from_bytes((value if isinstance(value, bytes) else value.bytes)[:6], "big")


def time_of(value: UUID | bytes) -> datetime:
    """When the request was accepted, to the millisecond. Of an id that nobody minted, a time before the year 6500: the
    rest are beyond what can be reckoned with."""
    return _EPOCH + min(milliseconds(value), _LATEST_MS) * _MILLISECOND


def first_id(moment: datetime) -> UUID:
    """The smallest id of a row created at ``moment`` or later: ``created_at >= t`` is ``id >= first_id(t)``."""
    return first_id_of(-((_EPOCH - moment) // _MILLISECOND))  # rounded up: ids hold whole milliseconds


def first_id_of(unix_ms: int) -> UUID:
    """The smallest id of that millisecond."""
    return UUID(int=min(max(unix_ms, 0), 2**48 - 1) << _RANDOM_BITS)


def same_moment(route: UUID) -> tuple[UUID, UUID]:
    """The ids of a route's millisecond, from the first to before the second: its children are among them, so that they
    are found in one day's partition by the primary key alone."""
    low = milliseconds(route) << _RANDOM_BITS
    return UUID(int=low), UUID(int=low + (1 << _RANDOM_BITS))


def child_id(route: bytes, kind: str, place: str | int) -> UUID:
    """Id of the ``place``-th child of a kind; the same for every replay."""
    digest = hashlib.blake2b(route + f"{kind}:{place}".encode(), digest_size=16).digest()
    return UUID(bytes=route[:6] + bytes((0x70 | digest[6] & 0x0F, digest[7], 0x80 | digest[8] & 0x3F)) + digest[9:])


def session_id(key_id: bytes | None, session_key: str) -> UUID:
    """A client's conversation, told apart by access key: two clients may use the same string."""
    return UUID(bytes=session_bytes(key_id, session_key))


def session_bytes(key_id: bytes | None, session_key: str) -> bytes:
    """``uuid5(key_id, session_key)``, without the objects: it is computed for every row."""
    digest = hashlib.sha1((key_id or bytes(16)) + session_key.encode(), usedforsecurity=False).digest()
    return digest[:6] + bytes((0x50 | digest[6] & 0x0F, digest[7], 0x80 | digest[8] & 0x3F)) + digest[9:16]
