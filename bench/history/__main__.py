"""Command line of the measurements of the history; see ``bench.history``."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from bench import history
from bench.history import database

#: command -> module with ``add_arguments`` (may be missing) and ``run``
COMMANDS = ("fill", "size", "search", "explain", "statistics", "export", "stable", "ship")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.history",
        description=history.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("postgres", help="run a PostgreSQL that keeps its data")
    server.add_argument("--folder", type=Path, required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"bench.history.{name}")
        command = commands.add_parser(name, help=(module.__doc__ or "").partition("\n")[0])
        command.add_argument("--database-url")
        command.add_argument("--folder", type=Path, help="data folder, and where SQLite lives")
        if hasattr(module, "add_arguments"):
            module.add_arguments(command)
    options = parser.parse_args()
    if options.command == "postgres":
        return serve(options.folder)
    module = importlib.import_module(f"bench.history.{options.command}")
    if not getattr(module, "STANDALONE", False):
        database.connect(options.database_url, options.folder)
    return int(module.run(options))


def serve(folder: Path) -> int:
    with database.postgres(folder) as url:
        print(url, flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
