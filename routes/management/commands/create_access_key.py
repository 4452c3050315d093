"""``create_access_key NAME [--profile P] [--scopes …] [--allow …] [--expires ISO]``: prints only the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from routes.actions import access_keys
from routes.management.base import ControlCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


class Command(ControlCommand):
    help = "Create an access key and print it. It acts at once and is shown only now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--profile", help="the key's default profile (default: default)")
        parser.add_argument("--scopes", type=_words, help="comma list of route, read, operate, admin (default: route)")
        parser.add_argument("--allow", type=_words, help="comma list of debug, overrides")
        parser.add_argument("--expires", help="when it stops working, ISO 8601")

    def run(self, *, name: str, **options: Any) -> None:
        given = {field: options[field] for field in ("profile", "scopes", "allow", "expires") if options[field]}
        created = access_keys.create_access_key({"name": name, **given}, actor=self.actor())
        self.stdout.write(created.value)
