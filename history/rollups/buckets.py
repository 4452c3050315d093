"""The buckets that times are counted in, and counts of buckets as one number. Pure.

Bucket k holds the whole milliseconds v with ``EDGES[k-1] <= v < EDGES[k]``; bucket 0 holds 0. The edges are 1, and from
each the next is ``max(edge + 1, floor(1.05 * edge))``: one millisecond wide up to 40 ms, above that never more than 5 %
wide. Where a bucket's middle stands for its values, each is off by at most 2.5 %, and by nothing up to 40 ms. A
percentile by nearest rank is in the very bucket of the exact one, because no value leaves its bucket however many
histograms are added.

A histogram is one whole number: the sum over buckets of ``count * base ** k``. Adding two histograms is then adding two
numbers, whatever is in them, and that is what both databases do. In PostgreSQL it is a ``numeric`` with base 10^12; in
SQLite, which has no such numbers, bytes with base 2^40, summed by functions of ours (``fields``).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The largest value of an integer column.
LARGEST: Final = 2**31 - 1
#: Decimal digits of one bucket's count, in PostgreSQL: 10^12 requests in one bucket of one sum.
DIGITS: Final = 12
_NONE: Final = "0" * DIGITS
#: Bytes of one bucket's count, in SQLite.
WIDTH: Final = 5


def _edges() -> tuple[int, ...]:
    edges = [1]
    while (following := max(edges[-1] + 1, edges[-1] * 105 // 100)) <= LARGEST:
        edges.append(following)
    return tuple(edges)


EDGES: Final = _edges()


def bucket(value: int) -> int:
    """The bucket of a value, as PostgreSQL's ``width_bucket(value, EDGES)`` has it."""
    return bisect_right(EDGES, value)


def bounds(number: int) -> tuple[int, int]:
    """The smallest and the largest value of a bucket."""
    low = EDGES[number - 1] if number else 0
    high = EDGES[number] - 1 if number < len(EDGES) else LARGEST
    return low, high


#: What stands for the values of each bucket: its middle.
MIDDLES: Final = tuple(sum(bounds(number)) // 2 for number in range(len(EDGES) + 1))


def from_decimal(text: str) -> dict[int, int]:
    """Counts by bucket, from PostgreSQL's number."""
    digits = text.rstrip("0")
    skipped = (len(text) - len(digits)) // DIGITS
    text = text.zfill(-(-len(text) // DIGITS) * DIGITS)
    parts = [text[end - DIGITS : end] for end in range(len(text) - skipped * DIGITS, 0, -DIGITS)]
    return {number: int(part) for number, part in enumerate(parts, skipped) if part != _NONE}


def to_number(counts: Mapping[int, int]) -> int:
    """Counts by bucket as SQLite's number."""
    return sum(count << (8 * WIDTH * number) for number, count in counts.items())


def pack(number: int) -> bytes:
    """SQLite's number as it is stored: how many low buckets are empty (two bytes), then the others."""
    if not number:
        return b""
    skipped = ((number & -number).bit_length() - 1) // (8 * WIDTH)
    number >>= 8 * WIDTH * skipped
    return skipped.to_bytes(2, "little") + number.to_bytes((number.bit_length() + 7) // 8, "little")


def unpack(stored: bytes) -> int:
    """The reverse of ``pack``."""
    return int.from_bytes(stored[2:], "little") << (8 * WIDTH * int.from_bytes(stored[:2], "little"))


def from_bytes(stored: bytes) -> dict[int, int]:
    """Counts by bucket, from what SQLite stores."""
    skipped, digits = int.from_bytes(stored[:2], "little"), stored[2:]
    counts = {}
    for place in range(0, len(digits), WIDTH):
        count = int.from_bytes(digits[place : place + WIDTH], "little")
        if count:
            counts[skipped + place // WIDTH] = count
    return counts
