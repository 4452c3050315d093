"""What ``serve`` refuses before it starts anything, without starting it."""

from __future__ import annotations

import fcntl
import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from routing_project import preflight
from routing_project.env import Env
from routing_project.preflight import Fatal

if TYPE_CHECKING:
    from pathlib import Path


def env(data: Path, **settings: Any) -> Env:
    return Env(data_dir=data, **settings)


def test_a_taken_port_is_named(data_dir: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(Fatal, match=f"^127.0.0.1:{port} is taken by another program; "):
            preflight.bind(env(data_dir, port=port))


def test_until_it_listens_the_port_refuses_clients(data_dir: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    settings = env(data_dir, port=port)
    with closing(preflight.bind(settings)) as listener:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        preflight.listen(listener, settings)
        socket.create_connection(("127.0.0.1", port)).close()


def test_a_data_folder_has_one_serve(data_dir: Path) -> None:
    with preflight.lock_data_folder(env(data_dir)), pytest.raises(Fatal, match=r"another serve \(process \d+\) runs"):
        preflight.lock_data_folder(env(data_dir))
    preflight.lock_data_folder(env(data_dir)).close()


def test_the_lock_goes_with_its_process_and_not_with_its_file(data_dir: Path) -> None:
    (data_dir / "serve.lock").write_text("12345\n")  # left by a killed one
    with preflight.lock_data_folder(env(data_dir)) as held:
        assert (data_dir / "serve.lock").read_text().strip() != "12345"
        with (data_dir / "serve.lock").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not held.closed


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fatal, match=r"^SIGNALBOX_DATA_DIR: cannot write to "):
        preflight.lock_data_folder(env(tmp_path / "file" / "data"))


def test_a_missing_and_an_empty_database_say_how_to_make_one(data_dir: Path) -> None:
    missing = preflight.database_problem(env(data_dir))
    assert missing is not None
    assert "there is no database" in missing
    sqlite3.connect(data_dir / "signalbox.sqlite3").close()
    empty = preflight.database_problem(env(data_dir))
    assert empty is not None
    assert "no tables" in empty


def test_a_locked_database_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "SQLITE_WAIT_SECONDS", 0.05)
    path = data_dir / "signalbox.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE django_migrations (id INTEGER)")
        assert preflight.database_problem(env(data_dir)) is None
        connection.execute("BEGIN IMMEDIATE")
        problem = preflight.database_problem(env(data_dir))
    assert problem == f"the database {path} is locked by another program; close it and start again."


def test_an_unreachable_postgresql_is_one_line(data_dir: Path) -> None:
    problem = preflight.database_problem(env(data_dir, database_url=f"postgres://app:secret@/x?host={data_dir}"))
    assert problem is not None
    assert "\n" not in problem
    assert "secret" not in problem


def test_a_postgresql_without_tables_says_how_to_make_them(data_dir: Path, postgres_url: str) -> None:
    problem = preflight.database_problem(env(data_dir, database_url=postgres_url))
    assert problem is not None
    assert "no tables" in problem


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({}, None),
        ({"host": "localhost"}, None),
        ({"upstream_networks": "public,moon"}, "signalbox.E001"),
        ({"host": "0.0.0.0", "allowed_hosts": "a.example"}, "signalbox.E002"),
        ({"host": "0.0.0.0", "metrics_token": "t"}, "signalbox.E003"),
        ({"host": "0.0.0.0", "metrics_token": "t", "allowed_hosts": "a.example"}, None),
        ({"host": "0.0.0.0", "metrics_networks": "10.0.0.0/8", "allowed_hosts": "a.example"}, None),
    ],
)
def test_settings_that_cannot_work_are_refused(data_dir: Path, settings: dict[str, Any], refused: str | None) -> None:
    found = [finding.id for finding in preflight.findings(env(data_dir, **settings)) if finding.refuses]
    assert found == ([refused] if refused else [])
    if refused:
        with pytest.raises(Fatal):
            preflight.check_settings(env(data_dir, **settings))
