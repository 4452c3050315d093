"""The database to measure in: a PostgreSQL that stays when the run is over, Django over it, and what it holds.

The servers' settings are PostgreSQL's own defaults but for fsync, so that figures are those of an installation that
nobody has tuned. Set Django up (``connect``) before anything that imports models.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.machine import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL over ``folder``, made when there is none; its URL. Ended at the end, its data kept."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # started by root, the server is somebody else
    from tests import servers  # here, because it takes what the environment says of the product out of it

    server = servers.Postgres(folder / "pg")
    server.start()
    try:
        yield server.url()
    finally:
        server.stop()


def connect(url: str | None, folder: Path | None = None) -> None:
    """Set Django up over that database (None: SQLite in ``folder``) and bring its tables up to date."""
    environment(url, folder)
    for command in ("migrate", "createcachetable"):
        subprocess.run([sys.executable, str(ROOT / "manage.py"), command, "-v0"], check=True)
    import django

    django.setup()
    gc.collect()
    gc.freeze()  # as the console does


def environment(url: str | None, folder: Path | None = None) -> dict[str, str]:
    """What leads this process and its children to the database."""
    data = folder or Path(tempfile.gettempdir()) / "signalbox-bench-history"
    data.mkdir(parents=True, exist_ok=True)
    os.environ.update(SIGNALBOX_DATA_DIR=str(data), DJANGO_SETTINGS_MODULE="routing_project.settings")
    if url:
        os.environ["DATABASE_URL"] = url
    else:
        os.environ.pop("DATABASE_URL", None)
    return dict(os.environ)


def settle() -> None:
    """What autovacuum comes to by itself: figures for the planner, and pages that index-only scans need not look at.

    Of partitioned tables it looks at the partitions alone, so this does too.
    """
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute("ANALYZE")
            return
        cursor.execute("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relname ~ '^(route|history)_'")
        for (name,) in cursor.fetchall():
            cursor.execute(f"VACUUM (ANALYZE) {name}")


def cpu_ms() -> float:
    """CPU time so far of this process and of the server's that serves it: what pages would take with a core to
    themselves, whatever else the machine does. In steps of 10 ms, without the helpers of a parallel query."""
    from django.db import connection

    own = time.process_time() * 1000
    if connection.vendor != "postgresql":
        return own
    connection.ensure_connection()
    return own + (machine.cpu_seconds([connection.connection.info.backend_pid]) or 0.0) * 1000


def query(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()
