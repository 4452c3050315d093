"""What a shipper that catches up after an outage manages, and what traffic notices of it.

Two figures from one run, in turns: requests at a steady rate through a gateway while the shipper has next to nothing to
do, and the same while it drains a backlog that is larger than it can finish meanwhile. The backlog is what a gateway
would have left: started and finished records of ``bench.history.traffic``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import machine
from bench.history import database, traffic, world
from bench.promises import Promise, bench, load, markdown
from bench.scenarios import body

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from bench.promises import Cores

#: It works in databases of its own.
STANDALONE: Final = True
KINDS: Final = ("postgresql", "sqlite")
CONTENT: Final = body(1024)
SLOWER: Final = 1.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=int, default=50, help="requests a second (default 50)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each kind (default 3)")
    parser.add_argument("--backlog", type=int, default=200_000, help="routes that wait (default 200,000)")
    parser.add_argument("--only", default="", choices=("", *KINDS))


def run(options: argparse.Namespace) -> int:
    facts, cores = machine.facts(), machine.cores()
    backlog = prepared(options.backlog)
    promises: list[Promise] = []
    for kind in KINDS:
        if options.only in ("", kind):
            promises += measure(kind, backlog, cores, options)
    command = f"python -m bench.history ship --rounds {options.rounds} --seconds {options.seconds:g}"
    sys.stdout.write(markdown(facts, command, promises))
    return 1 if any(each.kept is False for each in promises) else 0


def prepared(routes: int) -> list[Any]:
    """Records of that many routes of the last hours, each begun and finished."""
    from history.records import Finished

    made: list[Any] = []
    everything = world.build(11)
    end_ms = int(time.time() * 1000)
    for hour in traffic.hours(routes, 1, end_ms):
        for record in traffic.records(everything, 11, hour):
            if isinstance(record, Finished):
                made += (_started(record), record)
    return made


def _started(record: Any) -> Any:
    from history.records import Started

    names = set(Started.__struct_fields__) & set(record.__struct_fields__)
    return Started(**{name: getattr(record, name) for name in names})


def measure(kind: str, backlog: list[Any], cores: Cores, options: argparse.Namespace) -> list[Promise]:
    schedule = [[number / options.rate, 0] for number in range(round(options.rate * options.seconds))]
    quiet: list[dict[str, Any]] = []
    busy: list[dict[str, Any]] = []
    drained: list[float] = []
    with _database(kind) as environment, bench(cores, {"only": {}}, behaviour={"log": False}) as running:
        data = running.gateway.data
        environment = {**environment, "SIGNALBOX_DATA_DIR": str(data), "REDIS_URL": "", "SIGNALBOX_LOG_FORMAT": "json"}
        _migrate(environment)
        load(cores, running, "scheduled", CONTENT, schedule=schedule[:100])
        for number in range(2 * options.rounds):
            catching_up = number % 2 == 1
            if catching_up:
                leave(data / "journal", backlog, number)
            with _shipper(environment, data, catching_up=catching_up):
                before, begun = _shipped(data), time.monotonic()
                figures = load(cores, running, "scheduled", CONTENT, schedule=schedule)
                rate = (_shipped(data) - before) / (time.monotonic() - begun)
            if figures["errors"]:
                raise SystemExit(f"bench: {figures['errors']} requests failed")
            (busy if catching_up else quiet).append(figures)
            if catching_up:
                drained.append(rate)
                _drain(environment)
    p50, p99 = (_ratio(quiet, busy, key) for key in ("p50_ms", "p99_ms"))
    traffic_of = f"{kind}: {options.rate} requests/s meanwhile"
    return [
        Promise(
            f"{kind}: rows/s while a backlog drains and {options.rate} requests/s arrive",
            "≥ 1,000",
            f"{statistics.median(drained):,.0f} (lowest {min(drained):,.0f})",
            min(drained) >= 1000,
        ),
        Promise(f"{traffic_of}, p50 against that without backlog", "not slowed", p50[0], p50[1] <= SLOWER),
        Promise(f"{traffic_of}, p99", "", p99[0]),
    ]


def _ratio(quiet: list[dict[str, Any]], busy: list[dict[str, Any]], key: str) -> tuple[str, float]:
    before, after = (statistics.median(each[key] for each in figures) for figures in (quiet, busy))
    return f"{before:.2f} → {after:.2f} ms, × {after / before:.2f}", after / before


def leave(journal: Path, backlog: list[Any], salt: int) -> None:
    """Put the records there as a gateway of before left them; ids differ by ``salt``, or they would be known."""
    from history.journal import JournalWriter

    writer = JournalWriter(journal, 16 << 30)
    for record in backlog:
        record.id = record.id[:15] + bytes((salt,))
        writer.append(record)
    writer.close()


@contextlib.contextmanager
def _database(kind: str) -> Iterator[dict[str, str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    environment.pop("DATABASE_URL", None)
    environment["DJANGO_SETTINGS_MODULE"] = "routing_project.settings"
    if kind == "sqlite":
        yield environment
        return
    with tempfile.TemporaryDirectory(prefix="signalbox-bench-") as folder, database.postgres(Path(folder)) as url:
        yield {**environment, "DATABASE_URL": url}


def _migrate(environment: dict[str, str]) -> None:
    command = [sys.executable, str(machine.ROOT / "manage.py"), "migrate", "-v0"]
    subprocess.run(command, env=environment, check=True)


@contextlib.contextmanager
def _shipper(environment: dict[str, str], data: Path, *, catching_up: bool) -> Iterator[None]:
    """A shipper at work, past its start."""
    command = [sys.executable, "-m", "history.shipper"]
    begun = time.time()
    process = subprocess.Popen(command, env=environment, cwd=machine.ROOT, stderr=subprocess.DEVNULL)
    try:
        while (report := _report(data)) is None or report.at < begun or (catching_up and not report.shipped):
            if process.poll() is not None:
                raise SystemExit("bench: the shipper ended")
            time.sleep(0.05)
        yield
    finally:
        # Not asked to stop: it would first try to finish.
        process.send_signal(signal.SIGKILL if catching_up else signal.SIGTERM)
        process.wait(30)


def _drain(environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-m", "history.shipper", "--once"], env=environment, cwd=machine.ROOT, check=True)


def _report(data: Path) -> Any:
    from history import status

    return status.read(data / "journal")


def _shipped(data: Path) -> int:
    """As the shipper says within a second from now."""
    now = time.time()
    while (report := _report(data)).at < now:
        time.sleep(0.02)
    return int(report.shipped)
