"""``explain_route (--id UUID | --last N | --file F | -) [--profile P] [--revision N|live|draft] [--draws N] [--json]``.

Prints where a request would go, or why a recorded one went where it did. Changes nothing. Ends with 0 when a target
was found, 2 when none was, 1 when the question itself is wrong. ``--last`` tells of the last N recorded requests
whether they would go the same way, by their own revisions unless one is named; it ends with 2 when one would not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from routes import explain, ports
from routes.actions.errors import Invalid
from routes.explain import text
from routes.management.base import ControlCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

NOTHING_LEFT: Final = 2
#: Requests that one call explains at most.
MOST: Final = 1000
#: Members of a whole explain document; anything else is a request, or the body of one.
DOCUMENT: Final = frozenset({"request", "id", "overrides", "key"})
REQUEST: Final = frozenset({"path", "headers", "body"})


class Command(ControlCommand):
    help = (
        "Explain where a request would go and why. FILE holds a request {path, headers, body}, or only the body of a "
        "chat completion, or a whole document as POST /api/v1/explain/ takes it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("--id", metavar="UUID", help="a recorded request, explained from what was recorded")
        source.add_argument("--last", metavar="N", type=int, help="the last N recorded requests, in a few lines each")
        source.add_argument("--file", metavar="FILE", help="a request as JSON")
        source.add_argument(
            "standard_input", metavar="-", nargs="?", choices=["-"], help="the same from standard input"
        )
        parser.add_argument("--profile", help="decide by this profile")
        parser.add_argument("--revision", metavar="N|live|draft", help="by default live, and a recorded request's own")
        parser.add_argument("--draws", type=int, help="decisions to make for the shares; 1 by default")
        parser.add_argument("--json", action="store_true", help="print the whole explanation as JSON")

    def run(
        self,
        *,
        id: str | None,  # noqa: A002 - the flag's name
        last: int | None,
        file: str | None,
        profile: str | None,
        revision: str | None,
        draws: int | None,
        json: bool,
        **_: Any,
    ) -> None:
        flags = {"profile": profile, "revision": revision, "draws": draws}
        given = {name: value for name, value in flags.items() if value is not None}
        if last is not None:
            self._review(last, given, json)
            return
        wanted: dict[str, Any] = {"id": id} if id is not None else self._document(file)
        told = explain.explain(explain.parse(wanted | given))
        for line in [_dump(told)] if json else text.lines(told):
            self.stdout.write(line)
        if told["status"] == "rejected":
            sys.exit(NOTHING_LEFT)

    def _review(self, count: int, given: dict[str, Any], as_json: bool) -> None:
        """Explain the last requests, one after the other."""
        if not 1 <= count <= MOST:
            self.refuse(f"--last: must be from 1 to {MOST}")
        same = 0
        routes = ports.recent_routes(count)
        for route in routes:
            told = explain.explain(explain.parse({"id": str(route), **given}))
            same += told["recorded"]["same"]
            for line in [_dump(told)] if as_json else text.review(told):
                self.stdout.write(line)
        self.stdout.write(f"{same} of {len(routes)} would be tried at the same target first.")
        if same < len(routes):
            sys.exit(NOTHING_LEFT)

    def _document(self, file: str | None) -> dict[str, Any]:
        """What the file says, as an explain document."""
        try:
            content = sys.stdin.buffer.read() if file is None else Path(file).read_bytes()
        except OSError as error:
            self.refuse(f"{file}: {error.strerror}")
        try:
            tree = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise Invalid.from_errors([("", f"the file is not valid JSON: {error}")]) from None
        if not isinstance(tree, dict):
            raise Invalid.from_errors([("", "the file must hold a JSON object")])
        if DOCUMENT & tree.keys():
            return tree
        return {"request": tree if REQUEST & tree.keys() else {"body": tree}}


def _dump(told: dict[str, Any]) -> str:
    return json.dumps(told, indent=2, ensure_ascii=False)
