"""The buckets of latencies: how wide they are, and that adding histograms loses nothing."""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from history.rollups import buckets
from history.rollups.buckets import EDGES, LARGEST, MIDDLES

#: Values of a column, the small ones often.
values = st.one_of(st.integers(0, 100), st.integers(0, 10**5), st.integers(0, LARGEST))


@given(values)
def test_every_value_is_in_the_bucket_that_has_its_bounds(value: int) -> None:
    low, high = buckets.bounds(buckets.bucket(value))
    assert low <= value <= high


def test_what_stands_for_a_bucket_is_within_two_and_a_half_percent_of_all_in_it() -> None:
    for number, middle in enumerate(MIDDLES):
        low, high = buckets.bounds(number)
        assert low <= middle <= high
        assert high == low or (middle - low <= 0.025 * low and high - middle <= 0.025 * high)
        assert high == low or low > 39
    assert buckets.bounds(len(EDGES))[1] == LARGEST


@given(st.lists(st.lists(values, min_size=1, max_size=20), min_size=1, max_size=5))
def test_histograms_in_bytes_add_up(parts: list[list[int]]) -> None:
    counted = [Counter(map(buckets.bucket, part)) for part in parts]
    stored = [buckets.pack(buckets.to_number(counts)) for counts in counted]
    assert [buckets.from_bytes(each) for each in stored] == counted
    together = buckets.pack(sum(map(buckets.unpack, stored)))
    assert buckets.from_bytes(together) == sum(counted, Counter())


@given(st.dictionaries(st.integers(0, len(EDGES)), st.integers(1, 10**12 - 1)))
def test_histograms_in_decimal_are_read_back(counts: dict[int, int]) -> None:
    digits = (f"{counts.get(number, 0):0{buckets.DIGITS}}" for number in reversed(range(max(counts, default=0) + 1)))
    assert buckets.from_decimal("".join(digits).lstrip("0")) == counts


@pytest.mark.django_db(databases=["default", "pg"])
def test_postgresql_puts_values_into_the_same_buckets() -> None:
    edges = [value for edge in EDGES for value in (edge - 1, edge)] + [LARGEST]
    with connections["pg"].cursor() as cursor:
        cursor.execute("SELECT width_bucket(value, %s::int[]) FROM unnest(%s::int[]) AS value", [list(EDGES), edges])
        assert [number for (number,) in cursor.fetchall()] == [buckets.bucket(value) for value in edges]
