"""``verify_audit [--file PATH]``: whether the audit log is what was written. Exit 0 when it is, 1 when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from routes.audit import verify
from routes.audit.file import Kept, place_path, read_places
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
        path = get_env().audit_log_path
        try:
            kept = read_places().get(str(path), Kept())  # before anything else: table and file only grow
        except OSError as error:
            raise CommandError(f"{place_path()}: cannot be read: {error.strerror}") from None
        other = None if file is None or file.absolute() == path else file
        said = self._table(kept), self._file(path, kept) if other is None else self._file(other)
        if broken := [one for one in said if one is not None]:
            raise CommandError("\n".join(broken))

    def _table(self, kept: Kept) -> str | None:
        try:
            found = verify.table()
            verify.delivered(kept)
        except verify.BrokenError as error:
            return f"table: {error}"
        self.stdout.write(f"{found.entries} entries, chain intact, head {found.head.id} {found.head.hash}")
        return None

    def _file(self, path: Path, kept: Kept | None = None) -> str | None:
        """``kept``: what is known of the one that is being written; None = another one."""
        try:
            found = verify.file(path)
            if kept is not None:
                verify.follows_on(found, kept)
        except verify.BrokenError as error:
            return f"{path}: {error}"
        except FileNotFoundError:
            if kept is None:
                return f"{path}: there is no such file"
            self.stdout.write(f"{path}: {_no_file(kept)}")
            return None
        except OSError as error:
            return f"{path}: cannot be read: {error.strerror}"
        told = f"{path}: {found.entries} entries and {found.heads} heads, all as in the table"
        if kept is not None and kept.place.link.id and found.last is None:
            told += f"; it begins after entry {kept.place.link.id}"
        self.stdout.write(f"{told}; its last line is not complete" if found.torn else told)
        return None


def _no_file(kept: Kept) -> str:
    if last := kept.place.link.id:
        return f"there is no file; the one that was written up to entry {last} was moved away, or removed"
    return "there is no file yet; only the table was verified"
