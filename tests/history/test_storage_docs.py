"""docs/history_storage.md is true."""

from __future__ import annotations

from pathlib import Path

from django.db import connections

from history import checks, partitions, pruning, upkeep
from routing_project.celery import SCHEDULE
from routing_project.env import Env

WORDS = " ".join((Path(__file__).parents[2] / "docs" / "history_storage.md").read_text().split())


def test_its_figures_are_those_of_the_code() -> None:
    fields = Env.model_fields
    assert f"measurements | {fields['history_days'].default} days | `SIGNALBOX_HISTORY_DAYS`" in WORDS
    assert f"kept at all | {fields['payload_days'].default} days, never longer" in WORDS
    assert (SCHEDULE["history-upkeep"]["schedule"], upkeep.RUN_SECONDS) == (600, 300)
    assert "Every ten minutes the worker looks" in WORDS
    assert "A run ends after five minutes" in WORDS
    assert (partitions.AHEAD_DAYS, partitions.LOCK_MS, pruning.CHUNK["sqlite"]) == (7, 200, 100)
    assert f"up to {partitions.MOVE_ROWS:,} in one transaction" in WORDS
    assert partitions.FUTURE_DAYS == 100
    for code in (line.split()[0] for line in (checks.__doc__ or "").splitlines() if line.startswith("history.W")):
        assert f"`{code}`" in WORDS


def test_the_query_of_sizes_and_the_names_of_partitions_are_right(own_postgres: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "history_storage.md").read_text()
    with connections[own_postgres].cursor() as cursor:
        cursor.execute(text.split("```sql\n")[1].split("```")[0].replace("%", "%%"), [])
        assert {name for name, _, _ in cursor.fetchall()} == set(partitions.tables(own_postgres))
    for table in partitions.tables(own_postgres):
        assert f"`{table}`" in WORDS
