"""``sync_prices [--reset]``: copy the built-in prices of configured models into the draft's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.actions.sections import sync_prices
from routes.management.base import ControlCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(ControlCommand):
    help = (
        "Copy the built-in figures of the models that providers, profiles and rules name into the section prices of "
        "the draft. Figures that are there stay, unless --reset."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reset", action="store_true", help="also replace figures that are there")

    def run(self, *, reset: bool, **_: Any) -> None:
        changed = sync_prices(actor=self.actor(), reset=reset)
        for model in changed:
            self.stdout.write(model)
        self.stderr.write(f"{len(changed)} prices changed in the draft")
