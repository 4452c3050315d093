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

from bisect import bisect_left, bisect_right
from itertools import accumulate
from struct import unpack_from
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: The largest value of an integer column.
LARGEST: Final = 2**31 - 1
#: Decimal digits of one bucket's count, in PostgreSQL: 10^12 requests in one bucket of one sum.
DIGITS: Final = 12
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


BUCKETS: Final = len(EDGES) + 1
#: What stands for the values of each bucket: its middle.
MIDDLES: Final = tuple(sum(bounds(number)) // 2 for number in range(BUCKETS))


def from_numeric(sent: bytes) -> list[int]:
    """The count of each bucket, from PostgreSQL's ``numeric_send``: how many digits of base 10^4 there are, the power
    of the first, sign and scale, then the digits, all in two bytes each. Three of them are a bucket's count. Taking
    apart the text of a number, or Python's own integer, takes several times as long.
    """
    size, power = unpack_from(">hh", sent)
    lowest = power - size + 1
    # The last one first, and whole threes.
    digits = (0,) * (lowest % 3) + unpack_from(f">{size}h", sent, 8)[::-1]
    digits += (0,) * (-len(digits) % 3)
    counts, high, higher = digits[::3], digits[1::3], digits[2::3]
    if any(high) or any(higher):  # rare: a sum that has ten thousand requests in one bucket
        counts = tuple(one + 10**4 * two + 10**8 * three for one, two, three in zip(counts, high, higher, strict=True))
    return _padded(lowest // 3, counts)


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


def from_bytes(stored: bytes) -> list[int]:
    """The count of each bucket, from what SQLite stores."""
    skipped, digits = int.from_bytes(stored[:2], "little"), stored[2:]
    counts = [int.from_bytes(digits[place : place + WIDTH], "little") for place in range(0, len(digits), WIDTH)]
    return _padded(skipped, counts)


def _padded(skipped: int, counts: Sequence[int]) -> list[int]:
    return [0] * skipped + [*counts] + [0] * (BUCKETS - skipped - len(counts))


def nearest_rank(values: Sequence[int], counts: Iterable[int], *wanted: float) -> list[int | None]:
    """Of values in order, with how often each is there: those at the wanted shares (0.95 = 95 of 100 are no larger);
    None without any."""
    seen = list(accumulate(counts))
    if not seen or not seen[-1]:
        return [None] * len(wanted)
    return [values[bisect_left(seen, max(1, -int(-share * seen[-1] // 1)))] for share in wanted]
