"""``history failures``: what went wrong, by cause and provider, and a page of the requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from history import failures, reports
from history.command import options, rows, table
from history.command.table import Column

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from history.command.terminal import Terminal
    from history.failures import Report

HELP: Final = "failed, timed out, rejected and interrupted requests, by cause; by default of the last 24 hours"
COLUMNS: Final = (
    Column("CAUSE", whole=True),
    Column("PROVIDER"),
    Column("REQUESTS", right=True),
    Column("RECOVERED", right=True),
    Column("FIRST (UTC)", whole=True),
    Column("LAST (UTC)", whole=True),
)


def add_arguments(parser: CommandParser) -> None:
    options.add_filters(parser)
    parser.add_argument("--include-recovered", action="store_true", help="also requests that failover saved")
    options.add_pages(parser)
    options.add_format(parser)


def run(terminal: Terminal, given: dict[str, Any]) -> None:
    form = options.choice(given, "format", options.FORMATS)
    report = failures.report(
        options.span(given),
        options.filters(given),
        include_recovered=given["include_recovered"],
        limit=options.limit(given),
        cursor=given["cursor"],
    )
    match form:
        case options.TABLE:
            terminal.show(_drawn(report, terminal.width))
            terminal.show("\n" + rows.drawn(report.page.rows, terminal.width) if report.page.rows else "")
        case options.JSON:
            terminal.show(rows.document(report.page, **reports.failures(report)))
            return
        case "csv" | "ndjson":
            terminal.show(rows.as_lines(report.page, form))
    since = "" if report.span.start is None else f" since {table.moment(report.span.start)} UTC"
    until = "" if report.span.end is None else f" until {table.moment(report.span.end)} UTC"
    terminal.remark(f"{report.total:,} failed, {report.recovered:,} saved by failover{since}{until}.")
    terminal.remark(*options.cursors(report.page))


def _drawn(report: Report, width: int | None) -> str:
    cells = [
        [
            group.error_code or table.NOTHING,
            group.provider or table.NOTHING,
            table.number(group.count),
            table.number(group.recovered),
            table.moment(group.first_seen),
            table.moment(group.last_seen),
        ]
        for group in report.groups
    ]
    return table.drawn(COLUMNS, cells, width) if cells else ""
