"""A data folder of its own for every control-plane test, actors of each role, and both databases on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from routes.actions import Actor
from routes.scopes import effective
from routing_project.env import Env, get_env

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def env(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Env]:
    """The environment with an empty data folder."""
    monkeypatch.setenv("SIGNALBOX_DATA_DIR", str(data_dir))
    get_env.cache_clear()
    yield get_env()
    get_env.cache_clear()


@pytest.fixture
def admin() -> Actor:
    return actor("admin")


def actor(*scopes: str) -> Actor:
    """Somebody with these scopes and what they include."""
    return Actor("user", "ada", "1", effective(scopes))


@pytest.fixture(params=["sqlite", "postgresql"])
def both_databases(request: pytest.FixtureRequest, db: Any) -> Iterator[None]:
    """Run the test on SQLite and on PostgreSQL; needs ``django_db(databases=["default", "pg"])``."""
    if request.param == "sqlite":
        yield
        return
    usual = connections["default"]
    connections["default"] = connections["pg"]
    yield
    connections["default"] = usual
