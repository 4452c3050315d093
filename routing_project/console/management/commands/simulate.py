"""`manage.py simulate`: the simulated upstream, started from where all other commands are."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from simulator import __main__ as simulator

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(BaseCommand):
    help = "Serve a simulated LLM provider on loopback that can be told to fail (docs/simulator.md)."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        simulator.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        code = simulator.run(argparse.Namespace(**options))
        if code:
            sys.exit(code)
