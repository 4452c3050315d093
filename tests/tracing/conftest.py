"""A traced gateway, its shipper and a collector: real processes, one set for a module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.lab import Lab
from tests.history.own_tables import Templates
from tests.simulators import simulator
from tests.tracing.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulators import Simulator

__all__ = ["simulator"]

CREDENTIAL = "collector-secret-0123456789"


@pytest.fixture(scope="module")
def history_database(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[Path]:
    """A database with the history's tables."""
    with django_db_blocker.unblock(), Templates(tmp_path_factory.mktemp("templates")).copy("sqlite") as path:
        yield Path(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, history_database: Path) -> Iterator[World]:
    made = World(
        tmp_path_factory.mktemp("data"), history_database, OTEL_EXPORTER_OTLP_HEADERS=f"authorization={CREDENTIAL}"
    )
    yield made
    made.close()


@pytest.fixture
def lab(world: World, simulator: Simulator) -> Lab:
    world.gateway.forget()
    return Lab(world.gateway, simulator)
