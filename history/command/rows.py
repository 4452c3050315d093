"""Requests as the commands print them: the table of a page, or the same page as JSON, CSV or NDJSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from history import lines, render
from history.command import options, table
from history.command.table import Column
from history.rows import ROW_FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from history.models import RouteHistory
    from history.search import Page

COLUMNS: Final = (
    Column("TIME (UTC)", whole=True),
    Column("STATUS", whole=True),
    Column("PROFILE"),
    Column("PROVIDER / MODEL"),
    Column("ERROR"),
    Column("HTTP", right=True),
    Column("TRIED", right=True),
    Column("LATENCY", right=True),
    Column("TOKENS IN", right=True),
    Column("OUT", right=True),
    Column("COST", right=True),
    Column("ID", whole=True),
)


def document(page: Page, **beside: Any) -> str:
    """As the API answers it, with cursors in the place of links. ``beside``: what else there is to tell."""
    told = {**beside, "results": [render.row(row) for row in page.rows], "next": page.next, "previous": page.previous}
    if page.scanned_to is not None:
        told["scanned_to"] = render.moment(page.scanned_to)
    return options.dump(told)


def as_lines(page: Page, form: lines.Format) -> str:
    told = [render.row(row) for row in page.rows]
    return (lines.head(ROW_FIELDS, form) + lines.body(told, ROW_FIELDS, form)).decode()


def drawn(rows: Sequence[RouteHistory], width: int | None) -> str:
    """A table; nothing for no rows."""
    return table.drawn(COLUMNS, [_cells(row) for row in rows], width) if rows else ""


def _cells(row: RouteHistory) -> list[str]:
    cost = row.cost_micro_usd
    return [
        table.moment(row.created_at),
        row.status,
        row.profile,
        " / ".join(part for part in (row.provider, row.model) if part) or table.NOTHING,
        row.error_code or table.NOTHING,
        table.number(row.http_status),
        table.number(row.attempt_count),
        table.took(row.latency_ms),
        table.number(row.input_tokens),
        table.number(row.output_tokens),
        table.money(None if cost is None else cost / 1e6),
        str(row.id),
    ]
