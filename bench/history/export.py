"""What an export costs: rows/s, and the memory of the process that makes it, sampled as it goes.

In a process of its own, so that nothing else counts; the first tenth of it is not compared, because caches fill then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from bench import machine
from bench.report import table

if TYPE_CHECKING:
    import argparse

FORMATS: Final = ("csv", "ndjson")
#: MB that a process may grow between the first tenth and the end.
FLAT_MB: Final = 16.0
SAMPLE_SECONDS: Final = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=1_000_000, help="how many are exported (default 1,000,000)")
    parser.add_argument("--format", choices=FORMATS, help="one of them alone")
    parser.add_argument("--inside", action="store_true", help="one export in this process, its figures as JSON")


def run(options: argparse.Namespace) -> int:
    if options.inside:
        print(json.dumps(exported(options.rows, options.format)))
        return 0
    lines, kept = [], True
    for name in (options.format,) if options.format else FORMATS:
        command = [sys.executable, "-m", "bench.history", "export", "--inside", "--rows", str(options.rows)]
        command += ["--format", name]
        command += ["--database-url", options.database_url] if options.database_url else []
        command += ["--folder", str(options.folder)] if options.folder else []
        done = subprocess.run(command, cwd=machine.ROOT, stdout=subprocess.PIPE, text=True, check=True)
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        grown = figures["highest_mb"] - figures["early_mb"]
        kept &= grown <= FLAT_MB and figures["rows"] >= options.rows
        rate = figures["rows"] / figures["seconds"]
        memory = f"{figures['early_mb']:.0f} → {figures['highest_mb']:.0f}"
        lines.append([name, f"{figures['rows']:,}", f"{rate:,.0f}", f"{figures['bytes'] / 1e6:,.0f}", memory])
    print("\n".join(table(["", "rows", "rows/s", "MB written", "memory of the process, MB"], lines)))
    return 0 if kept else 1


def exported(rows: int, file_format: str) -> dict[str, Any]:
    """One export of the newest ``rows``, thrown away as it comes."""
    from history.export import stream
    from history.filters import NOTHING
    from history.ids import time_of
    from history.models import RouteHistory
    from history.timerange import TimeRange

    oldest = RouteHistory.objects.order_by("-id").values_list("id", flat=True)[rows - 1 : rows].first()
    span = TimeRange() if oldest is None else TimeRange(time_of(oldest))
    lines = size = 0
    samples: list[tuple[float, float]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_SECONDS):
            samples.append((time.perf_counter(), machine.resident_mb([os.getpid()]) or 0.0))

    watcher = threading.Thread(target=watch, daemon=True)
    begun = time.perf_counter()
    watcher.start()
    for piece in stream(NOTHING, span, file_format):
        lines += piece.count(b"\n")
        size += len(piece)
    seconds = time.perf_counter() - begun
    over.set()
    watcher.join()
    early = [memory for at, memory in samples if at - begun < seconds / 10]
    return {
        "rows": lines - (file_format == "csv"),
        "bytes": size,
        "seconds": seconds,
        "early_mb": max(early),
        "highest_mb": max(memory for _, memory in samples),
    }
