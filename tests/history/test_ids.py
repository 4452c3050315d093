"""Ids carry their time, and children and sessions derive theirs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from history import ids

MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(moment=MOMENTS, offset=st.integers(-3000, 3000))
def test_a_time_bound_is_an_id_bound(moment: datetime, offset: int) -> None:
    created = moment.replace(microsecond=moment.microsecond // 1000 * 1000) + timedelta(milliseconds=offset)
    stamp = int((created - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    lowest, highest = UUID(int=stamp << 80), UUID(int=((stamp + 1) << 80) - 1)
    assert ids.time_of(lowest) == ids.time_of(highest) == created
    assert (lowest >= ids.first_id(moment)) == (highest >= ids.first_id(moment)) == (created >= moment)


def test_ids_of_one_process_rise_strictly() -> None:
    minted = [ids.new_id() for _ in range(5000)]
    assert minted == sorted(set(minted))
    assert {(value.version, value.variant) for value in minted} == {(7, minted[0].variant)}


@given(route=st.binary(min_size=16, max_size=16), place=st.integers(0, 50))
def test_children_keep_their_parents_time_and_are_told_apart(route: bytes, place: int) -> None:
    child = ids.child_id(route, "attempt", place)
    assert child == ids.child_id(route, "attempt", place)
    assert child.version == 7
    assert ids.milliseconds(child) == ids.milliseconds(route)
    assert child != ids.child_id(route, "attempt", place + 1)
    assert child != ids.child_id(route, "metric", place)


@given(key=st.binary(min_size=16, max_size=16), session=st.text())
def test_a_session_is_the_uuid5_of_its_key_and_name(key: bytes, session: str) -> None:
    assert ids.session_id(key, session) == uuid5(UUID(bytes=key), session)


def test_an_id_that_nobody_minted_has_a_time_that_can_be_reckoned_with() -> None:
    for identifier in (UUID(int=2**128 - 1), UUID("f159e94d-c261-53b6-b7f0-d6d679ce77f8"), UUID(int=0)):
        assert ids.time_of(identifier) + timedelta(days=36500) > datetime(1970, 1, 1, tzinfo=UTC)
