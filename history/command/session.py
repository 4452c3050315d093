"""``history session``: one session in figures, and its requests, oldest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from history import reports, sessions
from history.command import options, rows, table
from history.errors import SessionAmbiguous

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from history.command.terminal import Terminal
    from history.sessions import Session

HELP: Final = "one session in figures, and its requests, oldest first"


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("session", metavar="SESSION", help="its id, or the client's own name of it")
    parser.add_argument("--access-key", metavar="NAME", help="whose session; needed where several keys have one")
    options.add_pages(parser)
    options.add_format(parser)


def run(terminal: Terminal, given: dict[str, Any]) -> None:
    form = options.choice(given, "format", options.FORMATS)
    told = sessions.read(_identified(given), limit=options.limit(given), cursor=given["cursor"])
    match form:
        case options.TABLE:
            terminal.show("" if told.session is None else _figures(told.session) + "\n")
            terminal.show(rows.drawn(told.page.rows, terminal.width))
        case options.JSON:
            figures = None if told.session is None else reports.session(told.session)
            terminal.show(rows.document(told.page, session=figures))
            return
        case "csv" | "ndjson":
            terminal.show(rows.as_lines(told.page, form))
    terminal.remark(*options.cursors(told.page))


def _identified(given: dict[str, Any]) -> UUID:
    name, access_key = given["session"], given["access_key"]
    if access_key is None:
        try:
            return UUID(name)
        except ValueError:
            pass
    try:
        return sessions.find(name, access_key)
    except SessionAmbiguous as error:
        seen = [f"  {each.id}  {table.printable(each.access_key) or table.NOTHING}" for each in error.sessions]
        raise options.WrongOption(
            "\n".join(["--access-key: several keys have a session of this name:", *seen])
        ) from None


def _figures(session: Session) -> str:
    assert session.first is not None
    assert session.last is not None
    outcomes = ", ".join(f"{number:,} {status}" for status, number in session.statuses.most_common() if number)
    places = ", ".join(
        f"{' / '.join(part for part in target[1:] if part) or 'nobody'} ({number:,})"
        for target, number in session.targets.most_common()
    )
    told = (
        ("Session", f"{session.session_key} of {session.access_key or 'no key'}, {session.id}"),
        ("Time", f"{table.moment(session.first)} to {table.moment(session.last)} UTC"),
        ("Requests", f"{session.count:,}: {outcomes}; {session.recovered:,} saved by failover"),
        ("Targets", places),
        ("Tokens", f"{session.input_tokens:,} in, {session.output_tokens:,} out, {session.cached_tokens:,} cached"),
        ("Cost", table.money(session.cost_micro_usd / 1e6)),
    )
    return "".join(f"{name:<10}{table.printable(text)}\n" for name, text in told)
