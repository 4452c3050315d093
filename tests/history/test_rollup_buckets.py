"""The buckets of latencies: how wide they are, and that adding histograms loses nothing."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING

import pytest
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from history.queries import Distribution
from history.rollups import buckets
from history.rollups.buckets import EDGES, LARGEST, MIDDLES

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Values of a column, the small ones often.
values = st.one_of(st.integers(0, 100), st.integers(0, 10**5), st.integers(0, LARGEST))


def dense(counts: Mapping[int, int]) -> list[int]:
    return [counts.get(number, 0) for number in range(buckets.BUCKETS)]


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
    assert [buckets.from_bytes(each) for each in stored] == [dense(counts) for counts in counted]
    together = buckets.pack(sum(map(buckets.unpack, stored)))
    assert buckets.from_bytes(together) == dense(sum(counted, Counter()))


@pytest.mark.django_db(databases=["default", "pg"])
def test_histograms_of_postgresql_are_read_back() -> None:
    most = 10**buckets.DIGITS - 1
    chance = Random(7)
    histograms = [{0: 1}, {len(EDGES): most}, {0: most, 1: 10**4, 2: 10**8, 5: 1}]
    for _ in range(200):
        some = chance.sample(range(len(EDGES) + 1), chance.randrange(1, 60))
        histograms.append({number: min(most, int(chance.paretovariate(0.1))) for number in sorted(some)})
    numbers = [sum(count * 10 ** (buckets.DIGITS * number) for number, count in each.items()) for each in histograms]
    with connections["pg"].cursor() as cursor:
        for histogram, number in zip(histograms, numbers, strict=True):
            cursor.execute("SELECT numeric_send(%s::numeric)", [Decimal(number)])
            assert buckets.from_numeric(bytes(cursor.fetchone()[0])) == dense(histogram)


@given(st.lists(values, max_size=50), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_of_buckets_is_in_the_bucket_of_the_exact_one(found: list[int], share: float) -> None:
    exact = Distribution()
    for value in found:
        exact.add(value, 1)
    (wanted,), (told,) = (
        exact.percentiles(share),
        buckets.nearest_rank(MIDDLES, dense(Counter(map(buckets.bucket, found))), share),
    )
    assert (told is None) == (wanted is None)
    assert told is None or buckets.bucket(told) == buckets.bucket(wanted)


@pytest.mark.django_db(databases=["default", "pg"])
def test_postgresql_puts_values_into_the_same_buckets() -> None:
    edges = [value for edge in EDGES for value in (edge - 1, edge)] + [LARGEST]
    with connections["pg"].cursor() as cursor:
        cursor.execute("SELECT width_bucket(value, %s::int[]) FROM unnest(%s::int[]) AS value", [list(EDGES), edges])
        assert [number for (number,) in cursor.fetchall()] == [buckets.bucket(value) for value in edges]
