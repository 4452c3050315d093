"""``history search|failures|statistics|session|export``: the history in a terminal. Changes nothing.

Ends with 0 when it has answered, also that there is nothing; with 1 when the question is wrong, there is no such
session, or the database does not answer; like other programs when whoever reads its output has had enough.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from history.command import export, failures, options, search, session, statistics
from history.command.terminal import Terminal
from history.errors import BadQuery, HistoryError
from routes.management.base import ControlCommand

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

COMMANDS: Final[dict[str, Any]] = {
    "search": search,
    "failures": failures,
    "statistics": statistics,
    "session": session,
    "export": export,
}
#: What a shell reports of a program that a closed pipe ended.
CLOSED_PIPE: Final = 128 + signal.SIGPIPE


class Command(ControlCommand):
    help = "Search, sum up and export what happened, with the filters of the API (docs/history_api.md)."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(
            dest="wanted", required=True, metavar="search|failures|statistics|session|export"
        )
        for name, module in COMMANDS.items():
            module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.HELP))

    def run(self, *, wanted: str, **given: Any) -> None:
        try:
            COMMANDS[wanted].run(Terminal(self.stdout, self.stderr, self.actor()), given)
            self.stdout.flush()
        except options.WrongOption as error:
            self.refuse(str(error))
        except BadQuery as error:
            self.refuse(options.named(error))
        except HistoryError as error:
            self.refuse(str(error))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
            sys.exit(CLOSED_PIPE)
