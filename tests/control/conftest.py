"""A data folder of its own for every control-plane test, actors of each role, and both databases on demand."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from routes import live
from routes.actions import Actor
from routes.live import SharedLiveState
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
def gateway(env: Env) -> Iterator[SharedLiveState]:
    """The host's live state as a gateway has it."""
    with host_state(env.live_path) as state:
        yield state


@contextmanager
def host_state(path: Path) -> Iterator[SharedLiveState]:
    """A gateway's hold on the host's live state; the console's own view of it is made anew, and closed in the end."""
    live._opened = None
    with closing(SharedLiveState(path, "gateway")) as state:
        yield state
    opened, live._opened = live._opened, None
    if opened is not None and isinstance(opened[1], SharedLiveState):
        opened[1].close()


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
