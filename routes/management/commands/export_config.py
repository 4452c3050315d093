"""``export_config [FILE] [--json]``: the draft as a document that imports back to itself. Never holds a secret."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from routes.actions.transfer import export_configuration
from routes.document.text import dump_json, dump_yaml
from routes.management.base import ControlCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(ControlCommand):
    help = "Write the configuration as a document. Credentials and key values are not in it: it keeps the stored ones."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", nargs="?", help="where to; standard output when left out")
        parser.add_argument("--json", action="store_true", help="JSON instead of YAML")

    def run(self, *, file: str | None, json: bool, **_: Any) -> None:
        tree = export_configuration(actor=self.actor())
        text = dump_json(tree) if json else dump_yaml(tree)
        if file is None:
            self.stdout.write(text, ending="")
            return
        try:
            Path(file).write_text(text, encoding="utf-8")
        except OSError as error:
            self.refuse(f"{file}: {error.strerror}")
