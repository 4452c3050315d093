"""The repository: decisions in, outcomes in, answers out, through a real journal and shipper."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from history import repository as repository_module
from history.errors import JournalFull, RouteNotFound, StatusConflict
from history.filters import from_parameters
from history.ids import new_id, session_id, time_of
from history.journal import JournalWriter
from history.repository import Metric, RouteHistoryRepository
from history.timerange import TimeRange
from tests.history.conftest import BOTH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    from history.models import RouteHistory
    from history.shipper.shipper import Shipper

pytestmark = BOTH


@pytest.fixture
async def repository(writer: JournalWriter, alias: str) -> AsyncIterator[RouteHistoryRepository]:
    yield RouteHistoryRepository(writer, alias)
    await sync_to_async(connections.close_all)()  # those of the thread that async code queries in


def decision() -> dict[str, str]:
    return {"route_type": "service", "profile": "default", "strategy": "weighted", "provider": "acme-eu"}


async def ship(shipper: Shipper) -> None:
    while await sync_to_async(shipper.round)():
        pass


async def stored(repository: RouteHistoryRepository, route: UUID) -> RouteHistory:
    row = await repository.get_route(route)
    assert row is not None
    return row


async def test_a_decision_becomes_a_row_and_its_outcome_follows(
    repository: RouteHistoryRepository, shipper: Shipper
) -> None:
    route = await repository.record_route_decision(**decision())
    await ship(shipper)
    row = await stored(repository, route)
    assert (row.status, row.route_type, row.latency_ms, row.created_at) == ("decided", "service", None, time_of(route))
    changed = await repository.update_route_status(
        route, "routed", latency_ms=12.4, input_tokens=3, metrics=[Metric("quality", 0.9, "ratio")]
    )
    assert changed
    await ship(shipper)
    row = await stored(repository, route)
    assert (row.status, row.latency_ms, row.input_tokens) == ("routed", 12, 3)
    assert [metric.metric_name async for metric in row.metrics.all()] == ["quality"]


async def test_an_outcome_may_be_reported_before_the_decision_is_a_row(
    repository: RouteHistoryRepository, shipper: Shipper
) -> None:
    route = await repository.record_route_decision(**decision())
    assert await repository.update_route_status(route, "timeout", error_code="timeout_total")
    assert not await repository.update_route_status(route, "timeout")
    with pytest.raises(StatusConflict):
        await repository.update_route_status(route, "routed")
    await ship(shipper)
    row = await stored(repository, route)
    assert (row.status, row.error_code) == ("timeout", "timeout_total")


async def test_the_same_outcome_again_changes_nothing_and_another_is_refused(
    repository: RouteHistoryRepository, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = await repository.record_route_decision(**decision())
    await repository.update_route_status(route, "failed")
    await ship(shipper)
    monkeypatch.setattr(repository_module, "_recent", repository_module._Recent())  # another process, or much later
    assert not await repository.update_route_status(route, "failed")
    with pytest.raises(StatusConflict, match="failed already"):
        await repository.update_route_status(route, "routed")
    with pytest.raises(StatusConflict):
        await repository.update_route_status(route, "decided")


async def test_a_route_nobody_knows_is_not_found(
    repository: RouteHistoryRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository_module, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(RouteNotFound):
        await repository.update_route_status(uuid4(), "routed")
    with pytest.raises(RouteNotFound):
        await repository.add_route_metrics(new_id(), [Metric("x", 1)])
    assert await repository.get_route(new_id()) is None


async def test_measurements_can_be_added_to_any_route(repository: RouteHistoryRepository, shipper: Shipper) -> None:
    route = await repository.record_route_decision(**decision())
    await repository.add_route_metrics(route, [Metric("a", 1.5, "ms"), Metric("b", 2)])
    await repository.add_route_metrics(route, [Metric("a", 1.5, "ms")])
    await ship(shipper)
    row = await stored(repository, route)
    assert sorted([metric.metric_name async for metric in row.metrics.all()]) == ["a", "a", "b"]


async def test_a_full_journal_is_said_and_the_outcome_can_be_reported_again(
    journal_dir: Path, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = JournalWriter(journal_dir, 1 << 20)
    repository = RouteHistoryRepository(writer, alias)
    route = await repository.record_route_decision(**decision())
    monkeypatch.setattr(writer, "append", lambda _record: False)
    with pytest.raises(JournalFull):
        await repository.record_route_decision(**decision())
    with pytest.raises(JournalFull):
        await repository.update_route_status(route, "routed")
    monkeypatch.undo()
    assert await repository.update_route_status(route, "routed")
    writer.close()
    await sync_to_async(connections.close_all)()


async def test_reading_back_by_session_by_failure_and_by_search(
    repository: RouteHistoryRepository, shipper: Shipper
) -> None:
    key = uuid4()
    first = await repository.record_route_decision(**decision(), session_key="chat", key_id=key)
    other = await repository.record_route_decision(**decision(), session_key="chat", key_id=uuid4())
    second = await repository.record_route_decision(
        **decision(), session_key="chat", key_id=key, status="rejected", error_code="no_target_available"
    )
    await ship(shipper)
    session = session_id(key.bytes, "chat")
    assert [row.id for row in await repository.get_route_history(session)] == [first, second]
    span = TimeRange(time_of(first), time_of(second) + timedelta(seconds=1))
    report = await repository.get_failed_routes(span)
    assert (report.total, [row.id for row in report.page.rows]) == (1, [second])
    statistics = await repository.get_route_statistics(span)
    assert (statistics["totals"]["count"], statistics["totals"]["decided"]) == (3, 2)
    page = await repository.search(from_parameters({"status": "decided"}), limit=1)
    assert [row.id for row in page.rows] == [other]
    page = await repository.search(from_parameters({"status": "decided"}), page=page.next, limit=1)
    assert [row.id for row in page.rows] == [first]
