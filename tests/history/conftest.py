"""Databases and journals for the history tests; everything runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connections

from history.journal import JournalWriter
from history.shipper.folder import JournalFolder
from history.shipper.shipper import Shipper
from history.shipper.store import Store
from tests import servers
from tests.history.own_tables import Templates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: For tests that use the ``alias`` fixture.
BOTH = pytest.mark.django_db(databases=["default", "pg"], transaction=True)
NODE = UUID(int=1)


@pytest.fixture(params=["default", "pg"], ids=["sqlite", "postgresql"])
def alias(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def journal_dir(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def writer(journal_dir: Path) -> Iterator[JournalWriter]:
    made = JournalWriter(journal_dir, 1 << 30)
    yield made
    made.close()


@pytest.fixture
def new_shipper(journal_dir: Path, alias: str) -> Iterator[Callable[..., Shipper]]:
    """Makes shippers that start anew, as after a restart; only the last one made may be used."""
    folders: list[JournalFolder] = []

    def make(policy: Any = "failures", on_ended: Any = None) -> Shipper:
        while folders:
            folders.pop().close()
        folder = JournalFolder(journal_dir)
        folders.append(folder)
        return Shipper(folder, Store(NODE, policy, alias), on_ended)

    yield make
    for folder in folders:
        folder.close()


@pytest.fixture
def shipper(new_shipper: Callable[..., Shipper]) -> Shipper:
    return new_shipper()


class OwnDatabase:
    """A migrated database of its own for real processes, with the environment that leads them to it."""

    def __init__(self, kind: str, data_dir: Path) -> None:
        self.kind = kind
        self.data_dir = data_dir
        self.environment = {**os.environ, "SIGNALBOX_DATA_DIR": str(data_dir)}
        self.environment.pop("DATABASE_URL", None)
        # Children are the product, not the tests: they read the product's settings.
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)
        if kind == "sqlite":
            self._copy_sqlite()
        else:
            self.name = f"own_{uuid4().hex}"
            self._copy_postgres()
            self.environment["DATABASE_URL"] = servers.postgres_url(self.name)

    def _copy_sqlite(self) -> None:
        path = connections["default"].settings_dict["NAME"]
        with (
            closing(sqlite3.connect(path)) as source,
            closing(sqlite3.connect(self.data_dir / "signalbox.sqlite3")) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=WAL")

    def _copy_postgres(self) -> None:
        template = connections["pg"].settings_dict["NAME"]
        connections["pg"].close()
        with psycopg.connect(servers.postgres_url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self.name}" TEMPLATE "{template}"')

    def drop(self) -> None:
        if self.kind != "sqlite":
            with psycopg.connect(servers.postgres_url(), autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{self.name}" WITH (FORCE)')

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.data_dir / "signalbox.sqlite3", timeout=10)) as connection:
                return connection.execute(sql).fetchall()
        with psycopg.connect(servers.postgres_url(self.name)) as pg:
            return pg.execute(sql).fetchall()  # type: ignore[arg-type,call-overload]

    def rows(self) -> dict[str, str]:
        """Status by id (hex), and no id twice."""
        rows = self.query("SELECT id, status FROM route_history")
        found = {str(identifier).replace("-", ""): status for identifier, status in rows}
        assert len(found) == len(rows)
        return found

    def spawn(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, *command], env=self.environment, **options)

    def ship(self) -> None:
        """Run a shipper until the journal is empty."""
        with self.spawn("-m", "history.shipper", "--once", stderr=subprocess.PIPE) as process:
            _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()


@pytest.fixture
def own_database(alias: str, data_dir: Path) -> Iterator[OwnDatabase]:
    database = OwnDatabase("sqlite" if alias == "default" else "postgresql", data_dir)
    yield database
    database.drop()


@pytest.fixture
def as_default(alias: str, db: Any) -> Iterator[str]:
    """Let the code under test, which says ``default``, work on this database."""
    usual, wanted = connections["default"], connections[alias]
    connections["default"] = wanted
    wanted.alias = "default"  # a query over two tables asks whether both are in the same database
    yield alias
    wanted.alias = alias
    connections["default"] = usual


@pytest.fixture(scope="session")
def history_templates(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Templates:
    return Templates(tmp_path_factory.mktemp("history"))


@pytest.fixture
def unblocked(django_db_blocker: Any) -> Iterator[None]:
    """Let a test without ``django_db`` open the databases it makes."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def own_postgres(history_templates: Templates, unblocked: None) -> Iterator[str]:
    """The alias of a PostgreSQL database with the history's tables, this test's own."""
    with history_templates.copy("postgresql"):
        yield "own"


@pytest.fixture(params=["sqlite", "postgresql"])
def own_tables(request: pytest.FixtureRequest, history_templates: Templates, unblocked: None) -> Iterator[str]:
    """As ``own_postgres``, on both databases."""
    with history_templates.copy(request.param):
        yield "own"
