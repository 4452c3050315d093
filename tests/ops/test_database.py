"""The connection to PostgreSQL, as every process of the console has it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.gateways import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONNECT = """
import django
django.setup()
from django.db import OperationalError, connection
try:
    connection.ensure_connection()
except OperationalError:
    print("away")
"""


def tried(data_dir: Path, query: str = "") -> subprocess.CompletedProcess[str]:
    """Connecting to a host that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "routing_project.settings",
            "SIGNALBOX_DATA_DIR": str(data_dir),
            "DATABASE_URL": f"postgres://ada:secret@127.0.0.1:{mute.getsockname()[1]}/signalbox{query}",
        }
        return subprocess.run(
            [sys.executable, "-c", CONNECT], env=environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.mark.thorough
@pytest.mark.parametrize("query", ["", "?connect_timeout=2"])
def test_a_database_that_answers_nothing_is_away_and_not_waited_for(data_dir: Path, query: str) -> None:
    done = tried(data_dir, query)
    assert (done.stdout, done.returncode) == ("away\n", 0), done.stderr


def checked(data_dir: Path, url: str) -> subprocess.CompletedProcess[str]:
    """The first command of the runbook DatabaseAway."""
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, "manage.py", "check", "--database", "default"],
        env={**kept, "SIGNALBOX_DATA_DIR": str(data_dir), "DATABASE_URL": url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_check_says_that_a_database_is_away_and_why_and_keeps_the_password(data_dir: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        done = checked(data_dir, f"postgres://ada:hunter2hunter2@127.0.0.1:{unheard.getsockname()[1]}/signalbox")
    assert done.returncode == 1
    assert "(signalbox.E010) The database 'default' cannot be used: connection failed" in done.stderr
    assert "Connection refused" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_check_has_nothing_against_a_database_that_is_not_set_up_yet(data_dir: Path) -> None:
    done = checked(data_dir, "")
    assert done.returncode == 0, done.stderr
