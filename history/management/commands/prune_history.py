"""``prune_history [--days N] [--dry-run]``: remove what is older than the history is kept, or say what that is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.template.defaultfilters import filesizeformat

from history import pruning
from history.errors import HistoryError
from routes.actions import audit
from routes.management.base import ControlCommand

if TYPE_CHECKING:
    from datetime import datetime

    from django.core.management.base import CommandParser

    from history.pruning import Cutoffs, Removal


class Command(ControlCommand):
    help = "Remove routes, with their attempts and measurements, that are older than the history is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", help="keep so many days instead of SIGNALBOX_HISTORY_DAYS")
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")

    def run(self, *, days: str | None, dry_run: bool, **_: Any) -> None:
        try:
            wanted = pruning.cutoffs(_number(days))
            if dry_run:
                removals = pruning.preview(wanted)
            else:
                removals = pruning.prune(wanted, begins=partial(self._record, wanted)).removals
        except HistoryError as error:
            self.refuse(str(error))
        if dry_run:
            for each in removals:
                self.stdout.write(_line(each))
        rows = sum(each.rows for each in removals)
        partitions = sum(len(each.partitions) for each in removals)
        size = _size(sum(each.bytes for each in removals))
        self.stdout.write(
            f"{'would remove' if dry_run else 'removed'} {rows:,} rows and {partitions} partitions, about {size}, "
            f"from before {_moment(wanted.history)}"
        )

    def _record(self, wanted: Cutoffs, removals: list[Removal]) -> None:
        """Before the first row goes: rows go in many transactions, and a run that is killed is on record too."""
        audit.record(
            self.actor(),
            "history.pruned",
            category="admin",
            object_type="history",
            changes={"before": _moment(wanted.history), "removes": "; ".join(map(_line, removals))},
        )


def _number(days: str | None) -> float | None:
    if days is None:
        return None
    try:
        return float(days)
    except ValueError:
        return float("nan")


def _line(removal: Removal) -> str:
    what = f"{removal.table}: {removal.rows:,} rows, about {_size(removal.bytes)}"
    if removal.oldest and removal.newest:
        what += f", of {_moment(removal.oldest)} to {_moment(removal.newest)}"
    if removal.partitions:
        what += f", with the partitions {', '.join(removal.partitions)}"
    return what


def _size(number: int) -> str:
    return filesizeformat(number).replace("\xa0", " ")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
