"""``history search``: a page of requests, as the API lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from history import search
from history.command import options, rows

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from history.command.terminal import Terminal

HELP: Final = "requests, newest first; by default of the last 24 hours where no index narrows the search"


def add_arguments(parser: CommandParser) -> None:
    options.add_filters(parser)
    options.add_order(parser)
    options.add_pages(parser)
    parser.add_argument("--count", help="also count the rows: exact or estimate")
    options.add_format(parser)


def run(terminal: Terminal, given: dict[str, Any]) -> None:
    form = options.choice(given, "format", options.FORMATS)
    wanted = None if given["count"] is None else options.choice(given, "count", ("exact", "estimate"))
    filters, span = options.filters(given), options.span(given)
    page = search.search(filters, span, order=options.order(given), limit=options.limit(given), cursor=given["cursor"])
    beside: dict[str, Any] = {}
    if wanted is not None:
        beside["count"] = (search.count if wanted == "exact" else search.estimate)(filters, span)
    match form:
        case options.TABLE:
            terminal.show(rows.drawn(page.rows, terminal.width))
        case options.JSON:
            terminal.show(rows.document(page, **beside))
        case "csv" | "ndjson":
            terminal.show(rows.as_lines(page, form))
    if form == options.JSON:
        return
    if wanted is not None:
        number = beside["count"]
        said = "More than can be counted in time" if number is None else f"{number:,}"
        terminal.remark(f"Rows in all ({wanted}): {said}.")
    if not page.rows and page.scanned_to is None:
        terminal.remark("No request matches.")
    terminal.remark(*options.cursors(page))
