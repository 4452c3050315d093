"""``verify_audit [--file PATH]``: whether the audit log is what was written. Exit 0 when it is, 1 when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from routes.audit import verify
from routing_project.env import get_env

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Verify the audit log: the chain of hashes in the table, and every line of a file of it against the table. "
        "Says the first entry that does not fit, and exits with 1."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--file", type=Path, help="a file of the log, also an older one; default: the one that is being written"
        )

    def handle(self, *args: Any, file: Path | None = None, **options: Any) -> None:
        broken = [said for said in (self._table(), self._file(file)) if said is not None]
        if broken:
            raise CommandError("\n".join(broken))

    def _table(self) -> str | None:
        try:
            found = verify.table()
        except verify.BrokenError as error:
            return f"table: {error}"
        self.stdout.write(f"{found.entries} entries, chain intact, head {found.head.id} {found.head.hash}")
        return None

    def _file(self, named: Path | None) -> str | None:
        path = named or get_env().audit_log_path
        try:
            found = verify.file(path)
        except verify.BrokenError as error:
            return f"{path}: {error}"
        except FileNotFoundError:
            if named is not None:
                return f"{path}: there is no such file"
            self.stdout.write(f"{path}: there is no file yet; only the table was verified")
            return None
        except OSError as error:
            return f"{path}: cannot be read: {error.strerror}"
        told = f"{path}: {found.entries} entries and {found.heads} heads, all as in the table"
        self.stdout.write(f"{told}; its last line is not complete" if found.torn else told)
        return None
