"""Tables for a terminal: columns as wide as they need, made to fit where there is a width, and nothing that a terminal
would obey. Pure functions; must not import Django.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple

from routes.engine.words import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

GAP: Final = "  "
#: No column of text is made narrower to fit.
LEAST: Final = 8
NOTHING: Final = "–"


class Column(NamedTuple):
    name: str
    right: bool = False  # numbers; never cut
    whole: bool = False  # text that is of no use when it is cut


def drawn(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """A line of names and one for each row. ``width``: of the terminal, if it is one."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max([_width(column.name), *(_width(row[n]) for row in cells)]) for n, column in enumerate(columns)]
    if width is not None:
        _fit(columns, widths, width)
    head = [column.name for column in columns]
    return "".join(f"{_line(columns, widths, row)}\n" for row in (head, *cells))


def printable(text: str) -> str:
    """``text`` without what moves the cursor, changes colours or turns the direction of writing: clients sent it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}"


def took(milliseconds: float | None) -> str:
    return NOTHING if milliseconds is None else seconds(milliseconds / 1000)


def money(usd: float | None) -> str:
    return NOTHING if usd is None else f"${usd:,.4f}"


def share(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f} %"


def number(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def _fit(columns: Sequence[Column], widths: list[int], width: int) -> None:
    """Make the widest texts narrower, one character after another."""
    while sum(widths) + len(GAP) * (len(widths) - 1) > width:
        wide = [n for n, column in enumerate(columns) if not column.right and not column.whole and widths[n] > LEAST]
        if not wide:
            return
        widths[max(wide, key=lambda n: widths[n])] -= 1


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[str]) -> str:
    parts = []
    for column, width, cell in zip(columns, widths, row, strict=True):
        text = _cut(cell, width)
        space = " " * (width - _width(text))
        parts.append(space + text if column.right else text + space)
    return GAP.join(parts).rstrip()


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _width(text: str) -> int:
    """Columns that a terminal needs."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)
