"""``history statistics``: a range of time in figures, as a whole and by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from history import lines, reports
from history.command import options, table
from history.command.table import Column
from history.statistics import GROUPINGS, statistics

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from history.command.terminal import Terminal

HELP: Final = "counts, failure rate, latencies, tokens, cost and shares; by default of the last 24 hours"
#: What the line of the whole is called.
ALL: Final = "all"
COLUMNS: Final = (
    Column("REQUESTS", right=True),
    Column("FAILED", right=True),
    Column("RECOVERED", right=True),
    Column("LATENCY P50", right=True),
    Column("P95", right=True),
    Column("P99", right=True),
    Column("FIRST BYTE P50", right=True),
    Column("TOKENS IN", right=True),
    Column("OUT", right=True),
    Column("COST", right=True),
    Column("SHARE", right=True),
    Column("EXPECTED", right=True),
)


def add_arguments(parser: CommandParser) -> None:
    options.add_filters(parser)
    parser.add_argument("--group-by", metavar="WHAT", help=f"one of {', '.join(GROUPINGS)}")
    options.add_format(parser)


def run(terminal: Terminal, given: dict[str, Any]) -> None:
    form = options.choice(given, "format", options.FORMATS)
    group_by = None if given["group_by"] is None else options.choice(given, "group_by", GROUPINGS)
    told = reports.statistics(statistics(options.span(given).recent, group_by, options.filters(given)))
    match form:
        case options.TABLE:
            terminal.show(_drawn(told, terminal.width))
            until = f" until {told['to']}" if told["to"] else ""
            terminal.remark(f"Since {told['from']}{until}.")
        case options.JSON:
            terminal.show(options.dump(told))
        case "csv" | "ndjson":
            flat = [_flat(group) for group in (told["groups"] if group_by else [{"key": ALL, **told["totals"]}])]
            fields = list(_flat({"key": ALL, **told["totals"]}))
            terminal.show((lines.head(fields, form) + lines.body(flat, fields, form)).decode())


def _drawn(told: dict[str, Any], width: int | None) -> str:
    by = told["group_by"]
    first = Column(
        "" if by is None else f"{by} (UTC)".upper() if by in reports.BY_TIME else by.upper().replace("_", " ")
    )
    groups = [_cells(_named(group["key"], by), group) for group in told["groups"]]
    return table.drawn((first, *COLUMNS), [*groups, _cells(ALL, told["totals"])], width)


def _named(key: str | None, by: str | None) -> str:
    if by in reports.BY_TIME and key is not None:
        return key[:16].replace("T", " ") if by == "hour" else key[:10]
    return key or table.NOTHING


def _cells(name: str, sums: dict[str, Any]) -> list[str]:
    latency, first_byte = sums["latency_ms"], sums["ttfb_ms"]
    return [
        name,
        table.number(sums["count"]),
        table.share(sums["failure_rate"]),
        table.number(sums["recovered"]),
        *(table.took(latency[which]) for which in ("p50", "p95", "p99")),
        table.took(first_byte["p50"]),
        table.number(sums["input_tokens"]),
        table.number(sums["output_tokens"]),
        table.money(sums["cost_usd"]),
        table.share(sums["share"]),
        table.share(sums["expected_share"]),
    ]


def _flat(group: dict[str, Any]) -> dict[str, Any]:
    """``{"latency_ms": {"p50": 1}}`` as ``{"latency_ms_p50": 1}``: a line has no levels."""
    found: dict[str, Any] = {}
    for name, value in group.items():
        found |= {f"{name}_{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}
    return found
