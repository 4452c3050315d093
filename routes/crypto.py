"""Sealing of secrets at rest: AES-256-GCM with a key ring. Django-free: the gateway opens the overlay with it.

A sealed value is ``b"sbx1" + key id (4 bytes) + nonce (12 bytes) + ciphertext and tag``. The first key of the
ring seals, every key opens, so that keys can be rotated while old values remain. ``context`` is authenticated
with the value and binds it to the place it belongs to (a row, a file): moved elsewhere it does not open.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from routing_project.env import get_env

MAGIC = b"sbx1"
NONCE_BYTES = 12
KEY_ID_BYTES = 4


class SealError(Exception):
    """A sealed value cannot be opened: wrong key ring, wrong place, or damaged."""


@lru_cache(maxsize=4)
def _ring(keys: tuple[bytes, ...]) -> dict[bytes, AESGCM]:
    return {hashlib.sha256(key).digest()[:KEY_ID_BYTES]: AESGCM(key) for key in keys}


def first_key_id() -> str:
    """Which key seals, in hex; says nothing of the key itself."""
    return next(iter(_ring(get_env().encryption_keys))).hex()


def seal(plaintext: bytes, context: str, keys: tuple[bytes, ...] | None = None) -> bytes:
    """Encrypt with the first key of the ring (default: the environment's)."""
    key_id, cipher = next(iter(_ring(keys or get_env().encryption_keys).items()))
    nonce = os.urandom(NONCE_BYTES)
    return MAGIC + key_id + nonce + cipher.encrypt(nonce, plaintext, context.encode())


def unseal(sealed: bytes, context: str, keys: tuple[bytes, ...] | None = None) -> bytes:
    """Decrypt with whichever key sealed it. Raises SealError; the message never holds the value."""
    start = len(MAGIC)
    key_id = sealed[start : start + KEY_ID_BYTES]
    nonce = sealed[start + KEY_ID_BYTES : start + KEY_ID_BYTES + NONCE_BYTES]
    if sealed[:start] != MAGIC or len(nonce) != NONCE_BYTES:
        raise SealError("not a sealed value")
    cipher = _ring(keys or get_env().encryption_keys).get(key_id)
    if cipher is None:
        raise SealError("sealed with a key that is not in the key ring")
    try:
        return cipher.decrypt(nonce, sealed[start + KEY_ID_BYTES + NONCE_BYTES :], context.encode())
    except InvalidTag:
        raise SealError("damaged, or sealed for another place") from None
