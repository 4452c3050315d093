"""System checks of the storage: what is said, and that it is said only then."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.core.checks import run_checks
from django.utils import timezone

from history import partitions
from history.checks import _strays
from routes import actions
from routes.actions import Actor
from routing_project.env import get_env
from tests.history import rows, samples

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    monkeypatch.setenv("SIGNALBOX_HISTORY_DAYS", request.param)
    get_env.cache_clear()
    yield
    monkeypatch.undo()
    get_env.cache_clear()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kept", "warned"), [("30", ""), ("29", "monthly"), ("6", "monthly"), ("5", "monthly, weekly")], indirect=["kept"]
)
def test_a_history_shorter_than_a_budget_is_warned_of(kept: None, warned: str) -> None:
    for name, limits in (("daily", {"usd_day": 1}), ("weekly", {"usd_week": 1}), ("monthly", {"usd_month": 1})):
        actions.create_access_key({"name": name, "limits": limits}, actor=Actor.command("test"))
    found = [each for each in run_checks(databases=["default"]) if each.id == "history.W001"]
    assert [each.msg for each in found] == (
        [f"History is kept for less time than a budget runs, of the access key {warned}."] if warned else []
    )


def test_rows_in_no_days_partition_are_told_until_they_are_moved(own_postgres: str) -> None:
    now = timezone.now()
    rows.store(samples.failed(rows.at(now)), alias=own_postgres)
    assert _strays(own_postgres) == []
    rows.store(samples.finished(rows.at(now - timedelta(days=9))), alias=own_postgres)
    (found,) = _strays(own_postgres)
    assert (found.id, found.msg) == ("history.W002", "Rows are in no day's partition: 1 of route_history.")
    partitions.move_strays(partitions._FIRST, now, own_postgres)
    assert _strays(own_postgres) == []
