"""``import_config FILE [--publish] [--merge] [--message M]``: lay a document over the draft, all or nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routes import draft
from routes.actions.transfer import import_configuration
from routes.document.address import network_warning
from routes.document.text import load
from routes.management.base import ControlCommand
from routing_project.env import get_env

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(ControlCommand):
    help = (
        "Read a configuration document (YAML or JSON). Sections in it replace those of the draft; access keys and "
        "credentials act at once, everything else with --publish."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help="the document; - reads standard input")
        parser.add_argument("--publish", action="store_true", help="publish the draft afterwards")
        parser.add_argument("--merge", action="store_true", help="add to the sections instead of replacing them")
        parser.add_argument("--message", default="", help="why, for the revision and the audit log")

    def run(self, *, file: str, publish: bool, merge: bool, message: str, **_: Any) -> None:
        try:
            content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        except OSError as error:
            self.refuse(f"{file}: {error.strerror}")
        revision = import_configuration(
            load(content), actor=self.actor(), merge=merge, publish_now=publish, message=message
        )
        for provider in draft.configuration().providers:
            if problem := network_warning(provider.base_url, provider.network, get_env().upstream_network_ceiling):
                self.stderr.write(f"warning: provider {provider.slug}: {problem}")
        self.stdout.write(
            f"imported, published as revision {revision.number}" if revision else "imported into the draft"
        )
