"""``ship_history [--once]``: the shipper under the console's full set-up; ``python -m history.shipper`` is lighter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from history.shipper.process import ShipperProcess
from routing_project import logs
from routing_project.env import EnvError, get_env

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Ship history records from the journal into the database until told to stop."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="stop when the journal is empty")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        logs.start("shipper")
        try:
            process = ShipperProcess(get_env())
        except EnvError as error:
            raise CommandError(str(error)) from None
        process.handle_signals()
        if process.run(once=once):
            raise CommandError("the journal could not be shipped; see above")
