"""What the history is filled with to be measured: as varied as it claims, and the same whoever makes it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest

from bench.history import traffic, world
from bench.history.explain import _added, _kind, _plain
from history.records import Finished, Started
from routes.engine.explain import unpack_decision
from routes.engine.snapshot import Snapshot

if TYPE_CHECKING:
    from bench.history.world import World

END_MS = 1_795_000_000_000
ROWS = 12_000


@pytest.fixture(scope="module")
def everything() -> World:
    return world.build(3)


@pytest.fixture(scope="module")
def records(everything: World) -> list[Finished | Started]:
    hours = traffic.hours(ROWS, 2, END_MS)
    return [record for hour in hours for record in traffic.records(everything, 3, hour)]


def test_there_are_as_many_as_were_asked_for_in_order_and_within_the_days(records: list[Finished | Started]) -> None:
    identifiers = [record.id for record in records]
    assert len(set(identifiers)) == ROWS
    moments = [int.from_bytes(identifier[:6], "big") for identifier in identifiers]
    assert moments == sorted(moments)
    assert END_MS - 2 * 24 * traffic.HOUR_MS <= moments[0] <= moments[-1] < END_MS


def test_they_are_as_varied_as_real_ones(records: list[Finished | Started]) -> None:
    finished = [record for record in records if isinstance(record, Finished)]
    statuses = Counter(record.status for record in finished)
    assert statuses.keys() == {"routed", "failed", "timeout", "rejected", "cancelled", "decided"}
    assert len(finished) < ROWS  # the others were cut off
    assert 0.04 < 1 - statuses["routed"] / ROWS < 0.06
    recovered = [record for record in finished if record.recovered]
    assert 0.02 < len(recovered) / ROWS < 0.03
    assert {record.attempt_count for record in recovered} == {2, 3}
    assert 0.007 < sum(len(record.message) > 300 for record in finished) / ROWS < 0.015
    assert len({record.requested_model for record in records}) == 40
    assert len({record.provider for record in records} - {""}) == 12
    profiles = Counter(record.profile for record in records).most_common()
    assert len(profiles) >= 20
    assert profiles[0][1] > 5 * profiles[15][1]
    assert len({record.error_code for record in finished}) > 20
    assert any(record.rule for record in finished)
    assert {record.session_key is None for record in records} == {True, False}


def test_the_same_seed_makes_the_same_rows_in_whatever_order_hours_are_made(
    everything: World, records: list[Finished | Started]
) -> None:
    again = world.build(3)
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(everything)
    hour = traffic.hours(ROWS, 2, END_MS)[30]
    made = list(traffic.records(again, 3, hour))
    start = next(n for n, record in enumerate(records) if record.id == made[0].id)
    assert made == records[start : start + len(made)]
    assert [record.id for record in traffic.records(again, 4, hour)] != [record.id for record in made]


def test_decisions_are_the_engines_own_and_can_be_told(everything: World, records: list[Finished | Started]) -> None:
    snapshot = Snapshot.from_document(everything.document)
    told = 0
    for record in records[:1000]:
        if isinstance(record, Finished) and record.decision and record.attempt_count == 1:
            decision = unpack_decision(record.decision, snapshot)
            assert decision.ranked[0].target.provider.slug == record.provider
            assert (decision.strategy, decision.source, decision.matched_rule) == (
                record.strategy, record.source, record.rule,
            )  # fmt: skip
            told += 1
    assert told > 800


def test_partitions_that_are_read_alike_are_told_as_one() -> None:
    def scan(part: int, rows: int) -> dict[str, object]:
        return {
            "Node Type": "Index Scan", "Index Name": f"p{part}_profile_idx", "Relation Name": f"p{part}",
            "Index Cond": f"(p_{part}.profile = 'x'::text)", "Actual Rows": rows, "Actual Loops": 1,
            "Actual Total Time": 0.5, "Shared Hit Blocks": 3,
        }  # fmt: skip

    names = {"p1": "route", "p2": "route", "p1_profile_idx": "by_profile", "p2_profile_idx": "by_profile"}
    nodes = [_plain(scan(1, 4), names), _plain(scan(2, 6), names)]
    assert _kind(nodes[0]) == _kind(nodes[1])
    both = _added(nodes)
    assert (both["of"], both["Actual Rows"], both["Shared Hit Blocks"], both["Index Name"]) == (2, 10, 6, "by_profile")
    assert _kind(_plain(scan(1, 4) | {"Node Type": "Seq Scan"}, names)) != _kind(nodes[0])
