"""``rebuild_rollups [--from T] [--to T]``: sum up from rows again what was changed behind the shipper's back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from history.errors import BadQuery
from history.rollups import work
from history.timerange import TimeRange

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Sum up whole days again from the rows of the history: after rows were changed, restored or removed by hand, "
        "or written by a shipper of a version without rollups. Hours whose rows retention removed keep their sums."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", dest="start", metavar="TIME", help="ISO 8601; its day and what follows")
        parser.add_argument("--to", dest="end", metavar="TIME", help="ISO 8601; what was before")

    def handle(self, *args: Any, start: str | None, end: str | None, **options: Any) -> None:
        try:
            span = TimeRange.parse(start, end)
        except BadQuery as error:
            raise CommandError(str(error)) from None
        hours = work.forget(span)
        done = work.run(seconds=float("inf"))
        self.stdout.write(f"{hours} hours to sum up again; {done} periods summed up\n")
