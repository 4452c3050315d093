"""``publish [--message M]``: make the draft the live configuration; prints the revision's number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.actions import revisions
from routes.management.base import ControlCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(ControlCommand):
    help = "Publish the draft and print the number of the new revision."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--message", default="", help="why, for the revision and the audit log")

    def run(self, *, message: str, **_: Any) -> None:
        self.stdout.write(str(revisions.publish(actor=self.actor(), message=message).number))
