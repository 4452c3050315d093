"""A database of its own with the history's tables only, as Django's alias ``own``: for tests that change tables.

Made once a run by the migrations, then copied; its tests need no other database and no ``django_db`` mark.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from history.partitions import TABLES
from tests import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWN = "own"
BEFORE_PARTITIONS = [("history", "0006_smaller_rows")]


def _settings(usual: str, name: str) -> dict[str, Any]:
    return {**connections[usual].settings_dict, "NAME": name}


@contextmanager
def alias_for(usual: str, name: str) -> Iterator[str]:
    """``own`` leads to the database ``name``, for this thread and others."""
    connections.databases[OWN] = _settings(usual, name)
    try:
        yield OWN
    finally:
        connections[OWN].close()
        del connections[OWN]
        del connections.databases[OWN]


def migrate(targets: list[tuple[str, str]] | None = None) -> None:
    """The history's tables in ``own``, to a state or to the newest."""
    executor = MigrationExecutor(connections[OWN])
    executor.migrate(targets or [node for node in executor.loader.graph.leaf_nodes() if node[0] == "history"])


def admin(statement: str) -> None:
    with psycopg.connect(servers.postgres_url(), autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[call-overload]


@contextmanager
def empty_postgres() -> Iterator[str]:
    """A database without tables; its name."""
    name = f"own_{uuid4().hex}"
    admin(f'CREATE DATABASE "{name}"')
    try:
        with alias_for("pg", name):
            yield name
    finally:
        admin(f'DROP DATABASE "{name}" WITH (FORCE)')


class Templates:
    """The migrated databases that are copied. A copy on PostgreSQL is emptied and used again while its tables are what
    they were: making hundreds of files for each test takes longer than most tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, str] = {}
        self._at_hand: str | None = None
        self._tables: set[tuple[Any, ...]] = set()

    @contextmanager
    def copy(self, vendor: str) -> Iterator[str]:
        """A copy as ``own``; its name, or the path of its file."""
        if vendor == "sqlite":
            path = str(self.folder / f"{uuid4().hex}.sqlite3")
            shutil.copyfile(self._template(vendor), path)
            with alias_for("default", path):
                yield path
            return
        if self._at_hand is None:
            self._at_hand = f"own_{uuid4().hex}"
            admin(f'CREATE DATABASE "{self._at_hand}" TEMPLATE "{self._template(vendor)}"')
        with alias_for("pg", self._at_hand):
            self._tables = self._tables or _tables()
            try:
                yield self._at_hand
            finally:
                reusable = self._emptied()
        if not reusable:
            admin(f'DROP DATABASE "{self._at_hand}" WITH (FORCE)')
            self._at_hand, self._tables = None, set()

    def _emptied(self) -> bool:
        """Whether the copy at hand is again what it was."""
        now = _tables()
        with connections[OWN].cursor() as cursor:
            for name in {each[1] for each in now} - {each[1] for each in self._tables}:
                cursor.execute(f'DROP TABLE "{name}"')
            for _, name, *_ in self._tables:
                if name.startswith("history_") or name in TABLES:
                    cursor.execute(f'DELETE FROM "{name}"')
        return self._tables == _tables()

    def _template(self, vendor: str) -> str:
        if vendor not in self._made:
            self._made[vendor] = self._postgres() if vendor == "postgresql" else self._sqlite()
        return self._made[vendor]

    def _postgres(self) -> str:
        name = f"template_{uuid4().hex}"
        admin(f'CREATE DATABASE "{name}"')
        with alias_for("pg", name):
            migrate()
        return name

    def _sqlite(self) -> str:
        path = str(self.folder / "template.sqlite3")
        with alias_for("default", path):
            migrate()
            connections[OWN].cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path


def _tables() -> set[tuple[Any, ...]]:
    """Of ``own``: tables and partitions with their bounds, columns and indexes."""
    with connections[OWN].cursor() as cursor:
        cursor.execute(
            "SELECT oid, relname, pg_get_expr(relpartbound, oid), relnatts, "
            "(SELECT count(*) FROM pg_index WHERE indrelid = pg_class.oid) FROM pg_class "
            "WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        )
        return set(cursor.fetchall())
