"""The connection to PostgreSQL, as every process of the console has it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

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
