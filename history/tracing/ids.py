"""Ids of traces and spans, derived from a route's: the gateway tells an upstream the id of a span that the shipper will
make much later, and a record that is told twice makes the same span twice. Pure functions; must import nothing of
OpenTelemetry and no Django: gateways use it in the request path.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

TRACE_SIZE: Final = 16
_MASK: Final = 2**64 - 1


def trace_id(route: bytes) -> bytes:
    """Of a trace that begins with this request. A digest, because samplers take the last bytes of a trace's id for
    random, and in a UUIDv7 they are not."""
    return blake2b(route, digest_size=TRACE_SIZE).digest()


def span_id(route: bytes, ordinal: int = 0) -> int:
    """Of the request itself, or of its ``ordinal``-th attempt, from 1: what is random in the route's id, counted on. It
    need differ only from the others of its trace."""
    return (int.from_bytes(route[8:], "big") + ordinal) & _MASK
