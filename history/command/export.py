"""``history export``: every request that a search finds, to a file or to stdout; in the audit log, as over the API."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from history import export
from history.command import options
from history.lines import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.core.management.base import CommandParser

    from history.command.terminal import Terminal
    from history.lines import Format

HELP: Final = "every request that a search finds, as CSV or NDJSON"


def add_arguments(parser: CommandParser) -> None:
    options.add_filters(parser)
    options.add_order(parser)
    options.add_format(parser, FORMATS)
    parser.add_argument("--bom", action="store_true", help="begin CSV with the mark that tells Excel that it is UTF-8")
    parser.add_argument("--output", metavar="FILE", help="write to this file, which is there once it is whole")


def run(terminal: Terminal, given: dict[str, Any]) -> None:
    form = cast("Format", options.choice(given, "format", FORMATS))
    order = options.order(given)
    filters, span = options.filters(given), options.span(given)
    told = options.asked(given) | {"from": given["from"], "to": given["to"], "order": order}
    audited = export.audited(terminal.actor, {name: value for name, value in told.items() if value}, form)
    rows = 0

    def ended(number: int, outcome: str) -> None:
        nonlocal rows
        rows = number
        audited(number, outcome)

    with closing(export.stream(filters, span, form, order=order, bom=given["bom"], ended=ended)) as pieces:
        if given["output"] is None:
            for piece in pieces:
                terminal.show(piece.decode())
                terminal.flush()  # so that who reads no more is noticed while there is an export to end
        else:
            _write(Path(given["output"]), pieces)
    terminal.remark(f"{rows:,} rows exported.")


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.writelines(pieces)
        part.replace(path)
    except OSError as error:
        raise options.WrongOption(f"--output {path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
