"""What history costs: an append in the request path, rows per second into each database.

    python -m bench.history_micro [--routes 50000] [--database-url postgres://…]

Without ``--database-url`` it measures SQLite in a temporary folder. Every figure is the median of three runs. What
reading costs once there are many rows: ``bench.history``.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=50_000)
    parser.add_argument("--database-url")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory(prefix="signalbox-bench-") as folder:
        os.environ.update(SIGNALBOX_DATA_DIR=folder, DJANGO_SETTINGS_MODULE="routing_project.settings")
        if arguments.database_url:
            os.environ["DATABASE_URL"] = arguments.database_url
        else:
            os.environ.pop("DATABASE_URL", None)
        subprocess.run([sys.executable, str(ROOT / "manage.py"), "migrate", "-v0"], check=True)
        journal = Path(folder) / "journal"
        print(f"{'append, one record':<52}{append_us(journal):>12.2f} µs")
        print(f"{'shipper, routes of two records':<52}{ship(journal, arguments.routes):>12,.0f} routes/s")
        failed = ship(journal, arguments.routes // 5, failed=True)
        print(f"{'shipper, failed routes with three attempts':<52}{failed:>12,.0f} routes/s")


def records(number: int, failed: bool = False) -> Any:
    """Pairs (started, finished) as a gateway writes them."""
    from tests.history import samples

    chance = random.Random(7)
    now_ms = int(time.time() * 1000)
    trace = {
        "v": 1,
        "p": 0,
        "o": "chat",
        "m": "gpt-4o",
        "t": [[4, 4, 2.1], [4, 4, 1.2], [4, 1, 4.4]],
        "i": {"draw": 0.42},
    }
    for index in range(number):
        identifier = now_ms.to_bytes(6, "big") + b"\x70\x00\x80" + index.to_bytes(7, "big")
        if failed:
            made = samples.failed(identifier, decision=trace)
            made.attempts = [*made.attempts, samples.attempt()]
        else:
            provider = chance.choice(("acme-eu", "acme-us", "spare"))
            latency = int(chance.lognormvariate(13, 0.7))
            made = samples.finished(identifier, decision=trace, provider=provider, latency_us=latency)
        made.session_key = f"chat-{index % 5000}"
        yield samples.started(identifier), made


def append_us(journal: Path) -> float:
    from history.journal import JournalWriter
    from tests.history import samples

    record = samples.finished()
    runs = []
    for _ in range(ROUNDS):
        writer = JournalWriter(journal, 1 << 30)
        begun = time.perf_counter()
        for _ in range(20_000):
            writer.append(record)
        runs.append((time.perf_counter() - begun) / 20_000 * 1e6)
        writer.close()
        empty(journal)
    return statistics.median(runs)


def ship(journal: Path, routes: int, failed: bool = False) -> float:
    runs = []
    for _ in range(ROUNDS):
        fill(journal, records(routes, failed))
        environment = {**os.environ, "SIGNALBOX_HISTORY_METRICS": "failures"}
        probe = subprocess.run(
            [sys.executable, "-c", SHIP], env=environment, check=True, capture_output=True, text=True, cwd=ROOT
        )
        runs.append(routes / float(probe.stdout))
        time.sleep(0.002)  # the next run's ids begin with another millisecond
    return statistics.median(runs)


#: In a process of its own, as in production, but without counting its start.
SHIP = """
import sys, time
import django
django.setup()
from history.shipper.process import ShipperProcess
from routing_project.env import get_env
process = ShipperProcess(get_env())
begun = time.perf_counter()
code = process.run(once=True)
print(time.perf_counter() - begun)
sys.exit(code)
"""


def fill(journal: Path, pairs: Any) -> None:
    from history.journal import JournalWriter

    writer = JournalWriter(journal, 16 << 30)
    for pair in pairs:
        for record in pair:
            writer.append(record)
    writer.close()


def empty(journal: Path) -> None:
    for path in journal.glob("*.seg"):
        path.unlink()


if __name__ == "__main__":
    main()
